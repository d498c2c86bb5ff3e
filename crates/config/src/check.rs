//! Checks of single values. Each gives what is wrong, without the key's name.

use std::{fmt::Display, path::Path};

/// The shortest secret: 128 bits as hexadecimal digits.
const SECRET_CHARS: usize = 32;
/// A secret with fewer different characters than this was not made by chance.
const SECRET_DIFFERENT_CHARS: usize = 8;
/// Parts of secrets that stand in examples and tutorials.
const WELL_KNOWN: &[&str] =
    &["changeme", "change-me", "change_me", "password", "example", "secretsecret", "0123456789abcdef", "deadbeef"];

#[expect(clippy::unnecessary_wraps, reason = "the type of every check")]
pub fn any<T>(_: &T) -> Result<(), String> {
    Ok(())
}

pub fn between<T: PartialOrd + Display>(value: T, least: T, most: T) -> Result<(), String> {
    if value < least || value > most {
        return Err(format!("must be between {least} and {most}, is {value}"));
    }
    Ok(())
}

#[expect(clippy::ptr_arg, reason = "the type of the key")]
pub fn path(value: &std::path::PathBuf) -> Result<(), String> {
    if value.as_path() == Path::new("") {
        return Err("must not be empty".into());
    }
    Ok(())
}

#[expect(clippy::ptr_arg, reason = "the type of the key")]
pub fn not_empty(value: &String) -> Result<(), String> {
    if value.trim().is_empty() {
        return Err("must not be empty".into());
    }
    Ok(())
}

pub fn url_or_empty(value: &String) -> Result<(), String> {
    if value.is_empty() || (value.starts_with("http://") && is_origin(value.trim_end_matches('/'))) {
        return Ok(());
    }
    Err(format!("must be http://, a host and a port, is {value:?}"))
}

pub fn origin_or_empty(value: &String) -> Result<(), String> {
    if value.is_empty() || is_origin(value.trim_end_matches('/')) {
        return Ok(());
    }
    Err(format!("must be http:// or https://, a host and a port, is {value:?}"))
}

#[expect(clippy::ptr_arg, reason = "the type of the key")]
pub fn origins(value: &Vec<String>) -> Result<(), String> {
    match value.iter().find(|origin| *origin != "*" && !is_origin(origin)) {
        Some(bad) => Err(format!("must hold * or origins like https://chat.example, holds {bad:?}")),
        None => Ok(()),
    }
}

#[expect(clippy::ptr_arg, reason = "the type of the key")]
pub fn peers(value: &Vec<String>) -> Result<(), String> {
    let is_peer = |text: &str| {
        let (host, port) = text.rsplit_once(':').unwrap_or_default();
        !host.is_empty() && !host.contains(['/', '@', ' ']) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    match value.iter().find(|text| !is_peer(text)) {
        Some(bad) => Err(format!("must hold host:port, holds {bad:?}")),
        None => Ok(()),
    }
}

#[expect(clippy::ptr_arg, reason = "the type of the key")]
pub fn assignments(value: &Vec<String>) -> Result<(), String> {
    match value.iter().find(|text| text.split_once('=').is_none_or(|(name, _)| name.trim().is_empty())) {
        Some(bad) => Err(format!("must hold name=value, holds {bad:?}")),
        None => Ok(()),
    }
}

#[expect(clippy::ptr_arg, reason = "the type of the key")]
pub fn ranges(value: &Vec<String>) -> Result<(), String> {
    let is_range = |text: &str| {
        let Some((address, bits)) = text.split_once('/') else { return false };
        let most = match address.parse::<std::net::IpAddr>() {
            Ok(address) if address.is_ipv4() => 32,
            Ok(_) => 128,
            Err(_) => return false,
        };
        bits.parse::<u8>().is_ok_and(|bits| bits <= most)
    };
    match value.iter().find(|text| !is_range(text)) {
        Some(bad) => Err(format!("must hold ranges like 10.1.0.0/16, holds {bad:?}")),
        None => Ok(()),
    }
}

#[expect(clippy::ptr_arg, reason = "the type of the key")]
pub fn pauses(value: &Vec<u64>) -> Result<(), String> {
    const MOST: usize = 64;
    const DAYS_S: u64 = 3 * 86_400;
    if value.is_empty() || value.len() > MOST || value.iter().sum::<u64>() > DAYS_S {
        return Err(format!("must hold 1 to {MOST} pauses, {DAYS_S} seconds in all at most"));
    }
    Ok(())
}

pub fn ratio(value: &f64) -> Result<(), String> {
    if (0.0..=1.0).contains(value) {
        return Ok(());
    }
    Err(format!("must be between 0 and 1, is {value}"))
}

/// A secret that nobody guesses: present, long, of many characters, in no tutorial. The value is not repeated.
pub fn secret(value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err("is not set".into());
    }
    if value.chars().count() < SECRET_CHARS {
        return Err(format!("must have at least {SECRET_CHARS} characters"));
    }
    let mut different: Vec<char> = value.chars().collect();
    different.sort_unstable();
    different.dedup();
    let lower = value.to_lowercase();
    if different.len() < SECRET_DIFFERENT_CHARS || WELL_KNOWN.iter().any(|known| lower.contains(known)) {
        return Err("is too easy to guess; make one by chance, for example with `openssl rand -hex 32`".into());
    }
    Ok(())
}

/// Scheme, host and optional port, as browsers send it (RFC 6454, section 6.2).
fn is_origin(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return false };
    !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_can_be_guessed_are_refused() {
        for bad in [
            "",
            "short",
            "0123456789abcdef0123456789abcdef",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "ChangeMe-ChangeMe-ChangeMe-ChangeMe",
        ] {
            assert!(secret(bad).is_err(), "{bad:?}");
        }
        assert_eq!(secret("f3b1c6a7e2d94850b7a16c3e9d2f8054"), Ok(()));
    }

    #[test]
    fn origins_are_scheme_host_and_port() {
        for good in ["*", "https://chat.example", "http://localhost:3000", "http://[::1]:80"] {
            assert_eq!(origins(&vec![good.into()]), Ok(()), "{good}");
        }
        for bad in ["chat.example", "https://", "https://chat.example/", "https://chat.example/a", "ftp://x", ""] {
            assert!(origins(&vec![bad.into()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_have_an_address_and_bits() {
        assert_eq!(ranges(&vec!["10.1.0.0/16".into(), "fd00::/8".into()]), Ok(()));
        for bad in ["10.1.0.0", "10.1.0.0/33", "example.com/8", "/8", "10.1/16", "::1/129"] {
            assert!(ranges(&vec![bad.into()]).is_err(), "{bad}");
        }
        assert!(pauses(&vec![]).is_err() && pauses(&vec![86_400 * 4]).is_err() && pauses(&vec![1, 60]).is_ok());
    }

    #[test]
    fn bounds_are_inclusive() {
        assert_eq!(between(1, 1, 2), Ok(()));
        assert_eq!(between(2, 1, 2), Ok(()));
        assert_eq!(between(3, 1, 2), Err("must be between 1 and 2, is 3".into()));
        assert_eq!(ratio(&1.0), Ok(()));
        assert!(ratio(&1.1).is_err() && ratio(&f64::NAN).is_err());
    }
}
