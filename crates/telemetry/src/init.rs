//! Setting up logs, metrics and traces.

use std::{io::IsTerminal, time::Duration};

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tracing::Level;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::Targets, fmt, layer::SubscriberExt, registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::{Metrics, TelemetryError};

/// The targets whose spans are traced.
const TRACED: &str = "stonechat";
/// What waits to be exported gets this long when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// What to set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Log lines as JSON objects, not as text.
    pub json: bool,
    /// Which log lines: the syntax of `tracing_subscriber::EnvFilter`.
    pub filter: String,
    /// Where traces go, by OTLP over gRPC; empty: nowhere.
    pub otlp_endpoint: String,
    /// The share of traces that begin here and are kept, 0 to 1. A trace that began elsewhere is kept if it was there.
    pub trace_ratio: f64,
    /// Record metrics.
    pub metrics: bool,
    /// The service's name in traces.
    pub service: String,
    /// The service's version in traces.
    pub version: String,
}

/// Telemetry that runs. What waits to be exported is lost without [`Guard::shutdown`].
#[derive(Debug)]
pub struct Guard {
    traces: Option<SdkTracerProvider>,
    metrics: Option<Metrics>,
}

impl Guard {
    /// The recorded metrics, if they are recorded.
    pub fn metrics(&self) -> Option<&Metrics> {
        self.metrics.as_ref()
    }

    /// Exports what waits, for a few seconds at most. Blocks.
    pub fn shutdown(self) {
        if let Some(traces) = self.traces
            && let Err(error) = traces.shutdown_with_timeout(FLUSH_TIMEOUT)
        {
            tracing::warn!(%error, "export of the last traces failed");
        }
    }
}

/// Sets logs (to standard error), metrics and traces up for the process; once.
/// With an OTLP endpoint it must be called within a tokio runtime.
///
/// # Errors
/// A filter that cannot be read, an endpoint that is no URL, or telemetry that was set up before.
pub fn init(settings: &Settings) -> Result<Guard, TelemetryError> {
    let filter = EnvFilter::try_new(&settings.filter)
        .map_err(|source| TelemetryError::Filter { filter: settings.filter.clone(), source })?;
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines: Box<dyn Layer<Registry> + Send + Sync> = if settings.json {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).with_filter(filter).boxed()
    } else {
        lines.with_filter(filter).boxed()
    };
    let traces = tracer_provider(settings)?;
    let spans = traces.as_ref().map(|provider| span_layer(provider, &settings.service));
    tracing_subscriber::registry().with(lines).with(spans).try_init()?;
    let metrics = if settings.metrics { Some(Metrics::install()?) } else { None };
    Ok(Guard { traces, metrics })
}

/// Turns spans of this product into spans of a trace.
pub(crate) fn span_layer<S>(provider: &SdkTracerProvider, service: &str) -> impl Layer<S> + use<S>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let tracer = provider.tracer(service.to_owned());
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_filter(Targets::new().with_target(TRACED, Level::DEBUG))
}

fn tracer_provider(settings: &Settings) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    if settings.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&settings.otlp_endpoint)
        .build()
        .map_err(|source| TelemetryError::Traces { endpoint: settings.otlp_endpoint.clone(), source })?;
    let resource = Resource::builder()
        .with_service_name(settings.service.clone())
        .with_attribute(opentelemetry::KeyValue::new("service.version", settings.version.clone()))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.trace_ratio))))
        .with_resource(resource)
        .build();
    Ok(Some(provider))
}
