//! The table of this service's operations.

mod conversations;
mod data;
mod events;
mod members;
mod messages;
mod tenants;
mod users;
mod webhooks;

use std::sync::LazyLock;

use stonechat_operations::Operation;

/// The answer to what was done to a conversation, in examples.
const DONE: &str =
    r#"{"conversation":"orders","seq":7,"time":"2026-01-02T03:04:05Z","id":"019b7a1c-5e00-7000-8000-000000000001"}"#;

/// The operations on data that do not stream.
pub(crate) fn data() -> &'static [Operation] {
    data::TABLE
}

/// The operations that stream data.
pub(crate) fn transfer() -> &'static [Operation] {
    data::STREAMS
}

/// The operations that give events.
pub(crate) fn events() -> &'static [Operation] {
    events::TABLE
}

/// Every operation.
pub(crate) fn every() -> &'static [Operation] {
    static EVERY: LazyLock<Vec<Operation>> = LazyLock::new(|| [all(), data(), transfer(), events()].concat());
    &EVERY
}

/// The operations of the services that are not [`data`].
pub(crate) fn all() -> &'static [Operation] {
    static ALL: LazyLock<Vec<Operation>> = LazyLock::new(|| {
        [tenants::TABLE, users::TABLE, conversations::TABLE, members::TABLE, messages::TABLE, webhooks::TABLE].concat()
    });
    &ALL
}
