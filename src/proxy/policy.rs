//! The policy: which operations a listener's callers may use.
//!
//! A listener's scopes are a ceiling, its groups narrow it, `allow` adds single operations below the ceiling,
//! `deny` wins over everything, and what nothing opens is closed. Some groups stay closed unless they are named, and so
//! do requests for the values of secure fields.
//!
//! What does not depend on a request's path or query is decided when the policy is compiled, so that a decision takes a
//! walk down the catalogue's tree and a look into a table, and no memory.

pub mod body;
pub mod catalog;
pub mod conditions;
pub mod coverage;
mod decision;
pub mod dry_run;
pub mod group;
mod organizations;
pub mod path;
mod permit;
pub mod query;
pub mod references;
mod refusal;
pub mod review;
pub mod rule;
pub mod rule_trace;
mod rules;
pub mod spelling;
mod token_holder;
mod verdict;

use std::sync::Arc;

use http::{Method, Uri};

use crate::proxy::authn::Caller;
use catalog::{Catalog, Operation, OperationId, PathOperations, ScopeSet};
use conditions::{ConditionLayer, Conditions, Unmet, UnmetRule};
pub use decision::{ClosedBy, Decision, OpenedBy, OperationVerdict, Passage, Ruling};
use decision::{JudgedRequest, Verdict};
pub use organizations::{MAX_ORGANIZATION, Organizations};
use path::{Segments, Target};
pub use permit::{ChosenPermit, ConditionalPermit, Judgment, Permit, is_write};
pub use refusal::{Denied, DenyReason, PolicyError, PolicyRefusal};
use rule::Rule;
pub use rules::{Groups, RuleId, Rules};
use rules::{OperationRow, assumed_scope, check_spelling};
pub use token_holder::{PolicyUser, TokenHolder};

/// The number of an instance in the configuration, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InstanceId(pub u16);

/// The compiled policy of one listener, or of one caller of it. A copy shares what was compiled.
#[derive(Debug, Clone)]
pub struct Policy {
    catalog: Arc<Catalog>,
    instance: InstanceId,
    rules: Arc<Rules>,
    /// By operation, from the `first` on: of all of them, or of the one that a draft is about.
    rows: Arc<[OperationRow]>,
    first: usize,
    /// What this policy is narrower than: a caller's is within its listener's.
    ceiling: Option<Arc<Policy>>,
    /// Whether what the rules close is only noted.
    observes: bool,
    /// The person behind the operations that need one.
    user: Option<PolicyUser>,
}

impl Policy {
    /// Compiles a policy.
    pub fn new(catalog: Arc<Catalog>, instance: InstanceId, rules: Rules) -> Result<Self, PolicyError> {
        if rules.allow.len().max(rules.deny.len()) > usize::from(u16::MAX) {
            return Err(PolicyError::TooManyRules);
        }
        rules.allow.iter().chain(&rules.deny).try_for_each(|rule| check_spelling(rule, &catalog))?;
        rules.allow.iter().try_for_each(|rule| rules.check_ceiling(rule, &catalog))?;
        rules.check_conditions()?;
        let rows = catalog.operations().iter().map(|operation| rules.row(operation)).collect();
        let rules = Arc::new(rules);
        Ok(Self { catalog, instance, rules, rows, first: 0, ceiling: None, observes: false, user: None })
    }

    /// A policy with these rules that judges requests for one operation only, or for what the catalogue lacks: much
    /// cheaper to make. Nothing is checked.
    fn draft(model: &Self, rules: Arc<Rules>, about: Option<OperationId>) -> Self {
        let operation = about.and_then(|id| model.catalog.get(id));
        let rows = operation.iter().map(|operation| rules.row(operation)).collect();
        let (catalog, first) = (model.shared_catalog(), about.map_or(0, OperationId::index));
        Self { catalog, instance: model.instance, rules, rows, first, ceiling: None, observes: false, user: None }
    }

    fn row(&self, id: OperationId) -> Option<&OperationRow> {
        self.rows.get(id.index().checked_sub(self.first)?)
    }

    /// This policy, for a caller of a listener with the policy `ceiling`: only what both open is open.
    pub fn within(mut self, ceiling: Arc<Policy>) -> Result<Self, PolicyError> {
        if let Some(above) = self.scopes().iter().find(|scope| !ceiling.scopes().contains(*scope)) {
            return Err(PolicyError::AboveListener(above));
        }
        self.observes = ceiling.observes;
        self.ceiling = Some(ceiling);
        Ok(self)
    }

    /// This policy, if `observes`, lets pass what its scopes permit, and only notes what its groups and rules close.
    pub fn observing(self, observes: bool) -> Self {
        Self { observes, ..self }
    }

    /// Whether what the groups and rules close is only noted.
    pub fn observes(&self) -> bool {
        self.observes
    }

    /// This policy, with a person behind the operations that need one, or behind all. It opens no more for that.
    #[must_use]
    pub fn with_user(self, user: Option<PolicyUser>) -> Self {
        Self { user, ..self }
    }

    /// The person behind the operations that need one.
    pub fn user(&self) -> Option<&PolicyUser> {
        self.user.as_ref()
    }

