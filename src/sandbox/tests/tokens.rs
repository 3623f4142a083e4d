//! Tokens: who gets one, what it opens, and for how long.

use std::time::Duration;

use http::header::CACHE_CONTROL;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use super::Caller;
use crate::sandbox::{Options, Sandbox, SandboxError};

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

#[test]
fn sandbox_wants_credentials() {
    assert!(matches!(Sandbox::new(Options::with_secret("")), Err(SandboxError::EmptyCredentials)));
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
