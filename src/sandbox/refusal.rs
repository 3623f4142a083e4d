//! The ways in which NinjaOne says no, with the status and the style of body that it uses for each.

use http::StatusCode;
use serde_json::{Value, json};

/// Why a request is not answered with data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SandboxRefusal {
    #[error("the token endpoint knows no such client")]
    UnknownClient,
    #[error("the client secret is wrong")]
    InvalidClient,
    #[error("the grant type is unknown")]
    UnsupportedGrantType,
    #[error("the code or refresh token is unknown, used, expired or another client's")]
    InvalidGrant,
    #[error("a parameter is missing or repeated")]
    InvalidRequest,
    #[error("no scope was asked for, or one that is not granted")]
    InvalidScope,
    #[error("there is no Authorization header")]
    MissingHeader,
    #[error("the Authorization header is malformed")]
    InvalidHeader,
    #[error("the token is unknown, expired or revoked")]
    NotAuthenticated,
    #[error("the token lacks the operation's scope")]
    InsufficientPrivileges,
    #[error("the operation refuses client credentials")]
    UserContextRequired,
    #[error("there is no such path")]
    NoSuchPath,
    #[error("the path has no such method, only {0}")]
    NoSuchMethod(String),
    #[error("there is no such thing")]
    NotFound,
    #[error("the cursor is not one of ours")]
    UnknownCursor,
    #[error("the request cannot be read")]
    BadRequest,
    #[error("the body is too large")]
    TooLarge,
    #[error("the sandbox has no random numbers")]
    NoRandomness,
    #[error("the request asked for this status")]
    Ordered(StatusCode),
    #[error("a test ordered this status and error")]
    OrderedError(StatusCode, String),
    #[error("a test ordered that the connection is closed")]
    NoAnswer,
}

impl SandboxRefusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::InvalidClient | Self::NotAuthenticated | Self::InsufficientPrivileges => StatusCode::UNAUTHORIZED,
            Self::UnsupportedGrantType
            | Self::InvalidGrant
            | Self::InvalidRequest
            | Self::InvalidScope
            | Self::MissingHeader
            | Self::InvalidHeader
            | Self::UnknownCursor
            | Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::UserContextRequired => StatusCode::FORBIDDEN,
            Self::UnknownClient | Self::NoSuchPath | Self::NotFound => StatusCode::NOT_FOUND,
            Self::NoSuchMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoRandomness | Self::NoAnswer => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Ordered(status) | Self::OrderedError(status, _) => *status,
        }
    }

    /// The body; `incident` is the number by which the request can be found again.
    pub(super) fn body(&self, incident: u64) -> Value {
        match self {
            Self::UnknownClient => {
                json!({ "resultCode": "Client app not exist", "incidentId": format!("WEB_MGMT_SERVICE-{incident}") })
            }
            Self::InvalidClient => json!({ "error": "invalid_client" }),
            Self::UnsupportedGrantType => json!({ "error": "unsupported_grant_type" }),
            Self::OrderedError(_, error) => json!({ "error": error }),
            Self::InvalidGrant => json!({ "error": "invalid_grant" }),
            Self::InvalidRequest => json!({ "error": "invalid_request" }),
            Self::InvalidScope => oauth("invalid_scope", "Requested scope is not granted", 3),
            Self::MissingHeader => oauth("missing_header", "Authorization header is missing", 2),
            Self::InvalidHeader => oauth("invalid_header", "Authorization header is invalid", 1),
            Self::NotAuthenticated => oauth("not_authenticated", "Invalid credentials", 10),
            Self::InsufficientPrivileges => oauth("insufficient_privileges", "Insufficient privileges", 4),
            Self::UserContextRequired => oauth("user_context_required", "User context is required", 5),
            Self::NoSuchPath => failure("FAILURE", "HTTP 404 Not Found", incident),
            Self::NotFound => failure("ENTITY_NOT_FOUND", &self.to_string(), incident),
            Self::NoSuchMethod(_)
            | Self::UnknownCursor
            | Self::BadRequest
            | Self::TooLarge
            | Self::NoRandomness
            | Self::NoAnswer
            | Self::Ordered(_) => failure("FAILURE", &self.to_string(), incident),
        }
    }
}

fn failure(code: &str, message: &str, incident: u64) -> Value {
    json!({ "resultCode": code, "errorMessage": message, "incidentId": format!("SANDBOX-{incident}") })
}

fn oauth(error: &str, description: &str, code: u32) -> Value {
    json!({ "error": error, "error_description": description, "error_code": code })
}
