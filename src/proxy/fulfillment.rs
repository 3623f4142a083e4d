//! The stage of conditions: a request that rules open under conditions is permitted once these are fulfilled.
//!
//! Its body is read where a rule judges it; the bytes that were judged are the bytes that are sent. One of each quota is
//! taken when a person has approved: a request that waits takes none. A use of a rule is taken last, when all else that the
//! request needs is there.

use std::rc::Rc;
use std::time::SystemTime;

use super::Proxy;
use super::caller_context::{CallerContext, Permitted};
use super::enclosing::Enclosure;
use super::facts;
use super::observer::observe;
use super::response::{self, Rejection, ResponseBody};
use crate::net::body::{self, ReadBody};
use crate::net::listener::{RequestBody, Reservation};
use crate::observe::access_log::RequestLog;
use crate::observe::audit_log::entry::{DecisionLabel, RequestFacts, Text};
use crate::proxy::approval::{ApprovalSummary, HeldOperation, HeldRequest, MAX_BODY, Outcome};
use crate::proxy::authn::{Authenticated, Unauthenticated};
use crate::proxy::policy::body::JsonBody;
use crate::proxy::policy::catalog::{Operation, Risk};
use crate::proxy::policy::conditions::{ConditionalRule, Evidence, Unmet};
use crate::proxy::policy::dry_run::DryRun;
use crate::proxy::policy::{ChosenPermit, ConditionalPermit};
use crate::proxy::quota::WithinQuota;
use crate::proxy::upstream::UpstreamError;
use crate::proxy::uses::UseError;
use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;

/// A body on its way up, and the memory for what was read of it.
pub(super) struct HeldBody {
    pub(super) body: RequestBody,
    pub(super) room: Option<Reservation>,
}

