//! Clusters on this machine: every role a process of its own, on real backends.
//!
//! For tests, for storms over many processes, and for `make cluster`.

mod cluster;
mod process;
mod tenant;

pub use cluster::{Backends, Cluster, ClusterError, Kind, Plan};
pub use process::Process;
pub use tenant::{Demo, demo_tenant};
