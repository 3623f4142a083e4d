//! What an answer of NinjaOne's may mean, read a second time and plainly: the measure of the real readers.

use http::StatusCode;
use http::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use ninjaone_proxy::proxy::token::endpoint::TokenAnswer;
use ninjaone_proxy::proxy::upstream::Reason;
use serde_json::Value;

/// Reads a body as every answer that it could be; fails where the readers believe what it does not say.
pub(crate) fn read_every_way(body: &[u8]) {
    // None also for what a strict reader alone refuses, such as a number out of range in a member that nobody reads.
    let plain: Option<Value> = serde_json::from_slice(body).ok();
    assert!(TokenAnswer::read(http::StatusCode::BAD_REQUEST, None, body).is_err(), "only 200 grants");
    if let Ok(TokenAnswer { authorization, lifetime, .. }) = TokenAnswer::read(http::StatusCode::OK, None, body) {
        let token = authorization.to_str().expect("ASCII").strip_prefix("Bearer ").expect("the scheme");
        assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()), "{token:?}");
        assert!(std::str::from_utf8(body).is_ok_and(|text| text.trim_start().starts_with('{')));
        if let Some(plain) = &plain {
            assert_eq!(plain["access_token"], token);
            assert!(plain["token_type"].as_str().expect("a type").eq_ignore_ascii_case("bearer"));
        }
        assert!((1..=86_400).contains(&lifetime.as_secs()) && authorization.is_sensitive(), "{lifetime:?}");
    }
    let told = Reason::read(StatusCode::UNAUTHORIZED, &HeaderMap::new(), body);
    let lacks = |word: &str| !body.windows(word.len()).any(|window| window == word.as_bytes());
    match told {
        Reason::NotAuthenticated => {
            assert!(std::str::from_utf8(body).is_ok());
            assert!(plain.as_ref().is_none_or(|plain| plain["error"] == "not_authenticated"));
        }
        Reason::InsufficientPrivileges => assert!(!lacks("insufficient_privileges")),
        Reason::UserContextRequired => assert!(!lacks("user_context_required")),
        Reason::RouteUnknown | Reason::EntityUnknown => panic!("only a 404 says that"),
        Reason::Unknown => {}
    }
    if matches!(told, Reason::NotAuthenticated | Reason::Unknown) {
        assert!(lacks("insufficient_privileges") && lacks("user_context_required"), "would be renewed for ever");
    }
    let packed = [(CONTENT_ENCODING, HeaderValue::from_static("gzip"))].into_iter().collect();
    let _ = Reason::read(StatusCode::UNAUTHORIZED, &packed, body);
    let absent = Reason::read(StatusCode::NOT_FOUND, &HeaderMap::new(), body);
    assert!(
        matches!(absent, Reason::RouteUnknown | Reason::EntityUnknown | Reason::Unknown),
        "{absent:?} renews a token"
    );
    if let Some(plain) = plain.filter(|_| absent != Reason::Unknown) {
        let is_route = plain["resultCode"] == "FAILURE" && plain["errorMessage"] == "HTTP 404 Not Found";
        assert_eq!(is_route, absent == Reason::RouteUnknown, "{plain}");
    }
}
