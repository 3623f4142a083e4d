//! The admin listener: is the process alive, can it serve, and what has it done; for programs, and as a page.

pub mod approvals;
pub mod history;
pub mod page;
pub mod view;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::proxy::response;
use crate::shared::SharedStore;
use view::InstanceView;

/// A token as readiness and metrics see it.
#[derive(Debug)]
pub struct TokenState {
    /// The instance's name.
    pub instance: String,
    /// The scopes, separated by spaces.
    pub scopes: String,
    /// The time to expiry; `None` without a usable token.
    pub expires_in: Option<Duration>,
    /// The time since it was asked for; `None` without a usable token.
    pub age: Option<Duration>,
    /// Why the last fetch failed, if no success came after it.
    pub problem: Option<String>,
    /// The same with all that led to it.
    pub causes: Option<String>,
    /// What would fix it.
    pub remedy: Option<String>,
    /// The person whose token it is; `None`: the machine's.
    pub user: Option<UserState>,
}

/// The sign-in of a person as readiness and metrics see it.
#[derive(Debug, Clone)]
pub struct UserState {
    /// The name in the configuration.
    pub name: String,
    /// The time since the grant was last renewed; `None` if nobody is signed in.
    pub renewed: Option<Duration>,
}

/// The configuration in force, and how the last attempt to replace it went.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Where it was read from.
    pub source: String,
    /// Since when it is in force.
    pub since: SystemTime,
    /// The last attempt to replace it.
    pub reload: Option<Reload>,
    /// The keys whose values in the file take effect only after a restart.
    pub restart: Vec<&'static str>,
}

/// An attempt to replace the configuration.
#[derive(Debug, Clone)]
pub struct Reload {
    /// When.
    pub at: SystemTime,
    /// Why it was refused, if it was.
    pub refused: Option<String>,
}

impl Configuration {
    fn shown(&self) -> Value {
        let time = |at: SystemTime| httpdate::fmt_http_date(at);
        let reload = self.reload.as_ref().map(|Reload { at, refused }| {
            let result = if refused.is_some() { "refused" } else { "applied" };
            json!({ "at": time(*at), "result": result, "why": refused })
        });
        let Self { source, since, restart, .. } = self;
        json!({ "source": source, "since": time(*since), "lastReload": reload, "needsRestart": restart })
    }
}

/// What the admin listener tells; gathered anew for each request.
#[derive(Debug)]
pub struct Health {
    /// The process is draining.
    pub draining: bool,
    /// All tokens.
    pub tokens: Vec<TokenState>,
    /// The metrics in Prometheus's text format.
    pub metrics: String,
    /// The configuration.
    pub configuration: Configuration,
    /// Sandboxes that seem not to be meant.
    pub warnings: Vec<String>,
    /// The instances, and where they are.
    pub instances: Vec<InstanceView>,
    /// What replicas share, if they do.
    pub store: Option<StoreStatus>,
}

/// The shared store as readiness and the page see it.
#[derive(Debug, Clone)]
pub struct StoreStatus {
    /// Where it is.
    pub address: String,
    /// Whether it answers.
    pub up: bool,
    /// Why it does not.
    pub fault: Option<String>,
    /// How many replicas there are, as far as is known.
    pub replicas: u32,
}

impl StoreStatus {
    /// That of a store.
    pub fn of(store: &SharedStore) -> Self {
        let state = store.state();
        Self { address: store.address(), up: state.up, fault: store.fault(), replicas: state.replicas }
    }
}

/// Answers a request for anything but the page: `/livez`, `/readyz` or `/metrics`.
pub fn answer(method: &Method, path: &str, health: &Health) -> Response<Full<Bytes>> {
    let reads = *method == Method::GET || *method == Method::HEAD;
    match (path, reads) {
        ("/livez" | "/readyz" | "/metrics" | "/" | "/events" | "/explain", false) => {
            page::guarded(response::refuse_write())
        }
        ("/livez", true) => text(StatusCode::OK, "text/plain", "alive\n"),
        ("/readyz", true) => ready(health),
        ("/metrics", true) => text(StatusCode::OK, "text/plain; version=0.0.4", health.metrics.clone()),
        _ => page::guarded(response::refuse_path("/, /approvals, /livez, /readyz or /metrics")),
    }
}

