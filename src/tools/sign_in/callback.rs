//! The loopback listener that the browser comes back to (RFC 8252 section 7.3).
//!
//! Only a `GET` of the redirect URI with the exact `state` ends it. Everything else that browsers and scanners send,
//! favicons, other paths, idle connections opened in advance, is answered or left alone while it waits on.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, REFERRER_POLICY,
};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use maud::{DOCTYPE, Markup, html};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::authorization::{Authorization, AuthorizeError};
use crate::base::secret::Secret;
use crate::config::redirect_uri::RedirectUri;

/// For a head: what is idle for longer is closed.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How many connections are served at a time; the others wait.
const CONNECTIONS: usize = 64;
/// The port in an address whose browser nobody waits for: the person pastes where it ended.
pub const PASTED_PORT: u16 = 1;

/// A bound listener.
pub struct CallbackListener {
    sockets: Vec<TcpListener>,
    port: u16,
}

/// What came back, and who is to be told what became of it.
pub struct Callback {
    pub(super) result: Result<Secret, AuthorizeError>,
    pub(super) reply: Option<Reply>,
}

/// The browser that waits for the page.
pub struct Reply {
    outcome: oneshot::Sender<SignInOutcome>,
    sent: oneshot::Receiver<()>,
}

/// What became of a sign-in.
#[derive(Debug)]
pub enum SignInOutcome {
    /// It is done.
    SignedIn,
    /// It is not, and why.
    Failed(String),
}

impl Reply {
    /// Shows the page, and waits a moment until it is on its way.
    pub(super) async fn send(self, outcome: SignInOutcome) {
        if self.outcome.send(outcome).is_ok() {
            let _ = tokio::time::timeout(Duration::from_secs(2), self.sent).await;
        }
    }
}

impl Callback {
    /// That of an address that the person pasted; `None` if it is not of this sign-in.
    pub fn pasted(text: &str, authorization: &Authorization) -> Option<Self> {
        // It has the state too, but nobody has signed in there yet.
        if text.trim() == authorization.address() {
            return None;
        }
        let query = text.trim().split_once('?').map_or(text.trim(), |(_, query)| query);
        let query = query.split('#').next().unwrap_or_default();
        Some(Self { result: authorization.read(query)?, reply: None })
    }
}

impl CallbackListener {
    /// Binds what the redirect URI names: `localhost` is either address, as browsers take either.
    pub async fn bind(redirect: &RedirectUri) -> io::Result<Self> {
        let port = redirect.port();
        let mut sockets = Vec::new();
        for address in redirect.addresses() {
            match TcpListener::bind(SocketAddr::new(*address, port)).await {
                Ok(socket) => sockets.push(socket),
                // A machine without IPv6.
                Err(error) if !sockets.is_empty() && error.kind() == io::ErrorKind::AddrNotAvailable => {}
                Err(error) => return Err(error),
            }
        }
        let port = sockets.first().map_or(Ok(port), |socket| socket.local_addr().map(|address| address.port()))?;
        Ok(Self { sockets, port })
    }

    /// The port that was bound.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Serves until the browser comes back. The connection that brought it is answered by [`Reply`].
    pub(super) async fn wait(self, authorization: &Authorization) -> Callback {
        let uri: Uri = authorization.redirect_uri().parse().unwrap_or_default();
        let host = uri.authority().map_or_else(String::new, ToString::to_string);
        let expected = Rc::new(ExpectedRequest { host, path: uri.path().to_owned() });
        let slots = Rc::new(Semaphore::new(CONNECTIONS));
        let (ask, mut asked) = mpsc::channel(CONNECTIONS);
        // They end with this; the connections that are there do not.
        let mut accepting = JoinSet::new();
        for socket in self.sockets {
            accepting.spawn_local(accept(socket, Rc::clone(&expected), Rc::clone(&slots), ask.clone()));
        }
        loop {
            let Some(Question { query, answer }) = asked.recv().await else { return std::future::pending().await };
            let Some(result) = authorization.read(&query) else {
                let _ = answer.send(None);
                continue;
            };
            let (outcome, page) = oneshot::channel();
            let (on_its_way, sent) = oneshot::channel();
            // A browser that has gone meanwhile has brought what is needed.
            let _ = answer.send(Some(LastPage { page, on_its_way }));
            return Callback { result, reply: Some(Reply { outcome, sent }) };
        }
    }
}

