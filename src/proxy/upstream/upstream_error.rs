//! Why there is no answer.

use super::head::MalformedAnswer;
use crate::net::body::BodyError;
use crate::net::dial::connect::ConnectError;
use crate::net::dial::protocol::ExchangeBreak;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection: nothing was sent.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke before a whole head came.
    #[error("the exchange with the instance broke off")]
    Broken(#[source] ExchangeBreak),
    /// The head of the answer can be read in no way, or in two.
    #[error("the instance's answer is malformed")]
    Malformed(#[from] MalformedAnswer),
    /// No head in time.
    #[error("the instance did not answer in time")]
    Timeout,
    /// The caller's body ended too soon: not the instance's fault.
    #[error("the request's body was cut: {0}")]
    Upload(BodyError),
}
