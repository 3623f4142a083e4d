//! Connections: HTTP/2, and a listener that serves until shutdown.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::Caller;
use crate::sandbox::{Options, Sandbox, SandboxProtocol};

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
