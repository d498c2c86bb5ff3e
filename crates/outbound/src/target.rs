//! URLs that requests may go to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{Uri, uri::Scheme};
use stonechat_model::limits;

use crate::{Forbidden, Rules};

/// Why a URL cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It is longer than [`limits::WEBHOOK_URL_BYTES`].
    #[error("url is longer than {} bytes", limits::WEBHOOK_URL_BYTES)]
    TooLong,
    /// It is none.
    #[error("url must be https://host/path without user, password and fragment")]
    Malformed,
    /// The host looks like a number and is no address in its usual form.
    #[error("url's host is a number, and no address in its usual form")]
    NumericHost,
    /// It may not be connected to.
    #[error("url: {0}")]
    Forbidden(#[from] Forbidden),
}

/// A URL that requests may go to, as far as that can be told before its name is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub(crate) uri: Uri,
}

impl Target {
    /// Takes a URL that the rules allow.
    pub fn parse(text: &str, rules: &Rules) -> Result<Self, TargetError> {
        if text.len() > limits::WEBHOOK_URL_BYTES {
            return Err(TargetError::TooLong);
        }
        // A fragment is not sent, and would be dropped without a word.
        if text.contains('#') || !text.is_ascii() {
            return Err(TargetError::Malformed);
        }
        let uri: Uri = text.parse().map_err(|_| TargetError::Malformed)?;
        let (is_tls, host, port) = parts(&uri).ok_or(TargetError::Malformed)?;
        // Nothing but the host, and a port if any: no user, and no port that would be overlooked since it is none.
        let of_host = uri.authority().and_then(|authority| authority.as_str().strip_prefix(host));
        if !of_host.is_some_and(|rest| rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port)) {
            return Err(TargetError::Malformed);
        }
        rules.check_port(is_tls, port)?;
        match literal(host) {
            Some(address) => rules.check_address(address)?,
            None => check_name(host)?,
        }
        Ok(Self { uri })
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Whether it is TLS, the host and the port.
pub(crate) fn parts(uri: &Uri) -> Option<(bool, &str, u16)> {
    let is_tls = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        Some(scheme) if *scheme == Scheme::HTTP => false,
        _ => return None,
    };
    let host = uri.host().filter(|host| !host.is_empty())?;
    Some((is_tls, host, uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 })))
}

/// An address that stands in a URL as itself.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// A host that ends in a number is an address to browsers and resolvers, in forms (decimal, octal, hexadecimal, short)
/// that nobody needs and some checks overlook. It would be refused when it is resolved; this says it earlier.
fn check_name(host: &str) -> Result<(), TargetError> {
    let name = host.strip_suffix('.').unwrap_or(host);
    let fits = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if !name.split('.').all(fits) {
        return Err(TargetError::Malformed);
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_hexadecimal = last.get(..2).is_some_and(|head| head.eq_ignore_ascii_case("0x"));
    if is_hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(TargetError::NumericHost);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_as_they_should_be_and_no_other() {
        let rules = Rules::new(&[], &[443], false).unwrap();
        let parse = |text: &str| Target::parse(text, &rules).map(drop);
        assert_eq!(parse("https://example.com/hooks?tenant=1"), Ok(()));
        assert_eq!(parse("https://example.com:443/"), Ok(()));
        assert_eq!(parse("https://8.8.8.8/"), Ok(()));
        for text in [
            "",
            "example.com/x",
            "ftp://example.com",
            "https://",
            "https:///x",
            "https://user:pw@example.com/",
            "https://evil.com@127.0.0.1/",
            "https://example.com/#x",
            "https://exa mple.com",
            "https://bücher.example/",
            "https://[::1",
            "https://a..b/",
            "https://8.8.8.8:44.3/",
            "https://example.com:/",
            "https://example.com:+443/",
            "https://example.com:70000/",
            "https://a%2eb/",
            "javascript:alert(1)",
            "https://[fe80::1%25eth0]/",
        ] {
            assert_eq!(parse(text), Err(TargetError::Malformed), "{text}");
        }
        for text in
            ["https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/", "https://127.1/", "https://0x7f.1/"]
        {
            assert_eq!(parse(text), Err(TargetError::NumericHost), "{text}");
        }
        for text in ["https://127.0.0.1/", "https://[::1]/", "https://[::ffff:169.254.169.254]/", "https://10.0.0.1/"] {
            assert_eq!(parse(text), Err(TargetError::Forbidden(Forbidden::Address)), "{text}");
        }
        assert_eq!(parse("https://example.com:22/"), Err(TargetError::Forbidden(Forbidden::Port)));
        assert_eq!(parse("http://example.com/"), Err(TargetError::Forbidden(Forbidden::Plaintext)));
        let long = format!("https://example.com/{}", "a".repeat(limits::WEBHOOK_URL_BYTES));
        assert_eq!(parse(&long), Err(TargetError::TooLong));
    }
}
