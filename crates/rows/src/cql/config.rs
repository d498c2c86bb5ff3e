//! How ScyllaDB is reached and used.

use std::{fmt, sync::Arc, time::Duration};

/// How ScyllaDB or Cassandra is reached and used.
#[derive(Clone)]
pub struct CqlConfig {
    /// `host:port` of some nodes.
    pub nodes: Vec<String>,
    /// Talk to them by TLS, by the IP addresses that their certificates name; `None`: in the clear.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The keyspace.
    pub keyspace: String,
    /// The datacenter whose nodes are asked; `None`: the one of the node that answers.
    pub datacenter: Option<String>,
    /// User and password.
    pub credentials: Option<(String, String)>,
    /// How long a call may take.
    pub request_timeout: Duration,
    /// Requests at once; the requests of calls wait for each other, calls beyond as many are refused.
    pub in_flight: usize,
}

impl fmt::Debug for CqlConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CqlConfig")
            .field("nodes", &self.nodes)
            .field("tls", &self.tls.is_some())
            .field("keyspace", &self.keyspace)
            .field("datacenter", &self.datacenter)
            .field("user", &self.credentials.as_ref().map(|(user, _)| user))
            .field("request_timeout", &self.request_timeout)
            .field("in_flight", &self.in_flight)
            .finish()
    }
}

impl Default for CqlConfig {
    fn default() -> Self {
        Self {
            nodes: vec!["127.0.0.1:9042".to_owned()],
            tls: None,
            keyspace: "stonechat".to_owned(),
            datacenter: None,
            credentials: None,
            request_timeout: Duration::from_secs(5),
            in_flight: 1_024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_not_shown() {
        let credentials = Some(("service".to_owned(), "hush".to_owned()));
        let shown = format!("{:?}", CqlConfig { credentials, ..CqlConfig::default() });
        assert!(shown.contains("service") && !shown.contains("hush"), "{shown}");
    }
}
