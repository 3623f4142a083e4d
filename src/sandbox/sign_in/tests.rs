//! The whole sign-in over a real socket, as a browser and a client see it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::authorize::challenge_of;
use super::*;
use crate::sandbox::{Options, Sandbox};

const CLIENT: &str = "http://127.0.0.1:7000";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// A browser with cookies, which follows no redirect; the client's own requests go through it too.
struct Browser {
    address: SocketAddr,
    cookies: Vec<String>,
    token: String,
}

/// An answer; the status is 0 if there is none.
#[derive(Debug)]
struct BrowserAnswer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl BrowserAnswer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("text")).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// A parameter of the address that the browser is sent to.
    fn told(&self, name: &str) -> Option<String> {
        assert_eq!(self.status, 302, "{self:?}");
        let (_, query) = self.header("location").split_once('?').expect("a query");
        QueryParameters::parse(query).get(name).map(str::to_owned)
    }
}

impl Browser {
    async fn open(options: Options) -> Self {
        let sandbox = Sandbox::new(options).expect("good options");
        Self::at(sandbox.open().await.expect("a port"))
    }

    fn at(address: SocketAddr) -> Self {
        Self { address, cookies: Vec::new(), token: String::new() }
    }

    async fn send(&mut self, method: Method, target: &str, form: &str) -> BrowserAnswer {
        let stream = TcpStream::connect(self.address).await.expect("listening");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("handshake");
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(target).header(HOST, self.address.to_string());
        if !self.cookies.is_empty() {
            request = request.header(COOKIE, self.cookies.join("; "));
        }
        if target.starts_with("/v2/") {
            request = request.header(AUTHORIZATION, format!("Bearer {}", self.token));
        }
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.body(Full::new(Bytes::from(form.to_owned()))).expect("legal");
        let Ok(answer) = sender.send_request(request).await else {
            return BrowserAnswer { status: 0, headers: HeaderMap::new(), body: String::new() };
        };
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.expect("whole").to_bytes();
        for cookie in parts.headers.get_all(SET_COOKIE) {
            let pair = cookie.to_str().expect("text").split(';').next().expect("a pair").to_owned();
            self.cookies.push(pair);
        }
        let body = String::from_utf8(body.to_vec()).expect("text");
        BrowserAnswer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn get(&mut self, target: &str) -> BrowserAnswer {
        self.send(Method::GET, target, "").await
    }

    async fn post(&mut self, target: &str, form: &str) -> BrowserAnswer {
        self.send(Method::POST, target, form).await
    }

    /// Comes to the sign-in page; the id of the sign-in.
    async fn begin(&mut self, change: impl Fn(String) -> String) -> String {
        let got = self.get(&change(authorize())).await;
        assert!(got.header("location").starts_with("/ws/oauth/sign-in?transaction="), "{got:?}");
        got.told("transaction").expect("an id")
    }

    /// Signs in and decides.
    async fn decide(&mut self, decision: &str) -> BrowserAnswer {
        let id = self.begin(|target| target).await;
        let page = self.post("/ws/oauth/sign-in", &format!("transaction={id}&user=ada&password=x")).await;
        assert_eq!(page.status, 200, "{page:?}");
        self.post("/ws/oauth/consent", &format!("transaction={id}&decision={decision}")).await
    }

    async fn token(&mut self, form: &str) -> BrowserAnswer {
        self.post("/ws/oauth/token", &format!("client_id=sandbox&{form}")).await
    }

    async fn redeem(&mut self, code: &str) -> BrowserAnswer {
        let form = format!("grant_type=authorization_code&code={code}&redirect_uri={CLIENT}&code_verifier={VERIFIER}");
        self.token(&form).await
    }
}

fn authorize() -> String {
    format!(
        "/ws/oauth/authorize?response_type=code&client_id=sandbox&redirect_uri={CLIENT}&state=x%26y\
         &scope=monitoring+management+control+offline_access&code_challenge={}&code_challenge_method=S256",
        challenge_of(VERIFIER)
    )
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name}: {value}"))
}

