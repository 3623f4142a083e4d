//! What is made of each instance, and goes on over reloads that do not touch it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::Authority;

use super::users::UserRuntime;
use super::{Addresses, StartError};
use crate::base::clock::Moment;
use crate::config::sections::TimeoutsSection;
use crate::config::{InstanceConfig, InstanceSite, ServerConfig, UserConfig};
use crate::net::dial::connect::Connector;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::traffic::Traffic;
use crate::proxy::fence::directory::Directory;
use crate::proxy::headers::loops::LoopMark;
use crate::proxy::policy::Policy;
use crate::proxy::policy::catalog::ScopeSet;
use crate::proxy::rate_limit::{RateLimiter, RateLimits};
use crate::proxy::token::credentials::Credentials;
use crate::proxy::token::endpoint::ClientAuthMethod;
use crate::proxy::token::user_grant::UserGrant;
use crate::proxy::token::{FlightCounts, Tokens};
use crate::sandbox::{Options, Sandbox};
use crate::shared::SharedStore;

/// How workers reach an instance; they keep their connections as long as they are given the same.
pub(super) struct UpstreamConfig {
    pub(super) connector: Connector,
    /// For the head of an answer, and each wait for more of it.
    pub(super) head_timeout: Duration,
    /// What is counted of it.
    pub(super) traffic: Traffic,
    /// What the connector is made for.
    connect: Duration,
}

/// An instance that is served.
pub(super) struct InstanceRuntime {
    pub(super) name: String,
    pub(super) upstream: Arc<UpstreamConfig>,
    /// Where the rate is limited.
    pub(super) rate_limiter: Option<Arc<RateLimiter>>,
    pub(super) tokens: Arc<Tokens>,
    /// What belongs to which organization there.
    pub(super) directory: Directory,
    /// The persons who may be behind requests.
    pub(super) users: Vec<UserRuntime>,
    token_config: Arc<TokenConfig>,
    limits: Option<RateLimits>,
    /// The same credentials, just read again.
    reread: Option<Arc<Credentials>>,
}

/// Where an instance is, and how it is asked for tokens.
struct TokenConfig {
    site: InstanceSite,
    credentials: Arc<Credentials>,
    token_path: String,
    client_auth: ClientAuthMethod,
    /// For a connection, and for a token request.
    times: (Duration, Duration),
    /// The command line that examines it.
    doctor: String,
    /// Where replicas share the tokens.
    store: Option<SharedStore>,
}

impl TokenConfig {
    fn new(
        instance: &InstanceConfig,
        ServerConfig { site, credentials }: ServerConfig,
        timeouts: &TimeoutsSection,
        store: Option<SharedStore>,
    ) -> Self {
        let InstanceConfig { token_path, client_auth, doctor, .. } = instance;
        let (token_path, doctor) = (token_path.clone(), doctor.clone());
        let times = (timeouts.connect.0, timeouts.token.0);
        Self { site, credentials, token_path, client_auth: *client_auth, times, doctor, store }
    }

    /// Whether all is as it was, but perhaps for what the credentials' places hold.
    fn is_same(&self, other: &Self) -> bool {
        self.is_at_same(other)
            && self.site.is_same(&other.site)
            && self.client_auth == other.client_auth
            && self.times == other.times
            && self.credentials.is_from_same(&other.credentials)
    }

    fn is_at_same(&self, other: &Self) -> bool {
        self.site.authority == other.site.authority && self.token_path == other.token_path
    }

    /// The tokens of the machine, or of a person.
    fn tokens(
        &self,
        name: &str,
        (counts, mark): (&Arc<FlightCounts>, &LoopMark),
        user: Option<(&Arc<Credentials>, UserGrant)>,
    ) -> Result<Arc<Tokens>, StartError> {
        let credentials = Arc::clone(user.as_ref().map_or(&self.credentials, |(credentials, _)| *credentials));
        let endpoint = self.site.endpoint(&self.token_path, self.client_auth, credentials, self.times);
        let endpoint = endpoint.map_err(|error| StartError::Endpoint(name.to_owned(), error))?;
        let endpoint = endpoint.marked(mark.clone()).shared_in(self.store.clone());
        let endpoint = match user {
            Some((_, grant)) => endpoint.of_user(Arc::new(grant)),
            None => endpoint,
        };
        Ok(Tokens::new(endpoint, Arc::clone(counts), self.times.1, Moment::now, self.doctor.clone()))
    }

    fn users(
        &self,
        name: &str,
        users: Vec<UserConfig>,
        old: &[UserRuntime],
        shared: (&Arc<FlightCounts>, &LoopMark),
    ) -> Result<Vec<UserRuntime>, StartError> {
        let tokens = |credentials: &_, grant| self.tokens(name, shared, Some((credentials, grant)));
        users.into_iter().map(|user| UserRuntime::next(user, old, self.store.as_ref(), tokens)).collect()
    }
}

