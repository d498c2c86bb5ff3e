//! Which addresses may be connected to.
//!
//! What is not public unicast is refused: the special-purpose registries of IANA for IPv4 and IPv6, and whatever IPv6
//! address carries an IPv4 one in it (mapped, compatible, NAT64, 6to4) is judged by that one as well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Why an address may not be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// It is not a public one.
    #[error("address is not public")]
    Address,
    /// The port is not one of those that are allowed.
    #[error("port is not allowed")]
    Port,
    /// Plain HTTP.
    #[error("url must be https")]
    Plaintext,
}

/// Why rules cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no address range such as 10.1.0.0/16")]
pub struct RulesError(pub String);

/// What may be connected to.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Ranges that are allowed although they are not public.
    allowed: Vec<IpNet>,
    /// Ports; none: every one.
    ports: Vec<u16>,
    /// Whether `http://` will do.
    plaintext: bool,
}

impl Rules {
    /// Public addresses and those in the ranges `allowed`, on `ports` (none: every port).
    pub fn new(allowed: &[String], ports: &[u16], plaintext: bool) -> Result<Self, RulesError> {
        let range = |text: &String| text.parse().map_err(|_| RulesError(text.clone()));
        let allowed = allowed.iter().map(range).collect::<Result<_, _>>()?;
        Ok(Self { allowed, ports: ports.to_vec(), plaintext })
    }

    /// For development: this machine as well, every port, without TLS.
    pub fn development() -> Self {
        let loopback = ["127.0.0.0/8", "::1/128"].iter().filter_map(|range| range.parse().ok());
        Self { allowed: loopback.collect(), ports: Vec::new(), plaintext: true }
    }

    /// Checks scheme and port.
    pub fn check_port(&self, is_tls: bool, port: u16) -> Result<(), Forbidden> {
        if !is_tls && !self.plaintext {
            return Err(Forbidden::Plaintext);
        }
        if self.ports.is_empty() || self.ports.contains(&port) { Ok(()) } else { Err(Forbidden::Port) }
    }

    /// Checks an address that a connection is about to be made to.
    pub fn check_address(&self, address: IpAddr) -> Result<(), Forbidden> {
        let address = address.to_canonical();
        if self.allowed.iter().any(|range| range.contains(&address)) || is_public(address) {
            return Ok(());
        }
        Err(Forbidden::Address)
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// By the IANA IPv4 Special-Purpose Address Registry (RFC 6890 and its updates).
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = match (a, b, c) {
        // This network, private, loopback, multicast, reserved and broadcast.
        (0 | 10 | 127 | 224..=255, ..) => true,
        // Shared address space of carriers (RFC 6598).
        (100, 64..=127, _) => true,
        // Link-local, where clouds keep their metadata.
        (169, 254, _) => true,
        (172, 16..=31, _) | (192, 168, _) => true,
        // Protocol assignments, documentation, the old 6to4 relays.
        (192, 0, 0 | 2) | (192, 88, 99) => true,
        // Benchmarking, documentation.
        (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => true,
        _ => false,
    };
    !is_special
}

/// Only what is delegated for global unicast (2000::/3) without what is set aside in it, and NAT64 of a public
/// IPv4 address.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let low = Ipv4Addr::from_bits(u32::from(segments[6]) << 16 | u32::from(segments[7]));
    match segments {
        // NAT64 (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => is_public_v4(low),
        // Protocol assignments with Teredo and ORCHID, documentation, 6to4.
        [0x2001, 0x0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0x0..=0xfff, ..] => false,
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(rules: &Rules, address: &str) -> bool {
        rules.check_address(address.parse().unwrap()).is_ok()
    }

    #[test]
    fn addresses_that_are_not_public_are_refused_in_every_dress() {
        let rules = Rules::new(&[], &[443], false).unwrap();
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
        ] {
            assert!(!is_allowed(&rules, address), "{address}");
        }
        for address in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::1.1.1.1", "::ffff:8.8.8.8"]
        {
            assert!(is_allowed(&rules, address), "{address}");
        }
    }

    #[test]
    fn what_the_operator_allows_is_allowed_and_nothing_beside_it() {
        let rules = Rules::new(&["10.1.0.0/16".to_owned()], &[443, 8443], false).unwrap();
        assert!(is_allowed(&rules, "10.1.2.3") && is_allowed(&rules, "::ffff:10.1.2.3"));
        assert!(!is_allowed(&rules, "10.2.0.1") && !is_allowed(&rules, "127.0.0.1"));
        assert_eq!(rules.check_port(true, 8443), Ok(()));
        assert_eq!(rules.check_port(true, 22), Err(Forbidden::Port));
        assert_eq!(rules.check_port(false, 443), Err(Forbidden::Plaintext));
        assert!(Rules::new(&["10.1.0.0".to_owned()], &[], false).is_err());
        let development = Rules::development();
        assert!(is_allowed(&development, "127.0.0.1") && is_allowed(&development, "::1"));
        assert!(!is_allowed(&development, "169.254.169.254") && !is_allowed(&development, "10.0.0.1"));
        assert_eq!(development.check_port(false, 3000), Ok(()));
    }
}