    /// The person whose token a permitted request carries, if that is not the machine's: the operation decides.
    pub fn user_of(&self, operation: Option<OperationId>) -> Option<&PolicyUser> {
        let needs_user = || operation.and_then(|id| self.catalog.get(id)).is_some_and(|found| found.user_context);
        self.user.as_ref().filter(|user| user.always || needs_user())
    }

    /// Whose token that is.
    pub fn token_holder(&self, operation: Option<OperationId>) -> TokenHolder {
        self.user_of(operation).map_or(TokenHolder::Machine, |_| TokenHolder::User)
    }

    /// The catalogue that the policy judges by.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The catalogue, to be shared with another policy.
    pub fn shared_catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog)
    }

    /// The policy of the listener, where this is that of a caller.
    pub fn ceiling(&self) -> Option<&Arc<Policy>> {
        self.ceiling.as_ref()
    }

    /// The instance that permits lead to.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// The ceiling, and the scopes of the token.
    pub fn scopes(&self) -> ScopeSet {
        self.rules.scopes
    }

    /// What it was compiled from.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Judges a request of an admitted caller.
    pub fn judge(&self, caller: Caller, method: &Method, uri: &Uri) -> Result<Judgment, PolicyRefusal> {
        let Ruling { target, operation, passage, conditions } = self.rule_on(method, uri)?;
        let (instance, scopes) = (self.instance, self.scopes());
        let (method, target) = (method.clone(), target.to_path_and_query()?);
        let holder = self.token_holder(operation);
        let fence = self.fence(operation);
        let is_fenced = fence.is_some();
        let permit = Permit { caller, method, target, operation, instance, scopes, holder, passage, fence, body: None };
        Ok(match conditions {
            None if !is_fenced => Judgment::Permitted(permit),
            conditions => {
                let conditions = conditions.unwrap_or_else(|| Conditions { operation, layers: Vec::new() });
                let observes = self.may_overrule(operation);
                Judgment::Conditional(Box::new(ConditionalPermit { permit, conditions, observes }))
            }
        })
    }

    /// Whether a request passes, and why: for the proxy, and for all that tells what the proxy would do.
    pub fn rule_on<'a>(&self, method: &Method, uri: &'a Uri) -> Result<Ruling<'a>, PolicyRefusal> {
        let target = Target::canonical(uri)?;
        let (operation, passage, conditions) = match self.decide(method, &target) {
            Ok(decision) => {
                let conditions = decision.is_conditional().then(|| self.conditions(&decision, method, &target));
                (decision.operation, Passage::Opened(decision.opened_by), conditions.transpose()?)
            }
            Err(PolicyRefusal::Closed(closed)) if self.may_overrule(closed.operation) => {
                (closed.operation, Passage::Overruled(closed), None)
            }
            Err(refusal) => return Err(refusal),
        };
        Ok(Ruling { target, operation, passage, conditions })
    }

    /// The rules whose conditions must hold, of the listener first.
    fn conditions(
        &self,
        decision: &Decision,
        method: &Method,
        target: &Target<'_>,
    ) -> Result<Conditions, PolicyRefusal> {
        let path = target.segments()?;
        let asked = self.request(method, &path, target, self.catalog.at(&path)?);
        let of_listener = self.ceiling.as_ref().map(|ceiling| (&**ceiling, true, decision.by_listener));
        let layers = of_listener.into_iter().chain([(self, false, Some(decision.opened_by))]);
        let conditional = layers.filter(|(.., by)| matches!(by, Some(OpenedBy::Conditions(_))));
        let layers = conditional
            .filter_map(|(policy, by_listener, _)| ConditionLayer::new(by_listener, policy.rules.conditional(&asked)));
        Ok(Conditions { operation: decision.operation, layers: layers.collect() })
    }

    /// What the scopes, groups and rules say of a request; an observing policy lets more pass. Does not allocate.
    pub fn decide(&self, method: &Method, target: &Target<'_>) -> Result<Decision, PolicyRefusal> {
        let path = target.segments()?;
        let here = self.catalog.at(&path)?;
        let asked = self.request(method, &path, target, here);
        let operation = asked.operation.map(|(id, _)| id);
        let refusal = |barrier: Option<DenyReason>, by_listener| match barrier {
            Some(barrier) => Denied { operation, barrier, by_listener }.into(),
            None if here.is_empty() => PolicyRefusal::UnknownOperation,
            None => PolicyRefusal::MethodNotAllowed { allowed: here.methods() },
        };
        let by_listener = self.ceiling.as_ref().map(|ceiling| ceiling.weigh(&asked)).transpose();
        let by_listener = by_listener.map_err(|barrier| refusal(barrier, true))?;
        let opened_by = self.weigh(&asked).map_err(|barrier| refusal(barrier, false))?;
        Ok(Decision { operation, opened_by, by_listener })
    }

    fn request<'a>(
        &'a self,
        method: &'a Method,
        path: &'a Segments<'a>,
        target: &Target<'a>,
        here: PathOperations,
    ) -> JudgedRequest<'a> {
        let (method, query) = (judged_as(method), target.query());
        let operation = here.of(method).and_then(|id| Some((id, self.catalog.get(id)?)));
        JudgedRequest { method, path, query, operation, secure_values: query.asks_for_secure_values() }
    }

    /// Only what is known, and within the scopes, passes where rules are only observed.
    fn is_in_scope(&self, operation: Option<OperationId>) -> bool {
        let operation = operation.and_then(|id| self.catalog.get(id));
        operation.is_some_and(|operation| self.scopes().contains(operation.scope))
    }

    /// What this policy alone says. An error without a barrier: neither the catalogue nor a rule knows the operation.
    fn weigh(&self, asked: &JudgedRequest<'_>) -> Result<OpenedBy, Option<DenyReason>> {
        let verdict = match asked.operation {
            Some((id, operation)) => self.verdict_on(id, operation, asked),
            None => self.rules.verdict_on_unknown(asked).ok_or(None)?,
        };
        let verdict = match verdict {
            Ok(open) if asked.secure_values => self.rules.verdict_on_secure_values(open, asked),
            Ok(_) | Err(_) => verdict,
        };
        verdict.map_err(|closed_by| match closed_by {
            ClosedBy::Rule(rule) => self.rules.deny.get(rule.index()).map(|rule| DenyReason::Rule(rule.text())),
            ClosedBy::Scopes => {
                let missing = asked.operation.map_or(assumed_scope(asked.method), |(_, operation)| operation.scope);
                Some(DenyReason::Scope { missing, open: self.scopes() })
            }
            ClosedBy::Groups => asked.operation.map(|(_, operation)| DenyReason::Group(operation.group)),
            ClosedBy::SecureValues => Some(DenyReason::SecureValues),
            ClosedBy::Fence => self.rules.organizations.clone().map(DenyReason::TenantWide),
            ClosedBy::Conditions(rule) => {
                let rule = self.rules.allow.get(rule.index()).map(Rule::text);
                rule.map(|rule| DenyReason::Conditions(Box::new(UnmetRule { rule, why: Unmet::Reading })))
            }
        })
    }

    fn verdict_on(&self, id: OperationId, operation: &Operation, asked: &JudgedRequest<'_>) -> Verdict {
        match self.row(id) {
            Some(OperationRow::Always(verdict)) => *verdict,
            Some(OperationRow::Depends(relevant, _)) => {
                self.rules.verdict(operation, relevant, Some(asked.path), |rule, effect| asked.matches(rule, effect))
            }
            // No operation of the catalogue is without a row.
            None => Err(ClosedBy::Groups),
        }
    }
}

