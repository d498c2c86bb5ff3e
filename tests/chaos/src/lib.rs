//! A crash storm: many clients chat through a server that is killed again and again, and what each device wrote
//! down is judged by a checker that shares no code with either (`stonechat-chaos-checker`).

mod gauge;
mod plan;
mod schedule;
mod server;

pub use gauge::Latencies;
pub use plan::{Chat, Plan};
pub use schedule::{Blow, FollowUp, schedule};
pub use server::{Server, ServerError, Started};
