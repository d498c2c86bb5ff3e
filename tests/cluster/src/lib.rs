//! Roles on the backends of a cluster: see `tests/`.
