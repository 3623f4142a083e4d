//! Traces for a collector: a span for each request that is sampled, sent by OTLP over HTTP from a thread of its own.
//!
//! A span has the operation's template, never its values, query or body, and nothing that is secret. Where there is no
//! collector, or a request is not sampled, nothing of this costs it anything.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanProcessor};
use reqwest::Url;
use tokio::runtime::Handle;

use crate::net::tls::{TlsError, Trust};
use crate::observe::trace_context::{self, Parent, TraceId};

/// How long the collector has to take a batch.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the last batch may take when the process ends.
const FAREWELL: Duration = Duration::from_secs(3);
/// The name of the service, unless `OTEL_SERVICE_NAME` has another.
const SERVICE: &str = "ninjaone-proxy";

/// Where spans go, and of which requests.
#[derive(Debug, Clone)]
pub struct TracesConfig {
    /// Where the collector takes them.
    pub endpoint: Url,
    /// Whom to trust over TLS.
    pub trust: Trust,
    /// The part of the traces begun here that is recorded, 0 to 1. Others are recorded if their caller says so.
    pub sample: f64,
}

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// There is no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no HTTP client.
    #[error("the client of the collector cannot be made")]
    Client(#[from] reqwest::Error),
    /// The exporter does not want to.
    #[error("the exporter of traces cannot be made")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// The way to the collector.
#[derive(Clone)]
pub struct Traces {
    processor: Arc<BatchSpanProcessor>,
    scope: InstrumentationScope,
    sample: f64,
}

/// A request that is being recorded.
#[derive(Debug)]
pub struct Span {
    trace: TraceId,
    id: u64,
    parent: Option<Parent>,
    begun: SystemTime,
}

/// What is recorded of a request when it has ended.
#[derive(Debug, Default)]
pub struct SpanLabels<'a> {
    /// Of the request; `None` of one that could not be read.
    pub method: Option<&'a str>,
    /// Method and path template.
    pub operation: Option<&'a str>,
    /// Of the answer; `None` if the caller left before.
    pub status: Option<u16>,
    /// Why the proxy refused it.
    pub code: Option<&'static str>,
    /// Where it came from.
    pub peer: String,
    /// The listener's name.
    pub listener: &'a str,
    /// The caller's name.
    pub caller: Option<&'a str>,
    /// The name of the person whose token the request needs.
    pub user: Option<&'a str>,
    /// The request's id.
    pub id: String,
    /// Of the answer's body.
    pub bytes: u64,
    /// It was sent again.
    pub replayed: bool,
    /// It was not sent.
    pub dry_run: bool,
}

impl Traces {
    /// Starts the thread that sends. Requests of the collector run on the current runtime.
    pub fn start(settings: &TracesConfig) -> Result<Self, TracesError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(Arc::unwrap_or_clone(settings.trust.client_config(&[b"http/1.1"])?))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("ninjaone-proxy/", env!("CARGO_PKG_VERSION")))
            .timeout(PATIENCE)
            .build()?;
        let courier = ProxiedExporter { client, runtime: Handle::current(), failing: AtomicBool::new(false) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(courier)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(settings.endpoint.as_str())
            .build()?;
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        let resource = Resource::builder();
        let nameless = std::env::var_os("OTEL_SERVICE_NAME").is_none();
        let resource = if nameless { resource.with_service_name(SERVICE) } else { resource };
        processor.set_resource(&resource.build());
        let scope = InstrumentationScope::builder(SERVICE).with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self { processor: Arc::new(processor), scope, sample: settings.sample })
    }

    /// Begins the span of a request, if it is to be recorded: its caller decides that for a trace of its own.
    pub fn begin(&self, parent: Option<Parent>) -> Option<Box<Span>> {
        let wanted = parent.map_or_else(|| fastrand::f64() < self.sample, |parent| parent.sampled);
        let trace = parent.map_or_else(TraceId::new, |parent| parent.trace);
        wanted.then(|| Box::new(Span { trace, id: fastrand::u64(1..), parent, begun: SystemTime::now() }))
    }

    /// Hands a span over. Waits for nothing: while too many wait to be sent, it is lost.
    pub fn end(&self, span: &Span, told: SpanLabels<'_>) {
        let context = |id, remote| {
            let trace = span.trace.number().into();
            SpanContext::new(trace, SpanId::from(id), TraceFlags::SAMPLED, remote, TraceState::default())
        };
        let status = match (told.status, told.code) {
            (Some(..500), _) => Status::Unset,
            (Some(_), code) => Status::error(code.unwrap_or_default()),
            (None, _) => Status::error("the caller left"),
        };
        self.processor.on_end(SpanData {
            span_context: context(span.id, false),
            parent_span_id: span.parent.map_or(SpanId::INVALID, |parent| SpanId::from(parent.span)),
            parent_span_is_remote: span.parent.is_some(),
            span_kind: SpanKind::Server,
            name: Cow::Owned(told.operation.or(told.method).unwrap_or("HTTP").to_owned()),
            start_time: span.begun,
            end_time: SystemTime::now(),
            attributes: told.attributes(),
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        });
    }

    /// Sends what waits. Blocks for some seconds at most.
    pub fn finish(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(FAREWELL) {
            tracing::warn!(%error, "not all spans could be sent to the collector");
        }
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("sample", &self.sample).finish_non_exhaustive()
    }
}

