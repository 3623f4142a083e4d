//! The table of a user: a person who signs in at an instance; and which operations get that person's token.

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::unplaced;
use crate::config::value::{ClientId, ClientSecret};
use crate::proxy::policy::catalog::Scope;

/// A person who signs in at an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct UserSection {
    /// The id of the API client app that the person signs in to; the instance's without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Spanned<ClientId>>,
    /// Its secret; apps of the platform Native have none. The instance's if the app is the instance's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Spanned<ClientSecret>>,
    /// The redirect URI that the app has registered.
    pub redirect: Spanned<String>,
    /// What the person's token may do at most.
    pub scopes: Spanned<Vec<Spanned<String>>>,
}

impl Default for UserSection {
    fn default() -> Self {
        let scopes = [Scope::Monitoring, Scope::Management].map(|scope| unplaced(scope.as_str().to_owned()));
        Self {
            client_id: None,
            client_secret: None,
            redirect: unplaced("http://127.0.0.1".to_owned()),
            scopes: unplaced(scopes.to_vec()),
        }
    }
}

/// Which operations get the token of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserFor {
    /// Those that need one, by the catalogue.
    Needed,
    /// All.
    Always,
}
