//! What the tables of users say: persons who sign in, and behind which requests they are.

use std::sync::Arc;

use toml::Spanned;

use super::mistake::ConfigMistake;
use super::redirect_uri::RedirectUri;
use super::sections::{InstanceSection, UserFor, UserSection};
use super::settings::UserConfig;
use super::value::{ClientId, ClientSecret};
use super::{Config, InstanceSite, ServerConfig, nearest};
use crate::base::secret::Secret;
use crate::base::secret::source::SecretSource;
use crate::base::state::StateFolder;
use crate::observe::logging::ErrorChain;
use crate::proxy::policy::catalog::ScopeSet;
use crate::proxy::policy::{InstanceId, PolicyUser};
use crate::proxy::token::credentials::Credentials;
use crate::proxy::token::endpoint::ClientAuthMethod;
use crate::proxy::token::user_grant::grant_file::{GrantFile, GrantOwner};
use crate::sandbox;

/// Nobody, where the listener has somebody.
const NOBODY: &str = "none";

/// What a sign-in needs to know of an instance and a person.
pub(crate) struct SignInConfig {
    /// The instance's name.
    pub(crate) instance: String,
    /// Where it is; `None` for the sandbox.
    pub(crate) site: Option<InstanceSite>,
    /// The path of its token endpoint.
    pub(crate) token_path: String,
    /// How that is given the credentials.
    pub(crate) client_auth: ClientAuthMethod,
    /// The person.
    pub(crate) user: UserConfig,
}

impl Config {
    /// The persons who sign in at an instance; `server` is `None` for the sandbox.
    pub(super) fn users(
        &self,
        instance: &str,
        file: &InstanceSection,
        server: Option<&ServerConfig>,
    ) -> Result<Vec<UserConfig>, ConfigMistake> {
        let site = server.map(|server| &server.site);
        let own = || Ok(server.map_or_else(sandbox_credentials, |server| Arc::clone(&server.credentials)));
        file.users.iter().map(|user| self.user(instance, user, site, own)).collect()
    }

    /// The persons of this name and instance, or of any, each with where they sign in. Reads no credentials that a sign-in
    /// does not need.
    pub(crate) fn sign_ins(
        &self,
        name: Option<&str>,
        instance: Option<&str>,
    ) -> Result<Vec<SignInConfig>, ConfigMistake> {
        let is_wanted = |wanted: Option<&str>, own: &str| wanted.is_none_or(|wanted| wanted == own);
        let mut found = Vec::new();
        for (instance, file) in self.file.instances.iter().filter(|(own, _)| is_wanted(instance, own)) {
            for user in file.users.iter().filter(|(user, _)| is_wanted(name, user)) {
                let site = self.site(file)?;
                let own = || match &site {
                    None => Ok(sandbox_credentials()),
                    Some(_) => self.credentials(instance, file).map(Arc::new),
                };
                let user = self.user(instance, user, site.as_ref(), own)?;
                let (instance, token_path) = (instance.clone(), file.token_path.get_ref().clone());
                found.push(SignInConfig { instance, site, token_path, client_auth: file.client_auth, user });
            }
        }
        Ok(found)
    }

    fn user(
        &self,
        instance: &str,
        (name, file): (&String, &UserSection),
        site: Option<&InstanceSite>,
        own: impl FnOnce() -> Result<Arc<Credentials>, ConfigMistake>,
    ) -> Result<UserConfig, ConfigMistake> {
        let (redirect, scopes) = self.check_user(instance, name, file)?;
        let credentials = match self.user_credentials(instance, name, file)? {
            Some(credentials) => Arc::new(credentials),
            None => own()?,
        };
        let host = site.map_or("sandbox".to_owned(), |site| site.authority.to_string());
        let key = ["instances", instance, "users", name.as_str()];
        let state = StateFolder::find().map_err(|error| self.about(&key, &[], error.to_string()))?;
        let file = GrantFile::new(&state, GrantOwner { user: name.clone(), host, client_id: credentials.id() });
        let login = self.command(&format!("login {name}"));
        Ok(UserConfig { name: name.clone(), credentials, redirect, scopes, file, login })
    }

