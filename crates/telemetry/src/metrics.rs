//! Prometheus metrics.

use std::{fmt::Write, time::Duration};

use axum::{Router, http::header, routing::get};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::{TelemetryError, Usage};

/// Buckets of metrics that end in `_seconds`: from what memory takes to what a client gives up after.
const SECONDS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Buckets of metrics that end in `_bytes`.
const BYTES: &[f64] = &[64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0];
/// Buckets of every other distribution: how many things at once.
const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 4_096.0];
/// How often recorded values are moved into their buckets; in between they wait in memory.
const UPKEEP: Duration = Duration::from_secs(5);
/// The Prometheus text format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics that this process records.
#[derive(Debug, Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Records the metrics of the process from now on; once.
    pub(crate) fn install() -> Result<Self, TelemetryError> {
        let handle = builder()?.install_recorder()?;
        let upkeep = handle.clone();
        // A thread, since metrics may be recorded before and after the runtime; it ends with the process.
        let spawned = std::thread::Builder::new().name("metrics-upkeep".into()).spawn(move || {
            loop {
                std::thread::sleep(UPKEEP);
                upkeep.run_upkeep();
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "spawn metrics upkeep failed");
        }
        Ok(Self { handle })
    }

    /// Every metric in the Prometheus text format, those of the process itself among them.
    pub fn render(&self) -> String {
        let mut text = self.handle.render();
        match Usage::of_self() {
            Ok(usage) => write_usage(&mut text, usage),
            Err(error) => tracing::debug!(%error, "read own usage failed"),
        }
        text
    }

    /// `/metrics`.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let metrics = self.clone();
        Router::new()
            .route("/metrics", get(|| async move { ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.render()) }))
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets(COUNTS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), BYTES)
}

#[expect(clippy::cast_precision_loss, reason = "seconds of CPU fit")]
fn write_usage(text: &mut String, usage: Usage) {
    let seconds = usage.cpu_us as f64 / 1e6;
    let _ = write!(
        text,
        "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total {seconds}\n\
         # TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes {}\n\
         # TYPE process_open_fds gauge\nprocess_open_fds {}\n",
        usage.resident_bytes, usage.open_fds,
    );
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn recorded_metrics_and_the_process_are_served() {
        let recorder = builder().unwrap().build_recorder();
        let metrics = Metrics { handle: recorder.handle() };
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("stonechat_test_events_total", "kind" => "message").increment(3);
            metrics::histogram!("stonechat_test_append_seconds").record(0.004);
            metrics::histogram!("stonechat_test_batch_commands").record(3.0);
        });
        let request = Request::builder().uri("/metrics").body(Body::empty()).unwrap();
        let answer = metrics.routes::<()>().oneshot(request).await.unwrap();
        assert_eq!(answer.headers()[header::CONTENT_TYPE], CONTENT_TYPE);
        let text = String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
        for line in [
            "stonechat_test_events_total{kind=\"message\"} 3",
            "stonechat_test_append_seconds_bucket{le=\"0.005\"} 1",
            "stonechat_test_batch_commands_bucket{le=\"4\"} 1",
            "process_open_fds ",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