impl InstanceRuntime {
    /// What is made of an instance, with all of `old` that is as it was. Changes nothing of `old`.
    pub(super) async fn next(
        (instance, origin): (InstanceConfig, ServerConfig),
        old: Option<&Self>,
        timeouts: &TimeoutsSection,
        store: Option<SharedStore>,
        (metrics, counts, mark): (&Metrics, &Arc<FlightCounts>, &LoopMark),
    ) -> Result<Self, StartError> {
        let new = TokenConfig::new(&instance, origin, timeouts, store);
        let InstanceConfig { name, rate: limits, users, .. } = instance;
        let upstream = upstream(&name, &new.site, timeouts, old, metrics)?;
        let same_host = old.filter(|old| old.token_config.is_at_same(&new));
        let rate_limiter = limits.as_ref().map(|limits| {
            let host = new.site.authority.as_str();
            rate_limiter((&name, host), limits, same_host, (metrics, new.store.as_ref()))
        });
        let age = timeouts.directory.0;
        let directory = same_host.map(|old| &old.directory).filter(|directory| directory.age() == age);
        let directory = directory.cloned().unwrap_or_else(|| Directory::new(age));
        if let Some(old) = old.filter(|old| old.token_config.is_same(&new)) {
            let (tokens, token_config) = (Arc::clone(&old.tokens), Arc::clone(&old.token_config));
            let users = new.users(&name, users, &old.users, (counts, mark))?;
            return Ok(Self {
                name,
                upstream,
                rate_limiter,
                tokens,
                directory,
                users,
                token_config,
                limits,
                reread: Some(new.credentials),
            });
        }
        let tokens = new.tokens(&name, (counts, mark), None)?;
        let users = new.users(&name, users, &[], (counts, mark))?;
        if let Some(old) = old.filter(|old| old.token_config.is_at_same(&new))
            && old.token_config.credentials.is_same(&new.credentials)
        {
            tokens.inherit(&old.tokens).await;
        }
        let token_config = Arc::new(new);
        Ok(Self { name, upstream, rate_limiter, tokens, directory, users, token_config, limits, reread: None })
    }

    /// Its host, and port if it has one.
    pub(super) fn host(&self) -> &str {
        self.token_config.site.authority.as_str()
    }

    /// The tokens that the callers of a policy need: the machine's, a person's, or both.
    pub(super) fn needed_by(&self, policy: &Policy) -> Vec<(&Arc<Tokens>, ScopeSet)> {
        let user = policy.user();
        let machine = user.is_none_or(|user| !user.always).then_some((&self.tokens, policy.scopes()));
        let user = user.and_then(|user| self.users.iter().find(|own| own.name == user.name));
        machine.into_iter().chain(user.map(|user| (&user.tokens, user.scopes))).collect()
    }

    /// It is served now: the credentials that were just read apply.
    pub(super) fn settle(&mut self) {
        if let Some(read) = self.reread.take() {
            self.token_config.credentials.renew(&read);
        }
    }
}

fn upstream(
    name: &str,
    site: &InstanceSite,
    timeouts: &TimeoutsSection,
    old: Option<&InstanceRuntime>,
    metrics: &Metrics,
) -> Result<Arc<UpstreamConfig>, StartError> {
    let (connect, head_timeout) = (timeouts.connect.0, timeouts.upstream.0);
    if let Some(InstanceRuntime { upstream, token_config, .. }) = old
        && token_config.site.is_same(site)
        && (upstream.connect, upstream.head_timeout) == (connect, head_timeout)
    {
        return Ok(Arc::clone(upstream));
    }
    // Found out here, before a worker needs it.
    HeaderValue::from_str(site.authority.as_str()).map_err(io::Error::other)?;
    let connector = site.connector(connect).map_err(|error| StartError::Way(name.to_owned(), error))?;
    Ok(Arc::new(UpstreamConfig { connector, head_timeout, traffic: metrics.traffic(name), connect }))
}

/// The rate limiter of an instance whose rate is limited. Its queue and its cool-down go on over reloads.
fn rate_limiter(
    (name, host): (&str, &str),
    limits: &RateLimits,
    old: Option<&InstanceRuntime>,
    (metrics, store): (&Metrics, Option<&SharedStore>),
) -> Arc<RateLimiter> {
    let old = old.and_then(|old| old.rate_limiter.as_ref().zip(old.limits.as_ref()));
    if let Some((rate_limiter, same)) = old
        && same == limits
    {
        return Arc::clone(rate_limiter);
    }
    let new = RateLimiter::new(name.to_owned(), limits, metrics.rate_waits(name)).sharing(store.cloned(), host);
    Arc::new(match old {
        Some((rate_limiter, _)) => new.after(rate_limiter),
        None => new,
    })
}

/// The embedded NinjaOnes, by the names of their instances. Each goes on to the end of the process: requests in flight
/// are answered while the proxy drains, and while a reload takes its instance away.
#[derive(Default)]
pub(super) struct Sandboxes(Addresses);

impl Sandboxes {
    /// Gives each instance that asks for an embedded NinjaOne one; now each has an origin. Returns who got one.
    pub(super) async fn place(
        &mut self,
        instances: Vec<InstanceConfig>,
    ) -> Result<(Vec<(InstanceConfig, ServerConfig)>, Addresses), StartError> {
        let (mut placed, mut addresses) = (Vec::new(), Vec::new());
        for mut instance in instances {
            let origin = match instance.origin.take() {
                Some(origin) => origin,
                None => {
                    let options = Options::default();
                    let credentials = options.credentials();
                    let address = match self.0.iter().find(|(name, _)| *name == instance.name) {
                        Some((_, address)) => *address,
                        None => {
                            let address = Sandbox::new(options)?.open().await?;
                            self.0.push((instance.name.clone(), address));
                            address
                        }
                    };
                    addresses.push((instance.name.clone(), address));
                    let authority = Authority::try_from(address.to_string()).map_err(io::Error::other)?;
                    let credentials = Arc::new(credentials);
                    ServerConfig {
                        site: InstanceSite { authority, trust: None, proxy: None, addresses: Vec::new() },
                        credentials,
                    }
                }
            };
            placed.push((instance, origin));
        }
        Ok((placed, addresses))
    }
}
