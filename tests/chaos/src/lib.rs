//! Kills the server under load.
