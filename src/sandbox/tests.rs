//! The sandbox over in-memory connections, as its callers see it.

mod bodies;
mod connections;
mod leaks;
mod lists;
mod operations;
mod tokens;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::{Options, Sandbox, SandboxProtocol};

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

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field} is a number: {value}"))
}
