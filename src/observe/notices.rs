//! Notices: short messages that are posted to a webhook, as Slack, Teams and Mattermost take them.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, Url};

use crate::base::secret::Secret;
use crate::net::tls::{TlsError, Trust};

/// How long the webhook may take.
const TIME: Duration = Duration::from_secs(5);

/// Where notices go.
#[derive(Debug, Clone)]
pub struct NoticesConfig {
    /// The address of the webhook. Whoever knows it can post there, so it is a secret.
    pub url: Secret,
    /// Whom to trust over TLS.
    pub trust: Trust,
}

/// Why notices cannot be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum NoticesError {
    /// There is no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no HTTP client.
    #[error("the client of the webhook cannot be made")]
    Client(#[source] reqwest::Error),
    /// The address is not a URL.
    #[error("the address of the webhook is not a URL")]
    Url,
}

/// Why a notice was not sent. The address is not told.
#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    /// The webhook refused it.
    #[error("the webhook answers {0}")]
    Refused(u16),
    /// There is no answer.
    #[error("the webhook cannot be reached")]
    Failed(#[source] reqwest::Error),
    /// There is no answer in time.
    #[error("the webhook does not answer within {TIME:?}")]
    TookTooLong,
}

/// The way to a webhook.
#[derive(Clone)]
pub struct Notices {
    client: Client,
    url: Secret,
    /// What the requests have, so that one that comes back is recognized.
    mark: (HeaderName, HeaderValue),
}

impl Notices {
    /// Makes the client. An HTTP proxy that the environment names is used, unless the webhook is on this machine.
    pub fn new(config: &NoticesConfig, mark: (HeaderName, HeaderValue)) -> Result<Self, NoticesError> {
        let url = Url::parse(&config.url.expose()).map_err(|_| NoticesError::Url)?;
        let client = Client::builder()
            .tls_backend_preconfigured(std::sync::Arc::unwrap_or_clone(config.trust.client_config(&[b"http/1.1"])?))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("ninjaone-proxy/", env!("CARGO_PKG_VERSION")))
            .timeout(TIME);
        let client = if url.scheme() == "http" { client.no_proxy() } else { client };
        let client = client.build().map_err(|error| NoticesError::Client(error.without_url()))?;
        Ok(Self { client, url: config.url.clone(), mark })
    }

    /// Posts a text.
    pub async fn post(&self, text: &str) -> Result<(), NoticeError> {
        let body = serde_json::json!({ "text": text }).to_string();
        let (mark, value) = self.mark.clone();
        let request = self.client.post(&*self.url.expose()).header(CONTENT_TYPE, "application/json");
        let answered = request.header(mark, value).body(body).send().await;
        match answered {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(NoticeError::Refused(answer.status().as_u16())),
            Err(error) if error.is_timeout() => Err(NoticeError::TookTooLong),
            Err(error) => Err(NoticeError::Failed(error.without_url())),
        }
    }
}
