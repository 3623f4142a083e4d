//! The table of token servers: what each of them does, and what the proxy must make of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use socket2::SockRef;

use crate::harness::answer;
use Deed::{Act, Grant, Made, Raw, Redirect, Say};

/// One kind of token server.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) deed: Deed,
    pub(super) outcome: Outcome,
}

/// What a token server does with a request; all but `Say` and `Grant` then close the connection.
pub(super) enum Deed {
    /// Answers with this status (and header lines) and this body.
    Say(&'static str, &'static str),
    /// Grants, with this member beside the token and its type.
    Grant(&'static str),
    /// Sends the request elsewhere with this status.
    Redirect(&'static str),
    /// Sends these bytes.
    Raw(&'static [u8]),
    /// Sends the bytes that this makes.
    Made(fn() -> Vec<u8>),
    /// Does this.
    Act(fn(&mut TcpStream)),
}

/// What the proxy must make of a token server.
pub(super) enum Outcome {
    /// A token, used for as long as it lives.
    Granted,
    /// 503 with one of these codes, and token requests at this pace.
    Failure { codes: &'static [&'static str], pace: Pace },
}

/// How often a token server that fails may be asked.
#[derive(Clone, Copy)]
pub(super) enum Pace {
    /// After 0.5 s, doubling up to 8 s.
    Backoff,
    /// Not before this many seconds: the server asks for them.
    RetryAfter(u64),
    /// Every 5 s: a person must do something, and callers ask.
    Mend,
    /// Longer than the test looks.
    Silence,
}

impl Pace {
    /// The shortest wait after so many failures in a row (from 1).
    pub(super) fn wait(self, failures: usize) -> Duration {
        let doubled = 2_u32.pow(failures.min(5) as u32 - 1);
        match self {
            Self::Backoff => (Duration::from_millis(500) * doubled).min(Duration::from_secs(8)).mul_f64(0.75),
            Self::RetryAfter(seconds) => Duration::from_secs(seconds),
            Self::Mend => Duration::from_secs(5),
            Self::Silence => Duration::from_secs(90),
        }
    }

    /// How soon after the server's recovery callers must be served; `None` if that is not waited for.
    pub(super) fn recovery(self) -> Option<Duration> {
        match self {
            Self::Backoff | Self::RetryAfter(_) | Self::Mend => Some(Duration::from_secs(10)),
            Self::Silence => None,
        }
    }
}

impl Deed {
    /// Does it; `elsewhere` is where redirects point to. Tells whether the connection is to be closed.
    pub(super) fn perform(&self, stream: &mut TcpStream, elsewhere: SocketAddr) -> bool {
        let bytes = match self {
            Say(status, body) if body.starts_with('<') => {
                answer(status, body).replace("application/json", "text/html").into_bytes()
            }
            Say(status, body) => answer(status, body).into_bytes(),
            Grant(member) => answer("200 OK", &format!(r#"{{{TOKEN},"token_type":"Bearer",{member}}}"#)).into_bytes(),
            Redirect(status) => {
                answer(&format!("{status}\r\nLocation: http://{elsewhere}/ws/oauth/token"), "{}").into_bytes()
            }
            Raw(bytes) => bytes.to_vec(),
            Made(bytes) => bytes(),
            Act(act) => {
                act(stream);
                return true;
            }
        };
        // The proxy may have had enough before all is out.
        let _ = stream.write_all(&bytes);
        !matches!(self, Say(..) | Grant(_))
    }
}

impl Outcome {
    /// Whether the callers' patience may end before the token request does.
    pub(super) fn stalls(&self) -> bool {
        matches!(self, Self::Failure { codes, .. } if codes.contains(&"token-timeout"))
    }
}

const fn granted(name: &'static str, deed: Deed) -> Row {
    Row { name, deed, outcome: Outcome::Granted }
}

const fn fails(name: &'static str, deed: Deed) -> Row {
    paced(name, Pace::Backoff, deed)
}

const fn paced(name: &'static str, pace: Pace, deed: Deed) -> Row {
    Row { name, deed, outcome: Outcome::Failure { codes: &["token-unavailable"], pace } }
}

/// The caller may also be told that his own patience has ended.
const fn stalls(name: &'static str, deed: Deed) -> Row {
    let codes = &["token-unavailable", "token-timeout"];
    Row { name, deed, outcome: Outcome::Failure { codes, pace: Pace::Backoff } }
}

const fn to_mend(name: &'static str, codes: &'static [&'static str], deed: Deed) -> Row {
    Row { name, deed, outcome: Outcome::Failure { codes, pace: Pace::Mend } }
}

const TOKEN: &str = r#""access_token":"scripted_token_x""#;
/// A grant as it should be.
const GRANT: &str = r#"{"access_token":"scripted_token_x","token_type":"Bearer","expires_in":3600}"#;
/// The same through gzip.
const GZIP: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\
    Content-Length: 83\r\n\r\n\
    \x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x4a\x4c\x4e\x4e\x2d\x2e\x8e\x2f\xc9\xcf\x4e\xcd\x53\xb2\x52\
    \x2a\x4e\x2e\xca\x2c\x28\x49\x4d\x81\x08\xc4\x57\x28\xe9\x28\x41\x58\x25\x95\x05\xa9\x40\x79\xa7\xd4\xc4\xa2\
    \xd4\x22\xa0\x68\x6a\x45\x41\x66\x51\x6a\x71\x7c\x26\x50\x97\xb1\x99\x81\x41\x2d\x00\xc5\xff\xe2\x37\x4b\x00\
    \x00\x00";
const BUSY: &str = "<html><body>busy</body></html>";

/// All of them; those who take longest come first.
pub(super) const ROWS: &[Row] = &[
    // What a person must mend.
    to_mend("400 invalid_client", REFUSED, Say("400 Bad Request", r#"{"error":"invalid_client"}"#)),
    to_mend(
        "401 invalid_client",
        REFUSED,
        Say("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"", r#"{"error":"invalid_client"}"#),
    ),
    to_mend("400 unauthorized_client", REFUSED, Say("400 Bad Request", r#"{"error":"unauthorized_client"}"#)),
    to_mend("400 invalid_scope", &["token-scope-refused"], Say("400 Bad Request", r#"{"error":"invalid_scope"}"#)),
    to_mend(
        "404 Client app not exist",
        &["token-client-unknown"],
        Say("404 Not Found", r#"{"resultCode":"Client app not exist"}"#),
    ),
    // Statuses.
    fails("400 invalid_request", Say("400 Bad Request", r#"{"error":"invalid_request"}"#)),
    fails("400 unsupported_grant_type", Say("400 Bad Request", r#"{"error":"unsupported_grant_type"}"#)),
    fails("400 error is a number", Say("400 Bad Request", r#"{"error":400}"#)),
    fails("401 empty", Say("401 Unauthorized", "")),
    fails("403 HTML", Say("403 Forbidden", BUSY)),
    fails("404 HTML", Say("404 Not Found", BUSY)),
    fails("405", Say("405 Method Not Allowed\r\nAllow: GET", "")),
    fails("408", Say("408 Request Timeout", "")),
    fails("429", Say("429 Too Many Requests", "")),
    paced("429 Retry-After: 2", Pace::RetryAfter(2), Say("429 Too Many Requests\r\nRetry-After: 2", "")),
    paced("429 Retry-After: a date in 3 s", Pace::RetryAfter(2), Made(|| retry_at(3))),
    fails("429 Retry-After: a date long ago", Made(|| retry_at(-1_000_000_000))),
    fails("429 Retry-After: soon", Say("429 Too Many Requests\r\nRetry-After: soon", "")),
    fails("429 Retry-After: 0", Say("429 Too Many Requests\r\nRetry-After: 0", "")),
    fails("429 Retry-After: -1", Say("429 Too Many Requests\r\nRetry-After: -1", "")),
    paced("429 Retry-After: 99999", Pace::Silence, Say("429 Too Many Requests\r\nRetry-After: 99999", "")),
    fails("500", Say("500 Internal Server Error", r#"{"error":"server_error"}"#)),
    fails("501", Say("501 Not Implemented", "")),
    fails("502 HTML", Say("502 Bad Gateway", BUSY)),
    paced("503 Retry-After: 1", Pace::RetryAfter(1), Say("503 Service Unavailable\r\nRetry-After: 1", "")),
    fails("504", Say("504 Gateway Timeout", "")),
    fails("503 with a grant", Say("503 Service Unavailable", GRANT)),
    fails("301 elsewhere", Redirect("301 Moved Permanently")),
    fails("302 elsewhere", Redirect("302 Found")),
    fails("303 elsewhere", Redirect("303 See Other")),
    fails("307 elsewhere", Redirect("307 Temporary Redirect")),
    fails("308 elsewhere", Redirect("308 Permanent Redirect")),
    fails(
        "101 Switching Protocols",
        Raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    ),
    fails("204", Raw(b"HTTP/1.1 204 No Content\r\n\r\n")),
    fails("206 with a grant", Say("206 Partial Content", GRANT)),
    // 200 with a body that is no grant.
    fails("200 empty, to the close", Raw(b"HTTP/1.1 200 OK\r\n\r\n")),
    fails("200 empty JSON", Say("200 OK", "")),
    fails("200 HTML", Say("200 OK", BUSY)),
    fails("200 null", Say("200 OK", "null")),
    fails("200 an array", Say("200 OK", "[]")),
    fails("200 an array of a grant's values", Say("200 OK", r#"["scripted_token_x","Bearer",3600]"#)),
    fails("200 an error object", Say("200 OK", r#"{"error":"invalid_client","error_description":"x"}"#)),
    fails("200 form-encoded", Say("200 OK", "access_token=scripted_token_x&token_type=bearer&expires_in=3600")),
    fails(
        "200 shorter than declared",
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"access_token\":\"scripted_token_x\""),
    ),
    fails("200 a grant shorter than declared", Made(|| whole("Content-Length: 500", GRANT))),
    fails(
        "200 a truncated chunk",
        Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n{\"access_token\":"),
    ),
    fails("200 chunks without an end", Made(|| whole("Transfer-Encoding: chunked", &format!("4b\r\n{GRANT}\r\n")))),
    fails("200 a bad chunk size", Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n")),
    fails("200 br", Made(|| whole("Content-Encoding: br\r\nContent-Length: 75", GRANT))),
    fails("200 gzip that is not", Made(|| whole("Content-Encoding: gzip\r\nContent-Length: 75", GRANT))),
    fails(
        "200 with a byte order mark of UTF-16",
        Made(|| {
            let text: Vec<u8> = format!("\u{feff}{GRANT}").encode_utf16().flat_map(u16::to_le_bytes).collect();
            [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len()).into_bytes(), text].concat()
        }),
    ),
    fails(
        "200 invalid UTF-8",
        Raw(
            b"HTTP/1.1 200 OK\r\nContent-Length: 45\r\n\r\n{\"access_token\":\"\xff\xfe\",\"token_type\":\"Bearer\"}  ",
        ),
    ),
    fails("200 a grant and more", Made(|| answer("200 OK", &format!("{GRANT}{GRANT}")).into_bytes())),
    fails("200 100,000 brackets", Made(|| answer("200 OK", &"[".repeat(100_000)).into_bytes())),
    fails("200 30,000 brackets", Made(|| answer("200 OK", &"[".repeat(30_000)).into_bytes())),
    fails(
        "200 expires_in in 20,000 brackets",
        Made(|| {
            let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
            answer("200 OK", &format!(r#"{{{TOKEN},"token_type":"Bearer","expires_in":{deep}}}"#)).into_bytes()
        }),
    ),
    fails("200 a key twice", Grant(r#""access_token":"scripted_token_y""#)),
    // 200 with an access token or a type that cannot be used.
    fails("access_token missing", Say("200 OK", r#"{"token_type":"Bearer","expires_in":3600}"#)),
    fails("access_token empty", Say("200 OK", r#"{"access_token":"","token_type":"Bearer"}"#)),
    fails("access_token null", Say("200 OK", r#"{"access_token":null,"token_type":"Bearer"}"#)),
    fails("access_token a number", Say("200 OK", r#"{"access_token":12345,"token_type":"Bearer"}"#)),
    fails("access_token with a space", Say("200 OK", r#"{"access_token":"scripted_token_ x","token_type":"Bearer"}"#)),
    fails(
        "access_token with CR LF",
        Say("200 OK", r#"{"access_token":"scripted_token_\r\nX: y","token_type":"Bearer"}"#),
    ),
    fails("access_token with NUL", Say("200 OK", r#"{"access_token":"scripted_token_\u0000","token_type":"Bearer"}"#)),
    fails("access_token not ASCII", Say("200 OK", r#"{"access_token":"scripted_token_é","token_type":"Bearer"}"#)),
    fails("access_token of 1 MiB", Made(|| long_token(1 << 20))),
    fails("token_type missing", Say("200 OK", r#"{"access_token":"scripted_token_x","expires_in":3600}"#)),
    fails("token_type mac", Say("200 OK", r#"{"access_token":"scripted_token_x","token_type":"mac"}"#)),
    fails("token_type a number", Say("200 OK", r#"{"access_token":"scripted_token_x","token_type":1}"#)),
    // What is too large, or no HTTP.
    stalls(
        "body of 64 MiB",
        Act(|stream| {
            endless(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n", &[b' '; 65536], 1024);
        }),
    ),
    stalls("endless body", Act(|stream| endless(stream, b"HTTP/1.1 200 OK\r\n\r\n", &[b' '; 65536], usize::MAX))),
    stalls(
        "endless chunks",
        Act(|stream| {
            endless(
                stream,
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"10\r\n                \r\n",
                usize::MAX,
            );
        }),
    ),
    stalls("endless head", Act(|stream| endless(stream, b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n", usize::MAX))),
    stalls(
        "endless 100 Continue",
        Act(|stream| {
            while stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
        }),
    ),
    fails("header of 1 MiB", Made(|| whole(&format!("X-Long: {}\r\nContent-Length: 75", "x".repeat(1 << 20)), GRANT))),
    fails(
        "10,000 header lines",
        Made(|| whole(&format!("{}Content-Length: 75", "X-One: 1\r\n".repeat(10_000)), GRANT)),
    ),
    fails("two lengths", Made(|| whole("Content-Length: 75\r\nContent-Length: 74", GRANT))),
    fails("a negative length", Made(|| whole("Content-Length: -75", GRANT))),
    fails("HTTP/0.9", Raw(GRANT.as_bytes())),
    fails("a status line without a status", Raw(b"HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\n{}")),
    fails("HTTP/3.0", Raw(b"HTTP/3.0 200 OK\r\nContent-Length: 2\r\n\r\n{}")),
    fails("another protocol", Raw(b"SSH-2.0-OpenSSH_9.9\r\n")),
    fails("TLS on a plain port", Raw(b"\x16\x03\x03\x00\x04\x0e\x00\x00\x00\x15\x03\x03\x00\x02\x02\x0a")),
    // No answer, or not in time.
    fails("closes at once", Raw(b"")),
    fails("resets", Act(reset)),
    fails(
        "resets after the head",
        Act(|stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 75\r\n\r\n");
            reset(stream);
        }),
    ),
    stalls("hangs before the head", Act(hang)),
    stalls("hangs in the head", Act(|stream| say_and_hang(stream, "HTTP/1.1 200 OK\r\nContent-Le"))),
    stalls("hangs after 100 Continue", Act(|stream| say_and_hang(stream, "HTTP/1.1 100 Continue\r\n\r\n"))),
    stalls("hangs after the head", Act(|stream| say_and_hang(stream, "HTTP/1.1 200 OK\r\nContent-Length: 75\r\n\r\n"))),
    stalls(
        "hangs in the body",
        Act(|stream| say_and_hang(stream, "HTTP/1.1 200 OK\r\nContent-Length: 75\r\n\r\n{\"acc")),
    ),
    stalls(
        "dribbles",
        Act(|stream| {
            for byte in answer("200 OK", GRANT).as_bytes() {
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(200));
            }
        }),
    ),
    // Odd, but a grant.
    granted("a grant", Say("200 OK", GRANT)),
    granted("201 with a grant", Say("201 Created", GRANT)),
    granted("203 with a grant", Say("203 Non-Authoritative Information", GRANT)),
    granted("through gzip", Raw(GZIP)),
    granted("with a byte order mark", Made(|| answer("200 OK", &format!("\u{feff}{GRANT}")).into_bytes())),
    granted("1,000 header lines", Made(|| whole(&format!("{}Content-Length: 75", "X-One: 1\r\n".repeat(1000)), GRANT))),
    granted(
        "a header of 60,000 bytes",
        Made(|| whole(&format!("X-Long: {}\r\nContent-Length: 75", "x".repeat(60_000)), GRANT)),
    ),
    granted("expires_in a string", Grant(r#""expires_in":"3600""#)),
    granted("expires_in a float", Grant(r#""expires_in":3599.9"#)),
    granted("expires_in missing", Grant(r#""scope":"monitoring""#)),
    granted("expires_in null", Grant(r#""expires_in":null"#)),
    granted("expires_in 0", Grant(r#""expires_in":0"#)),
    granted("expires_in 0.001", Grant(r#""expires_in":0.001"#)),
    granted("expires_in \"0.2\"", Grant(r#""expires_in":"0.2""#)),
    granted("expires_in negative", Grant(r#""expires_in":-3600"#)),
    granted("expires_in huge", Grant(r#""expires_in":1e300"#)),
    granted("expires_in of 30 digits", Grant(r#""expires_in":999999999999999999999999999999"#)),
    granted("expires_in \"inf\"", Grant(r#""expires_in":"inf""#)),
    granted("expires_in an array", Grant(r#""expires_in":[3600]"#)),
    granted("expires_in an object", Grant(r#""expires_in":{"seconds":3600}"#)),
    granted("expires_in true", Grant(r#""expires_in":true"#)),
    granted("token_type bearer", Say("200 OK", r#"{"access_token":"scripted_token_x","token_type":"bearer"}"#)),
    granted("token_type BEARER", Say("200 OK", r#"{"access_token":"scripted_token_x","token_type":"BEARER"}"#)),
    granted("access_token of 8 KiB", Made(|| long_token(8 << 10))),
    granted("more members", Grant(r#""expires_in":3600,"x":{"y":[1,null]},"id_token":"z","error":null"#)),
    granted("a refresh token", Grant(r#""expires_in":3600,"refresh_token":"scripted_token_r""#)),
    granted("another scope", Grant(r#""expires_in":3600,"scope":"control offline_access""#)),
    granted("scope null", Grant(r#""expires_in":3600,"scope":null"#)),
    granted("white space around", Made(|| answer("200 OK", &format!("\r\n\t {GRANT} \n")).into_bytes())),
    granted("no Content-Type", Made(|| whole("Content-Length: 75", GRANT))),
    granted("HTML by its type", Made(|| whole("Content-Type: text/html\r\nContent-Length: 75", GRANT))),
    granted("the same length twice", Made(|| whole("Content-Length: 75\r\nContent-Length: 75", GRANT))),
    granted(
        "in chunks",
        Made(|| {
            let (one, two) = GRANT.split_at(20);
            whole(
                "Transfer-Encoding: chunked",
                &format!("14;x=y\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\nX: y\r\n\r\n", two.len()),
            )
        }),
    ),
    granted("to the close", Made(|| whole("Connection: close", GRANT))),
    granted("HTTP/1.0", Made(|| format!("HTTP/1.0 200 OK\r\n\r\n{GRANT}").into_bytes())),
    granted(
        "after 100 and 103",
        Made(|| {
            let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
            format!("{early}{}", answer("200 OK", GRANT)).into_bytes()
        }),
    ),
    granted(
        "in small pieces, in time",
        Act(|stream| {
            for piece in answer("200 OK", GRANT).as_bytes().chunks(10) {
                let _ = stream.write_all(piece);
                thread::sleep(Duration::from_millis(5));
            }
        }),
    ),
];

const REFUSED: &[&str] = &["token-client-refused"];

/// 200 with these header lines and bytes.
fn whole(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").into_bytes()
}

fn long_token(length: usize) -> Vec<u8> {
    let body = format!(r#"{{"access_token":"scripted_token_{}","token_type":"Bearer"}}"#, "x".repeat(length));
    answer("200 OK", &body).into_bytes()
}

/// 429 with a date so many seconds from now (RFC 9110 section 5.6.7), cut to a whole second.
fn retry_at(seconds: i64) -> Vec<u8> {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // Good until 2100.
    let leap = |year: u64| year.is_multiple_of(4);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs();
    let then = now.saturating_add_signed(seconds);
    let (days, second) = (then / 86_400, then % 86_400);
    let (mut year, mut month, mut day) = (1970, 0, days);
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let (weekday, month) = (DAYS[(days % 7) as usize], MONTHS[month]);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let date = format!("{weekday}, {:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT", day + 1);
    answer(&format!("429 Too Many Requests\r\nRetry-After: {date}"), "").into_bytes()
}

/// `start`, and then `more` as often as the proxy takes it.
fn endless(stream: &mut TcpStream, start: &[u8], more: &[u8], times: usize) {
    let mut fine = stream.write_all(start).is_ok();
    for _ in 0..times {
        fine = fine && stream.write_all(more).is_ok();
        if !fine {
            return;
        }
    }
}

fn reset(stream: &mut TcpStream) {
    SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).expect("no lingering");
}

fn say_and_hang(stream: &mut TcpStream, text: &str) {
    let _ = stream.write_all(text.as_bytes());
    hang(stream);
}

/// Until the proxy goes.
fn hang(stream: &mut TcpStream) {
    let _ = stream.read(&mut [0]);
}