/// What a request brought, and who waits to be told whether it is of this sign-in.
struct Question {
    query: String,
    answer: oneshot::Sender<Option<LastPage>>,
}

/// What the page that ends a sign-in waits for.
struct LastPage {
    page: oneshot::Receiver<SignInOutcome>,
    on_its_way: oneshot::Sender<()>,
}

/// What a request for the redirect URI looks like.
struct ExpectedRequest {
    host: String,
    path: String,
}

async fn accept(socket: TcpListener, expected: Rc<ExpectedRequest>, slots: Rc<Semaphore>, ask: mpsc::Sender<Question>) {
    loop {
        let Ok(slot) = slots.acquire().await else { return };
        slot.forget();
        match socket.accept().await {
            Ok((stream, _)) => {
                let (expected, slots, ask) = (Rc::clone(&expected), Rc::clone(&slots), ask.clone());
                tokio::task::spawn_local(async move {
                    serve(stream, &expected, &ask).await;
                    slots.add_permits(1);
                });
            }
            Err(_) => {
                slots.add_permits(1);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, expected: &ExpectedRequest, ask: &mpsc::Sender<Question>) {
    let service =
        service_fn(
            |request: Request<Incoming>| async move { Ok::<_, Infallible>(answer(&request, expected, ask).await) },
        );
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).keep_alive(false).max_buf_size(16 * 1024);
    // What a peer does wrong is its own affair.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: &Request<Incoming>,
    expected: &ExpectedRequest,
    ask: &mpsc::Sender<Question>,
) -> Response<Full<Bytes>> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next().filter(|_| hosts.next().is_none()).map(HeaderValue::as_bytes).unwrap_or_default();
    if !host.eq_ignore_ascii_case(expected.host.as_bytes()) || request.uri().authority().is_some() {
        return page(StatusCode::MISDIRECTED_REQUEST, "Not here", "This address belongs to a sign-in on this machine.");
    }
    if request.uri().path() != expected.path {
        return page(StatusCode::NOT_FOUND, "Nothing here", "This address waits for the end of a sign-in.");
    }
    if request.method() != Method::GET {
        return page(StatusCode::METHOD_NOT_ALLOWED, "Not this way", "The end of a sign-in comes by GET.");
    }
    let (answer, reading) = oneshot::channel();
    let query = request.uri().query().unwrap_or_default().to_owned();
    if ask.send(Question { query, answer }).await.is_err() {
        return page(StatusCode::GONE, "Too late", "This sign-in has ended. Run the command again.");
    }
    match reading.await {
        Ok(Some(LastPage { page: outcome, on_its_way })) => {
            let shown = match outcome.await {
                Ok(SignInOutcome::SignedIn) => {
                    page(StatusCode::OK, "Signed in", "You can close this page, and go back to the terminal.")
                }
                Ok(SignInOutcome::Failed(why)) => page(StatusCode::BAD_REQUEST, "Not signed in", &why),
                Err(_) => page(StatusCode::GONE, "Not signed in", "The command has ended. Run it again."),
            };
            // The answer leaves after this returns; the command waits a moment longer for that.
            tokio::task::spawn_local(async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let _ = on_its_way.send(());
            });
            shown
        }
        Ok(None) => page(
            StatusCode::BAD_REQUEST,
            "Not this sign-in",
            "This address is not that of the sign-in that the command waits for. It waits on: sign in at the address that it shows.",
        ),
        Err(_) => page(StatusCode::GONE, "Too late", "This sign-in has ended. Run the command again."),
    }
}

fn page(status: StatusCode, title: &str, text: &str) -> Response<Full<Bytes>> {
    let markup: Markup = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { (title) " - ninjaone-proxy" } }
            body { h1 { (title) } p { (text) } }
        }
    };
    let mut response = Response::new(Full::from(markup.into_string()));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
        (REFERRER_POLICY, "no-referrer"),
        (CONNECTION, "close"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
