//! How the processes of a cluster find each other and know that the other is one of them.

mod dial;
mod discovery;
mod tls;

use std::net::SocketAddr;

pub use dial::dialer;
pub use discovery::{Resolve, System, discover};
pub use tls::{Identity, IdentityError, TlsFiles};

/// Whether a process may listen there for other roles: without TLS on loopback only, unless it was told that the
/// network is trusted as a whole.
pub fn may_listen(address: SocketAddr, has_tls: bool, allows_plaintext: bool) -> bool {
    has_tls || allows_plaintext || address.ip().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_only_loopback_is_listened_on_unless_told() {
        let (near, far) = ("127.0.0.1:1".parse().unwrap(), "0.0.0.0:1".parse().unwrap());
        let near_six = "[::1]:1".parse().unwrap();
        assert!(may_listen(near, false, false) && may_listen(near_six, false, false));
        assert!(!may_listen(far, false, false));
        assert!(may_listen(far, true, false) && may_listen(far, false, true));
    }
}
