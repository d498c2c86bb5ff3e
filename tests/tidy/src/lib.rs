//! The repository's own rules, checked by machine: a rule that nobody checks decays.
//!
//! Each rule is a function from texts to [`Violation`]s, with a test that feeds it what it must find.
//! `tests/repository.rs` runs all of them over the repository; the binary writes what is generated.

pub mod code;
pub mod documents;
pub mod layout;
pub mod licences;
pub mod metrics;
pub mod modules;
pub mod protobuf;
pub mod repository;
pub mod scripts;
pub mod sizes;
pub mod text;

use std::fmt;

/// Something that a rule does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The file, from the repository's root.
    pub path: String,
    /// The line, from 1; 0 for the whole file.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
    /// To be looked at, but nothing fails.
    pub warning: bool,
}

impl Violation {
    /// One that fails the check.
    pub fn new(path: impl Into<String>, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into(), warning: false }
    }

    /// One that is only told.
    pub fn warning(path: impl Into<String>, line: usize, message: impl Into<String>) -> Self {
        Self { warning: true, ..Self::new(path, line, message) }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.warning { "warning: " } else { "" };
        write!(f, "{}:{}: {kind}{}", self.path, self.line, self.message)
    }
}

/// Why a check could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TidyError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The contracts do not compile.
    #[error("compile contracts: {0}")]
    Proto(String),
    /// Another program failed.
    #[error("run {program}: {reason}")]
    Program {
        /// The program.
        program: &'static str,
        /// What it said.
        reason: String,
    },
}
