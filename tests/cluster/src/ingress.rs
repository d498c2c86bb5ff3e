//! One address before a cluster: HAProxy with the sample in `deploy/`, for the processes of this machine.

use std::net::SocketAddr;

use stonechat_backends::{haproxy::HaProxy, server::BackendError};

use crate::{Cluster, Kind};

const SAMPLE: &str = include_str!("../../../deploy/cluster/haproxy.cfg");

impl Cluster {
    /// Starts the proxy before this cluster.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub async fn ingress(&self) -> Result<HaProxy, BackendError> {
        HaProxy::start(|address| configuration(address, |kind| self.publics(kind))).await
    }
}

/// The sample, with addresses of this machine in the place of names and certificates.
fn configuration(address: SocketAddr, publics: impl Fn(Kind) -> Vec<SocketAddr>) -> String {
    let (sample, _) = SAMPLE.split_once("\nresolvers ").unwrap_or((SAMPLE, ""));
    let mut lines = Vec::new();
    for line in sample.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            // Each takes two files, of which a machine for development may allow few.
            ["maxconn", _] => lines.push("    maxconn 4000".to_owned()),
            ["bind", ..] => lines.push(format!("    bind {address}")),
            ["server-template", name, _, _, "resolvers", _, "init-addr", "none", rest @ ..] => {
                let of_name = Kind::ALL.into_iter().filter(|kind| kind.role() == *name).flat_map(&publics);
                let named = |(index, server)| format!("    server {name}{} {server} {}", index + 1, rest.join(" "));
                lines.extend(of_name.enumerate().map(named).map(|line| line.trim_end().to_owned()));
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_made_for_the_processes_that_there_are() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let text = configuration(address(1), |kind| match kind {
            Kind::Files => vec![address(2), address(3)],
            _ => vec![address(4)],
        });
        for line in ["    bind 127.0.0.1:1", "    server files2 127.0.0.1:3 proto h2 check-proto h1"] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        let of_names = ["server-template", "resolvers", ".internal", "ssl"];
        assert!(of_names.iter().all(|name| !text.contains(name)), "{text}");
        assert_eq!(text.matches("    server ").count(), 7, "{text}");
    }
}
