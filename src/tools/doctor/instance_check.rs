//! One instance under examination: credentials, the way there, tokens, a read, and what needs a user.

use std::sync::Arc;

use http::uri::Authority;

use super::instance_server::InstanceServer;
use super::reporter::Reporter;
use super::{connection, grant, missing_operations, organizations, read, sign_in};
use crate::base::secret::source::SecretSource;
use crate::config::sections::{InstanceSection, TimeoutsSection};
use crate::config::warnings::blanks;
use crate::config::{Config, EndpointError, InstanceSite, ListenerConfig, SandboxWarning, is_set};
use crate::observe::logging::ErrorChain;
use crate::proxy::policy::Policy;
use crate::proxy::policy::catalog::Operation;
use crate::proxy::response::CONSOLE;
use crate::proxy::token::credentials::Credentials;
use crate::proxy::token::endpoint::Endpoint;
use crate::sandbox::{Options, Sandbox};

/// What cannot be set up for an examination, for whatever reason.
pub(crate) type Unready = Box<dyn std::error::Error + Send + Sync>;

/// One instance, and the listeners before it.
pub(super) struct InstanceCheck<'a> {
    pub(super) config: &'a Config,
    pub(super) name: &'a str,
    pub(super) file: &'a InstanceSection,
    /// `None` for the sandbox.
    pub(super) site: Option<InstanceSite>,
    pub(super) listeners: Vec<&'a ListenerConfig>,
}