/// What becomes of a request whose conditions can be fulfilled.
pub(super) enum Fulfilled<'a> {
    /// It goes on.
    Permitted(Box<(Permitted<'a>, HeldBody, Option<Box<Enclosure>>)>),
    /// A person has not approved it yet; its caller asks later.
    Waiting(Box<ApprovalSummary>),
}

impl HeldBody {
    /// A body of which nothing was read.
    pub(super) fn unread(body: RequestBody) -> Self {
        Self { body, room: None }
    }
}

impl Proxy {
    /// What has become of an approval, for the caller that asked for it.
    pub(super) async fn approval_status(
        &self,
        visitor: Unauthenticated,
        head: &Parts,
        log: &mut RequestLog,
    ) -> Result<Response<ResponseBody>, Rejection> {
        let mut authenticated = self.authn.authenticate(visitor, &head.headers)?;
        observe(log, &mut authenticated);
        let Authenticated { caller, .. } = authenticated;
        let (listener, caller) = (self.sink.meter.listener(), self.sink.meter.caller(Some(caller.id().index())));
        let summary = self.approvals.status((&head.method, &head.uri), listener, caller).await?;
        Ok(response::approval_status(&summary))
    }

    /// Fulfills the conditions of a permit, or refuses.
    pub(super) async fn fulfill<'a>(
        self: &Rc<Self>,
        permit: Box<ConditionalPermit>,
        (context, dry_run): (&'a CallerContext, Option<DryRun>),
        head: &Parts,
        body: RequestBody,
        log: &mut RequestLog,
    ) -> Result<Fulfilled<'a>, Rejection> {
        let (chosen, body) = self.choose(permit, context, head, body).await?;
        let (chosen, body, enclosure) = self.enclose(chosen, context, head, body).await?;
        let wanting = chosen.rules().iter().find(|rule| rule.terms.approval);
        if let Some(rule) = wanting.filter(|_| dry_run.is_none_or(DryRun::asks_approvers)) {
            // Nobody is asked in vain, and no approval is used up by a request that a quota stops.
            context.check_quotas(chosen.permit())?;
            let held = self.held(&chosen, rule, context, head, log);
            match self.approvals.require(held, &head.headers).await? {
                Outcome::Approved(approved) => log.set_approval(approved.id().to_string()),
                Outcome::Waiting(summary) => {
                    log.set_approval(summary.id.to_string());
                    return Ok(Fulfilled::Waiting(summary));
                }
            }
        }
        let charge = context.charge(chosen.permit()).await?;
        if dry_run.is_none() {
            self.take_uses(&chosen, context).await?;
        }
        // Each of its rules has what it asks for: what is not so has returned before.
        let within = WithinQuota::new(chosen.fulfilled(), charge);
        Ok(Fulfilled::Permitted(Box::new((Permitted { within, context }, body, enclosure))))
    }

    /// What a person is shown of a request.
    fn held(
        &self,
        chosen: &ChosenPermit,
        rule: &ConditionalRule,
        context: &CallerContext,
        head: &Parts,
        log: &RequestLog,
    ) -> HeldRequest {
        let permit = chosen.permit();
        let operation = permit.operation().and_then(|id| context.policy.catalog().get(id));
        let is_critical = |operation: &Operation| operation.risk == Risk::Critical;
        HeldRequest {
            facts: RequestFacts {
                decision: DecisionLabel::Waiting,
                rule: Some(Text::new(&rule.text)),
                ..facts::of_permit(log, permit)
            },
            method: permit.method().clone(),
            target: permit.target().clone(),
            instance: self.sender.upstream.authority().to_string(),
            operation: operation.map(HeldOperation::of),
            content_type: head.headers.get(CONTENT_TYPE).cloned(),
            content_encoding: head.headers.get(CONTENT_ENCODING).cloned(),
            body: permit.body().cloned().unwrap_or_default(),
            rule: rule.text.to_string(),
            reason: rule.terms.reason.as_deref().map(str::to_owned),
            critical: operation.is_none_or(is_critical),
        }
    }

    /// Finds the rules whose conditions hold; reads the body if one of them wants to see it.
    async fn choose(
        &self,
        permit: Box<ConditionalPermit>,
        context: &CallerContext,
        head: &Parts,
        body: RequestBody,
    ) -> Result<(ChosenPermit, HeldBody), Rejection> {
        let is_used_up = |rule: &_| context.uses(rule).is_some_and(|counter| counter.is_used_up());
        let now = SystemTime::now();
        let judging = permit.conditions().judging_body().cloned();
        let judging = judging.map(|rule| (rule, self.body_limits.judged));
        let showing = permit.conditions().wanting_approval().cloned().map(|rule| (rule, MAX_BODY as u64));
        let Some((_, limit)) = [&judging, &showing].into_iter().flatten().max_by_key(|(_, limit)| *limit) else {
            let evidence = Evidence { now, body: None, is_used_up: &is_used_up };
            return Ok((permit.choose(&evidence, None)?, HeldBody::unread(body)));
        };
        let mut room = self.body_limits.reserve(&body, *limit)?;
        let most = usize::try_from(*limit).unwrap_or(usize::MAX);
        let read = body::read_up_to(body, head.version, self.body_limits.wait, most).await;
        let ReadBody { read, rest } = read.map_err(UpstreamError::Upload)?;
        let is_over = |limit: u64| rest.is_some() || read.len() as u64 > limit;
        if let Some((rule, limit)) = [&judging, &showing].into_iter().flatten().find(|(_, limit)| is_over(*limit)) {
            if !permit.observes() {
                return Err(permit.too_large(rule, *limit).into());
            }
            let body = RequestBody::begun(read, rest);
            return Ok((permit.overrule(rule, *limit), HeldBody { body, room }));
        }
        if let Some(room) = &mut room {
            // Of a body whose length was not known, as much as there may be.
            room.shrink_to(read.len() as u64);
        }
        let json = judging.map(|_| JsonBody::read(&head.headers, &read));
        let evidence = Evidence { now, body: json.as_ref(), is_used_up: &is_used_up };
        let chosen = permit.choose(&evidence, Some(read.clone()))?;
        Ok((chosen, HeldBody { body: RequestBody::begun(read, None), room }))
    }

    /// Takes a use of each rule whose uses are limited. There is a token by then: a request that gets none costs no use.
    async fn take_uses(&self, chosen: &ChosenPermit, context: &CallerContext) -> Result<(), Rejection> {
        let counted: Vec<_> = chosen.rules().iter().filter(|rule| rule.terms.max_uses.is_some()).collect();
        if !counted.is_empty() {
            context.tokens(chosen.permit()).bearer(chosen.permit()).await?;
        }
        for rule in counted {
            let Some(counter) = context.uses(rule) else { return Err(UseError::Uncountable.into()) };
            match counter.take().await {
                Ok(_taken) => {}
                Err(UseError::UsedUp(max)) => return Err(chosen.refuse(rule, Unmet::UsedUp(max)).into()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