#[tokio::test]
async fn person_signs_in_and_runs_a_script() {
    let mut browser = Browser::open(Options::default()).await;
    let begun = browser.get(&authorize()).await;
    let cookie = begun.header("set-cookie").to_owned();
    assert!(
        cookie.starts_with("sandbox_sign_in_")
            && cookie.ends_with("; Path=/ws/oauth; Max-Age=600; HttpOnly; SameSite=Lax")
    );
    let page = browser.get(begun.header("location")).await;
    assert!(
        page.body.contains("not NinjaOne") && page.body.contains(r#"<form id="sign-in" method="post""#),
        "{page:?}"
    );
    assert!(page.body.contains(r#"name="user" value="technician""#) && page.body.contains(r#"name="password""#));
    let id = begun.told("transaction").expect("an id");
    let page = browser.post("/ws/oauth/sign-in", &format!("transaction={id}&user=%3Cada%3E&password=secret")).await;
    assert!(page.body.contains("&lt;ada&gt;") && !page.body.contains("secret"), "{page:?}");
    for part in [
        r#"<form id="consent""#,
        r#"name="decision" value="allow""#,
        r#"name="decision" value="deny""#,
        "<li>offline_access</li>",
    ] {
        assert!(page.body.contains(part), "{part}: {page:?}");
    }
    let policy =
        "default-src 'none'; base-uri 'none'; form-action 'self' http://127.0.0.1:7000; frame-ancestors 'none'";
    assert_eq!(page.header("content-security-policy"), policy);
    assert_eq!((page.header("cache-control"), page.header("referrer-policy")), ("no-store", "no-referrer"));
    let end = browser.post("/ws/oauth/consent", &format!("transaction={id}&decision=allow")).await;
    assert!(end.header("location").starts_with("http://127.0.0.1:7000?code=sandbox_code_"), "{end:?}");
    assert_eq!((end.told("state").as_deref(), end.header("referrer-policy")), (Some("x&y"), "no-referrer"));
    assert!(end.header("set-cookie").contains("Max-Age=0"), "{end:?}");
    let got = browser.redeem(&end.told("code").expect("a code")).await;
    assert_eq!((got.status, got.header("cache-control")), (200, "no-store"), "{got:?}");
    let tokens = got.json();
    assert_eq!((text(&tokens, "token_type"), &tokens["expires_in"]), ("Bearer", &Value::from(3600)));
    assert_eq!(text(&tokens, "scope"), "monitoring management control offline_access");
    browser.token = text(&tokens, "access_token").to_owned();
    assert_eq!(browser.post("/v2/device/7/script/run", "").await.status, 204);
    assert_eq!(browser.get("/sandbox/last-request").await.json()["user"], "<ada>");
    let machine = browser.token("client_secret=sandbox-secret&grant_type=client_credentials&scope=management").await;
    browser.token = text(&machine.json(), "access_token").to_owned();
    let got = browser.post("/v2/device/7/script/run", "").await;
    assert_eq!((got.status, text(&got.json(), "error")), (403, "user_context_required"));
    let counts = browser.get("/sandbox/counts").await.json();
    assert_eq!((&counts["sign_ins"], &counts["codes_used"]), (&Value::from(1), &Value::from(1)));
}

#[tokio::test]
async fn code_that_comes_again_ends_what_it_gave() {
    let mut browser = Browser::open(Options::default()).await;
    let code = browser.decide("allow").await.told("code").expect("a code");
    let tokens = browser.redeem(&code).await.json();
    browser.token = text(&tokens, "access_token").to_owned();
    assert_eq!(browser.get("/v2/groups").await.status, 200);
    let again = browser.redeem(&code).await;
    assert_eq!((again.status, again.body.as_str()), (400, r#"{"error":"invalid_grant"}"#));
    assert_eq!(browser.get("/v2/groups").await.status, 401);
    let refresh = format!("grant_type=refresh_token&refresh_token={}", text(&tokens, "refresh_token"));
    assert_eq!(browser.token(&refresh).await.body, r#"{"error":"invalid_grant"}"#);
    assert_eq!(browser.get("/sandbox/counts").await.json()["reuses"], 1);
}

#[tokio::test]
async fn refresh_token_rotates_and_ends_all_when_it_comes_again() {
    let mut browser = Browser::open(Options::default()).await;
    let code = browser.decide("allow").await.told("code").expect("a code");
    let first = browser.redeem(&code).await.json();
    let form = |tokens: &Value| format!("grant_type=refresh_token&refresh_token={}", text(tokens, "refresh_token"));
    let second = browser.token(&form(&first)).await.json();
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let narrow = browser.token(&format!("{}&scope=monitoring", form(&second))).await.json();
    assert_eq!(narrow["scope"], "monitoring");
    let wide = browser.token(&form(&narrow)).await.json();
    assert_eq!(wide["scope"], first["scope"]);
    let again = browser.token(&form(&first)).await;
    assert_eq!((again.status, again.body.as_str()), (400, r#"{"error":"invalid_grant"}"#));
    assert_eq!(browser.token(&form(&wide)).await.status, 400);
    browser.token = text(&wide, "access_token").to_owned();
    assert_eq!(browser.get("/v2/groups").await.status, 401);
}

#[tokio::test]
async fn refresh_token_that_does_not_rotate_stays_until_grants_end() {
    let mut browser = Browser::open(Options { rotate_refresh_tokens: false, ..Options::default() }).await;
    let code = browser.decide("allow").await.told("code").expect("a code");
    let tokens = browser.redeem(&code).await.json();
    let form = format!("grant_type=refresh_token&refresh_token={}", text(&tokens, "refresh_token"));
    for _ in 0..2 {
        let got = browser.token(&form).await;
        assert_eq!((got.status, got.json().get("refresh_token")), (200, None));
    }
    let machine = browser.token("client_secret=sandbox-secret&grant_type=client_credentials&scope=monitoring").await;
    assert_eq!(browser.post("/sandbox/end-grants", "").await.status, 204);
    assert_eq!(browser.token(&form).await.body, r#"{"error":"invalid_grant"}"#);
    browser.token = text(&tokens, "access_token").to_owned();
    assert_eq!(browser.get("/v2/groups").await.status, 401);
    browser.token = text(&machine.json(), "access_token").to_owned();
    assert_eq!(browser.get("/v2/groups").await.status, 200);
}

#[tokio::test]
async fn client_proves_itself_by_pkce_or_its_secret() {
    let mut browser = Browser::open(Options::default()).await;
    let code = browser.decide("allow").await.told("code").expect("a code");
    let form = format!("grant_type=authorization_code&code={code}&redirect_uri={CLIENT}");
    let wrong = browser.token(&format!("{form}&code_verifier={VERIFIER}&client_secret=wrong")).await;
    assert_eq!((wrong.status, wrong.body.as_str()), (401, r#"{"error":"invalid_client"}"#));
    let repeated = browser.token(&format!("{form}&code_verifier={VERIFIER}&code={code}")).await;
    assert_eq!(repeated.body, r#"{"error":"invalid_request"}"#);
    // The secret does not replace the verifier, and a code has one try.
    assert_eq!(
        browser.token(&format!("{form}&client_secret=sandbox-secret")).await.body,
        r#"{"error":"invalid_grant"}"#
    );
    assert_eq!(browser.redeem(&code).await.body, r#"{"error":"invalid_grant"}"#);
    let id = browser.begin(|target| target.split("&code_challenge").next().expect("a part").to_owned()).await;
    browser.post("/ws/oauth/sign-in", &format!("transaction={id}&user=ada")).await;
    let end = browser.post("/ws/oauth/consent", &format!("transaction={id}&decision=allow")).await;
    let form =
        format!("grant_type=authorization_code&code={}&redirect_uri={CLIENT}", end.told("code").expect("a code"));
    assert_eq!(browser.token(&form).await.body, r#"{"error":"invalid_client"}"#);
    assert_eq!(browser.token(&format!("{form}&client_secret=sandbox-secret")).await.status, 200);
}

#[tokio::test]
async fn person_denies() {
    let mut browser = Browser::open(Options::default()).await;
    let end = browser.decide("deny").await;
    assert_eq!(end.told("error").as_deref(), Some("access_denied"));
    assert_eq!((end.told("state").as_deref(), end.told("code")), (Some("x&y"), None));
}

#[tokio::test]
async fn request_that_is_wrong_is_told_before_anybody_signs_in() {
    let mut browser = Browser::open(Options::default()).await;
    let unknown = browser.get(&authorize().replace("=sandbox", "=other")).await;
    assert_eq!((unknown.status, text(&unknown.json(), "resultCode")), (404, "Client app not exist"));
    assert!(unknown.headers.get("set-cookie").is_none());
    let wrong = browser.get(&authorize().replace("127.0.0.1", "localhost")).await;
    let error = "/ws/oauth/error?error=unauthorized_client&error_description=Invalid+redirect_uri";
    assert_eq!((wrong.status, wrong.header("location")), (302, error));
    let page = browser.get(error).await;
    assert!(page.body.contains("unauthorized_client") && page.body.contains("Invalid redirect_uri"), "{page:?}");
    let page = browser.get("/ws/oauth/error?error=%3Cscript%3E&error_description=%22%3E%E2%80%AE").await;
    assert!(page.body.contains("&lt;script&gt;") && !page.body.contains("<script"), "{page:?}");
    assert!(!page.body.contains('\u{202e}'), "{page:?}");
    let told = browser.get(&authorize().replace("=S256", "=plain").replace("/ws/", "/")).await;
    assert!(told.header("location").starts_with("http://127.0.0.1:7000?error=invalid_request&"), "{told:?}");
    assert_eq!(told.told("state").as_deref(), Some("x&y"));
    let got = browser.post("/ws/oauth/authorize", "").await;
    assert_eq!((got.status, got.header("allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn sign_in_belongs_to_the_browser_that_began_it_and_ends_once() {
    let mut browser = Browser::open(Options::default()).await;
    let (one, two) = (browser.begin(|target| target).await, browser.begin(|target| target).await);
    let mut other = Browser::at(browser.address);
    other.begin(|target| target).await;
    for (method, target) in [
        (Method::GET, format!("/ws/oauth/sign-in?transaction={one}")),
        (Method::POST, "/ws/oauth/sign-in".to_owned()),
        (Method::POST, "/ws/oauth/consent".to_owned()),
    ] {
        let got = other.send(method, &target, &format!("transaction={one}&user=ada&decision=allow")).await;
        assert_eq!((got.status, got.headers.get("location")), (400, None), "{target}");
    }
    // Nobody has signed in yet.
    assert_eq!(browser.post("/ws/oauth/consent", &format!("transaction={one}&decision=allow")).await.status, 400);
    for id in [one, two] {
        assert_eq!(browser.post("/ws/oauth/sign-in", &format!("transaction={id}&user=")).await.status, 400);
        assert_eq!(browser.post("/ws/oauth/sign-in", &format!("transaction={id}&user=ada")).await.status, 200);
        assert_eq!(browser.post("/ws/oauth/consent", &format!("transaction={id}&decision=x")).await.status, 400);
        let form = format!("transaction={id}&decision=allow");
        assert_eq!(browser.post("/ws/oauth/consent", &form).await.status, 302);
        assert_eq!(browser.post("/ws/oauth/consent", &form).await.status, 400);
    }
}

#[tokio::test(start_paused = true)]
async fn sign_in_ends_after_ten_minutes() {
    let open = OpenSignIns::default();
    let query = authorize();
    let request =
        AuthorizeRequest::check(&Options::default(), query.split_once('?').expect("a query").1).expect("good");
    let (id, cookie) = open.add(request).expect("random");
    let mut headers = HeaderMap::new();
    let line = format!("a=b; {}{id}={cookie}", open::COOKIE);
    headers.insert(COOKIE, HeaderValue::from_str(&line).expect("text"));
    assert!(open.change(&id, &headers, |open| open.user = Some("ada".to_owned())).is_some());
    tokio::time::advance(Duration::from_secs(600)).await;
    assert!(open.change(&id, &headers, |_| ()).is_none());
    assert!(open.take(&id, &headers).is_none());
}

#[tokio::test]
async fn faults_come_as_ordered_and_then_all_is_well() {
    let mut browser = Browser::open(Options::default()).await;
    let machine = "client_secret=sandbox-secret&grant_type=client_credentials&scope=monitoring";
    let code = browser.decide("allow").await.told("code").expect("a code");
    assert_eq!(browser.post("/sandbox/fault?at=token&status=503&count=2", "").await.status, 204);
    for _ in 0..2 {
        let got = browser.redeem(&code).await;
        assert_eq!((got.status, got.header("retry-after")), (503, "1"));
    }
    assert_eq!(browser.post("/sandbox/fault?at=token&status=401&error=invalid_grant", "").await.status, 204);
    let got = browser.redeem(&code).await;
    assert_eq!((got.status, got.body.as_str()), (401, r#"{"error":"invalid_grant"}"#));
    assert_eq!(browser.post("/sandbox/fault?at=token&status=0", "").await.status, 204);
    assert_eq!(browser.token(machine).await.status, 0);
    assert_eq!(browser.redeem(&code).await.status, 200);
    assert_eq!(browser.post("/sandbox/fault?at=authorize&status=302&error=server_error", "").await.status, 204);
    let told = browser.get(&authorize()).await;
    assert_eq!((told.told("error").as_deref(), told.told("state").as_deref()), (Some("server_error"), Some("x&y")));
    assert_eq!(browser.post("/sandbox/fault?at=authorize&status=429", "").await.status, 204);
    assert_eq!(browser.get(&authorize()).await.status, 429);
    assert_eq!(browser.get(&authorize()).await.status, 302);
    assert_eq!(browser.post("/sandbox/fault?at=nowhere&status=500", "").await.status, 400);
}
