//! Approvals at the admin listener: what waits, for everybody on this machine; all of a request, and the decision, for
//! those who send an approver's key with it.

mod page;
pub mod shown_body;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, REFERRER_POLICY};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::page::guarded;
use crate::base::clock::utc;
use crate::proxy::approval::{ApprovalDetails, ApprovalId, ApprovalSummary, Decision, Vote};
use crate::proxy::response::DecisionRefusal;
pub use page::{ApprovalsPage, PageMessage, ShownApproval};
use shown_body::{ShownBody, masked_fields};

/// The largest form of a decision, in bytes.
pub const MAX_FORM: usize = 16 * 1024;

/// Where a request at the admin listener goes, if it is about approvals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalsPath {
    /// The page with the list.
    Page,
    /// The list for programs.
    Json,
    /// One approval; none if the path has no id.
    One(Option<ApprovalId>),
}

impl ApprovalsPath {
    /// The place of this path.
    pub fn at(path: &str) -> Option<Self> {
        match path {
            "/approvals" | "/approvals/" => Some(Self::Page),
            "/approvals.json" => Some(Self::Json),
            _ => path.strip_prefix("/approvals/").map(|id| Self::One(id.parse().ok())),
        }
    }
}

/// What an approver asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To see the query and the body.
    Show,
    /// To decide.
    Decide(Decision),
}

/// What an approver sends: by the form of the page, or by a program.
#[derive(Debug)]
pub struct ApproverRequest {
    /// What is wanted; none if the form does not say it.
    pub wish: Option<Wish>,
    /// The approver's key.
    pub key: Option<Zeroizing<String>>,
    /// The comment.
    pub comment: String,
}

impl ApproverRequest {
    /// Reads a form; a key in the head is taken before one in the form.
    pub fn read(headers: &HeaderMap, form: &[u8]) -> Self {
        let (mut wish, mut key, mut comment) = (None, bearer(headers), String::new());
        for (name, value) in form_urlencoded::parse(form) {
            match &*name {
                "decision" => {
                    wish = match &*value {
                        "show" => Some(Wish::Show),
                        "approve" => Some(Wish::Decide(Decision::Approve)),
                        "deny" => Some(Wish::Decide(Decision::Deny)),
                        _ => None,
                    }
                }
                "key" => {
                    let value = Zeroizing::new(value.into_owned());
                    key = key.or_else(|| Some(Zeroizing::new(value.trim().to_owned())).filter(|key| !key.is_empty()));
                }
                "comment" => comment = value.into_owned(),
                _ => {}
            }
        }
        Self { wish, key, comment }
    }
}

/// The key that a program sends in the head.
pub fn bearer(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| Zeroizing::new(key.trim().to_owned()))
}

/// Whether the answer is for a person in a browser.
pub fn wants_page(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(|accepted| accepted.contains("text/html")))
}

/// The list for programs.
pub fn list(summaries: &[ApprovalSummary]) -> Response<Full<Bytes>> {
    json_response(StatusCode::OK, &summaries.iter().map(summary).collect())
}

/// The list with the queries, for programs of approvers.
pub fn list_with_queries(listed: &[(ApprovalSummary, Option<String>)]) -> Response<Full<Bytes>> {
    let one = |(shown, query): &(ApprovalSummary, Option<String>)| {
        let mut value = summary(shown);
        if let Value::Object(members) = &mut value {
            members.insert("query".to_owned(), query.as_deref().map(masked_fields).map(|(text, _)| text).into());
        }
        value
    };
    json_response(StatusCode::OK, &listed.iter().map(one).collect())
}

/// One approval for programs, without the query and the body.
pub fn one(shown: &ApprovalSummary) -> Response<Full<Bytes>> {
    json_response(StatusCode::OK, &summary(shown))
}

/// All of an approval, for programs of approvers.
pub fn whole(details: &ApprovalDetails, names: &[(String, String)]) -> Response<Full<Bytes>> {
    json_response(StatusCode::OK, &self::details(details, names))
}

/// The refusal for programs.
pub fn refused(refusal: &DecisionRefusal) -> Response<Full<Bytes>> {
    readable(refusal.response())
}

