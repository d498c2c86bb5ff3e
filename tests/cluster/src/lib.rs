//! Clusters on this machine: every role a process of its own, on real backends.
//!
//! For tests, for storms over many processes, and for `make cluster`.

mod cluster;
mod ingress;
mod process;
pub mod storm;
mod tenant;

pub use cluster::{Backends, Cluster, ClusterError, Detour, Kind, Plan};
pub use process::Process;
pub use tenant::{Demo, demo_tenant};
