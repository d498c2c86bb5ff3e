//! The W3C trace context, carried as one text (<https://www.w3.org/TR/trace-context/#traceparent-header>).
//!
//! A trace [begins](begin) where a request comes in; what follows from it in other tasks and roles are its
//! [steps](step). What is not traced carries an empty text, and an empty text costs nothing.

use std::collections::HashMap;

use opentelemetry::{propagation::TextMapPropagator, trace::TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header's name.
const TRACEPARENT: &str = "traceparent";
/// The only length of a version 00 traceparent; what is longer is refused before it is looked at.
const TRACEPARENT_BYTES: usize = 55;

/// The span of a request that came in: of the trace that the request names or, when it names none, of a new one,
/// which is kept or not by the configured ratio. `name` is `role.what`, for example `gateway.command`.
pub fn begin(name: &'static str, traceparent: &str) -> Span {
    let span = tracing::debug_span!(target: "stonechat_trace", "request", otel.name = name, otel.kind = "server");
    set_parent(&span, traceparent);
    span
}

/// The span of something that follows from a request, in another task or role; none where the request is not traced.
pub fn step(name: &'static str, traceparent: &str) -> Span {
    if traceparent.is_empty() {
        return Span::none();
    }
    let span = tracing::debug_span!(target: "stonechat_trace", "step", otel.name = name);
    set_parent(&span, traceparent);
    span
}

/// The span as a traceparent; empty when it belongs to no trace, or to one that is not kept.
pub fn traceparent_of(span: &Span) -> String {
    if span.is_disabled() {
        return String::new();
    }
    let context = span.context();
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() || !span.is_sampled() {
        return String::new();
    }
    format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags())
}

/// Makes the span a child of the traceparent's. Empty and malformed ones are passed over: a trace is no reason to
/// refuse a command.
pub fn set_parent(span: &Span, traceparent: &str) {
    if traceparent.len() != TRACEPARENT_BYTES || span.is_disabled() {
        return;
    }
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract(&carrier);
    if context.span().span_context().is_valid() {
        // Fails only where nobody traces, or where the span has told others who it is already.
        let _ = span.set_parent(context);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::init::span_layer;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn traced(test: impl FnOnce()) -> Vec<opentelemetry_sdk::trace::SpanData> {
        sampled(Sampler::AlwaysOn, test)
    }

    fn sampled(sampler: Sampler, test: impl FnOnce()) -> Vec<opentelemetry_sdk::trace::SpanData> {
        let exporter = InMemorySpanExporter::default();
        let provider =
            SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).with_sampler(sampler).build();
        let subscriber = tracing_subscriber::registry().with(span_layer(&provider, "test"));
        tracing::subscriber::with_default(subscriber, test);
        exporter.get_finished_spans().unwrap()
    }

    #[test]
    fn a_context_goes_on_in_another_span() {
        let spans = traced(|| {
            let router = tracing::debug_span!(target: "stonechat_router", "decide");
            set_parent(&router, PARENT);
            let own = traceparent_of(&router);
            assert!(own.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{own}");
            assert_ne!(own, PARENT);
        });
        assert_eq!(spans.len(), 1);
        assert_eq!(spans[0].parent_span_id.to_string(), "b7ad6b7169203331");
    }

    #[test]
    fn a_request_and_its_steps_are_one_trace() {
        let spans = traced(|| {
            let request = begin("gateway.command", "");
            let carried = traceparent_of(&request);
            let decided = step("router.decide", &carried);
            drop(step("router.deliver", &traceparent_of(&decided)));
            drop(decided);
            drop(request);
        });
        let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
        assert_eq!(names, ["router.deliver", "router.decide", "gateway.command"]);
        assert_eq!(spans[0].parent_span_id, spans[1].span_context.span_id());
        assert_eq!(spans[1].parent_span_id, spans[2].span_context.span_id());
        assert!(spans.iter().all(|span| span.span_context.trace_id() == spans[0].span_context.trace_id()));
    }

    #[test]
    fn a_request_that_is_not_kept_has_no_steps() {
        let spans = sampled(Sampler::AlwaysOff, || {
            let request = begin("gateway.command", "");
            assert_eq!(traceparent_of(&request), "");
            assert!(step("router.decide", &traceparent_of(&request)).is_none());
        });
        assert_eq!(spans.len(), 0);
    }

    #[test]
    fn a_request_goes_on_in_the_trace_that_it_names() {
        let spans = sampled(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)), || {
            drop(begin("api.request", PARENT));
        });
        assert_eq!(spans[0].span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn a_malformed_context_is_passed_over() {
        let spans = traced(|| {
            for bad in ["", "x", "00-00000000000000000000000000000000-b7ad6b7169203331-01", &"0".repeat(10_000)] {
                let span = tracing::debug_span!(target: "stonechat_router", "decide");
                set_parent(&span, bad);
                assert_eq!(traceparent_of(&span).len(), TRACEPARENT_BYTES);
            }
        });
        assert_eq!(spans.len(), 4);
    }

    #[test]
    fn spans_of_other_crates_are_not_traced() {
        let spans = traced(|| {
            let span = tracing::info_span!(target: "h2", "poll");
            assert_eq!(traceparent_of(&span), "");
        });
        assert_eq!(spans.len(), 0);
    }

    #[test]
    fn without_a_trace_there_is_no_context() {
        let span = tracing::debug_span!(target: "stonechat_router", "decide");
        set_parent(&span, PARENT);
        assert_eq!(traceparent_of(&span), "");
    }
}
