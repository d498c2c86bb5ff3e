//! The message path under a seeded scheduler: the real cores, simulated I/O and time.

pub mod api_node;
pub mod bell;
pub mod client_node;
pub mod command_line;
pub mod embedded_node;
pub mod executor;
pub mod faults;
pub mod gateway_node;
pub mod history;
pub mod links;
pub mod logs;
pub mod oracle;
pub mod partitioned;
pub mod presence;
pub mod random;
pub mod router_node;
pub mod rows;
pub mod run;
pub mod wire;
pub mod workload;
pub mod world;
