//! The addresses of a role's processes, from a list of names.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use stonechat_model::limits;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Asks for the addresses of a `host:port`.
pub trait Resolve: Send + Sync + 'static {
    /// Every address that the name has now.
    fn resolve(&self, name: &str) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;
}

/// The system's resolver: addresses, the hosts file, DNS.
#[derive(Debug, Clone, Copy)]
pub struct System;

impl Resolve for System {
    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host(name).await?.collect())
    }
}

/// Keeps looking up `names` until shutdown, and gives all their addresses, sorted, each once. A name that cannot be
/// looked up keeps the addresses that it had: DNS may be away for a while, and those who are called are tried anyway.
pub fn discover(
    resolver: impl Resolve,
    names: Vec<String>,
    every: Duration,
    shutdown: CancellationToken,
) -> watch::Receiver<Arc<[SocketAddr]>> {
    let (sender, addresses) = watch::channel(Arc::from([]));
    tokio::spawn(async move {
        let mut found: BTreeMap<&str, Vec<SocketAddr>> = BTreeMap::new();
        let mut failing: BTreeSet<&str> = BTreeSet::new();
        let mut every = tokio::time::interval(every);
        while shutdown.run_until_cancelled(every.tick()).await.is_some() {
            for name in &names {
                match shutdown.run_until_cancelled(resolver.resolve(name)).await {
                    None => return,
                    Some(Ok(resolved)) => {
                        if failing.remove(name.as_str()) {
                            tracing::info!(peer.name = %name, "a name can be looked up again");
                        }
                        found.insert(name, resolved);
                    }
                    Some(Err(error)) => {
                        if failing.insert(name) {
                            tracing::warn!(peer.name = %name, %error, "a name cannot be looked up");
                        }
                    }
                }
            }
            let all: BTreeSet<SocketAddr> = found.values().flatten().copied().collect();
            if all.len() > limits::PEERS {
                tracing::warn!(peers = all.len(), "more processes than can be called, the rest is left out");
            }
            let all: Vec<SocketAddr> = all.into_iter().take(limits::PEERS).collect();
            sender.send_if_modified(|known: &mut Arc<[SocketAddr]>| {
                let is_new = **known != *all;
                if is_new {
                    *known = all.into();
                }
                is_new
            });
        }
    });
    addresses
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[derive(Clone, Default)]
    struct Names(Arc<Mutex<BTreeMap<String, Vec<SocketAddr>>>>);

    impl Names {
        fn set(&self, name: &str, addresses: &[&str]) {
            let parsed = addresses.iter().map(|text| text.parse().unwrap()).collect();
            self.0.lock().unwrap().insert(name.to_owned(), parsed);
        }
    }

    impl Resolve for Names {
        async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
            self.0.lock().unwrap().get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }

    async fn becomes(found: &mut watch::Receiver<Arc<[SocketAddr]>>, expected: &[&str]) {
        let expected: Vec<SocketAddr> = expected.iter().map(|text| text.parse().unwrap()).collect();
        let wait = found.wait_for(|found| **found == *expected);
        tokio::time::timeout(PATIENCE, wait).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn addresses_follow_the_names_and_outlive_a_failing_lookup() {
        let names = Names::default();
        names.set("a:1", &["10.0.0.2:1", "10.0.0.1:1", "10.0.0.2:1"]);
        let all = vec!["a:1".to_owned(), "b:1".to_owned()];
        let end = CancellationToken::new();
        let mut found = discover(names.clone(), all, Duration::from_millis(1), end.clone());
        becomes(&mut found, &["10.0.0.1:1", "10.0.0.2:1"]).await;
        names.set("b:1", &["10.0.0.2:1", "10.0.0.3:1"]);
        becomes(&mut found, &["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]).await;
        names.0.lock().unwrap().remove("b:1");
        names.set("a:1", &[]);
        becomes(&mut found, &["10.0.0.2:1", "10.0.0.3:1"]).await;
        end.cancel();
        // The sender is gone with the task.
        assert!(tokio::time::timeout(PATIENCE, async { while found.changed().await.is_ok() {} }).await.is_ok());
    }

    #[tokio::test]
    async fn an_address_needs_no_names() {
        let end = CancellationToken::new();
        let every = Duration::from_secs(3_600);
        let mut found = discover(System, vec!["127.0.0.1:4100".to_owned()], every, end.clone());
        becomes(&mut found, &["127.0.0.1:4100"]).await;
        end.cancel();
    }
}
