//! Where the scanner is.

use std::{fmt, path::PathBuf, str::FromStr};

/// Where clamd listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `host:port`.
    Tcp(String),
    /// The path of a socket.
    Unix(PathBuf),
}

/// A text that is no address of a scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be host:port, or unix: and an absolute path")]
pub struct InvalidAddress;

impl FromStr for Address {
    type Err = InvalidAddress;

    /// `host:port`, or `unix:` and an absolute path.
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(InvalidAddress) };
        }
        let (host, port) = text.rsplit_once(':').ok_or(InvalidAddress)?;
        let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
        if host.is_empty() || host.contains(['/', '@', ' ']) || !is_port {
            return Err(InvalidAddress);
        }
        Ok(Self::Tcp(text.to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_alike() {
        for good in ["127.0.0.1:3310", "clamd.internal:3310", "[::1]:3310", "unix:/run/clamd.sock"] {
            assert_eq!(good.parse::<Address>().unwrap().to_string(), good);
        }
        for bad in ["", "clamd", ":3310", "clamd:0", "clamd:70000", "unix:", "unix:run/x", "http://x:1", "a@b:1"] {
            assert_eq!(bad.parse::<Address>(), Err(InvalidAddress), "{bad}");
        }
    }
}