impl Span {
    /// The trace that it belongs to.
    pub fn trace(&self) -> TraceId {
        self.trace
    }

    /// Writes into these headers that the call comes from here.
    pub fn name(&self, headers: &mut HeaderMap) {
        trace_context::name(headers, self.trace, self.id, self.parent.is_some());
    }
}

impl SpanLabels<'_> {
    /// Named by the semantic conventions for HTTP spans, as far as they know of it.
    fn attributes(self) -> Vec<KeyValue> {
        let text = |key: &'static str, value: Option<&str>| value.map(|value| KeyValue::new(key, value.to_owned()));
        let route = self.operation.and_then(|operation| operation.split_once(' ')).map(|(_, route)| route);
        let error = self.code.map(str::to_owned);
        let error = error.or_else(|| self.status.filter(|status| *status >= 500).map(|status| status.to_string()));
        [
            text("http.request.method", self.method),
            text("http.route", route),
            self.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))),
            error.map(|error| KeyValue::new("error.type", error)),
            Some(KeyValue::new("client.address", self.peer)),
            Some(KeyValue::new("http.response.body.size", i64::try_from(self.bytes).unwrap_or(i64::MAX))),
            text("ninjaone_proxy.listener", Some(self.listener)),
            text("ninjaone_proxy.caller", self.caller),
            text("ninjaone_proxy.user", self.user),
            Some(KeyValue::new("ninjaone_proxy.request_id", self.id)),
            self.replayed.then(|| KeyValue::new("ninjaone_proxy.replayed", true)),
            self.dry_run.then(|| KeyValue::new("ninjaone_proxy.dry_run", true)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Takes batches to the collector. They come from a thread without a runtime.
#[derive(Debug)]
struct ProxiedExporter {
    client: reqwest::Client,
    runtime: Handle,
    failing: AtomicBool,
}

impl ProxiedExporter {
    /// Says once that it fails, and once that it does not any more.
    fn log_failure(&self, failure: Option<&dyn fmt::Display>) {
        let before = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(error) if !before => {
                tracing::warn!(%error, "the collector does not take the traces: they are lost until it does");
            }
            None if before => tracing::info!("the collector takes the traces again"),
            Some(_) | None => {}
        }
    }
}

#[async_trait]
impl HttpClient for ProxiedExporter {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let answer = client.execute(request.try_into()?).await?;
            let mut whole = http::Response::new(Bytes::new());
            *whole.status_mut() = answer.status();
            *whole.headers_mut() = answer.headers().clone();
            // It says at most which spans were not wanted.
            drop(answer);
            Ok::<_, reqwest::Error>(whole)
        });
        let sent = sent.await?;
        match &sent {
            Ok(answer) if answer.status().is_success() => self.log_failure(None),
            Ok(answer) => self.log_failure(Some(&answer.status())),
            Err(error) => self.log_failure(Some(&crate::observe::logging::ErrorChain(error))),
        }
        Ok(sent?)
    }
}
