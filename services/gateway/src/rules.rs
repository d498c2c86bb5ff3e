//! The rules that keep deliveries whole, each of which the simulation can break to see that it notices.

/// Which rules hold. All of them, wherever the product runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "breakable"), non_exhaustive)]
pub struct Rules {
    /// A session's route and interest are registered before it is told what it missed.
    pub register_before_sync: bool,
    /// After a moment of doubt everything is registered again and every session is told the heads again.
    pub recheck_after_unsure: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { register_before_sync: true, recheck_after_unsure: true }
    }
}
