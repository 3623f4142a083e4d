//! Traces: what a collector is sent, and of which requests.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::harness::{Proxy, Scripted, Then, answer, read_body, run_binary};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// Spans, and the name of the service of each.
type Kept = Arc<Mutex<Vec<(String, Span)>>>;

/// A collector, the names of the services that sent it something, and the spans.
fn collector() -> (Scripted, Kept) {
    let spans = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&spans);
    let server = Scripted::start(move |mut asked| {
        assert!(asked.head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{}", asked.head);
        let body = read_body(&asked.head, asked.stream);
        let request = ExportTraceServiceRequest::decode(body.as_slice()).expect("OTLP");
        for resource in request.resource_spans {
            let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let service = attributes.iter().find(|own| own.key == "service.name").map(|own| format!("{:?}", own.value));
            let own = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            kept.lock().expect("a lock").extend(own.map(|span| (service.clone().unwrap_or_default(), span)));
        }
        asked.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        Then::Continue
    });
    (server, spans)
}

/// An instance that keeps what it is told of traces.
fn instance() -> (Scripted, Arc<Mutex<Vec<String>>>) {
    let parents = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&parents);
    let server = Scripted::start(move |mut asked| {
        let parent = asked.head.lines().find_map(|line| line.strip_prefix("traceparent: ").map(str::to_owned));
        kept.lock().expect("a lock").push(parent.unwrap_or_default());
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    });
    (server, parents)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attribute as text.
fn attribute(span: &Span, key: &str) -> Option<String> {
    let value = span.attributes.iter().find(|own| own.key == key)?.value.as_ref()?.value.as_ref()?;
    if let Value::StringValue(text) = value { Some(text.clone()) } else { Some(format!("{value:?}")) }
}

#[test]
fn collector_gets_a_span_of_each_sampled_request_which_the_instance_is_told_is_its_parent() {
    let ((collector, spans), (server, parents)) = (collector(), instance());
    let traces = format!("[traces]\nendpoint = \"http://{}\"\nsample = 0.0", collector.address);
    let proxy = Proxy::start(&server.instance(), "", &traces);
    let from = |flags: &str| format!("Traceparent: 00-{TRACE}-{CALLER}-{flags}\r\n");
    assert_eq!(proxy.send("GET", "/v2/device/7?secret=value", &from("01"), b"").status, 200);
    assert_eq!(proxy.send("GET", "/v2/device/8", &from("00"), b"").status, 200);
    assert_eq!(proxy.send("GET", "/v2/device/9", "", b"").status, 200);
    assert_eq!(proxy.send("POST", "/v2/device/7/reboot/NORMAL", &from("03"), b"").status, 403);
    drop(proxy);
    let (spans, parents) = (spans.lock().expect("a lock"), parents.lock().expect("a lock"));
    let [(service, read), (_, refused)] = spans.as_slice() else { panic!("{spans:?}") };
    assert!(service.contains("\"ninjaone-proxy\""), "{service}");
    for span in [read, refused] {
        assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), CALLER.to_owned()));
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano && span.kind == 2, "{span:?}");
        assert_eq!(attribute(span, "ninjaone_proxy.listener").as_deref(), Some("local"));
    }
    assert_ne!(read.span_id, refused.span_id);
    assert_eq!(parents[0], format!("00-{TRACE}-{}-01", hex(&read.span_id)));
    assert_eq!(parents[1], format!("00-{TRACE}-{CALLER}-00"), "not recorded: passed on as it is");
    assert!(!parents[2].contains(TRACE) && parents[2].ends_with("-00"), "{}", parents[2]);
    assert_eq!(read.name, "GET /v2/device/{id}");
    assert_eq!(attribute(read, "http.route").as_deref(), Some("/v2/device/{id}"));
    assert_eq!(attribute(read, "http.response.status_code").as_deref(), Some("IntValue(200)"));
    assert_eq!(attribute(refused, "error.type").as_deref(), Some("scope-missing"), "{refused:?}");
    let told = format!("{spans:?}");
    assert!(!told.contains("device/7") && !told.contains("secret=") && !told.contains("scripted_token"), "{told}");
}

#[test]
fn traces_that_begin_here_are_sampled_and_a_collector_that_fails_harms_no_request() {
    let ((collector, spans), (server, parents)) = (collector(), instance());
    let traces = format!("[traces]\nendpoint = \"http://{}/v1/traces\"", collector.address);
    let proxy = Proxy::start(&server.instance(), "", &traces);
    assert_eq!(proxy.send("GET", "/v2/devices", "Tracestate: a=1\r\n", b"").status, 200);
    drop(proxy);
    let (spans, parents) = (spans.lock().expect("a lock"), parents.lock().expect("a lock"));
    let [(_, span)] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(parents[0], format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id)));
    assert!(span.parent_span_id.is_empty());
    drop((spans, parents));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let proxy = Proxy::start(&server.instance(), "", &format!("[traces]\nendpoint = \"http://{nobody}\""));
    assert_eq!(proxy.get("/v2/devices").status, 200);
}

#[test]
fn mistakes_in_the_traces_table_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    for (table, wanted) in [
        ("endpoint = \"collector:4317\"", "is not an http or https URL: write the URL of a collector"),
        ("endpoint = \"grpc://collector\"", "is not an http or https URL"),
        ("sample = 1.5", "traces.sample: 1.5 is out of range: write a number from 0 to 1"),
        ("endpiont = \"x\"", "did you mean \"endpoint\"?"),
    ] {
        std::fs::write(folder.path().join("config.toml"), format!("[traces]\n{table}")).expect("a file");
        let (code, _, said) = run_binary(folder.path(), &["check"], &[]);
        assert!(code == 78 && said.contains(wanted), "{said}");
    }
}
