//! What a process must reach before it is given work.

use std::{sync::Arc, time::Duration};

use stonechat_lifecycle::{Health, Readiness};
use stonechat_rows::{Rows, tables};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic_health::{
    ServingStatus,
    pb::health_server::{self, HealthServer},
    server::health_reporter,
};

/// How often rows are asked whether they answer.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// How long they may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// A row that is read to see whether rows answer.
const PROBED: &str = "probe";

/// A part is ready while any process of the other role can be reached.
pub fn follow(part: Readiness, mut reached: watch::Receiver<usize>, end: CancellationToken) {
    tokio::spawn(end.run_until_cancelled_owned(async move {
        loop {
            part.set(*reached.borrow_and_update() > 0);
            if reached.changed().await.is_err() {
                return;
            }
        }
    }));
}

/// A part is ready while the rows answer and can be written.
pub fn probe(part: Readiness, rows: Arc<dyn Rows>, end: CancellationToken) {
    tokio::spawn(end.run_until_cancelled_owned(async move {
        let mut every = tokio::time::interval(PROBE_EVERY);
        loop {
            every.tick().await;
            let key = [tables::counter(PROBED)];
            let answered = tokio::time::timeout(PROBE_TIMEOUT, rows.get(&key)).await;
            part.set(matches!(answered, Ok(Ok(_))) && !rows.has_failed());
        }
    }));
}

/// What gRPC calls health: each of these services, and the process as a whole (the empty name), serve while every part
/// is ready.
pub fn grpc(
    health: &Health,
    services: Vec<&'static str>,
    end: CancellationToken,
) -> HealthServer<impl health_server::Health> {
    let (reporter, server) = health_reporter();
    let mut ready = health.watch();
    tokio::spawn(end.run_until_cancelled_owned(async move {
        loop {
            let is_ready = *ready.borrow_and_update();
            let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
            for name in services.iter().copied().chain([""]) {
                reporter.set_service_status(name, status).await;
            }
            if ready.changed().await.is_err() {
                return;
            }
        }
    }));
    server
}

#[cfg(test)]
mod tests {
    use tonic::Request;
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

    use super::{CancellationToken, Duration, Health, grpc};

    #[tokio::test]
    async fn grpc_health_follows_readiness() {
        let (health, end) = (Health::new(), CancellationToken::new());
        let part = health.part("rows");
        let server = grpc(&health, vec!["a.Service"], end.clone());
        let mut client = HealthClient::new(server);
        let mut becomes = async |service: &str, expected: ServingStatus| {
            let request = || Request::new(HealthCheckRequest { service: service.to_owned() });
            let waiting = async {
                loop {
                    match client.check(request()).await {
                        Ok(answer) if answer.get_ref().status() == expected => return,
                        _ => tokio::task::yield_now().await,
                    }
                }
            };
            tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok()
        };
        assert!(becomes("a.Service", ServingStatus::NotServing).await);
        part.set(true);
        assert!(becomes("a.Service", ServingStatus::Serving).await && becomes("", ServingStatus::Serving).await);
        part.set(false);
        assert!(becomes("", ServingStatus::NotServing).await);
        end.cancel();
    }
}
