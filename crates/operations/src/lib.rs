//! The operations of the public API, declared once.
//!
//! A service that has a part of the API keeps a table of [`Operation`]s: the RPC, its REST form, who may call it, how it
//! repeats, what it costs and what it answers. From the table follow the REST routes ([`routes`]), the gRPC services
//! ([`serve!`]), and the OpenAPI document ([`openapi`]). Both forms go through one [`Gate`], which finds out who calls
//! and whether the caller may.

mod answers;
mod audit;
mod budgets;
mod caller;
mod coerce;
mod contract;
mod deadline;
mod gate;
pub mod openapi;
mod operation;
mod requests;
mod rest;
mod schema;
mod serve;

pub use audit::{Audit, AuditPage};
pub use caller::{Caller, ServerKey, TokenUser};
pub use contract::{Contract, Field, Kind, Message, Method};
pub use gate::{Gate, GateConfig, GateDependencies};
pub use operation::{Answer, Body, Callers, Class, Example, Http, Operation, Repeat, Shape, find, is_same_method};
pub use requests::{Input, Place, inputs};
pub use rest::{Backend, Call, Fields, check_example, routes};
pub use serve::{parse, write};

#[doc(hidden)]
pub mod reexport {
    pub use async_trait::async_trait;
    pub use axum;
    pub use serde_json;
    pub use stonechat_errors::Error;
    pub use stonechat_proto::v1;
    pub use tonic;
}