impl InstanceCheck<'_> {
    /// All checks of the instance, in order.
    pub(super) async fn examine(mut self, catalog: bool, reporter: &Reporter) {
        reporter.begin("credentials");
        let (site, credentials) = match self.site.take() {
            Some(site) => (site, self.credentials(reporter)),
            None => match sandbox().await {
                Ok((site, credentials)) => {
                    self.sandboxed(reporter);
                    (site, Some(credentials))
                }
                Err(error) => {
                    return reporter.fail(
                        "credentials",
                        format!("there is no sandbox: {error}"),
                        "free memory or ports",
                    );
                }
            },
        };
        let instance = self.name.to_owned();
        let place = InstanceServer { instance, site, timeouts: self.config.file.timeouts.clone() };
        let own = self.config.file.own_addresses();
        let reached = connection::examine(&place, (self.name, &own), reporter).await;
        match credentials {
            None => self.skip_tokens("credentials failed", reporter),
            Some(credentials) => match reached {
                Ok(()) => {
                    self.examine_token(&place, credentials, reporter).await;
                    self.examine_sign_ins(&place, reporter).await;
                }
                Err(because) => self.skip_tokens(because, reporter),
            },
        }
        match reached {
            Ok(()) if catalog => missing_operations::examine(&place, &self.listeners, reporter).await,
            Err(because) if catalog => reporter.skip(&["catalog"], because),
            Ok(()) | Err(_) => {}
        }
        self.examine_user_context(reporter);
    }

    /// Says that it is the sandbox, and whether that seems to be meant.
    fn sandboxed(&self, reporter: &Reporter) {
        let doubts = self.config.doubts(is_set);
        match doubts.into_iter().find(|doubt| doubt.instance == self.name) {
            Some(SandboxWarning { what, fix, .. }) => reporter.warn("credentials", what, fix),
            None => reporter
                .ok("credentials", "those of the embedded sandbox: its data is invented, and nothing reaches NinjaOne"),
        }
    }

    /// The one place where credentials are read.
    fn credentials(&self, reporter: &Reporter) -> Option<Credentials> {
        let credentials = match self.config.credentials(self.name, self.file) {
            Ok(credentials) => credentials,
            Err(mistake) => {
                let fix = format!(
                    "give client-id and client-secret of an API client app ({CONSOLE}); the secret is shown once there, \
                     a lost one must be regenerated; a file must be readable for the user that runs the proxy"
                );
                reporter.fail("credentials", mistake.to_string(), fix);
                return None;
            }
        };
        let detail = format!("client id {:?}, and its secret can be read", credentials.id());
        let exposed = credentials.sources().filter_map(SecretSource::exposure);
        let warnings: Vec<_> = exposed.chain(blanks(&credentials)).collect();
        match warnings.is_empty() {
            true => reporter.ok("credentials", detail),
            false => reporter.warn("credentials", detail, warnings.join("; ")),
        }
        Some(credentials)
    }

    async fn examine_token(&self, place: &InstanceServer, credentials: Credentials, reporter: &Reporter) {
        if self.listeners.is_empty() {
            return reporter.warn("scopes", "no listener uses this instance", "write one, or remove the instance");
        }
        let endpoint = match self.endpoint(place, credentials) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                reporter.fail("token endpoint", ErrorChain(&error).to_string(), "check host and token-path");
                return self.skip_token("token endpoint failed", reporter);
            }
        };
        match grant::examine(&endpoint, place, &self.listeners, reporter).await {
            Some(token) => {
                read::examine(place, &token, reporter).await;
                organizations::examine(place, &self.listeners, &token, reporter).await;
            }
            None => reporter.skip(&["read"], "no token was granted"),
        }
    }

    fn endpoint(&self, place: &InstanceServer, credentials: Credentials) -> Result<Endpoint, EndpointError> {
        let (path, TimeoutsSection { connect, token, .. }) = (self.file.token_path.get_ref(), &place.timeouts);
        place.site.endpoint(path, self.file.client_auth, Arc::new(credentials), (connect.0, token.0))
    }

    async fn examine_sign_ins(&self, place: &InstanceServer, reporter: &Reporter) {
        match self.config.sign_ins(None, Some(self.name)) {
            Ok(sign_ins) if sign_ins.is_empty() => {}
            Ok(sign_ins) => sign_in::examine(self.config, place, sign_ins, reporter).await,
            Err(mistake) => reporter.fail("sign-in", mistake.to_string(), "correct this in the configuration"),
        }
    }

    fn skip_tokens(&self, because: &str, reporter: &Reporter) {
        self.skip_token(because, reporter);
        sign_in::skip(self.file.users.keys(), because, reporter);
    }

    fn skip_token(&self, because: &str, reporter: &Reporter) {
        grant::skip(&self.listeners, because, reporter);
        reporter.skip(&["read"], because);
    }

    /// Which open operations need a user, whom client credentials do not have.
    fn examine_user_context(&self, reporter: &Reporter) {
        let open = |listener: &&ListenerConfig| {
            let lacks_user = |policy: &Policy, id, operation: &Operation| {
                operation.user_context && policy.may_open(id) && policy.user_of(Some(id)).is_none()
            };
            let catalog = listener.policy.catalog();
            let policies = listener.policies();
            let open =
                catalog.iter().filter(|(id, operation)| policies.iter().any(|own| lacks_user(own, *id, operation)));
            let names: Vec<_> = open.filter_map(|(id, _)| catalog.name(id)).map(|name| name.to_string()).collect();
            (!names.is_empty()).then(|| format!("[listeners.{}] opens {}", listener.name, names.join(", ")))
        };
        let open: Vec<_> = self.listeners.iter().filter_map(open).collect();
        if open.is_empty() {
            return reporter.ok("user context", "every open operation that needs a user has one in the configuration");
        }
        let fix = "client credentials have no user, and NinjaOne may answer user_context_required: sign a person in \
                    (ninjaone-proxy login NAME) and write user = NAME, or close them by deny";
        reporter.warn("user context", open.join("; "), fix);
    }
}

/// An embedded NinjaOne of our own.
pub(crate) async fn sandbox() -> Result<(InstanceSite, Credentials), Unready> {
    let options = Options::default();
    let credentials = options.credentials();
    let address = Sandbox::new(options)?.open().await?;
    let site = InstanceSite {
        authority: Authority::try_from(address.to_string())?,
        trust: None,
        proxy: None,
        addresses: Vec::new(),
    };
    Ok((site, credentials))
}
