//! `/livez` and `/readyz`: whether the process runs, and whether it may be given work.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, Router, http::StatusCode, routing::get};
use parking_lot::RwLock;
use serde_json::json;
use tokio::sync::watch;

/// The parts of a process that must be ready before it is given work.
#[derive(Debug, Clone)]
pub struct Health {
    parts: Arc<RwLock<BTreeMap<String, bool>>>,
    ready: watch::Sender<bool>,
}

impl Default for Health {
    fn default() -> Self {
        Self { parts: Arc::default(), ready: watch::Sender::new(true) }
    }
}

/// One part's flag.
#[derive(Debug, Clone)]
pub struct Readiness {
    health: Health,
    name: String,
}

impl Health {
    /// A process without parts; ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part that is not ready yet; a part of the same name is shared.
    pub fn part(&self, name: &str) -> Readiness {
        let mut parts = self.parts.write();
        parts.entry(name.to_owned()).or_insert(false);
        self.tell(&parts);
        Readiness { health: self.clone(), name: name.to_owned() }
    }

    /// The parts that are not ready, in the order of their names.
    pub fn not_ready(&self) -> Vec<String> {
        self.parts.read().iter().filter(|(_, ready)| !**ready).map(|(name, _)| name.clone()).collect()
    }

    /// Whether every part is ready, and when that changes.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    fn tell(&self, parts: &BTreeMap<String, bool>) {
        let now = parts.values().all(|ready| *ready);
        self.ready.send_if_modified(|before| std::mem::replace(before, now) != now);
    }

    /// Whether every part is ready.
    pub fn is_ready(&self) -> bool {
        self.parts.read().values().all(|ready| *ready)
    }

    /// `/livez`, always 200 while the process answers, and `/readyz`: 200, or 503 and what is not ready, as JSON.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let health = self.clone();
        let ready = move || async move {
            let not_ready = health.not_ready();
            let status = if not_ready.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, Json(json!({ "ready": not_ready.is_empty(), "not_ready": not_ready })))
        };
        Router::new().route("/livez", get(|| async { Json(json!({ "live": true })) })).route("/readyz", get(ready))
    }
}

impl Readiness {
    /// Sets whether the part is ready.
    pub fn set(&self, ready: bool) {
        let mut parts = self.health.parts.write();
        if let Some(before) = parts.get_mut(&self.name)
            && *before != ready
        {
            *before = ready;
            self.health.tell(&parts);
            tracing::info!(part.name = self.name, part.ready = ready, "readiness changed");
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    async fn ask(health: &Health, path: &str) -> (StatusCode, serde_json::Value) {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let answer = health.routes::<()>().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 4096).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_process_is_ready_when_every_part_is() {
        let health = Health::new();
        let (rows, gateway) = (health.part("rows"), health.part("gateway"));
        rows.set(true);
        assert!(!health.is_ready());
        assert_eq!(
            ask(&health, "/readyz").await,
            (StatusCode::SERVICE_UNAVAILABLE, json!({ "ready": false, "not_ready": ["gateway"] }))
        );
        let mut watched = health.watch();
        assert!(!*watched.borrow_and_update());
        gateway.set(true);
        assert!(watched.has_changed().unwrap() && *watched.borrow_and_update());
        rows.set(true);
        assert!(!watched.has_changed().unwrap(), "nothing changed");
        assert_eq!(ask(&health, "/readyz").await, (StatusCode::OK, json!({ "ready": true, "not_ready": [] })));
        gateway.set(false);
        assert!(!health.is_ready());
        assert_eq!(ask(&health, "/livez").await.0, StatusCode::OK);
    }
}