    /// What can be said without the credentials.
    pub(super) fn check_user(
        &self,
        instance: &str,
        name: &str,
        file: &UserSection,
    ) -> Result<(RedirectUri, ScopeSet), ConfigMistake> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('-') || name == NOBODY || !name.chars().all(is_plain) {
            let message = format!("{name:?} is not a valid name: use letters, digits, -, _ and ., such as technician");
            return Err(self.about(&["instances", instance, "users", name], &[], message));
        }
        let redirect = RedirectUri::parse(file.redirect.get_ref()).map_err(|error| {
            let hint = "write http://127.0.0.1 for an app of the platform Native, or the exact URL of a Web app";
            self.mistake(&file.redirect, format!("{:?} cannot be used: {error}; {hint}", file.redirect.get_ref()))
        })?;
        Ok((redirect, self.scopes(&file.scopes)?))
    }

    /// Those of an app of the person's own; `None` if it is the instance's.
    fn user_credentials(
        &self,
        instance: &str,
        name: &str,
        file: &UserSection,
    ) -> Result<Option<Credentials>, ConfigMistake> {
        let UserSection { client_id, client_secret, .. } = file;
        let Some(id) = client_id else {
            let hint = "client-secret belongs to client-id: give that too, or leave client-secret out, and the app is the instance's";
            return client_secret.as_ref().map_or(Ok(None), |place| Err(self.mistake(place, hint)));
        };
        let source = match id.get_ref() {
            ClientId::Plain(text) => Ok(SecretSource::Given(Secret::new(text.clone()))),
            ClientId::Reference(reference) => self.referred(reference),
        };
        let source = source.map_err(|error| self.mistake(id, error.to_string()))?;
        let secret = |place: &Spanned<ClientSecret>| {
            let ClientSecret(reference) = place.get_ref();
            self.referred(reference).map_err(|error| self.mistake(place, error.to_string()))
        };
        let secret = client_secret.as_ref().map(secret).transpose()?;
        let key = ["instances", instance, "users", name];
        let read = Credentials::read_both(source, secret);
        read.map(Some).map_err(|error| self.about(&key, &[], ErrorChain(&error).to_string()))
    }

    /// Who is behind the requests of a listener, or of a caller of it, whose listener's is `inherited`.
    pub(super) fn policy_user(
        &self,
        InstanceId(instance): InstanceId,
        (user, user_for): (Option<&Spanned<String>>, Option<&Spanned<UserFor>>),
        inherited: Option<&PolicyUser>,
    ) -> Result<Option<PolicyUser>, ConfigMistake> {
        let known = match user {
            Some(place) if place.get_ref() == NOBODY => None,
            Some(place) => Some(self.known_user(usize::from(instance), place)?),
            None => inherited.cloned(),
        };
        match (known, user_for) {
            (None, Some(place)) => {
                let hint = "user-for says which operations get the token of a person: give user too, or leave it out";
                Err(self.mistake(place, hint))
            }
            (None, None) => Ok(None),
            (Some(known), user_for) => {
                let inherited = inherited.is_some_and(|user| user.always);
                let always = user_for.map_or(inherited, |place| *place.get_ref() == UserFor::Always);
                Ok(Some(PolicyUser { always, ..known }))
            }
        }
    }

    fn known_user(&self, instance: usize, place: &Spanned<String>) -> Result<PolicyUser, ConfigMistake> {
        let wanted = place.get_ref();
        let found = self.file.instances.iter().nth(instance);
        if let Some(user) = found.and_then(|(_, file)| file.users.get(wanted)) {
            let scopes = self.scopes(&user.scopes)?;
            return Ok(PolicyUser { name: wanted.as_str().into(), always: false, scopes });
        }
        let instance = found.map_or("main", |(name, _)| name.as_str());
        let users: Vec<_> = found.iter().flat_map(|(_, file)| file.users.keys().map(String::as_str)).collect();
        let known = match users.as_slice() {
            [] => format!("there are none yet: write [instances.{instance}.users.{wanted}]"),
            [..] => format!("valid users are {}{}", users.join(", "), nearest(wanted, users.iter().copied())),
        };
        Err(self.mistake(place, format!("unknown user {wanted:?} of instances.{instance}: {known}")))
    }
}

/// Whom the embedded NinjaOne knows.
fn sandbox_credentials() -> Arc<Credentials> {
    Arc::new(sandbox::Options::default().credentials())
}
