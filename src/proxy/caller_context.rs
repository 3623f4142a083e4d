//! The policy, the token source, and the usage counters that belong to a caller of a listener.

use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;

use crate::net::listener::Peer;
use crate::observe::usage::{self, UsageCounters};
use crate::proxy::authn::Caller;
use crate::proxy::connect::{ConnectRefusal, ConnectTargets, HTTPS};
use crate::proxy::policy::catalog::OperationId;
use crate::proxy::policy::conditions::ConditionalRule;
use crate::proxy::policy::coverage::SecureUse;
use crate::proxy::policy::dry_run::DryRun;
use crate::proxy::policy::{Judgment, Permit, Policy, PolicyRefusal, TokenHolder};
use crate::proxy::quota::{self, CallerQuota, QuotaCharge, QuotaExceeded, QuotaStatus, WithinQuota};
use crate::proxy::token::TokenSource;
use crate::proxy::uses::{RuleUses, UseCounter};

/// What a caller has on a listener: what is open to it, and the tokens for it.
#[derive(Debug)]
pub struct CallerContext {
    pub(super) policy: Arc<Policy>,
    tokens: TokenSource,
    /// Those of the person behind the operations that need one.
    user_tokens: Option<TokenSource>,
    /// Where its use is counted, if it is.
    usage: Option<Arc<UsageCounters>>,
    /// The quotas that apply to it, if any does.
    quota: Option<CallerQuota>,
    /// The scopes, for messages.
    pub(super) scopes: String,
    /// The organizations that it is kept to, for the audit log.
    organizations: Option<Arc<str>>,
    /// The rules of `allow`, with their conditions, for the logs.
    allow: Vec<Rc<str>>,
    /// How often rules with `max-uses` were used.
    uses: RuleUses,
    /// Its writes are not sent.
    tries_writes: bool,
    /// What of the listener's servers it may reach by CONNECT, if not all.
    connect: Option<ConnectTargets>,
}

/// What the policy says of a request, and what its caller has.
pub(super) struct Judged<'a> {
    pub(super) judgment: Judgment,
    /// It is only tried.
    pub(super) dry_run: Option<DryRun>,
    pub(super) context: &'a CallerContext,
}

/// A permit within the caller's quotas, and what its caller has.
pub(super) struct Permitted<'a> {
    pub(super) within: WithinQuota,
    pub(super) context: &'a CallerContext,
}

impl CallerContext {
    /// What `policy` opens within `quota`, with these tokens; its use is counted in `usage`.
    pub fn new(
        policy: Arc<Policy>,
        tokens: TokenSource,
        user_tokens: Option<TokenSource>,
        usage: Option<Arc<UsageCounters>>,
        uses: RuleUses,
        quota: Option<CallerQuota>,
    ) -> Self {
        let scopes = policy.scopes().to_string();
        let allow = policy.rules().allow.iter().map(|rule| Rc::from(rule.label())).collect();
        let organizations = policy.organizations().map(|organizations| organizations.to_string().into());
        Self {
            policy,
            tokens,
            user_tokens,
            usage,
            quota,
            scopes,
            organizations,
            allow,
            uses,
            tries_writes: false,
            connect: None,
        }
    }

    /// The same, whose writes are not sent if `tries_writes`.
    #[must_use]
    pub fn trying_writes(self, tries_writes: bool) -> Self {
        Self { tries_writes, ..self }
    }

    /// The same, which may reach only these servers by CONNECT, if they are given.
    #[must_use]
    pub fn reaching(self, connect: Option<ConnectTargets>) -> Self {
        Self { connect, ..self }
    }

    /// Whether the caller may reach the server of this CONNECT.
    pub(super) fn connect(&self, head: &Parts) -> Result<(), ConnectRefusal> {
        self.connect.as_ref().map_or(Ok(()), |targets| targets.judge(head).map(drop))
    }

    /// Whether the caller may be at the end of the CONNECT that a request came through.
    pub(super) fn be_at(&self, peer: &Peer) -> Result<(), ConnectRefusal> {
        match (peer.intercepted(), &self.connect) {
            (Some(intercepted), Some(targets)) => {
                targets.judge_authority(&format!("{}:{HTTPS}", intercepted.name)).map(drop)
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// Judges a request of this caller.
    pub(super) fn judge(&self, caller: Caller, head: &Parts) -> Result<Judged<'_>, PolicyRefusal> {
        let judgment = self.policy.judge(caller, &head.method, &head.uri)?;
        let dry_run = DryRun::of(&head.method, &head.headers, self.tries_writes);
        Ok(Judged { judgment, dry_run, context: self })
    }

    /// The uses of a rule, if they are limited.
    pub(super) fn uses(&self, rule: &ConditionalRule) -> Option<&Arc<UseCounter>> {
        self.uses.of(rule)
    }

    /// Takes one of each quota that applies to a permitted request, or none of any.
    pub(super) async fn charge(&self, permit: &Permit) -> Result<QuotaCharge, QuotaExceeded> {
        QuotaCharge::take(self.quota.as_ref(), permit, self.policy.catalog()).await
    }

    /// Whether each quota that applies to a permitted request has one left. Takes none.
    pub(super) fn check_quotas(&self, permit: &Permit) -> Result<(), QuotaExceeded> {
        let check = |quota: &CallerQuota| quota.check(quota::kinds(permit, self.policy.catalog()));
        self.quota.as_ref().map_or(Ok(()), check)
    }

    /// The quotas that apply to a permitted request, as they stand now; without one this does not allocate.
    pub(super) fn quotas(&self, permit: &Permit) -> Vec<QuotaStatus> {
        let status = |quota: &CallerQuota| quota.status(quota::kinds(permit, self.policy.catalog()));
        self.quota.as_ref().map(status).unwrap_or_default()
    }

    /// Where a permitted request gets its token.
    pub(super) fn tokens(&self, permit: &Permit) -> &TokenSource {
        match permit.token_holder() {
            TokenHolder::User => self.user_tokens.as_ref().unwrap_or(&self.tokens),
            TokenHolder::Machine => &self.tokens,
        }
    }

    /// The person whose token a permitted request needs, if it is not the machine's.
    pub(super) fn user(&self, permit: &Permit) -> Option<Arc<str>> {
        self.policy.user_of(permit.operation()).map(|user| Arc::clone(&user.name))
    }

    /// The organizations that it is kept to, as the audit log has them.
    pub(super) fn organizations(&self) -> Option<&Arc<str>> {
        self.organizations.as_ref()
    }

    /// The rule of `allow` that opened a request, as written.
    pub(super) fn rule(&self, permit: &Permit) -> Option<Rc<str>> {
        self.allow.get(permit.rule()?.index()).cloned()
    }

    /// Counts a request, where that is asked for: only its operation, or the rule that opened it.
    pub(super) fn count_use(&self, permit: &Permit) {
        let Some(usage) = &self.usage else { return };
        let known = permit.operation().map(OperationId::index);
        let place = known.or_else(|| Some(self.policy.catalog().operations().len() + permit.rule()?.index()));
        let secure_values = permit.secure_values();
        usage.count(usage::CountedRequest {
            place: place.unwrap_or(usize::MAX),
            overruled: permit.overruled().is_some(),
            secure_values: secure_values != SecureUse::No,
            doubtful: secure_values == SecureUse::Doubtful,
        });
    }
}
