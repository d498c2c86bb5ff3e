//! The message path under a seeded scheduler: the real cores, simulated I/O and time.

pub mod bell;
pub mod executor;
pub mod faults;
pub mod logs;
pub mod partitioned;
pub mod presence;
pub mod random;
pub mod rows;