/// The method that is judged: HEAD is a GET without the body (RFC 9110 section 9.3.2).
fn judged_as(method: &Method) -> &Method {
    if method == Method::HEAD { &Method::GET } else { method }
}

#[cfg(test)]
mod tests {
    use super::catalog::OperationName;
    use super::catalog::Scope;
    use super::group::Group;
    use super::path::MalformedTarget;
    use super::rule::Terms;
    use super::*;

    fn policy(scopes: &[Scope], groups: &[&str], allow: &[&str], deny: &[&str]) -> Result<Policy, PolicyError> {
        let rules = |texts: &[&str]| texts.iter().map(|text| Rule::parse(text).expect("a rule")).collect();
        let catalog = Arc::new(Catalog::built_in().expect("good"));
        let listed: Vec<_> = groups.iter().map(|name| Group::find(name).expect("a group")).collect();
        let groups = if listed.is_empty() { Groups::Ordinary } else { Groups::Only(listed) };
        let scopes = scopes.iter().copied().collect();
        Policy::new(
            catalog,
            InstanceId(0),
            Rules { scopes, groups, allow: rules(allow), deny: rules(deny), organizations: None },
        )
    }

    fn ask(policy: &Policy, method: &str, target: &str) -> Result<String, PolicyRefusal> {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let uri = target.parse().expect("a target");
        let target = Target::canonical(&uri)?;
        policy.decide(&method, &target).map(|_| target.to_string())
    }

    fn barrier(policy: &Policy, method: &str, target: &str) -> Option<DenyReason> {
        match ask(policy, method, target) {
            Err(PolicyRefusal::Closed(closed)) => Some(closed.barrier),
            _ => None,
        }
    }

    fn needs_management(policy: &Policy, method: &str, target: &str) -> bool {
        matches!(barrier(policy, method, target), Some(DenyReason::Scope { missing: Scope::Management, .. }))
    }

    fn is_denied(policy: &Policy, method: &str, target: &str) -> bool {
        matches!(barrier(policy, method, target), Some(DenyReason::Rule(_)))
    }