/// Ready is who has a usable token of the machine's for every listener and is not draining. Where a person must sign in,
/// most of the service goes on.
fn ready(health: &Health) -> Response<Full<Bytes>> {
    let ready =
        !health.draining && health.tokens.iter().all(|token| token.expires_in.is_some() || token.user.is_some());
    let is_down = health.store.as_ref().is_some_and(|store| !store.up);
    let degraded = is_down || health.tokens.iter().any(|token| token.expires_in.is_none() && token.user.is_some());
    let tokens: Vec<_> = health
        .tokens
        .iter()
        .map(|token| {
            json!({
                "instance": token.instance,
                "scopes": token.scopes,
                "usable": token.expires_in.is_some(),
                "expiresInSeconds": token.expires_in.map(|left| left.as_secs()),
                "problem": token.problem,
                "user": token.user.as_ref().map(|user| &user.name),
            })
        })
        .collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let Health { draining, configuration, warnings, instances, store, .. } = health;
    let store = store.as_ref().map(
        |StoreStatus { address, up, fault, replicas }| json!({ "address": address, "up": up, "problem": fault, "replicas": replicas }),
    );
    let instances: Vec<_> = instances
        .iter()
        .map(|InstanceView { name, host, sandbox }| json!({ "name": name, "host": host, "sandbox": sandbox }))
        .collect();
    // A warning does not turn the status: what asks for it, such as a kubelet, would end a process that serves.
    let body = json!({
        "ready": ready, "degraded": degraded, "draining": draining, "instances": instances, "warnings": warnings, "tokens": tokens, "sharedStore": store,
        "configuration": configuration.shown(),
    });
    text(status, "application/json", format!("{body}\n"))
}

fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    page::guarded(response)
}

/// The head of server-sent events (HTML standard, section 9.2) with this body.
pub fn events<B>(body: B) -> Response<B> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    page::guarded(response)
}

/// An event that tells this view.
pub fn event(view: &view::View) -> Bytes {
    // JSON has no line ends of its own.
    format!("data: {}\n\n", json!(view)).into()
}

/// 503 when too many clients take server-sent events.
pub fn too_many() -> Response<Full<Bytes>> {
    page::guarded(response::refuse_status_page())
}

/// An explanation for the script of the page.
pub fn explained(answer: &page::ExplorerAnswer) -> Response<Full<Bytes>> {
    let status = if answer.problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    text(status, "application/json", format!("{}\n", json!(answer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration() -> Configuration {
        Configuration { source: "c.toml".into(), since: SystemTime::UNIX_EPOCH, reload: None, restart: Vec::new() }
    }

    #[test]
    fn admin_tells_how_the_last_reload_went() {
        let at = SystemTime::UNIX_EPOCH;
        let mut configuration = configuration();
        assert_eq!(configuration.shown()["lastReload"], Value::Null);
        configuration.reload = Some(Reload { at, refused: Some("c.toml:1:1: no".into()) });
        let shown = configuration.shown();
        assert_eq!(
            (&shown["lastReload"]["result"], &shown["lastReload"]["why"]),
            (&json!("refused"), &json!("c.toml:1:1: no"))
        );
        configuration.reload = Some(Reload { at, refused: None });
        assert_eq!(configuration.shown()["lastReload"]["result"], "applied");
    }

    fn status(method: Method, path: &str, usable: bool, draining: bool) -> u16 {
        let expires_in = usable.then_some(Duration::from_secs(60));
        let token = TokenState {
            instance: "main".into(),
            scopes: "monitoring".into(),
            expires_in,
            age: None,
            problem: None,
            causes: None,
            remedy: None,
            user: None,
        };
        let health = Health {
            draining,
            tokens: vec![token],
            metrics: String::new(),
            configuration: configuration(),
            warnings: Vec::new(),
            instances: Vec::new(),
            store: None,
        };
        answer(&method, path, &health).status().as_u16()
    }

    #[test]
    fn admin_is_ready_with_a_usable_token_and_while_not_draining() {
        assert_eq!(status(Method::GET, "/readyz", true, false), 200);
        assert_eq!(status(Method::GET, "/readyz", false, false), 503);
        assert_eq!(status(Method::GET, "/readyz", true, true), 503);
        assert_eq!(status(Method::GET, "/livez", false, true), 200);
    }

    #[test]
    fn admin_answers_reads_of_its_paths_only() {
        assert_eq!(status(Method::POST, "/livez", true, false), 405);
        assert_eq!(status(Method::GET, "/v2/devices", true, false), 404);
    }
}
