//! Telemetry as a process sets it up.

use stonechat_telemetry::{Settings, TelemetryError, init};

fn settings() -> Settings {
    Settings {
        json: true,
        filter: "info".into(),
        otlp_endpoint: String::new(),
        trace_ratio: 1.0,
        metrics: true,
        service: "stonechat".into(),
        version: "0".into(),
    }
}

#[test]
fn a_filter_that_cannot_be_read_is_named() {
    let error = init(&Settings { filter: "stonechat=loud".into(), ..settings() }).unwrap_err();
    assert!(error.to_string().contains("stonechat=loud"), "{error}");
}

/// The only test that succeeds in setting up, since that is for the whole process.
#[tokio::test]
async fn telemetry_is_set_up_once_with_traces_and_metrics() {
    let guard = init(&Settings { otlp_endpoint: "http://127.0.0.1:1".into(), ..settings() }).unwrap();
    metrics::counter!("stonechat_test_total").increment(1);
    assert!(guard.metrics().unwrap().render().contains("stonechat_test_total 1"));
    let span = tracing::debug_span!(target: "stonechat_router", "decide");
    assert_ne!(stonechat_telemetry::traceparent_of(&span), "");
    assert!(matches!(init(&settings()), Err(TelemetryError::Subscriber(_))));
    // Nobody listens at the endpoint: the flush gives up, and the process can end.
    tokio::task::spawn_blocking(move || guard.shutdown()).await.unwrap();
}
