//! The OpenAPI document that an instance publishes of itself, which needs no credentials. Instances differ in what they
//! have.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue, USER_AGENT};
use http::{Request, StatusCode, Uri};
use tokio::time::timeout;

use super::{InstanceSite, SiteError};
use crate::net::dial::exchange::ExchangeError;
use crate::proxy::policy::catalog::openapi::{Document, DocumentError, MAX_DOCUMENT};

/// Where every instance has it.
pub const PATH: &str = "/apidocs/NinjaRMM-API-v2.json";

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is no way to the instance.
    #[error(transparent)]
    Way(#[from] SiteError),
    /// It did not answer, or not as allowed.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// Not in time.
    #[error("the document did not come within {0:?} (timeouts.upstream)")]
    Timeout(Duration),
    /// It has none there.
    #[error("GET {PATH} was answered {0}")]
    Status(StatusCode),
    /// It is not text.
    #[error("what came is not UTF-8")]
    NoText,
    /// It is something else.
    #[error("what came cannot be used: {0}")]
    Unusable(#[from] DocumentError),
}

/// A document, as it came and as it was read.
#[derive(Debug)]
pub struct Published {
    /// As it came.
    pub text: String,
    /// What it declares.
    pub document: Document,
}

/// Fetches the document, without credentials; a connection may take the first of the times, all of it the second.
pub async fn fetch(site: &InstanceSite, (connect, all): (Duration, Duration)) -> Result<Published, FetchError> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = Uri::from_static(PATH);
    let agent = HeaderValue::from_static(concat!("ninjaone-proxy/", env!("CARGO_PKG_VERSION")));
    request.headers_mut().insert(USER_AGENT, agent);
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    let limit = usize::try_from(MAX_DOCUMENT).unwrap_or(usize::MAX);
    let exchange = site.connector(connect)?;
    let reply = timeout(all, exchange.exchange(request, limit)).await.map_err(|_| FetchError::Timeout(all))??;
    if reply.head.status != StatusCode::OK {
        return Err(FetchError::Status(reply.head.status));
    }
    let text = std::str::from_utf8(&reply.body).map_err(|_| FetchError::NoText)?.to_owned();
    let document = Document::parse(&text)?;
    Ok(Published { text, document })
}
