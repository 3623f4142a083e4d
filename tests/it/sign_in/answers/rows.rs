//! The tables: what instances say and browsers bring, and what becomes of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use socket2::SockRef;

use crate::harness::answer;
use Answer::{Act, Hang, Made, Raw, Say};
use Ends::{Refused, SignedIn, WaitsOn};
use Step::{Browser, Pasted, Preflight, Request};

/// One sign-in.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// What the instance says to the request for its sign-in page.
    pub(super) page: Answer,
    /// How the person comes back.
    pub(super) step: Step,
    /// What the instance says to the code.
    pub(super) token: Answer,
    pub(super) ends: Ends,
}

/// One renewal of a grant.
pub(super) struct Renewal {
    pub(super) name: &'static str,
    /// What the instance says to the refresh token.
    pub(super) answer: Answer,
    pub(super) outcome: Outcome,
}

/// What an instance says; the connection ends with it.
pub(super) enum Answer {
    /// This status (and header lines) and this body.
    Say(&'static str, &'static str),
    /// These bytes.
    Raw(&'static [u8]),
    /// The bytes that this makes.
    Made(fn() -> Vec<u8>),
    /// These bytes, and nothing more for as long as the other side waits.
    Hang(&'static [u8]),
    /// Whatever this does.
    Act(fn(&mut TcpStream)),
}

/// How the person comes back. In texts, `{back}` is the redirect URI and `{host}` its host, `{state}` and `{code}` are those
/// of this sign-in, `{address}` is the address that was shown, and `{long}` is long.
pub(super) enum Step {
    /// Not at all: the command ends before it shows an address.
    Preflight,
    /// A browser opens the redirect URI with this query.
    Browser(&'static str),
    /// Something sends a request with this method, target and host.
    Request(&'static str, &'static str, &'static str),
    /// The person pastes this.
    Pasted(&'static str),
}

/// How the command ends.
pub(super) enum Ends {
    /// With exit code 1 and this in its last line, and the grant as it was.
    Refused(&'static str),
    /// Not by this, which gets this status and this on its page; then the browser comes with the code.
    WaitsOn(u16, &'static str),
    /// With another grant.
    SignedIn,
}

/// What becomes of a grant whose renewal was answered so.
pub(super) enum Outcome {
    /// The instance has ended it.
    Ended,
    /// It is as it was; the caller gets 503 with one of these codes, and this in the detail.
    Kept(&'static [&'static str], &'static str),
}

impl Answer {
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Hang(_))
    }

    /// What is said first; the other side may have had enough before all is out.
    pub(super) fn say(&self, stream: &mut TcpStream) {
        let bytes = match self {
            Say(status, body) if body.starts_with('<') => {
                answer(status, body).replace("application/json", "text/html").into_bytes()
            }
            Say(status, body) => answer(status, body).into_bytes(),
            Raw(bytes) | Hang(bytes) => bytes.to_vec(),
            Made(bytes) => bytes(),
            Act(act) => return act(stream),
        };
        let _ = stream.write_all(&bytes);
    }
}

/// The code that the instance gives.
pub(super) const CODE: &str = "scripted_code_0123456789";
/// The query of a browser that comes back with it.
pub(super) const GOOD: &str = "code={code}&state={state}";

const HTML: &str = "<html><body><p>One moment</p></body></html>";
const SHOWN: Answer = Say("200 OK", HTML);
/// What the token endpoint says to a good code.
const GRANTED: Answer = Say(
    "200 OK",
    r#"{"access_token":"scripted_token_x","token_type":"Bearer","expires_in":3600,"refresh_token":"scripted_token_after","scope":"monitoring management offline_access"}"#,
);

const fn page(name: &'static str, page: Answer, said: &'static str) -> Row {
    Row { name, page, step: Preflight, token: GRANTED, ends: Refused(said) }
}

const fn fine_page(name: &'static str, page: Answer) -> Row {
    Row { name, page, step: Browser(GOOD), token: GRANTED, ends: SignedIn }
}

const fn back(name: &'static str, step: Step, ends: Ends) -> Row {
    Row { name, page: SHOWN, step, token: GRANTED, ends }
}

const fn token(name: &'static str, token: Answer, said: &'static str) -> Row {
    Row { name, page: SHOWN, step: Browser(GOOD), token, ends: Refused(said) }
}

const fn fine_token(name: &'static str, token: Answer) -> Row {
    Row { name, page: SHOWN, step: Browser(GOOD), token, ends: SignedIn }
}

const LATER: &str = ": run the command again in some minutes";
const NOT_WHERE: &str = "is not the address where the browser ended after this sign-in";
const NOT_THIS: &str = "This address is not that of the sign-in that the command waits for.";
const NO_ENDPOINT: &str = "; check host and token-path: what answers there is not the token endpoint of NinjaOne";
const LOOK_AT_ALL: &str = "; check host and token-path, compare the app";
const NO_REFRESH: &str =
    "none to renew it: in Administration > Apps > API > Client App IDs, allow the grant type Refresh Token";
const STAYS: &str = "; run the command again; if it stays, run ninjaone-proxy doctor";

/// What the instance says to the request for its sign-in page; what takes longest comes first.
pub(super) const PAGES: &[Row] = &[
    page("silence", Hang(b""), "has not answered the request for its sign-in page within 3s: run the command again"),
    page(
        "silence in the page",
        Hang(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n<html>"),
        "has not answered the request for its sign-in page within 3s: run the command again",
    ),
    page("404", Say("404 Not Found", HTML), "an app of the platform API Services cannot sign a person in"),
    page("400", Say("400 Bad Request", HTML), "with 400 Bad Request: check client-id, redirect and scopes of the user"),
    page("403", Say("403 Forbidden", HTML), "a firewall on the way refuses the address of this machine"),
    page("405", Say("405 Method Not Allowed", ""), "with 405 Method Not Allowed: check host and token-path"),
    page("429", Say("429 Too Many Requests\r\nRetry-After: 9", ""), LATER),
    page("500", Say("500 Internal Server Error", HTML), LATER),
    page("502 without a body", Say("502 Bad Gateway", ""), LATER),
    page("503 JSON", Say("503 Service Unavailable", r#"{"error":"temporarily_unavailable"}"#), LATER),
    page(
        "101",
        Raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        "with 101 Switching Protocols: check host and token-path",
    ),
    page(
        "Invalid redirect_uri",
        Say(
            "302 Found\r\nLocation: /ws/oauth/error?error=unauthorized_client&error_description=Invalid redirect_uri",
            "",
        ),
        "register the redirect URI http://127.0.0.1:",
    ),
    page(
        "Invalid redirect_uri beside bytes that are not ASCII",
        Say(
            "302 Found\r\nLocation: /ws/oauth/error?x=\u{e9}&error=unauthorized_client&error_description=Invalid+redirect_uri",
            "",
        ),
        "register the redirect URI http://127.0.0.1:",
    ),
    page(
        "unauthorized_client",
        Say("302 Found\r\nLocation: http://127.0.0.1:1/?error=unauthorized_client&state=x", ""),
        "allow the grant types Authorization Code and Refresh Token for the app",
    ),
    page(
        "unsupported_response_type",
        Say("303 See Other\r\nLocation: /e?error=unsupported_response_type", ""),
        "allow the grant types Authorization Code and Refresh Token for the app",
    ),
    page(
        "invalid_scope",
        Say("302 Found\r\nLocation: /e?error=invalid_scope&error_description=unknown+scope", ""),
        "tick the scopes of the user for the app",
    ),
    page(
        "invalid_request",
        Say("302 Found\r\nLocation: /e?error=invalid_request", ""),
        "compare the app in Administration",
    ),
    page("access_denied", Say("302 Found\r\nLocation: /e?error=access_denied", ""), "and choose Allow"),
    page("server_error", Say("302 Found\r\nLocation: /e?error=server_error", ""), "try again in some minutes"),
    page(
        "temporarily_unavailable",
        Say("307 Temporary Redirect\r\nLocation: /e?error=temporarily_unavailable", ""),
        "try again in some minutes",
    ),
    page(
        "an empty error",
        Say("302 Found\r\nLocation: /e?error=", ""),
        "refused without an error code; compare the app",
    ),
    page(
        "an error with control characters",
        Say("302 Found\r\nLocation: /e?error=x%1b%5b31m%00&error_description=a%0d%0ab%e2%80%ae%c2%9b2J", ""),
        "compare the app in Administration",
    ),
    page(
        "a long error",
        Made(|| {
            let long = "y".repeat(30_000);
            let location = format!("302 Found\r\nLocation: /e?error={long}&error_description={long}");
            answer(&location, "").into_bytes()
        }),
        "compare the app in Administration",
    ),
    page(
        "an error in HTML",
        Say("302 Found\r\nLocation: /e?error=invalid_request&error_description=%3Cscript%3Ealert(1)%3C/script%3E", ""),
        "compare the app in Administration",
    ),
    page("302 to nowhere", Say("302 Found", ""), "with 302 Found, and does not say where that is: check host"),
    page("304", Raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"), "with 304 Not Modified, and does not say where that is"),
    page("closes at once", Raw(b""), "the connection broke before the end of the answer"),
    page("resets", Act(reset), "; check host, or run ninjaone-proxy doctor"),
    page(
        "shorter than declared",
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n<html>"),
        "the connection broke before the end of the answer",
    ),
    page("another protocol", Raw(b"SSH-2.0-OpenSSH_9.9\r\n"), "what answered did not speak HTTP"),
    page(
        "TLS",
        Raw(b"\x16\x03\x03\x00\x04\x0e\x00\x00\x00\x15\x03\x03\x00\x02\x02\x0a"),
        "speaks TLS, and was spoken to in clear text: write host with https://",
    ),
    page("a page without an end", Act(endless), "the body of the answer is larger than 1048576 bytes"),
    page("HTML that says it is gzip", Made(|| whole("Content-Encoding: gzip", HTML)), "; check host, or run"),
    fine_page("200", SHOWN),
    fine_page("200 without a body", Say("200 OK", "")),
    fine_page("401", Say("401 Unauthorized", HTML)),
    fine_page("302 to a sign-in page", Say("302 Found\r\nLocation: /login?next=%2Fws%2Foauth%2Fauthorize", "")),
    fine_page("302 to another host", Say("302 Found\r\nLocation: https://login.example.com/saml?request=x", "")),
];

/// How the person comes back.
pub(super) const BACKS: &[Row] = &[
    back("without a state", Browser("code={code}"), WaitsOn(400, NOT_THIS)),
    back("without anything", Browser(""), WaitsOn(400, NOT_THIS)),
    back("another state", Browser("code={code}&state=another"), WaitsOn(400, NOT_THIS)),
    back("an empty state", Browser("code={code}&state="), WaitsOn(400, NOT_THIS)),
    back("a state and more", Browser("code={code}&state={state}x"), WaitsOn(400, NOT_THIS)),
    back("a state twice", Browser("code={code}&state={state}&state={state}"), WaitsOn(400, NOT_THIS)),
    back("an error without a state", Browser("error=access_denied"), WaitsOn(400, NOT_THIS)),
    back(
        "access_denied",
        Browser("error=access_denied&state={state}"),
        Refused("run the command again, and choose Allow"),
    ),
    back(
        "an error and a code",
        Browser("error=server_error&code={code}&state={state}"),
        Refused("try again in some minutes"),
    ),
    back("an empty error and a code", Browser("error=&code={code}&state={state}"), Refused("without an error code")),
    back("an empty code", Browser("code=&state={state}"), Refused("came back without a code: run the command again")),
    back("no code", Browser("state={state}"), Refused("came back without a code: run the command again")),
    back("a code twice", Browser("code={code}&code={code}&state={state}"), Refused("came back without a code")),
    back(
        "an error with control characters",
        Browser("error=x%1b%5b31m&error_description=a%0Ab%00%e2%80%ae%ff&state={state}"),
        Refused("compare the app in Administration"),
    ),
    back(
        "an error in HTML",
        Browser("error=%3Cscript%3Ealert(1)%3C/script%3E&error_description=%3Cscript%3E&state={state}"),
        Refused("compare the app in Administration"),
    ),
    back(
        "a long error",
        Browser("error=invalid_request&error_description={long}&state={state}"),
        Refused("compare the app in Administration"),
    ),
    back("POST", Request("POST", "/?code={code}&state={state}", "{host}"), WaitsOn(405, "comes by GET")),
    back("DELETE", Request("DELETE", "/?code={code}&state={state}", "{host}"), WaitsOn(405, "comes by GET")),
    back(
        "another host",
        Request("GET", "/?code={code}&state={state}", "example.com"),
        WaitsOn(421, "belongs to a sign-in"),
    ),
    back("localhost", Request("GET", "/?code={code}&state={state}", "localhost"), WaitsOn(421, "belongs to a sign-in")),
    back(
        "absolute form",
        Request("GET", "http://{host}/?code={code}&state={state}", "{host}"),
        WaitsOn(421, "belongs to a sign-in"),
    ),
    back(
        "another path",
        Request("GET", "/callback?code={code}&state={state}", "{host}"),
        WaitsOn(404, "waits for the end"),
    ),
    back("an icon", Request("GET", "/favicon.ico", "{host}"), WaitsOn(404, "waits for the end")),
    back("pasted: the address", Pasted("{back}?code={code}&state={state}"), SignedIn),
    back("pasted: with space and a fragment", Pasted("\n   {back}/?state={state}&code={code}#x\r"), SignedIn),
    back("pasted: its query", Pasted("code={code}&state={state}"), SignedIn),
    back("pasted: the code alone", Pasted("{code}"), Refused(NOT_WHERE)),
    back("pasted: HTML", Pasted("<html><body>Unable to connect</body></html>"), Refused(NOT_WHERE)),
    back("pasted: the address to open", Pasted("{address}"), Refused(NOT_WHERE)),
    back("pasted: without a state", Pasted("{back}?code={code}"), Refused(NOT_WHERE)),
    back("pasted: another state", Pasted("{back}?code={code}&state=another"), Refused(NOT_WHERE)),
    back("pasted: a long line", Pasted("{long}{long}{long}{long}{long}{long}{long}{long}{long}"), Refused(NOT_WHERE)),
    back("pasted: access_denied", Pasted("{back}?error=access_denied&state={state}"), Refused("and choose Allow")),
    back("pasted: no code", Pasted("{back}?state={state}"), Refused("came back without a code: run the command again")),
    back(
        "pasted: nothing",
        Pasted(""),
        Refused("standard input ended before the address where the browser ended came"),
    ),
];

/// What the instance says to the code.
pub(super) const TOKENS: &[Row] = &[
    token("silence", Hang(b""), "did not answer in time; run the command again; if it stays, raise timeouts.token"),
    token(
        "silence in the body",
        Hang(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"acc"),
        "did not answer in time; run the command again; if it stays, raise timeouts.token",
    ),
    token(
        "400 invalid_grant",
        Say("400 Bad Request", r#"{"error":"invalid_grant"}"#),
        "used before, or is older than a minute",
    ),
    token(
        "401 invalid_grant",
        Say("401 Unauthorized", r#"{"error":"invalid_grant"}"#),
        "used before, or is older than a minute",
    ),
    token("403 invalid_grant", Say("403 Forbidden", r#"{"error":"invalid_grant"}"#), LOOK_AT_ALL),
    token(
        "400 invalid_client",
        Say("400 Bad Request", r#"{"error":"invalid_client"}"#),
        "an app of the platform Web needs client-secret",
    ),
    token(
        "401 invalid_client",
        Say("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"", r#"{"error":"invalid_client"}"#),
        "an app of the platform Web needs client-secret",
    ),
    token(
        "400 unauthorized_client",
        Say("400 Bad Request", r#"{"error":"unauthorized_client"}"#),
        "the grant type Authorization Code must be allowed",
    ),
    token(
        "400 invalid_scope",
        Say("400 Bad Request", r#"{"error":"invalid_scope"}"#),
        "tick the scopes of the user among those of the app",
    ),
    token(
        "400 unsupported_grant_type",
        Say("400 Bad Request", r#"{"error":"unsupported_grant_type"}"#),
        "allow the grant types Authorization Code and Refresh Token",
    ),
    token("400 invalid_request", Say("400 Bad Request", r#"{"error":"invalid_request"}"#), LOOK_AT_ALL),
    token(
        "400 an error with control characters",
        Say("400 Bad Request", r#"{"error":"\u001b[31m\nx\u202e"}"#),
        LOOK_AT_ALL,
    ),
    token(
        "404 Client app not exist",
        Say("404 Not Found", r#"{"resultCode":"Client app not exist"}"#),
        "check host (the region) and client-id",
    ),
    token(
        "400 without JSON",
        Say("400 Bad Request", "bad request"),
        "answered 400 Bad Request; check host and token-path",
    ),
    token("401 HTML", Say("401 Unauthorized", HTML), "answered 401 Unauthorized; check host and token-path"),
    token("403 HTML", Say("403 Forbidden", HTML), "answered 403 Forbidden; check host and token-path"),
    token("404 HTML", Say("404 Not Found", HTML), "answered 404 Not Found; check host and token-path"),
    token(
        "429 Retry-After: 7",
        Say("429 Too Many Requests\r\nRetry-After: 7", ""),
        "; run the command again after 7 s",
    ),
    token("429", Say("429 Too Many Requests", ""), "; run the command again in some minutes"),
    token("500", Say("500 Internal Server Error", HTML), "; run the command again in some minutes"),
    token(
        "500 invalid_grant",
        Say("500 Internal Server Error", r#"{"error":"invalid_grant"}"#),
        "; run the command again in some minutes",
    ),
    token(
        "503 Retry-After: 1",
        Say("503 Service Unavailable\r\nRetry-After: 1", ""),
        "; run the command again after 1 s",
    ),
    token("302", Say("302 Found\r\nLocation: /login", ""), "answered 302 Found; check host and token-path"),
    token("200 HTML", Say("200 OK", HTML), NO_ENDPOINT),
    token("200 without a body", Say("200 OK", ""), NO_ENDPOINT),
    token("200 an error", Say("200 OK", r#"{"error":"invalid_grant"}"#), NO_ENDPOINT),
    token(
        "200 cut short",
        Say("200 OK", r#"{"access_token":"scripted_token_x","token_type":"Bearer","refresh_to"#),
        NO_ENDPOINT,
    ),
    token(
        "200 without access_token",
        Say("200 OK", r#"{"token_type":"Bearer","refresh_token":"scripted_token_r"}"#),
        "it is not the JSON of a grant",
    ),
    token(
        "200 access_token with a line end",
        Say(
            "200 OK",
            r#"{"access_token":"scripted_token_\r\nX: y","token_type":"Bearer","refresh_token":"scripted_token_r"}"#,
        ),
        "its access_token is empty or has characters that no token has",
    ),
    token(
        "200 token_type mac",
        Say("200 OK", r#"{"access_token":"scripted_token_x","token_type":"mac","refresh_token":"scripted_token_r"}"#),
        "its token_type is not Bearer",
    ),
    token(
        "200 without refresh_token",
        Say("200 OK", r#"{"access_token":"scripted_token_x","token_type":"Bearer"}"#),
        NO_REFRESH,
    ),
    token(
        "200 refresh_token empty",
        Say("200 OK", r#"{"access_token":"scripted_token_x","token_type":"Bearer","refresh_token":""}"#),
        NO_REFRESH,
    ),
    token(
        "200 refresh_token null",
        Say("200 OK", r#"{"access_token":"scripted_token_x","token_type":"Bearer","refresh_token":null}"#),
        NO_REFRESH,
    ),
    token(
        "200 refresh_token a number",
        Say("200 OK", r#"{"access_token":"scripted_token_x","token_type":"Bearer","refresh_token":7}"#),
        "it is not the JSON of a grant",
    ),
    token(
        "200 refresh_token with a line end",
        Say(
            "200 OK",
            r#"{"access_token":"scripted_token_x","token_type":"Bearer","refresh_token":"scripted_token_r\nx"}"#,
        ),
        "its refresh_token has characters that no token has",
    ),
    token(
        "200 refresh_token with an escape",
        Say(
            "200 OK",
            r#"{"access_token":"scripted_token_x","token_type":"Bearer","refresh_token":"scripted_token_\u001b[31m"}"#,
        ),
        "its refresh_token has characters that no token has",
    ),
    token("200 shorter than declared", Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"access_token\":"), STAYS),
    token(
        "200 two lengths",
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} "),
        "did not speak HTTP",
    ),
    token("200 that says it is gzip", Made(|| whole("Content-Encoding: gzip", HTML)), STAYS),
    token("closes at once", Raw(b""), "the connection broke before the end of the answer"),
    token("resets", Act(reset), STAYS),
    token("another protocol", Raw(b"SSH-2.0-OpenSSH_9.9\r\n"), "what answered did not speak HTTP"),
    token("a body without an end", Act(endless), "the body of the answer is larger than 65536 bytes"),
    fine_token("through gzip", Raw(GZIP)),
    fine_token("expires_in 0", Made(|| granted(r#","expires_in":0"#, "scripted_token_r"))),
    fine_token("expires_in negative", Made(|| granted(r#","expires_in":-3600"#, "scripted_token_r"))),
    fine_token("expires_in a word", Made(|| granted(r#","expires_in":"soon""#, "scripted_token_r"))),
    fine_token("scope with an escape", Made(|| granted(r#","scope":"monitoring \u001b[31m""#, "scripted_token_r"))),
    fine_token("refresh_token of 65,400 bytes", Made(|| granted("", &"r".repeat(65_400)))),
];

const UNAVAILABLE: &[&str] = &["token-unavailable"];
/// The caller may also be told that its own time has ended.
const LATE: &[&str] = &["token-unavailable", "token-timeout"];
const REFUSED: &[&str] = &["token-client-refused"];

const fn ends(name: &'static str, answer: Answer) -> Renewal {
    Renewal { name, answer, outcome: Outcome::Ended }
}

const fn keeps(name: &'static str, codes: &'static [&'static str], answer: Answer, said: &'static str) -> Renewal {
    Renewal { name, answer, outcome: Outcome::Kept(codes, said) }
}

/// What the instance says to the refresh token; what takes longest comes first.
pub(super) const RENEWALS: &[Renewal] = &[
    keeps("silence", LATE, Hang(b""), "Cannot get a token"),
    keeps(
        "400 invalid_client",
        REFUSED,
        Say("400 Bad Request", r#"{"error":"invalid_client"}"#),
        "Check client-id and client-secret of this user",
    ),
    keeps(
        "401 unauthorized_client",
        REFUSED,
        Say("401 Unauthorized", r#"{"error":"unauthorized_client"}"#),
        "Check client-id and client-secret of this user",
    ),
    keeps(
        "400 invalid_scope",
        &["token-scope-refused"],
        Say("400 Bad Request", r#"{"error":"invalid_scope"}"#),
        "one of the scopes of this user",
    ),
    ends("400 invalid_grant", Say("400 Bad Request", r#"{"error":"invalid_grant"}"#)),
    ends("401 invalid_grant", Say("401 Unauthorized", r#"{"error":"invalid_grant"}"#)),
    ends(
        "400 invalid_grant with a description",
        Say(
            "400 Bad Request",
            r#"{"error":"invalid_grant","error_description":"scripted_token_before \u001b[31m was revoked"}"#,
        ),
    ),
    keeps("403 invalid_grant", UNAVAILABLE, Say("403 Forbidden", r#"{"error":"invalid_grant"}"#), "answered 403"),
    keeps(
        "500 invalid_grant",
        UNAVAILABLE,
        Say("500 Internal Server Error", r#"{"error":"invalid_grant"}"#),
        "answered 500",
    ),
    keeps(
        "429 invalid_grant",
        UNAVAILABLE,
        Say("429 Too Many Requests", r#"{"error":"invalid_grant"}"#),
        "answered 429",
    ),
    keeps(
        "200 invalid_grant",
        UNAVAILABLE,
        Say("200 OK", r#"{"error":"invalid_grant"}"#),
        "it is not the JSON of a grant",
    ),
    keeps("400 Invalid_Grant", UNAVAILABLE, Say("400 Bad Request", r#"{"error":"Invalid_Grant"}"#), "answered 400"),
    keeps("400 invalid_grant without JSON", UNAVAILABLE, Say("400 Bad Request", "invalid_grant"), "answered 400"),
    keeps("400 invalid_request", UNAVAILABLE, Say("400 Bad Request", r#"{"error":"invalid_request"}"#), "answered 400"),
    keeps("400 HTML", UNAVAILABLE, Say("400 Bad Request", HTML), "answered 400"),
    keeps("401 HTML", UNAVAILABLE, Say("401 Unauthorized", HTML), "answered 401"),
    keeps("429 Retry-After: 1", UNAVAILABLE, Say("429 Too Many Requests\r\nRetry-After: 1", ""), "answered 429"),
    keeps("503", UNAVAILABLE, Say("503 Service Unavailable", ""), "answered 503"),
    keeps("302", UNAVAILABLE, Say("302 Found\r\nLocation: /login", ""), "answered 302"),
    keeps("404 HTML", UNAVAILABLE, Say("404 Not Found", HTML), "Check token-path and host"),
    keeps("200 HTML", UNAVAILABLE, Say("200 OK", HTML), "it is not the JSON of a grant"),
    keeps(
        "200 refresh_token with a line end",
        UNAVAILABLE,
        Made(|| granted("", "scripted_token_\\n")),
        "its refresh_token has characters that no token has",
    ),
    keeps("closes at once", UNAVAILABLE, Raw(b""), "broke the connection off"),
    keeps("another protocol", UNAVAILABLE, Raw(b"SSH-2.0-OpenSSH_9.9\r\n"), "does not speak HTTP"),
    keeps("a body without an end", UNAVAILABLE, Act(endless), "cannot be read"),
];

/// A grant with this member and this refresh token.
fn granted(member: &str, refresh_token: &str) -> Vec<u8> {
    let token = r#""access_token":"scripted_token_x","token_type":"Bearer""#;
    answer("200 OK", &format!(r#"{{{token},"refresh_token":"{refresh_token}"{member}}}"#)).into_bytes()
}

/// 200 with this header line and body.
fn whole(line: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{line}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A good grant with a refresh token, through gzip.
const GZIP: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\
    Content-Length: 95\r\n\r\n\
    \x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x4a\x4c\x4e\x4e\x2d\x2e\x8e\x2f\xc9\xcf\
    \x4e\xcd\x53\xb2\x52\x2a\x4e\x2e\xca\x2c\x28\x49\x4d\x81\x08\xc4\x57\x28\xe9\x28\x41\x58\
    \x25\x95\x05\xa9\x40\x79\xa7\xd4\xc4\xa2\xd4\x22\xa0\x68\x6a\x45\x41\x66\x51\x6a\x71\x7c\
    \x26\x50\x97\xb1\x99\x81\x81\x8e\x52\x51\x6a\x1a\x50\x20\x03\x97\x51\x45\x4a\xb5\x00\xca\
    \x23\x25\x1c\x6e\x00\x00\x00";

fn reset(stream: &mut TcpStream) {
    SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).expect("no lingering");
}

/// A body for as long as the other side takes it.
fn endless(stream: &mut TcpStream) {
    let mut fine = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").is_ok();
    while fine {
        fine = stream.write_all(&[b' '; 65536]).is_ok();
    }
}

/// Until the other side goes.
pub(super) fn hang(stream: &mut TcpStream) {
    let _ = stream.read(&mut [0]);
}
