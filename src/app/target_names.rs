//! The names of the device and the organization that a request is about, by reads of the proxy's own: for approvers, who
//! know their devices by name.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use moka::future::Cache;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::instances::InstanceRuntime;
use crate::net::dial::connect::Connector;
use crate::net::dial::exchange::{CollectedAnswer, ExchangeError};
use crate::proxy::headers::loops::LoopMark;
use crate::proxy::policy::catalog::{Scope, ScopeSet};
use crate::proxy::policy::{InstanceId, Policy};
use crate::proxy::rate_limit::{RateLimited, RateLimiter};
use crate::proxy::token::{NoToken, TokenSource, Tokens};

/// How long a read may take, its token and its turn included.
const TIME: Duration = Duration::from_secs(3);
/// How long a name, or the lack of one, is kept.
const KEPT: Duration = Duration::from_secs(60);
/// The most names that are kept.
const MAX_KEPT: u64 = 1000;
/// The most reads at a time.
const AT_ONCE: usize = 4;
/// The largest answer, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// The longest name that is shown, in characters.
const MAX_NAME: usize = 200;

/// Reads names.
pub(super) struct TargetNames {
    /// By instance.
    sources: RefCell<Vec<NameSource>>,
    cache: Cache<(u16, ScopeSet, String), Found>,
    turns: Semaphore,
    mark: LoopMark,
}

/// How an instance is asked.
#[derive(Clone)]
struct NameSource {
    connector: Connector,
    tokens: Arc<Tokens>,
    rate_limiter: Option<Arc<RateLimiter>>,
}

/// What a read found, or why it found nothing.
type Found = Result<Arc<Value>, Arc<NoName>>;

/// Why something has no name.
#[derive(Debug, thiserror::Error)]
enum NoName {
    #[error("the listener's token lacks the scope monitoring")]
    Scope,
    #[error("{0}")]
    Token(#[from] NoToken),
    #[error("{0}")]
    Rate(#[from] RateLimited),
    #[error("{0}")]
    Exchange(#[from] ExchangeError),
    #[error("NinjaOne answers {}", .0.as_u16())]
    Refused(StatusCode),
    #[error("NinjaOne's answer has no name")]
    Unreadable,
    #[error("NinjaOne did not answer within {TIME:?}")]
    TookTooLong,
}

impl TargetNames {
    /// Knows no instance yet.
    pub(super) fn new(mark: LoopMark) -> Self {
        let cache = Cache::builder().max_capacity(MAX_KEPT).time_to_live(KEPT).build();
        Self { sources: RefCell::default(), cache, turns: Semaphore::new(AT_ONCE), mark }
    }

    /// These are the instances from now on.
    pub(super) fn replace(&self, instances: &[InstanceRuntime]) {
        let source = |instance: &InstanceRuntime| NameSource {
            connector: instance.upstream.connector.clone(),
            tokens: Arc::clone(&instance.tokens),
            rate_limiter: instance.rate_limiter.clone(),
        };
        self.sources.replace(instances.iter().map(source).collect());
        self.cache.invalidate_all();
    }

    /// What the path is about, each with its name, or with its id and why there is no name.
    pub(super) async fn of(&self, path: &str, policy: &Policy) -> Vec<(String, String)> {
        let mut segments = path.split('/').skip(2);
        let (kind, id) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Vec::new();
        }
        match kind {
            "device" => {
                let device = self.read(format!("/v2/device/{id}"), policy).await;
                let organization = device.as_ref().ok().and_then(|device| device.get("organizationId")?.as_u64());
                let mut found = vec![("Device".to_owned(), told(id, &device, &["displayName", "systemName"]))];
                if let Some(id) = organization {
                    found.push(self.organization(&id.to_string(), policy).await);
                }
                found
            }
            "organization" => vec![self.organization(id, policy).await],
            _ => Vec::new(),
        }
    }

    async fn organization(&self, id: &str, policy: &Policy) -> (String, String) {
        let organization = self.read(format!("/v2/organization/{id}"), policy).await;
        ("Organization".to_owned(), told(id, &organization, &["name"]))
    }

    /// All who ask for the same meanwhile get the same answer.
    async fn read(&self, target: String, policy: &Policy) -> Found {
        let (InstanceId(instance), scopes) = (policy.instance(), policy.scopes());
        if !scopes.contains(Scope::Monitoring) {
            return Err(Arc::new(NoName::Scope));
        }
        let source = self.sources.borrow().get(usize::from(instance)).cloned();
        let Some(source) = source else { return Err(Arc::new(NoName::Unreadable)) };
        let read = async {
            let asked = timeout(TIME, self.ask(&source, &target, scopes)).await;
            asked.unwrap_or(Err(NoName::TookTooLong)).map(Arc::new).map_err(Arc::new)
        };
        self.cache.get_with((instance, scopes, target.clone()), read).await
    }

    async fn ask(&self, source: &NameSource, target: &str, scopes: ScopeSet) -> Result<Value, NoName> {
        let _turn = self.turns.acquire().await.map_err(|_| NoName::TookTooLong)?;
        let bearer = TokenSource::new(Arc::clone(&source.tokens)).bearer_of(scopes).await?;
        let _slot = match &source.rate_limiter {
            Some(limiter) => Some(limiter.enter().await?),
            None => None,
        };
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = target.parse().map_err(|_| NoName::Unreadable)?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("ninjaone-proxy/", env!("CARGO_PKG_VERSION"))));
        headers.insert(AUTHORIZATION, bearer.authorization());
        self.mark.stamp(&mut headers);
        *request.headers_mut() = headers;
        let CollectedAnswer { head, body } = source.connector.exchange(request, MAX_ANSWER).await?;
        match head.status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|_| NoName::Unreadable),
            other => Err(NoName::Refused(other)),
        }
    }
}

/// The first of these names that it has, and its id.
fn told(id: &str, found: &Found, keys: &[&str]) -> String {
    let unnamed = |why: &NoName| format!("{id} (its name is not known: {why})");
    match found {
        Err(why) => unnamed(why),
        Ok(value) => {
            let mut names = keys.iter().filter_map(|key| value.get(key)?.as_str()).filter(|name| !name.is_empty());
            names.next().map_or_else(
                || unnamed(&NoName::Unreadable),
                |name| format!("{} ({id})", name.chars().take(MAX_NAME).collect::<String>()),
            )
        }
    }
}
