//! The sandbox over in-memory connections, as its callers see it.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::client::conn::{http1, http2};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::fleet::uid;
use super::*;
use crate::proxy::policy::catalog::{Operation, ParameterType, TemplateSegment};

/// A body from memory, or so many chunks of 64 KiB.
type Sent = Either<Full<Bytes>, Chunks>;

struct Chunks(u32);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.checked_sub(1).map(|left| {
            self.0 = left;
            Ok(Frame::data(Bytes::from_static(&[0; 65_536])))
        }))
    }
}

/// A caller with a connection of its own.
struct Caller {
    sandbox: Sandbox,
    sender: http1::SendRequest<Sent>,
    token: String,
}

#[derive(Debug)]
struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    fn error(&self) -> String {
        self.json().pointer("/error").and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

impl Caller {
    async fn connect(options: Options) -> Self {
        Self::over(Sandbox::new(options).expect("options are good")).await
    }

    /// A caller with a new connection and no token.
    async fn over(sandbox: Sandbox) -> Self {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let server = sandbox.clone();
        tokio::spawn(async move { server.serve_connection(far, SandboxProtocol::Http1).await });
        let (sender, connection) = http1::handshake(TokioIo::new(near)).await.expect("handshake");
        tokio::spawn(connection);
        Self { sandbox, sender, token: String::new() }
    }

    /// A caller whose token has these scopes.
    async fn with_token(scopes: &str) -> Self {
        let mut caller = Self::connect(Options::with_secret("s3cret")).await;
        caller.token = caller.fetch_token(scopes).await.json()["access_token"].as_str().expect("token").to_owned();
        caller
    }

    async fn fetch_token(&mut self, scopes: &str) -> Got {
        let form = format!(
            "grant_type=client_credentials&client_id=sandbox&client_secret=s3cret&scope={}",
            scopes.replace(' ', "+")
        );
        let request = Request::post("/ws/oauth/token").header(HOST, "sandbox.test");
        self.send(request.body(Either::Left(Full::from(form))).expect("legal")).await
    }

    async fn send(&mut self, request: Request<Sent>) -> Got {
        self.sender.ready().await.expect("open");
        let response = self.sender.send_request(request).await.expect("answer");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("whole body").to_bytes();
        Got { status: parts.status, headers: parts.headers, body }
    }

    fn request(&self, method: &Method, target: &str) -> http::request::Builder {
        let request = Request::builder().method(method).uri(target).header(HOST, "sandbox.test");
        if self.token.is_empty() { request } else { request.header(AUTHORIZATION, format!("Bearer {}", self.token)) }
    }

    async fn call(&mut self, method: Method, target: &str, body: &'static str) -> Got {
        let request = self.request(&method, target).body(Either::Left(Full::from(body))).expect("legal");
        self.send(request).await
    }

    async fn get(&mut self, target: &str) -> Got {
        self.call(Method::GET, target, "").await
    }

    async fn rows(&mut self, target: &str) -> Vec<Value> {
        let got = self.get(target).await;
        assert_eq!(got.status, StatusCode::OK, "{target}");
        got.json().as_array().expect("a list").clone()
    }
}

/// A path of the operation whose ids exist.
fn example(operation: &Operation) -> String {
    let end_user = operation.template.starts_with("/v2/user/end-user/");
    let part = |segment: &TemplateSegment| match segment {
        TemplateSegment::Literal(text) => text.clone(),
        TemplateSegment::Parameter(name, ParameterType::Uid) if name == "condition_id" => uid("id", 1),
        TemplateSegment::Parameter(_, ParameterType::Uid) => uid("user", 101),
        TemplateSegment::Parameter(_, ParameterType::Integer) if end_user => "101".to_owned(),
        TemplateSegment::Parameter(name, ParameterType::Name) if name == "fieldName" => "assetNote1".to_owned(),
        TemplateSegment::Parameter(_, ParameterType::OneOf(words)) => words[0].clone(),
        TemplateSegment::Parameter(_, ParameterType::Integer | ParameterType::Name) => "1".to_owned(),
    };
    operation.segments.iter().map(|segment| format!("/{}", part(segment))).collect()
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field} is a number: {value}"))
}