    fn in_closed_group(policy: &Policy, method: &str, target: &str) -> Option<&'static str> {
        match barrier(policy, method, target) {
            Some(DenyReason::Group(group)) => Some(group.name),
            _ => None,
        }
    }

    #[test]
    fn policy_opens_what_the_scopes_say_and_nothing_else() {
        let policy = policy(&[Scope::Monitoring], &[], &[], &[]).expect("a policy");
        assert_eq!(ask(&policy, "GET", "/api/v2/devices?df=a"), Ok("/v2/devices?df=a".to_owned()));
        assert_eq!(ask(&policy, "HEAD", "/v2/devices"), Ok("/v2/devices".to_owned()));
        assert!(needs_management(&policy, "POST", "/v2/organizations"));
        assert_eq!(ask(&policy, "GET", "/v2/nothing"), Err(PolicyRefusal::UnknownOperation));
        assert_eq!(ask(&policy, "GET", "/"), Err(PolicyRefusal::UnknownOperation));
        assert_eq!(ask(&policy, "GET", "/ws/oauth/token"), Err(PolicyRefusal::UnknownOperation));
        let refused = ask(&policy, "DELETE", "/v2/organizations");
        let Err(PolicyRefusal::MethodNotAllowed { allowed }) = refused else { panic!("{refused:?}") };
        assert_eq!(allowed.to_string(), "GET, HEAD, POST");
        for method in ["OPTIONS", "TRACE", "CONNECT", "BREW", "get"] {
            assert!(
                matches!(ask(&policy, method, "/v2/devices"), Err(PolicyRefusal::MethodNotAllowed { .. })),
                "{method}"
            );
        }
    }

    #[test]
    fn policy_groups_narrow_and_allow_adds_below_the_ceiling() {
        let policy = policy(&[Scope::Monitoring], &["queries"], &["GET /v2/devices"], &[]).expect("a policy");
        assert!(ask(&policy, "GET", "/v2/queries/disks").is_ok());
        assert!(ask(&policy, "GET", "/v2/devices").is_ok());
        assert_eq!(in_closed_group(&policy, "GET", "/v2/organizations"), Some("org-read"));
    }

    #[test]
    fn policy_allow_opens_operations_that_the_catalogue_lacks() {
        let policy =
            policy(&[Scope::Monitoring], &[], &["GET /v2/new-thing/{id}"], &["* /v2/new-thing/9"]).expect("a policy");
        assert!(ask(&policy, "GET", "/v2/new-thing/7").is_ok());
        assert!(ask(&policy, "HEAD", "/v2/new-thing/7").is_ok());
        assert_eq!(ask(&policy, "POST", "/v2/new-thing/7"), Err(PolicyRefusal::UnknownOperation));
        let wide = self::policy(&[Scope::Monitoring], &[], &["* /v2/**"], &[]).expect("a policy");
        assert!(ask(&wide, "GET", "/v2/new-thing").is_ok());
        for write in ["/v2/new-thing", "/v2/organizations/zap", "/v2/organizations"] {
            assert!(needs_management(&wide, "POST", write), "{write}");
        }
        assert!(is_denied(&policy, "GET", "/v2/new-thing/9"));
    }

    #[test]
    fn policy_closes_what_is_tenant_wide_under_a_fence_unless_a_rule_names_it() {
        let open = |allow: &[&str], method: &str, target: &str| {
            let plain = policy(&[Scope::Monitoring, Scope::Management], &[], allow, &[]).expect("a policy");
            let organizations = Organizations::new([5]).map(Arc::new);
            let rules = Rules { organizations, ..plain.rules().clone() };
            let fenced = Policy::new(plain.shared_catalog(), InstanceId(0), rules).expect("a policy").observing(true);
            match fenced
                .rule_on(&Method::from_bytes(method.as_bytes()).expect("a method"), &target.parse().expect("a target"))
            {
                Ok(_) => "open",
                Err(PolicyRefusal::Closed(closed)) if closed.is_tenant_wide() => "tenant-wide",
                Err(PolicyRefusal::UnknownOperation) => "unknown",
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(open(&[], "GET", "/v2/organizations"), "open");
        assert_eq!(open(&[], "GET", "/v2/policies"), "tenant-wide", "also where rules are only observed");
        for wide in ["* /v2/policies", "GET,POST /v2/policies", "GET /v2/*", "GET /v2/**", "group:policies"] {
            assert_eq!(open(&[wide], "GET", "/v2/policies"), "tenant-wide", "{wide}");
        }
        assert_eq!(open(&["GET /v2/policies"], "GET", "/v2/policies"), "open");
        assert_eq!(open(&["GET /v2/policies"], "POST", "/v2/policies"), "tenant-wide");
        assert_eq!(open(&["GET /v2/new-thing"], "GET", "/v2/new-thing"), "open");
        assert_eq!(open(&["GET /v2/*"], "GET", "/v2/new-thing"), "unknown");
    }

    #[test]
    fn policy_that_observes_lets_nothing_tenant_wide_through_a_fence_for_another_reason() {
        let scopes = [Scope::Monitoring, Scope::Management];
        let opened = "GET /v2/policies";
        for (allow, deny) in [(&[opened][..], &[opened][..]), (&[], &[opened]), (&[opened], &["GET group:policies"])] {
            let plain = policy(&scopes, &[], allow, deny).expect("a policy");
            let fenced = |organizations: Option<Organizations>| {
                let rules = Rules { organizations: organizations.map(Arc::new), ..plain.rules().clone() };
                let policy = Policy::new(plain.shared_catalog(), InstanceId(0), rules).expect("a policy");
                policy.observing(true).rule_on(&Method::GET, &"/v2/policies".parse().expect("a target")).is_ok()
            };
            assert!(fenced(None), "{allow:?} {deny:?}");
            assert!(!fenced(Organizations::new([5])), "{allow:?} {deny:?}");
        }
    }

    #[test]
    fn policy_deny_wins_for_all_or_for_single_values() {
        let policy = policy(&[Scope::Monitoring], &[], &["GET /v2/devices"], &["GET /v2/devices", "* /v2/device/7/**"])
            .expect("a policy");
        assert!(is_denied(&policy, "GET", "/v2/devices"));
        assert!(is_denied(&policy, "GET", "/v2/device/7/disks"));
        assert!(is_denied(&policy, "GET", "/v2/device/7"));
        assert!(ask(&policy, "GET", "/v2/device/8/disks").is_ok());
    }

    #[test]
    fn policy_says_of_an_operation_that_deny_touches_whether_some_request_for_it_is_open() {
        let policy = policy(
            &[Scope::Monitoring, Scope::Management],
            &["devices-read"],
            &["POST /v2/device/{id}/script/run"],
            &["* /v2/device/7/**"],
        );
        let policy = policy.expect("a policy");
        let verdict = |method: &str, template: &str| {
            let is_it = |operation: &Operation| operation.method == method && operation.template == template;
            let (id, _) = policy.catalog().iter().find(|(_, operation)| is_it(operation)).expect("an operation");
            policy.verdict(id)
        };
        assert_eq!(verdict("GET", "/v2/device/{id}/disks"), OperationVerdict::Depends, "but for device 7");
        assert_eq!(verdict("POST", "/v2/device/{id}/script/run"), OperationVerdict::Depends);
        let closed = verdict("POST", "/v2/device/{id}/decommission");
        assert_eq!(closed, OperationVerdict::Closed(ClosedBy::Groups), "nothing opens it for any device");
    }

    #[test]
    fn policy_deny_wins_where_a_word_of_one_operation_is_a_value_of_another() {
        let scopes = [Scope::Monitoring, Scope::Management];
        let policy = policy(&scopes, &["documentation"], &[], &["DELETE,GET /v2/*/checklist/*"]).expect("a policy");
        assert!(is_denied(&policy, "DELETE", "/v2/related-items/CHECKLIST/7"));
        assert!(ask(&policy, "DELETE", "/v2/related-items/DOCUMENT/7").is_ok());
    }

    #[test]
    fn policy_gives_the_token_of_a_person_to_what_needs_one_or_to_all() {
        let made = |user: Option<bool>| {
            let both = [Scope::Monitoring, Scope::Management, Scope::Control];
            let scopes = both.into_iter().collect();
            let user = user.map(|always| PolicyUser { name: "technician".into(), always, scopes });
            policy(&both, &[], &[], &[]).expect("a policy").with_user(user)
        };
        let (nobody, needed, always) = (made(None), made(Some(false)), made(Some(true)));
        let (mut persons, mut machines) = (0, 0);
        for (id, operation) in nobody.catalog().iter() {
            let holders = [&nobody, &needed, &always].map(|policy| policy.token_holder(Some(id)));
            let by_need = if operation.user_context { TokenHolder::User } else { TokenHolder::Machine };
            assert_eq!(holders, [TokenHolder::Machine, by_need, TokenHolder::User], "{}", operation.template);
            *(if operation.user_context { &mut persons } else { &mut machines }) += 1;
        }
        assert!(persons >= 4 && machines >= 300, "{persons} {machines}");
        // What the catalog does not know needs nobody, as far as anybody knows.
        let unknown = [&nobody, &needed, &always].map(|policy| policy.token_holder(None));
        assert_eq!(unknown, [TokenHolder::Machine, TokenHolder::Machine, TokenHolder::User]);
        // A person opens nothing.
        for policy in [&needed, &always] {
            for (id, _) in nobody.catalog().iter() {
                assert_eq!(policy.verdict(id), nobody.verdict(id));
            }
        }
    }

    #[test]
    fn policy_deny_wins_in_every_spelling() {
        let deny = [
            "* /v2/device/7/**",
            "DELETE /v2/alert/3f2c8a9e-0000-4000-8000-00000000abcd",
            "* /v2/organization/7/**",
            "POST /v2/device/{id}/reboot/NORMAL",
            "* /v2/custom-fields/field-name/secret",
            "* /v2/new-thing/x",
            "GET /v2/activities?deviceId=7",
        ];
        let policy = policy(&[Scope::Monitoring, Scope::Management], &[], &["* /v2/**"], &deny).expect("a policy");
        for (method, target) in [
            ("GET", "/v2/device/07/disks"),
            ("PATCH", "/v2/device/0000007"),
            ("GET", "/v2/device/+7/disks"),
            ("GET", "/v2/device/7%20/disks"),
            ("GET", "/v2/device/%D9%A7/disks"),
            ("GET", "/v2/device/7.0/disks"),
            ("GET", "/v2/device/18446744073709551623/disks"),
            ("GET", "/v2/Device/7/disks"),
            ("DELETE", "/v2/alert/3F2C8A9E-0000-4000-8000-00000000ABCD"),
            ("DELETE", "/v2/alert/3f2c8a9e-0-4000-8000-abcd"),
            ("DELETE", "/v2/alert/3f2c8a9e00004000800000000000abcd"),
            ("GET", "/v2/organization/07/locations/backup/usage"),
            ("GET", "/v2/organization/%D9%A7/locations/backup/usage"),
            ("POST", "/v2/device/8/reboot/normal"),
            ("GET", "/v2/USERS"),
        ] {
            let refused = ask(&policy, method, target);
            assert!(matches!(refused, Err(PolicyRefusal::Malformed(_))), "{method} {target}: {refused:?}");
        }
        for (method, target) in [
            ("GET", "/v2/custom-fields/field-name/SECRET"),
            ("GET", "/v2/custom-fields/field-name/%53ecret"),
            ("PUT", "/v2/New-Thing/X"),
            ("GET", "/v2/activities?deviceId=07"),
            ("GET", "/v2/activities?deviceId=%2B7"),
            ("GET", "/v2/activities?deviceId=%D9%A7"),
        ] {
            assert!(is_denied(&policy, method, target), "{method} {target}");
        }
        for target in ["/v2/device/8/disks", "/v2/device/70/disks", "/v2/new-thing/y", "/v2/activities?deviceId=70"] {
            assert!(ask(&policy, "GET", target).is_ok(), "{target}");
        }
    }

    #[test]
    fn policy_refuses_a_rule_that_no_accepted_request_can_match() {
        for (rule, message) in [
            ("* /v2/Device/7/**", "has \"device\" where \"Device\" is written"),
            ("POST /v2/device/{id}/reboot/normal", "has one of NORMAL, FORCED where \"normal\" is written"),
            ("GET /v2/device/9007199254740992", "has a number where \"9007199254740992\" is written"),
        ] {
            let both = [Scope::Monitoring, Scope::Management];
            for (allow, deny) in [(&[rule][..], &[][..]), (&[], &[rule])] {
                let error = policy(&both, &[], allow, deny).expect_err("it matches nothing");
                assert!(error.to_string().contains(message), "{error}");
            }
        }
    }

    #[test]
    fn policy_refuses_an_allow_rule_above_its_ceiling() {
        let above = policy(&[Scope::Monitoring], &[], &["POST /v2/organizations"], &[]).expect_err("above");
        let rule = "POST /v2/organizations".to_owned();
        assert_eq!(above, PolicyError::AboveCeiling { rule, scope: Scope::Management });
        let unknown = policy(&[Scope::Monitoring], &[], &["PUT /v2/new-thing"], &[]).expect_err("above");
        assert!(matches!(unknown, PolicyError::AboveCeiling { scope: Scope::Management, .. }));
    }

    #[test]
    fn policy_refuses_an_encoded_spelling_of_another_operation() {
        let policy = policy(&[Scope::Monitoring, Scope::Management], &[], &[], &[]).expect("a policy");
        assert_eq!(
            ask(&policy, "POST", "/v2/tag/%64elete"),
            Err(PolicyRefusal::Malformed(MalformedTarget::EncodedSegment))
        );
    }

    #[test]
    fn policy_keeps_guarded_groups_closed_unless_they_are_named() {
        let both = [Scope::Monitoring, Scope::Management];
        let guarded = [
            ("GET", "/v2/users", "users-and-roles"),
            ("POST", "/v2/user/technicians", "users-and-roles"),
            ("GET", "/v2/automation/scripts", "scripts"),
            ("POST", "/v2/device/7/script/run", "scripts"),
            ("PUT", "/v2/webhook", "webhooks"),
            ("GET", "/v2/organization/1/location/2/installer/WINDOWS_MSI", "installers"),
            ("POST", "/v2/organization/generate-installer", "installers"),
        ];
        let wide = policy(&both, &[], &["* /v2/**", "POST /v2/device/{id}/script/**", "GET /v2/*"], &[]).expect("good");
        for (method, path, group) in guarded {
            let closed = policy(&both, &[], &[], &[]).expect("good");
            assert_eq!(in_closed_group(&closed, method, path), Some(group), "{path}");
            assert_eq!(in_closed_group(&wide, method, path), Some(group), "{path}: no rule names it");
            let listed = policy(&both, &[group], &[], &[]).expect("good");
            assert!(ask(&listed, method, path).is_ok(), "{path}");
            let named = policy(&both, &[], &[&format!("group:{group}")], &[]).expect("good");
            assert!(ask(&named, method, path).is_ok(), "{path}");
            assert!(ask(&named, "GET", "/v2/devices").is_ok(), "the ordinary groups stay open");
        }
        let single = policy(&both, &[], &["POST /v2/device/{id}/script/run"], &[]).expect("good");
        assert!(ask(&single, "POST", "/v2/device/7/script/run").is_ok());
        assert_eq!(in_closed_group(&single, "GET", "/v2/automation/scripts"), Some("scripts"));
    }

    #[test]
    fn policy_refuses_secure_values_unless_they_are_named() {
        const ASKS: &str = "/v2/queries/custom-fields?pageSize=5&showSecureVALUES=tr%75e";
        let secure = |groups: &[&str], allow: &[&str], deny: &[&str], target: &str| {
            barrier(&policy(&[Scope::Monitoring], groups, allow, deny).expect("good"), "GET", target)
        };
        assert_eq!(secure(&[], &[], &[], ASKS), Some(DenyReason::SecureValues));
        assert_eq!(secure(&[], &[], &[], "/v2/queries/custom-fields?showSecureValues=false"), None);
        assert_eq!(secure(&["queries"], &["* /v2/**"], &[], ASKS), Some(DenyReason::SecureValues));
        assert_eq!(secure(&["queries", "secure-values"], &[], &[], ASKS), None);
        assert_eq!(secure(&[], &["group:secure-values"], &[], ASKS), None);
        let exact = "GET /v2/queries/custom-fields?showSecureValues=true";
        assert_eq!(secure(&[], &[exact], &[], "/v2/queries/custom-fields?showSecureValues=true"), None);
        assert_eq!(secure(&[], &[exact], &[], ASKS), Some(DenyReason::SecureValues), "not what the rule says");
        let other = "/v2/queries/scoped-custom-fields?showSecureValues=true";
        assert_eq!(secure(&[], &[exact], &[], other), Some(DenyReason::SecureValues));
        let denied = secure(&[], &["group:secure-values"], &["group:secure-values"], ASKS);
        assert_eq!(denied, Some(DenyReason::Rule("group:secure-values".into())));
        let closed = secure(&["secure-values"], &[], &[], ASKS);
        assert!(matches!(closed, Some(DenyReason::Group(group)) if group.name == "queries"), "{closed:?}");
    }

    #[test]
    fn policy_takes_no_fixed_word_for_a_value() {
        let policy = policy(&[Scope::Monitoring], &["alerts"], &["GET /v2/organization/{id}"], &[]).expect("good");
        assert!(ask(&policy, "GET", "/v2/organization/7").is_ok());
        assert_eq!(in_closed_group(&policy, "GET", "/v2/organization/documents"), Some("documentation"));
    }

    #[test]
    fn policy_that_observes_lets_pass_what_the_scopes_permit_and_notes_what_the_rules_say() {
        let observing = policy(&[Scope::Monitoring], &["queries"], &[], &["GET /v2/queries/disks"]).expect("good");
        let observing = observing.observing(true);
        let judge = |method: Method, target: &str| {
            let caller = Caller::anybody();
            observing.judge(caller, &method, &target.parse().expect("a target"))
        };
        let overruled = |target: &str| {
            judge(Method::GET, target).map(|judgment| match judgment {
                Judgment::Permitted(permit) => permit.overruled().cloned(),
                Judgment::Conditional(_) => panic!("there are no conditions"),
            })
        };
        assert_eq!(overruled("/v2/queries/software"), Ok(None));
        for target in ["/v2/devices", "/v2/users", "/v2/queries/disks", "/v2/queries/custom-fields?showSecureValues=1"]
        {
            assert!(matches!(overruled(target), Ok(Some(_))), "{target}");
        }
        assert!(judge(Method::POST, "/v2/organizations").is_err(), "above the scopes");
        assert!(judge(Method::GET, "/v2/nothing").is_err(), "unknown");
        assert!(judge(Method::GET, "/v2/devices/../users").is_err(), "malformed");
    }

    /// One whose rules of `allow` after a `|` have conditions: a person must approve.
    fn conditional(groups: &[&str], allow: &[&str], deny: &[&str]) -> Policy {
        let scopes = [Scope::Monitoring, Scope::Management, Scope::Control];
        let plain = policy(&scopes, groups, &[], deny).expect("a policy");
        let rule = |text: &&str| match text.strip_prefix('|') {
            Some(text) => Rule::parse(text).expect(text).with_terms(Terms { approval: true, ..Terms::default() }),
            None => Rule::parse(text).expect(text),
        };
        let rules = Rules { allow: allow.iter().map(rule).collect(), ..plain.rules().clone() };
        Policy::new(plain.shared_catalog(), InstanceId(0), rules).expect("a policy")
    }

    /// What becomes of a request: whether it is open, or under the conditions of which rules.
    fn outcome(policy: &Policy, method: &str, target: &str) -> String {
        let (method, uri) =
            (Method::from_bytes(method.as_bytes()).expect("a method"), target.parse().expect("a target"));
        match policy.rule_on(&method, &uri) {
            Ok(Ruling { conditions: None, .. }) => "open".to_owned(),
            Ok(Ruling { conditions: Some(conditions), .. }) => {
                let rule = |rule: &conditions::ConditionalRule| {
                    format!("{}{}", if rule.by_listener { "listener: " } else { "" }, rule.text)
                };
                conditions.rules().map(rule).collect::<Vec<_>>().join(" / ")
            }
            Err(PolicyRefusal::Closed(Denied { barrier: DenyReason::Conditions(unmet), .. })) => {
                format!("{} {:?}", unmet.rule, unmet.why)
            }
            Err(PolicyRefusal::Closed(Denied { barrier, .. })) => barrier.rule(),
            Err(other) => other.to_string(),
        }
    }

    const RUN: &str = "POST /v2/device/{id}/script/run";

    #[test]
    fn rules_with_conditions_alone_decide_about_what_they_match() {
        let run = |policy: &Policy| outcome(policy, "POST", "/v2/device/7/script/run");
        assert_eq!(run(&conditional(&[], &["|POST /v2/device/{id}/script/run"], &[])), RUN);
        // Neither a group nor a rule without conditions opens it besides.
        assert_eq!(run(&conditional(&["scripts"], &["|POST /v2/device/{id}/script/run"], &[])), RUN);
        assert_eq!(run(&conditional(&[], &[RUN, "|POST /v2/device/{id}/script/run"], &[])), RUN);
        assert_eq!(
            run(&conditional(&[], &["|POST /v2/device/7/script/run", "|POST /v2/device/{id}/script/run"], &[])),
            format!("POST /v2/device/7/script/run / {RUN}")
        );
        // One for another device says nothing.
        let other = conditional(&[], &[RUN, "|POST /v2/device/8/script/run"], &[]);
        assert_eq!(run(&other), "open");
        assert_eq!(outcome(&other, "POST", "/v2/device/8/script/run"), "POST /v2/device/8/script/run");
        // deny and scopes win, and a guarded group must be named.
        assert_eq!(run(&conditional(&[], &["|POST /v2/device/{id}/script/run"], &["group:scripts"])), "group:scripts");
        assert_eq!(run(&conditional(&[], &["|* /v2/device/**"], &[])), "* /v2/device/** Reading");
        assert_eq!(run(&conditional(&["scripts"], &["|* /v2/device/**"], &[])), "* /v2/device/**");
        let writes = conditional(&[], &["|POST /v2/organizations"], &[]);
        assert_eq!(outcome(&writes, "POST", "/v2/organizations"), "POST /v2/organizations");
        assert_eq!(outcome(&writes, "GET", "/v2/organizations"), "open");
    }

    #[test]
    fn rules_with_conditions_keep_closed_what_they_match_in_some_readings_only() {
        let policy = conditional(&[], &["|GET /v2/devices?df=a"], &[]);
        assert_eq!(outcome(&policy, "GET", "/v2/devices"), "open");
        assert_eq!(outcome(&policy, "GET", "/v2/devices?df=b"), "open");
        assert_eq!(outcome(&policy, "GET", "/v2/devices?df=a"), "GET /v2/devices?df=a");
        for query in ["df=a&df=b", "x;df=a", "DF=a"] {
            let target = format!("/v2/devices?{query}");
            assert_eq!(outcome(&policy, "GET", &target), "GET /v2/devices?df=a Reading", "{query}");
        }
    }

    #[test]
    fn rules_with_conditions_open_secure_values_only_if_they_name_them() {
        let target = "/v2/queries/custom-fields?showSecureValues=true";
        let plain = "|GET /v2/queries/custom-fields";
        let named = "|GET /v2/queries/custom-fields?showSecureValues=true";
        let ask = |groups: &[&str], allow: &[&str]| outcome(&conditional(groups, allow, &[]), "GET", target);
        assert_eq!(ask(&[], &[plain]), "group:secure-values");
        assert_eq!(ask(&[], &[plain, named]), named[1..]);
        assert_eq!(ask(&["queries", "secure-values"], &[plain]), plain[1..]);
        assert_eq!(ask(&[], &[plain, "group:secure-values"]), plain[1..]);
        let rule = Rule::parse("group:secure-values").expect("a rule").with_terms(Terms::default());
        let scopes = [Scope::Monitoring].into_iter().collect();
        let rules = Rules { scopes, allow: vec![rule], ..Rules::default() };
        let refused = Policy::new(Arc::new(Catalog::built_in().expect("good")), InstanceId(0), rules);
        assert!(matches!(refused, Err(PolicyError::ConditionsOnSecureValues { .. })));
    }

    #[test]
    fn rules_with_conditions_decide_about_what_the_catalogue_lacks() {
        let policy = conditional(&[], &["GET,POST /v2/new-thing", "|POST /v2/new-thing"], &[]);
        assert_eq!(outcome(&policy, "GET", "/v2/new-thing"), "open");
        assert_eq!(outcome(&policy, "POST", "/v2/new-thing"), "POST /v2/new-thing");
    }

    #[test]
    fn callers_fulfill_the_conditions_of_their_listener_too() {
        let listener = Arc::new(conditional(&[], &["|POST /v2/device/{id}/script/run"], &[]));
        let within = |allow: &[&str]| conditional(&[], allow, &[]).within(Arc::clone(&listener)).expect("a caller");
        let run = |policy: &Policy| outcome(policy, "POST", "/v2/device/7/script/run");
        assert_eq!(run(&within(&[RUN])), format!("listener: {RUN}"));
        assert_eq!(
            run(&within(&["|POST /v2/device/7/script/run"])),
            format!("listener: {RUN} / POST /v2/device/7/script/run")
        );
        assert_eq!(run(&within(&[])), "group:scripts");
        let open = Arc::new(conditional(&["scripts"], &[], &[]));
        let narrower = conditional(&[], &["|POST /v2/device/{id}/script/run"], &[]).within(open).expect("a caller");
        assert_eq!(run(&narrower), RUN);
    }

    #[test]
    fn verdict_tells_what_has_conditions() {
        let id = |policy: &Policy| {
            policy.catalog().iter().find(|(_, known)| OperationName(known).to_string() == RUN).expect("known").0
        };
        let verdict = |groups: &[&str], allow: &[&str]| {
            let policy = conditional(groups, allow, &[]);
            policy.verdict(id(&policy))
        };
        let table = "|POST /v2/device/{id}/script/run";
        assert_eq!(verdict(&[], &[table]), OperationVerdict::Conditional);
        assert_eq!(verdict(&["scripts"], &[table]), OperationVerdict::Conditional);
        assert_eq!(verdict(&[], &["|POST /v2/device/7/script/run"]), OperationVerdict::Depends);
        assert_eq!(
            verdict(&[], &["|* /v2/device/**"]),
            OperationVerdict::Closed(ClosedBy::Conditions(RuleId::all().next().expect("one")))
        );
        let listener = Arc::new(conditional(&[], &[table], &[]));
        let caller = conditional(&[], &[RUN], &[]).within(listener).expect("a caller");
        assert_eq!(caller.verdict(id(&caller)), OperationVerdict::Conditional);
    }
}
