//! What was measured.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

/// The figures of one run. What a run does not measure is left out.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Report {
    /// Which run.
    pub bench: String,
    /// Connections.
    pub users: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p90_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_member_p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_member_p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_cpu_us_per_message: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_cpu_us_per_delivery: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_bytes_per_connection: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_resident_bytes: Option<u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cpu_us_per_message_by_process: BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cpu_us_per_delivery_by_process: BTreeMap<String, f64>,
    /// Messages of the whole run, whose events links were counted for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_sent: Option<u64>,
    /// Events that routers sent over links to gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_events: Option<u64>,
    /// 1 where each event crosses the link from its router to each gateway once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_events_per_event_and_gateway: Option<f64>,
    /// Refusals and lost connections.
    pub errors: u64,
}

/// Latencies in microseconds.
pub(super) type Latencies = Histogram<u64>;

/// Latencies up to an hour, three digits exact.
pub(super) fn latencies() -> Latencies {
    Histogram::new_with_max(3_600_000_000, 3).unwrap_or_else(|_| unreachable!("the bounds are constants"))
}

/// Adds a latency; beyond the bound it counts as the bound.
pub(super) fn record(latencies: &mut Latencies, latency: Duration) {
    latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

/// A quantile in milliseconds.
pub(super) fn quantile_ms(latencies: &Latencies, quantile: f64) -> Option<f64> {
    (!latencies.is_empty()).then(|| float(latencies.value_at_quantile(quantile)) / 1_000.0)
}

/// Figures, one a line.
pub(super) fn lines(figures: &impl Serialize) -> String {
    let value = serde_json::to_value(figures).unwrap_or_default();
    let figures = value.as_object().into_iter().flatten();
    figures.map(|(name, value)| format!("{name:>34}  {value}")).collect::<Vec<_>>().join("\n")
}

impl Report {
    /// Takes the usual quantiles.
    pub fn with_latencies(mut self, latencies: &Latencies) -> Self {
        self.p50_ms = quantile_ms(latencies, 0.5);
        self.p90_ms = quantile_ms(latencies, 0.9);
        self.p99_ms = quantile_ms(latencies, 0.99);
        self.max_ms = quantile_ms(latencies, 1.0);
        self
    }
}

/// Runs as rows of a Markdown table.
pub(super) fn table(reports: &[Report]) -> String {
    let mut text = String::from(
        "| run | users | messages/s | deliveries/s | p50 ms | p99 ms | last member p50 ms | CPU us/message | CPU us/delivery | bytes/connection | errors |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    for it in reports {
        let cells = [
            it.bench.clone(),
            it.users.to_string(),
            figure(it.messages_per_second),
            figure(it.deliveries_per_second),
            figure(it.p50_ms),
            figure(it.p99_ms),
            figure(it.last_member_p50_ms),
            figure(it.server_cpu_us_per_message),
            figure(it.server_cpu_us_per_delivery),
            figure(it.server_bytes_per_connection),
            it.errors.to_string(),
        ];
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}