#[tokio::test]
async fn sandbox_refuses_as_ninjaone_does_without_a_good_token() {
    let mut caller = Caller::connect(Options::with_secret("s3cret")).await;
    let got = caller.get("/v2/devices").await;
    assert_eq!((got.status, got.error().as_str()), (StatusCode::BAD_REQUEST, "missing_header"));
    caller.token = "two words".to_owned();
    let got = caller.get("/v2/devices").await;
    assert_eq!((got.status, got.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_header"));
    caller.token = "unknown".to_owned();
    let got = caller.get("/v2/devices").await;
    assert_eq!((got.status, got.error().as_str()), (StatusCode::UNAUTHORIZED, "not_authenticated"));
    assert_eq!(got.json()["error_code"], json!(10));
    let counts = caller.sandbox.counts();
    assert_eq!((counts.api_requests, counts.unauthorized), (3, 1));
}

#[tokio::test]
async fn sandbox_marks_every_answer() {
    let mut caller = Caller::with_token("monitoring").await;
    for target in ["/v2/devices", "/nothing", "/sandbox/counts", "/v2/device/999"] {
        let got = caller.get(target).await;
        assert_eq!(got.headers["server"], "ninjaone-sandbox", "{target}");
        assert_eq!(got.headers["x-sandbox"], "ninjaone-proxy; invented data", "{target}");
        assert!(got.headers.contains_key("x-nj-request-id"), "{target}");
    }
}

#[tokio::test]
async fn sandbox_grants_tokens_that_are_not_cached_and_counts_them() {
    let mut caller = Caller::connect(Options::with_secret("s3cret")).await;
    let got = caller.fetch_token("monitoring").await;
    assert_eq!(got.headers[CACHE_CONTROL], "no-store");
    assert_eq!(got.json()["scope"], "monitoring");
    let got = caller.fetch_token("monitoring offline_access").await;
    assert_eq!((got.status, got.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_scope"));
    assert_eq!(got.headers[CACHE_CONTROL], "no-store");
    let counts = caller.sandbox.counts();
    assert_eq!((counts.token_requests, counts.grants, counts.bytes_uploaded), (2, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn sandbox_answers_token_requests_after_the_delay() {
    let options = Options { token_delay: Duration::from_secs(7), ..Options::with_secret("s3cret") };
    let mut caller = Caller::connect(options).await;
    let before = Instant::now();
    assert_eq!(caller.fetch_token("monitoring").await.status, StatusCode::OK);
    assert!(before.elapsed() >= Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn sandbox_tokens_expire_and_are_revoked() {
    let mut caller = Caller::with_token("monitoring").await;
    assert_eq!(caller.get("/v2/groups").await.status, StatusCode::OK);
    tokio::time::advance(Duration::from_secs(3600)).await;
    // The old connection has been idle for too long.
    let mut caller = Caller { token: caller.token, ..Caller::over(caller.sandbox).await };
    assert_eq!(caller.get("/v2/groups").await.error(), "not_authenticated");
    caller.token = caller.fetch_token("monitoring").await.json()["access_token"].as_str().expect("token").to_owned();
    assert_eq!(caller.get("/v2/groups").await.status, StatusCode::OK);
    assert_eq!(caller.call(Method::POST, "/sandbox/revoke", "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(caller.get("/v2/groups").await.error(), "not_authenticated");
}

#[tokio::test]
async fn sandbox_holds_a_token_to_its_scopes() {
    let mut caller = Caller::with_token("monitoring").await;
    let got = caller.call(Method::DELETE, "/v2/webhook", "").await;
    assert_eq!((got.status, got.error().as_str()), (StatusCode::UNAUTHORIZED, "insufficient_privileges"));
    let mut caller = Caller::with_token("management").await;
    assert_eq!(caller.get("/v2/groups").await.error(), "insufficient_privileges");
    assert_eq!(caller.call(Method::DELETE, "/v2/webhook", "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(caller.sandbox.counts().writes, 1);
}

#[tokio::test]
async fn sandbox_refuses_unknown_paths_methods_and_things() {
    let mut caller = Caller::with_token("monitoring management").await;
    for (target, code) in [
        ("/v2/device-roles", "FAILURE"),
        ("/v2/device/abc", "FAILURE"),
        ("/v1/devices", "FAILURE"),
        ("/", "FAILURE"),
        ("/v2/device/61", "ENTITY_NOT_FOUND"),
        ("/v2/organization/5", "ENTITY_NOT_FOUND"),
    ] {
        let got = caller.get(target).await;
        assert_eq!(got.status, StatusCode::NOT_FOUND, "{target}");
        assert_eq!(got.json()["resultCode"], code, "{target}");
        assert!(got.json()["incidentId"].is_string(), "{target}");
    }
    let got = caller.call(Method::PUT, "/v2/device/7", "{}").await;
    assert_eq!(got.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(got.headers[ALLOW], "GET, HEAD, PATCH");
}

#[tokio::test]
async fn sandbox_answers_every_read_of_the_catalogue() {
    let mut caller = Caller::with_token("monitoring").await;
    let catalog = Catalog::built_in().expect("built in");
    let mut visited = 0;
    for operation in catalog.operations().iter().filter(|operation| operation.method == Method::GET) {
        let target = format!("{}{}", ["", "/api", "/ws/api"][visited % 3], example(operation));
        let got = caller.get(&target).await;
        assert_eq!(got.status, StatusCode::OK, "{target}");
        if got.headers[CONTENT_TYPE] == "application/json" {
            let value = got.json();
            assert!(!value.is_null() && value != json!({}), "{target}");
        }
        visited += 1;
    }
    assert_eq!(visited, READS);
}

/// How many operations of the catalogue are `GET`.
const READS: usize = 151;

#[tokio::test]
async fn sandbox_accepts_every_write_that_needs_no_user() {
    let mut caller = Caller::with_token("monitoring management control").await;
    let catalog = Catalog::built_in().expect("built in");
    let (mut accepted, mut refused) = (0, 0);
    for operation in catalog.operations().iter().filter(|operation| operation.method != Method::GET) {
        let got = caller.call(operation.method.clone(), &example(operation), "{}").await;
        if operation.user_context {
            assert_eq!((got.status, got.error().as_str()), (StatusCode::FORBIDDEN, "user_context_required"));
            refused += 1;
        } else {
            assert!(got.status.is_success(), "{} {}: {}", operation.method, operation.template, got.status);
            assert_eq!(got.body.is_empty(), !got.headers.contains_key(CONTENT_TYPE), "{}", operation.template);
            accepted += 1;
        }
    }
    assert_eq!((accepted + refused, refused), (315 - READS, 4));
}

#[tokio::test]
async fn sandbox_shows_a_device_as_the_list_does() {
    let mut caller = Caller::with_token("monitoring").await;
    let devices = caller.rows("/v2/devices-detailed").await;
    assert_eq!(devices.len(), 60);
    let organizations: BTreeSet<_> =
        caller.rows("/v2/organizations").await.iter().map(|one| number(one, "id")).collect();
    let locations = caller.rows("/v2/locations").await;
    for device in &devices {
        let id = number(device, "id");
        assert_eq!(caller.get(&format!("/v2/device/{id}")).await.json(), *device);
        assert!(organizations.contains(&number(device, "organizationId")));
        let location = locations.iter().find(|one| one["id"] == device["locationId"]).expect("existing location");
        assert_eq!(location["organizationId"], device["organizationId"]);
    }
    assert!(devices.iter().any(|device| device["os"]["name"].is_string()));
}

#[tokio::test]
async fn sandbox_shows_the_same_disks_in_the_report_and_at_the_device() {
    let mut caller = Caller::with_token("monitoring").await;
    let mut report =
        caller.get("/v2/queries/disks?df=id%3D8").await.json()["results"].as_array().expect("rows").clone();
    for row in &mut report {
        let fields = row.as_object_mut().expect("an object");
        assert_eq!(fields.remove("deviceId"), Some(json!(8)));
        assert!(fields.remove("timestamp").is_some());
    }
    assert_eq!(caller.rows("/v2/device/8/disks").await, report);
    assert_eq!(report.len(), 2);
}

#[tokio::test]
async fn sandbox_refers_only_to_devices_and_users_that_exist() {
    let mut caller = Caller::with_token("monitoring").await;
    let mut visited = 0;
    for (target, list) in [("/v2/alerts", ""), ("/v2/jobs", ""), ("/v2/activities", "/activities")] {
        let answer = caller.get(target).await.json();
        for row in answer.pointer(list).and_then(Value::as_array).expect("a list") {
            assert!((1..=60).contains(&number(row, "deviceId")), "{target}");
            visited += 1;
        }
    }
    let users: BTreeSet<_> =
        caller.rows("/v2/users").await.iter().map(|user| user["uid"].clone().to_string()).collect();
    for device in caller.rows("/v2/devices").await {
        assert!(users.contains(&device["assignedOwnerUid"].to_string()));
        visited += 1;
    }
    assert_eq!(visited, 24 + 24 + 200 + 60);
}

#[tokio::test]
async fn sandbox_pages_walk_every_list_exactly_once() {
    let mut caller = Caller::with_token("monitoring").await;
    for (list, length) in [("devices", 60), ("organizations", 4), ("locations", 10), ("devices-detailed", 60)] {
        let (mut seen, mut after) = (Vec::new(), 0);
        loop {
            let page = caller.rows(&format!("/v2/{list}?pageSize=7&after={after}")).await;
            assert!(page.len() <= 7);
            let Some(last) = page.last() else { break };
            after = number(last, "id");
            seen.extend(page.iter().map(|row| number(row, "id")));
        }
        assert_eq!(seen, (1..=length).collect::<Vec<_>>(), "{list}");
    }
}

#[tokio::test]
async fn sandbox_cursor_walks_a_report_exactly_once_with_its_filter() {
    let mut caller = Caller::with_token("monitoring").await;
    let whole = caller.get("/v2/queries/software?df=org%20in%20(1,%202)").await.json()["results"].clone();
    let (mut seen, mut first) = (Vec::new(), None);
    let mut target = "/v2/queries/software?df=org%20in%20(1,%202)&pageSize=40".to_owned();
    loop {
        let page = caller.get(&target).await.json();
        let rows = page["results"].as_array().expect("rows").clone();
        assert_eq!((&page["cursor"]["offset"], &page["cursor"]["count"]), (&json!(seen.len()), &json!(rows.len())));
        if rows.is_empty() {
            break;
        }
        seen.extend(rows);
        let name = page["cursor"]["name"].as_str().expect("a name");
        assert!(*first.get_or_insert(name.to_owned()) == name, "the same name");
        target = format!("/v2/queries/software?cursor={name}");
    }
    assert!(seen.len() > 100);
    assert_eq!(json!(seen), whole);
    assert_eq!(caller.get("/v2/queries/software?cursor=stale").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn sandbox_filters_devices_by_df() {
    let mut caller = Caller::with_token("monitoring").await;
    let macs = caller.rows("/v2/devices?df=class%20in%20(MAC)%20AND%20online").await;
    assert!(!macs.is_empty() && macs.iter().all(|device| device["nodeClass"] == "MAC" && device["offline"] == false));
    let offline = caller.rows("/v2/devices?df=org+%3D+2+%26%26+offline").await;
    assert!(!offline.is_empty() && offline.iter().all(|device| device["offline"] == true));
    assert_eq!(caller.rows("/v2/devices?df=colour%3Dred").await.len(), 60);
    assert_eq!(caller.rows("/v2/organizations?of=id%3D3").await.len(), 1);
}

#[tokio::test]
async fn sandbox_runs_a_ticket_board_page_by_page() {
    let mut caller = Caller::with_token("monitoring").await;
    let target = "/v2/ticketing/trigger/board/1/run";
    let first = caller.call(Method::POST, target, "{\"pageSize\":20}").await.json();
    assert_eq!((first["data"].as_array().map(Vec::len), &first["metadata"]["lastCursorId"]), (Some(20), &json!(20)));
    let second = caller.call(Method::POST, target, "{\"pageSize\":20,\"lastCursorId\":20}").await.json();
    assert_eq!(second["data"].as_array().map(Vec::len), Some(4));
    assert_eq!(caller.sandbox.counts().writes, 0);
}

#[tokio::test]
async fn sandbox_streams_an_upload_to_nowhere_and_counts_it() {
    let mut caller = Caller::with_token("management").await;
    let request = caller.request(&Method::POST, "/v2/knowledgebase/articles/upload");
    let request = request.header(CONTENT_TYPE, "multipart/form-data; boundary=x");
    let got = caller.send(request.body(Either::Right(Chunks(160))).expect("legal")).await;
    assert_eq!(got.status, StatusCode::OK);
    let counts = caller.sandbox.counts();
    assert_eq!((counts.uploads, counts.bytes_uploaded), (1, 160 * 65_536));
}

#[tokio::test]
async fn sandbox_keeps_no_json_beyond_its_limit() {
    let mut caller = Caller::with_token("monitoring").await;
    let request = caller.request(&Method::POST, "/v2/ticketing/trigger/board/1/run");
    let got = caller.send(request.body(Either::Right(Chunks(17))).expect("legal")).await;
    assert_eq!(got.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn sandbox_downloads_have_the_size_asked_for() {
    let mut caller = Caller::with_token("monitoring").await;
    for path in ["attachment/abc", "related-items/1/attachment/download", "knowledgebase/article/1/download"] {
        let got = caller.get(&format!("/v2/{path}?size=200001")).await;
        assert_eq!((got.body.len(), &got.headers[CONTENT_LENGTH]), (200_001, &"200001".parse().expect("legal")));
        let got = caller.get(&format!("/v2/{path}?size=200001&chunked=true")).await;
        assert_eq!((got.body.len(), got.headers.get(CONTENT_LENGTH)), (200_001, None));
    }
}

#[tokio::test]
async fn sandbox_answers_head_as_get_without_a_body() {
    let mut caller = Caller::with_token("monitoring").await;
    let got = caller.call(Method::HEAD, "/v2/attachment/1?size=4294967296", "").await;
    assert_eq!((got.status, got.body.len()), (StatusCode::OK, 0));
    assert_eq!(got.headers[CONTENT_LENGTH], "4294967296");
    assert_eq!(caller.get("/v2/groups").await.status, StatusCode::OK);
}

#[tokio::test]
async fn sandbox_redirects_to_the_console_to_files_and_to_itself() {
    let mut caller = Caller::with_token("monitoring").await;
    for (target, location) in [
        ("/v2/device/7/dashboard-url?redirect=true", "https://sandbox.ninjarmm.example/#/deviceDashboard/7/overview"),
        ("/v2/attachment/abc?redirect=self", "https://sandbox.test/v2/attachment/abc"),
    ] {
        let got = caller.get(target).await;
        assert_eq!(got.status, StatusCode::FOUND, "{target}");
        assert_eq!(got.headers[LOCATION], location);
    }
    let got = caller.get("/v2/attachment/abc?redirect=true").await;
    let location = got.headers[LOCATION].to_str().expect("ascii");
    assert!(location.starts_with("https://files.example.com/abc?") && location.contains("signature="), "{location}");
}

#[tokio::test(start_paused = true)]
async fn sandbox_delays_and_fails_to_order() {
    let mut caller = Caller::with_token("monitoring").await;
    let before = Instant::now();
    let got = caller.get("/v2/groups?delay=1500&status=429").await;
    assert!(before.elapsed() >= Duration::from_millis(1500));
    assert_eq!((got.status, &got.json()["resultCode"]), (StatusCode::TOO_MANY_REQUESTS, &json!("FAILURE")));
    assert_eq!(got.headers[RETRY_AFTER], "1");
    assert_eq!(caller.get("/v2/groups?status=204").await.body.len(), 0);
    assert_eq!(caller.get("/v2/device/8/os-patches?status=APPROVED").await.status, StatusCode::OK);
    let before = Instant::now();
    caller.get("/v2/groups?delay=99999999").await;
    assert!(before.elapsed() < Duration::from_secs(31));
}

#[tokio::test]
async fn sandbox_shows_the_last_request_without_its_token() {
    let mut caller = Caller::with_token("monitoring").await;
    caller.get("//api/v2/devices?df=a%20b+c&x").await;
    let got = caller.get("/sandbox/last-request").await;
    let shown = got.json();
    assert_eq!(shown["target"], "//api/v2/devices?df=a%20b+c&x");
    assert!(shown["headers"].as_array().expect("a list").contains(&json!({ "name": "host", "value": "sandbox.test" })));
    assert!(!shown.to_string().contains(&caller.token));
    assert_eq!(caller.get("/sandbox/counts").await.json()["api_requests"], 1);
}

#[tokio::test]
async fn sandbox_speaks_http2_and_sends_no_body_to_head() {
    let caller = Caller::with_token("monitoring").await;
    let (near, far) = tokio::io::duplex(64 * 1024);
    let server = caller.sandbox.clone();
    tokio::spawn(async move { server.serve_connection(far, SandboxProtocol::Http2).await });
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(near)).await.expect("handshake");
    tokio::spawn(connection);
    for (method, length) in [(Method::GET, 70_000), (Method::HEAD, 0)] {
        let target = "https://sandbox.test/v2/attachment/1?size=70000";
        let request = caller.request(&method, target).body(Full::<Bytes>::default()).expect("legal");
        let response = sender.send_request(request).await.expect("answer");
        assert_eq!(response.headers()[CONTENT_LENGTH], "70000");
        assert_eq!(response.into_body().collect().await.expect("body").to_bytes().len(), length);
    }
}

#[tokio::test]
async fn sandbox_serves_a_listener_until_shutdown() {
    let sandbox = Sandbox::new(Options::with_secret("s3cret")).expect("options are good");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(sandbox.serve(listener, async move { _ = stopped.await }));
    let stream = TcpStream::connect(address).await.expect("listening");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("handshake");
    tokio::spawn(connection);
    let request = Request::get("/sandbox/counts").header(HOST, "sandbox.test").body(Full::<Bytes>::default());
    let response = sender.send_request(request.expect("legal")).await.expect("answer");
    assert_eq!(response.status(), StatusCode::OK);
    stop.send(()).expect("serving");
    server.await.expect("ends");
    assert!(TcpStream::connect(address).await.is_err());
}

#[test]
fn sandbox_wants_credentials() {
    assert!(matches!(Sandbox::new(Options::with_secret("")), Err(SandboxError::EmptyCredentials)));
}
