//! The rules that keep logs right, each of which the simulation can break to see that it notices.

/// Which rules hold. All of them, wherever the product runs: without the feature `breakable` there is
/// no other value than the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "breakable"), non_exhaustive)]
pub struct Rules {
    /// Loading a log finishes what an interrupted attempt left.
    pub roll_forward: bool,
    /// A fact newer than the command means that the partition was lost.
    pub future_facts: bool,
    /// Commands that come again are delivered, published and answered again.
    pub republish: bool,
    /// Events are written before what derives from them, heads last.
    pub write_order: bool,
    /// A user log drops what it applied before.
    pub user_log_idempotence: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { roll_forward: true, future_facts: true, republish: true, write_order: true, user_log_idempotence: true }
    }
}
