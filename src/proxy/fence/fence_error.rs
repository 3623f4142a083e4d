//! Why a fence ends a request.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::directory::LookupError;
use super::rows::RowError;
use crate::proxy::policy::body::{BodyFenceError, UnreadableBody};
use crate::proxy::upstream::Reason;

/// Why a fence ends a request, or keeps its answer back.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// Something that the request names is outside, or not there.
    #[error("the request names something that is not in the organizations of the fence")]
    Outside,
    /// A parameter of the query that says whose data is asked for can be read in more than one way, or is not an id.
    #[error("the parameter {0} of the query is not a plain list of ids")]
    QueryUnclear(String),
    /// That parameter is missing.
    #[error("the parameter {0} of the query is missing, which says whose data is asked for")]
    QueryMissing(String),
    /// It asks for an answer without a body, and only the body tells whose it is.
    #[error("only the body of the answer tells whose it is, and HEAD asks for none")]
    Unjudged,
    /// The body cannot be judged.
    #[error("the body cannot be judged: {0}")]
    BodyUnreadable(UnreadableBody),
    /// The body has more bytes than are judged.
    #[error("the body has more than {0} bytes")]
    BodyTooLarge(u64),
    /// It cannot be said what the body names.
    #[error(transparent)]
    BodyUnclear(#[from] BodyFenceError),
    /// The body does not say whose data it is about.
    #[error("the body must have {0:?}, which says whose data it is about")]
    BodyMissing(String),
    /// The body names something of which nobody can tell whose it is.
    #[error("the body must not have {0:?}: nobody can tell whose that is")]
    BodyUnwanted(String),
    /// Whose something is could not be found out.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// NinjaOne refused the request; its message may name what is outside.
    #[error("NinjaOne answered {status}, and its message is kept back, since it may name what is outside")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// What its message means, if that is known.
        reason: Option<Reason>,
        /// Its `Retry-After`.
        retry_after: Option<HeaderValue>,
    },
    /// A further page could not be had.
    #[error("NinjaOne could not be asked for a further page: {0}")]
    Failed(Arc<dyn std::error::Error + Send + Sync>),
    /// The answer cannot be filtered.
    #[error("NinjaOne's answer cannot be filtered: {0}")]
    Unfit(#[from] RowError),
    /// The answer to a write names something outside.
    #[error("NinjaOne's answer names something that is not in the organizations of the fence")]
    AnswerOutside,
    /// The answer is compressed although that was not asked for.
    #[error("NinjaOne's answer is encoded, although that was not asked for")]
    Encoded,
    /// The answer broke off while it was read.
    #[error("NinjaOne's answer broke off")]
    Broken,
    /// The list does not go on, or does not end.
    #[error("NinjaOne's list does not come to its end")]
    Endless,
}
