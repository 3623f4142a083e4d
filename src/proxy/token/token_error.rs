//! Why a token request gave no token.

use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use http::StatusCode;

use super::user_grant::{NoSharedGrant, SignInNeeded};
use crate::net::dial::DialError;
use crate::net::dial::connect::ConnectError;
use crate::net::dial::exchange::ExchangeError;

/// Why there is no token. No text of the answer but the error code is kept: it may hold what must not be logged.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No connection, or an answer that is broken or cannot be read.
    #[error("the token endpoint {}", if matches!(.0, ExchangeError::Connect(_)) { "cannot be reached" } else { "gave no answer that can be read" })]
    Exchange(#[from] ExchangeError),
    /// No answer in time.
    #[error("the token endpoint did not answer in time")]
    Timeout,
    /// 404 "Client app not exist": the wrong region, or the wrong client id.
    #[error("the instance does not know the client id")]
    UnknownClient,
    /// `invalid_client` or `unauthorized_client`.
    #[error("the token endpoint refused the client id or secret")]
    InvalidClient,
    /// `invalid_scope`: the API client app is not granted a scope of the listener.
    #[error("the API client app is not granted all of the scopes asked for")]
    InvalidScope,
    /// Another refusal.
    #[error("the token endpoint answered {status}{}", quoted(code))]
    Refused {
        /// The status of the answer.
        status: StatusCode,
        /// The error code, if the answer has one.
        code: String,
        /// What `Retry-After` asks for.
        retry_after: Option<Duration>,
    },
    /// The token is a person's, who must sign in.
    #[error("{0}")]
    SignInNeeded(Box<SignInNeeded>),
    /// Another replica has asked for all, and failed so.
    #[error("another replica has asked for the token, and {0}")]
    OfReplica(String),
    /// The token is a person's, whose sign-in is in the shared store.
    #[error("the sign-in of a person is kept in the shared store, and cannot be renewed")]
    NoStore(#[source] NoSharedGrant),
    /// A success without a usable token.
    #[error("the token endpoint's answer is not a usable grant: {0}")]
    Unusable(&'static str),
}

/// The error code, if the answer has one.
fn quoted(code: &str) -> String {
    if code.is_empty() { String::new() } else { format!(" {code:?}") }
}

impl TokenError {
    /// Whether trying again soon is useless: somebody must change the configuration or the API client app.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::UnknownClient | Self::InvalidClient | Self::InvalidScope | Self::SignInNeeded(_) => true,
            Self::Exchange(_) | Self::Timeout | Self::Refused { .. } | Self::Unusable(_) => false,
            Self::OfReplica(_) | Self::NoStore(_) => false,
        }
    }

    /// Whether the token endpoint was asked, by this replica.
    pub(super) fn was_asked(&self) -> bool {
        match self {
            Self::SignInNeeded(_) | Self::OfReplica(_) | Self::NoStore(_) => false,
            Self::Exchange(_) | Self::Timeout | Self::Refused { .. } | Self::Unusable(_) => true,
            Self::UnknownClient | Self::InvalidClient | Self::InvalidScope => true,
        }
    }

    /// Whether other credentials may help.
    pub fn is_about_client(&self) -> bool {
        match self {
            Self::UnknownClient | Self::InvalidClient => true,
            Self::InvalidScope | Self::Exchange(_) | Self::SignInNeeded(_) => false,
            Self::Timeout | Self::Refused { .. } | Self::Unusable(_) => false,
            Self::OfReplica(_) | Self::NoStore(_) => false,
        }
    }

    /// What the endpoint itself asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::UnknownClient | Self::InvalidClient | Self::InvalidScope | Self::SignInNeeded(_) => None,
            Self::Exchange(_) | Self::Timeout | Self::Unusable(_) | Self::OfReplica(_) | Self::NoStore(_) => None,
        }
    }

    /// Whether a token that was had before must not be used any more: the person has signed out.
    pub(super) fn ends_grant(&self) -> bool {
        matches!(self, Self::SignInNeeded(_))
    }

    /// Whether it is the same kind of failure: another one is worth another line in the log.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.kind() == other.kind()
    }

    fn kind(&self) -> Kind {
        let Self::Exchange(exchange) = self else { return (discriminant(self), None, None, None) };
        let ExchangeError::Connect(connect) = exchange else {
            return (discriminant(self), Some(discriminant(exchange)), None, None);
        };
        let dial = if let ConnectError::Dial(dial) = connect { Some(discriminant(dial)) } else { None };
        (discriminant(self), Some(discriminant(exchange)), Some(discriminant(connect)), dial)
    }
}

/// The kinds of a failure and of what is behind it.
type Kind = (
    Discriminant<TokenError>,
    Option<Discriminant<ExchangeError>>,
    Option<Discriminant<ConnectError>>,
    Option<Discriminant<DialError>>,
);
