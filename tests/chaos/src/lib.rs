//! A crash storm: many clients chat through a server that is killed again and again, and what each device wrote
//! down is judged by a checker that shares no code with either (`stonechat-chaos-checker`).

mod client;
mod device;
mod full_disk;
mod gauge;
mod link;
mod plan;
pub mod probe;
mod schedule;
mod server;
mod shelf;
mod storm;
mod world;

pub use client::ClientLink;
pub use device::content_of;
pub use full_disk::{FullDiskWorld, SmallDisk};
pub use gauge::{Figures, Latencies, PartFigures};
pub use link::{Incident, Link, World, WorldError};
pub use plan::{Chat, Plan};
pub use schedule::{Blow, FollowUp, schedule};
pub use server::{Server, ServerError, Started};
pub use shelf::Shelf;
pub use storm::{Settings, StormError, Summary, run};
pub use world::RealWorld;
