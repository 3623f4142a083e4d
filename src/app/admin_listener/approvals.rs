//! What the admin listener answers about approvals: lists to everybody here, all else to approvers.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use http_body_util::Full;

use super::AdminState;
use crate::net::body::read_small;
use crate::net::listener::RequestBody;
use crate::proxy::approval::{
    ApprovalDetails, ApprovalId, ApprovalSummary, Decision, DecisionError, KnownApprover, State,
};
use crate::proxy::response::{self, DecisionRefusal};
use crate::tools::admin::approvals::{
    self, ApprovalsPath, ApproverRequest, MAX_FORM, PageMessage, ShownApproval, Wish, bearer, wants_page,
};

/// The longest wait for more of a form.
const FORM_TIME: Duration = Duration::from_secs(5);

/// What is answered to an approver.
struct Answered {
    summary: ApprovalSummary,
    /// All of the request, if it is shown.
    details: Option<ApprovalDetails>,
    /// The names of what it is about.
    names: Vec<(String, String)>,
    message: Option<PageMessage>,
}

impl AdminState {
    /// Answers a request about approvals.
    pub(super) async fn answer_approvals(
        &self,
        path: ApprovalsPath,
        head: &Parts,
        body: RequestBody,
    ) -> Response<Full<Bytes>> {
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        // What the store cannot tell now is shown as it is known here.
        let _ = match path {
            ApprovalsPath::Page | ApprovalsPath::Json => self.approvals.look_up_all().await,
            ApprovalsPath::One(Some(id)) => self.approvals.look_up(id).await,
            ApprovalsPath::One(None) => Ok(()),
        };
        match path {
            ApprovalsPath::Page if reads => self.approvals_page.list(&self.approvals.list()),
            ApprovalsPath::Json if reads => self.list_approvals(head),
            ApprovalsPath::Page | ApprovalsPath::Json => response::refuse_write(),
            ApprovalsPath::One(id) => {
                let unknown = DecisionRefusal::Decision(DecisionError::Unknown);
                let known = id.and_then(|id| Some((id, self.approvals.summary(id)?)));
                match known {
                    Some((id, summary)) => self.answer_approval(id, summary, head, body).await,
                    None if wants_page(&head.headers) => self.approvals_page.missing(&unknown),
                    None => approvals::refused(&unknown),
                }
            }
        }
    }

    fn list_approvals(&self, head: &Parts) -> Response<Full<Bytes>> {
        let Some(key) = bearer(&head.headers) else { return approvals::list(&self.approvals.list()) };
        match self.approvals.approver(key.as_bytes()) {
            Ok(approver) => approvals::list_with_queries(&self.approvals.list_with_queries(&approver)),
            Err(error) => approvals::refused(&DecisionRefusal::Approver(error)),
        }
    }

    async fn answer_approval(
        &self,
        id: ApprovalId,
        summary: ApprovalSummary,
        head: &Parts,
        body: RequestBody,
    ) -> Response<Full<Bytes>> {
        let answered = match head.method {
            Method::GET | Method::HEAD => self.look(id, &summary, head).await,
            Method::POST => match read_small(body, head.version, FORM_TIME, MAX_FORM).await {
                Ok(form) => self.decide(id, ApproverRequest::read(&head.headers, &zeroize::Zeroizing::new(form))).await,
                Err(error) => Err(DecisionRefusal::Body(error)),
            },
            _ => Err(DecisionRefusal::Method),
        };
        match answered {
            Err(refusal) if !wants_page(&head.headers) => approvals::refused(&refusal),
            Err(refusal) => {
                let summary = &self.approvals.summary(id).unwrap_or(summary);
                let message = Some(PageMessage::Refused(refusal));
                self.approvals_page.one(&ShownApproval { summary, details: None, names: &[], message })
            }
            Ok(Answered { summary, details, names, message }) => match &details {
                details if wants_page(&head.headers) => {
                    let (summary, details) = (&summary, details.as_ref());
                    self.approvals_page.one(&ShownApproval { summary, details, names: &names, message })
                }
                Some(details) => approvals::whole(details, &names),
                None => approvals::one(&summary),
            },
        }
    }

    /// Without a key what everybody may see, with one all of it.
    async fn look(&self, id: ApprovalId, summary: &ApprovalSummary, head: &Parts) -> Result<Answered, DecisionRefusal> {
        let Some(key) = bearer(&head.headers) else {
            return Ok(Answered { summary: summary.clone(), details: None, names: Vec::new(), message: None });
        };
        let approver = self.approvals.approver(key.as_bytes()).map_err(DecisionRefusal::Approver)?;
        self.show_whole(&approver, id).await
    }

    async fn show_whole(&self, approver: &KnownApprover, id: ApprovalId) -> Result<Answered, DecisionRefusal> {
        let _ = self.approvals.look_up_whole(id).await;
        let details = self.approvals.details(approver, id).ok_or(DecisionError::Unknown);
        let details = details.map_err(DecisionRefusal::Decision)?;
        let names = self.names_in(&details.summary).await;
        Ok(Answered { summary: details.summary.clone(), details: Some(details), names, message: None })
    }

    /// The names of what a request is about that is still to be decided.
    async fn names_in(&self, summary: &ApprovalSummary) -> Vec<(String, String)> {
        let listener = self.listeners.borrow().iter().find(|own| own.name == summary.listener).cloned();
        match listener.filter(|_| summary.state.is_open()) {
            Some(listener) => self.names.of(&summary.path, &listener.policy).await,
            None => Vec::new(),
        }
    }

    async fn decide(&self, id: ApprovalId, request: ApproverRequest) -> Result<Answered, DecisionRefusal> {
        let ApproverRequest { wish, key, comment } = request;
        let key = key.ok_or(DecisionRefusal::NoKey)?;
        let approver = self.approvals.approver(key.as_bytes()).map_err(DecisionRefusal::Approver)?;
        let decision = match wish.ok_or(DecisionRefusal::Unclear)? {
            Wish::Show => return self.show_whole(&approver, id).await,
            Wish::Decide(decision) => decision,
        };
        let decided = self.approvals.decide(&approver, id, decision, &comment).await;
        let summary = decided.map_err(DecisionRefusal::Decision)?;
        tracing::info!(
            approval = %id, approver = approver.name(), decision = decision.as_str(), state = summary.state.as_str(),
            operation = summary.operation, "an approver has decided"
        );
        let message = Some(PageMessage::Done(told(&summary, decision)));
        Ok(Answered { summary, details: None, names: Vec::new(), message })
    }
}

/// What has come of a decision.
fn told(summary: &ApprovalSummary, decision: Decision) -> String {
    let left = summary.required.saturating_sub(summary.given);
    match (decision, summary.state) {
        (Decision::Deny, _) => "Denied. The request will not be sent.".to_owned(),
        (Decision::Approve, State::Waiting) => {
            format!("Approved by you. It waits for {left} more approver{}.", if left == 1 { "" } else { "s" })
        }
        (Decision::Approve, _) => "Approved. The request may be sent once.".to_owned(),
    }
}
