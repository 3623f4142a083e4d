//! Bodies: uploads, downloads, redirects to files, and answers to HEAD.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{Method, StatusCode};
use http_body_util::Either;

use super::{Caller, Chunks};

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