fn json_response(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{value}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    readable(response)
}

/// As all answers of the admin listener. A form that a page without a referrer sends has no origin (Fetch standard,
/// section 3.1), and would be taken for that of a foreign page.
fn readable(response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let mut response = guarded(response);
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

fn summary(summary: &ApprovalSummary) -> Value {
    let ApprovalSummary { id, state, is_withdrawn, asked, expires, given, required, .. } = summary;
    let ApprovalSummary { method, path, operation, group, risk, listener, caller, rule, reason, comment, .. } = summary;
    json!({
        "id": id.to_string(),
        "state": state.as_str(),
        "withdrawn": is_withdrawn,
        "asked": utc::seconds(*asked),
        "expires": utc::seconds(*expires),
        "approvals": given,
        "required": required,
        "operation": operation,
        "group": group.map(|group| group.name),
        "mayDo": group.map(|group| group.description),
        "risk": risk.as_str(),
        "method": method.as_str(),
        "path": path,
        "listener": listener,
        "caller": caller,
        "dryRun": summary.dry_run,
        "rule": rule,
        "reason": reason,
        "comment": comment,
    })
}

fn details(details: &ApprovalDetails, names: &[(String, String)]) -> Value {
    let ApprovalDetails { summary, held, body_bytes, body_sha256, votes } = details;
    let mut value = self::summary(summary);
    let shown = ShownBody::of(&held.body, held.content_type.as_ref());
    let text = |value: Option<&HeaderValue>| value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let (query, masked) = held.target.query().map(masked_fields).unzip();
    let operation = held.operation.as_ref();
    let vote = |Vote { approver, decision, comment, at }: &Vote| json!({ "approver": approver, "decision": decision.as_str(), "comment": comment, "at": utc::seconds(*at) });
    let more = json!({
        "requestId": held.facts.id,
        "peer": held.facts.peer,
        "user": held.facts.user,
        "instance": held.instance,
        "repeatable": operation.map(|operation| operation.idempotent),
        "names": names.iter().map(|(what, name)| json!({ "what": what, "name": name })).collect::<Vec<_>>(),
        "query": query,
        "contentType": text(held.content_type.as_ref()),
        "contentEncoding": text(held.content_encoding.as_ref()),
        "body": shown.text,
        "bodyForm": shown.form.as_str(),
        "bodyBytes": body_bytes,
        "bodySha256": body_sha256.to_string(),
        "maskedValues": shown.masked + masked.unwrap_or_default(),
        "votes": votes.iter().map(vote).collect::<Vec<_>>(),
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approver_requests_are_read_from_forms_and_heads() {
        let form = |headers: &HeaderMap, text: &str| {
            let ApproverRequest { wish, key, comment } = ApproverRequest::read(headers, text.as_bytes());
            (wish, key.map(|key| key.to_string()), comment)
        };
        let none = HeaderMap::new();
        let read = form(&none, "decision=approve&key=+npk_x+&comment=a+b%26");
        assert_eq!(read, (Some(Wish::Decide(Decision::Approve)), Some("npk_x".to_owned()), "a b&".to_owned()));
        assert_eq!(form(&none, "decision=maybe&key="), (None, None, String::new()));
        let head = [(AUTHORIZATION, HeaderValue::from_static("bearer npk_y"))].into_iter().collect();
        assert_eq!(form(&head, "decision=deny&key=npk_x").1.as_deref(), Some("npk_y"));
        assert_eq!(form(&head, "decision=show").0, Some(Wish::Show));
    }

    #[test]
    fn approvals_have_paths_of_their_own() {
        assert_eq!(ApprovalsPath::at("/approvals"), Some(ApprovalsPath::Page));
        assert_eq!(ApprovalsPath::at("/approvals.json"), Some(ApprovalsPath::Json));
        assert_eq!(ApprovalsPath::at("/approvals/x"), Some(ApprovalsPath::One(None)));
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(ApprovalsPath::at(&format!("/approvals/{id}")), Some(ApprovalsPath::One(id.parse().ok())));
        assert_eq!(ApprovalsPath::at("/approval"), None);
    }
}
