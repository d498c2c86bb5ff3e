//! What tenants may use: rates, quotas, seats of users, and what they used.
//!
//! [`Quotas`] are what a tenant was given. Rates are [`Bucket`]s in the memory of each process, which enforces its share
//! (ADR 0018); how many users a tenant has is counted in the rows ([`Seats`]), exactly; what was used is gathered in
//! memory and written now and then ([`Meter`]).

mod bucket;
mod clients;
mod connections;
mod quotas;
mod rates;
mod seats;
mod usage;

pub use bucket::{Bucket, Level};
pub use clients::Clients;
pub use connections::{Connections, OpenConnection};
pub use quotas::Quotas;
pub use rates::{Budget, Rates, Taken};
pub use seats::Seats;
pub use usage::{DayUsage, Meter, days, today};
