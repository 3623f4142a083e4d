//! The pages of approvals: the list, and one request with its decision. They work without script and by keyboard only.

mod document;
mod forms;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use maud::Markup;
use ring::digest::{SHA256, digest};

use super::{DecisionRefusal, readable};
use crate::proxy::approval::{ApprovalDetails, ApprovalSummary};
use crate::tools::admin::page::STYLE;

/// What these pages have in addition to the style of the status page.
const OWN_STYLE: &str = include_str!("page/approvals.css");

/// What the pages may do in a browser, worked out once.
#[derive(Debug)]
pub struct ApprovalsPage {
    policy: HeaderValue,
}

/// One request on its page.
#[derive(Debug)]
pub struct ShownApproval<'a> {
    /// What everybody may see.
    pub summary: &'a ApprovalSummary,
    /// All of it, if an approver has asked.
    pub details: Option<&'a ApprovalDetails>,
    /// Of the device and organization that it is about, what they are, and their names.
    pub names: &'a [(String, String)],
    /// What has just happened.
    pub message: Option<PageMessage>,
}

/// What has just happened, at the top of the page.
#[derive(Debug)]
pub enum PageMessage {
    /// A decision was taken.
    Done(String),
    /// It was not.
    Refused(DecisionRefusal),
}

impl ApprovalsPage {
    /// Works out the policy.
    pub fn new() -> Self {
        let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}' 'sha256-{}'; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
            hash(STYLE),
            hash(OWN_STYLE)
        );
        let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        Self { policy }
    }

    /// The list.
    pub fn list(&self, summaries: &[ApprovalSummary]) -> Response<Full<Bytes>> {
        self.answer(StatusCode::OK, document::list(summaries))
    }

    /// One request.
    pub fn one(&self, shown: &ShownApproval<'_>) -> Response<Full<Bytes>> {
        let status = match &shown.message {
            // A browser would ask for a name and a password of its own.
            Some(PageMessage::Refused(refusal)) if refusal.status() == StatusCode::UNAUTHORIZED => {
                StatusCode::FORBIDDEN
            }
            Some(PageMessage::Refused(refusal)) => refusal.status(),
            Some(PageMessage::Done(_)) | None => StatusCode::OK,
        };
        self.answer(status, document::one(shown))
    }

    /// There is no such request.
    pub fn missing(&self, refusal: &DecisionRefusal) -> Response<Full<Bytes>> {
        self.answer(refusal.status(), document::missing(&refusal.detail()))
    }

    fn answer(&self, status: StatusCode, page: Markup) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(page.into_string()));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        readable(response)
    }
}

impl Default for ApprovalsPage {
    fn default() -> Self {
        Self::new()
    }
}
