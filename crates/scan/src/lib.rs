//! Whether a file holds something that a virus scanner knows: clamd's protocol, over TCP or a socket of this machine.
//!
//! A file is streamed (`INSTREAM`), never kept here. What cannot be asked is neither clean nor infected:
//! [`ScanError::Unavailable`] says to try again, and until then nobody else may fetch the file.

mod address;
mod answer;
mod scanner;

pub use address::{Address, InvalidAddress};
pub use answer::{Verdict, parse_answer};
pub use scanner::{ScanConfig, ScanError, Scanner};
