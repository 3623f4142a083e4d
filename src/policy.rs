//! The policy: which operations a listener's callers may use.
//!
//! A listener's scopes are a ceiling, its groups narrow it, `allow` adds single operations below the ceiling,
//! `deny` wins over everything, and what nothing opens is closed.

pub mod catalog;
pub mod path;
pub mod rule;

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{Method, Uri};

use crate::guard::Caller;
use catalog::{Catalog, Operation, OperationId, Scope, ScopeSet};
use path::{Malformed, Segments, Target};
use rule::{Fit, Rule};

/// The number of an instance in the configuration, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InstanceId(pub u16);

/// The compiled policy of one listener, or of one caller of it.
#[derive(Debug)]
pub struct Policy {
    catalog: Arc<Catalog>,
    instance: InstanceId,
    scopes: ScopeSet,
    groups: Vec<String>,
    allow: Vec<Rule>,
    deny: Vec<Rule>,
    /// By operation: decided once, unless a rule speaks of single values in the path.
    verdicts: Vec<Option<Verdict>>,
    /// What this policy is narrower than: a caller's is within its listener's.
    ceiling: Option<Arc<Policy>>,
}

/// The proof that a request is allowed, and the only source of what is sent.
#[derive(Debug)]
pub struct Permit {
    caller: Caller,
    method: Method,
    target: PathAndQuery,
    operation: Option<OperationId>,
    instance: InstanceId,
    scopes: ScopeSet,
}

impl Permit {
    /// Who called.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The method to send.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The canonical target to send.
    pub fn target(&self) -> &PathAndQuery {
        &self.target
    }

    /// The operation; `None` for one that only an `allow` rule knows.
    pub fn operation(&self) -> Option<OperationId> {
        self.operation
    }

    /// The instance to send it to.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// The scopes that the token shall have: the listener's.
    pub fn scopes(&self) -> ScopeSet {
        self.scopes
    }
}

/// What the policy says of an operation, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Open through the listener's scopes and groups.
    InScope,
    /// Open through this rule of `allow`.
    Allowed(usize),
    /// Closed: the listener lacks the scope.
    AboveCeiling,
    /// Closed: the listener lists groups, and not this one.
    OutsideGroups,
    /// Closed by this rule of `deny`.
    Denied(usize),
    /// Closed by the listener, for all of its callers.
    AboveListener,
}

impl Verdict {
    /// Whether the operation is open.
    pub fn is_open(self) -> bool {
        match self {
            Self::InScope | Self::Allowed(_) => true,
            Self::AboveCeiling | Self::OutsideGroups | Self::Denied(_) | Self::AboveListener => false,
        }
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The target cannot be judged.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// No operation has this path, and no rule allows it.
    #[error("no known operation has this path")]
    UnknownOperation,
    /// The path is known, the method is not.
    #[error("no known operation has this method on this path")]
    MethodNotAllowed {
        /// The methods of the path's operations, for `Allow`.
        allowed: String,
    },
    /// The operation needs a scope above the listener's ceiling.
    #[error("the operation needs the scope {scope}")]
    NeedsScope {
        /// Which operation; `None` for one that only an `allow` rule knows.
        operation: Option<OperationId>,
        /// The scope that is missing.
        scope: Scope,
        /// The scopes that are there.
        open: ScopeSet,
    },
    /// The listener's groups leave the operation out.
    #[error("the operation is in the group {group}, which is not listed")]
    OutsideGroups {
        /// Which operation.
        operation: OperationId,
        /// Its group.
        group: String,
    },
    /// A rule of `deny` matched.
    #[error("the rule {rule:?} of deny matches")]
    Denied {
        /// Which operation; `None` for one that only an `allow` rule knows.
        operation: Option<OperationId>,
        /// The rule as written.
        rule: String,
    },
    /// It is the listener that refuses, whatever its caller might do.
    #[error(transparent)]
    Ceiling(Box<Refusal>),
}

impl Refusal {
    /// What a listener's policy says to all of its callers. What is no operation is none for anybody.
    fn of_ceiling(self) -> Self {
        match self {
            Self::Malformed(_) | Self::UnknownOperation | Self::MethodNotAllowed { .. } | Self::Ceiling(_) => self,
            Self::NeedsScope { .. } | Self::OutsideGroups { .. } | Self::Denied { .. } => Self::Ceiling(Box::new(self)),
        }
    }

    /// The operation that is refused, if it is one of the catalogue.
    pub fn operation(&self) -> Option<OperationId> {
        match self {
            Self::OutsideGroups { operation, .. } => Some(*operation),
            Self::NeedsScope { operation, .. } | Self::Denied { operation, .. } => *operation,
            Self::Ceiling(refusal) => refusal.operation(),
            Self::Malformed(_) | Self::UnknownOperation | Self::MethodNotAllowed { .. } => None,
        }
    }
}

/// Why rules, groups and scopes make no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A group that no operation has.
    #[error("unknown group {name:?}: valid groups are {valid}")]
    UnknownGroup {
        /// What was written.
        name: String,
        /// The known groups, sorted.
        valid: String,
    },
    /// A caller's scope that its listener lacks.
    #[error("the scope {0} is not one of the listener's: a caller has no more than its listener")]
    AboveListener(Scope),
    /// A rule of `allow` for operations above the ceiling only.
    #[error("the rule {rule:?} allows nothing: it needs the scope {scope}, which the listener's scopes lack")]
    AboveCeiling {
        /// The rule as written.
        rule: String,
        /// The missing scope.
        scope: Scope,
    },
}

/// A request that passes, before anybody asks for it.
#[derive(Debug, Clone)]
pub struct Passage {
    /// The canonical target.
    pub target: PathAndQuery,
    /// The operation; `None` for one that only an `allow` rule knows.
    pub operation: Option<OperationId>,
    /// Why it is open.
    pub verdict: Verdict,
}

impl Policy {
    /// Compiles a policy.
    pub fn new(
        catalog: Arc<Catalog>,
        instance: InstanceId,
        scopes: ScopeSet,
        groups: Vec<String>,
        allow: Vec<Rule>,
        deny: Vec<Rule>,
    ) -> Result<Self, PolicyError> {
        let (verdicts, ceiling) = (Vec::new(), None);
        let mut policy = Self { catalog, instance, scopes, groups, allow, deny, verdicts, ceiling };
        policy.check_groups()?;
        policy.allow.iter().try_for_each(|rule| policy.check_ceiling(rule))?;
        policy.verdicts =
            policy.catalog.operations().iter().map(|operation| policy.verdict_always(operation)).collect();
        Ok(policy)
    }

    /// This policy, for a caller of a listener with the policy `ceiling`: only what both open is open.
    pub fn within(mut self, ceiling: Arc<Policy>) -> Result<Self, PolicyError> {
        if let Some(above) = self.scopes.iter().find(|scope| !ceiling.scopes.contains(*scope)) {
            return Err(PolicyError::AboveListener(above));
        }
        self.ceiling = Some(ceiling);
        Ok(self)
    }

    /// The catalogue that the policy judges by.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The catalogue, to be shared with another policy.
    pub fn shared_catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog)
    }

    /// The instance that permits lead to.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// The ceiling, and the scopes of the token.
    pub fn scopes(&self) -> ScopeSet {
        self.scopes
    }

    /// The `allow` rules.
    pub fn allow(&self) -> &[Rule] {
        &self.allow
    }

    /// The `deny` rules.
    pub fn deny(&self) -> &[Rule] {
        &self.deny
    }

    /// Judges a request of an admitted caller.
    pub fn judge(&self, caller: Caller, method: &Method, uri: &Uri) -> Result<Permit, Refusal> {
        let Passage { target, operation, .. } = self.foretell(method, uri)?;
        let (instance, scopes) = (self.instance, self.scopes);
        Ok(Permit { caller, method: method.clone(), target, operation, instance, scopes })
    }

    /// What [`Policy::judge`] says, without a caller.
    pub fn foretell(&self, method: &Method, uri: &Uri) -> Result<Passage, Refusal> {
        let target = Target::canonical(uri)?;
        // HEAD is a GET without the body (RFC 9110 section 9.3.2).
        let asked = if method == Method::HEAD { &Method::GET } else { method };
        let segments = target.segments()?;
        if let Some(ceiling) = &self.ceiling {
            ceiling.decide(asked, &segments).map_err(Refusal::of_ceiling)?;
        }
        let (operation, verdict) = self.decide(asked, &segments)?;
        Ok(Passage { target: target.into_path_and_query(), operation, verdict })
    }

    /// The verdict on every request for an operation; `None` if it depends on values in the path.
    pub fn verdict(&self, id: OperationId) -> Option<Verdict> {
        let own = self.own_verdict(id);
        match self.ceiling.as_ref().map(|ceiling| ceiling.verdict(id)) {
            None | Some(Some(Verdict::InScope | Verdict::Allowed(_))) => own,
            // What the listener closes stays closed; what depends there, depends here too, unless closed here.
            Some(Some(_)) => Some(Verdict::AboveListener),
            Some(None) => own.filter(|verdict| !verdict.is_open()),
        }
    }

    fn own_verdict(&self, id: OperationId) -> Option<Verdict> {
        self.verdicts.get(id.index()).copied().flatten()
    }

    /// Whether some request for an operation is open.
    pub fn may_open(&self, id: OperationId) -> bool {
        self.verdict(id).is_none_or(Verdict::is_open)
    }

    /// Whether a rule speaks of nothing that the catalogue has.
    pub fn is_uncatalogued(&self, rule: &Rule) -> bool {
        self.catalog.operations().iter().all(|operation| rule.fit(operation) == Fit::Never)
    }

    fn decide(&self, method: &Method, path: &Segments<'_>) -> Result<(Option<OperationId>, Verdict), Refusal> {
        let here = self.catalog.at(path)?;
        let known = |id: &OperationId| self.catalog.get(*id).map(|operation| (*id, operation));
        let Some((id, operation)) = here.iter().filter_map(known).find(|(_, o)| o.method == *method) else {
            return self.decide_uncatalogued(method, path, here).map(|verdict| (None, verdict));
        };
        let verdict =
            self.own_verdict(id).unwrap_or_else(|| self.verdict_on(operation, |rule| rule.matches(method, path)));
        match verdict {
            Verdict::InScope | Verdict::Allowed(_) => Ok((Some(id), verdict)),
            // No verdict of one's own is that of a listener.
            Verdict::AboveCeiling | Verdict::AboveListener => Err(self.needs_scope(Some(id), operation.scope)),
            Verdict::OutsideGroups => Err(Refusal::OutsideGroups { operation: id, group: operation.group.clone() }),
            Verdict::Denied(rule) => Err(Refusal::Denied { operation: Some(id), rule: rule_text(&self.deny, rule) }),
        }
    }

    /// An operation that the catalogue lacks is open if a rule of `allow` says so, below the ceiling.
    fn decide_uncatalogued(
        &self,
        method: &Method,
        path: &Segments<'_>,
        here: &[OperationId],
    ) -> Result<Verdict, Refusal> {
        let matching = |rules: &[Rule]| rules.iter().position(|rule| rule.matches(method, path));
        let allowed = matching(&self.allow).filter(|_| rule::METHODS.contains(method));
        let Some(allowed) = allowed else {
            return Err(if here.is_empty() { Refusal::UnknownOperation } else { self.method_not_allowed(here) });
        };
        if let Some(rule) = matching(&self.deny) {
            return Err(Refusal::Denied { operation: None, rule: rule_text(&self.deny, rule) });
        }
        let scope = assumed_scope(method);
        if !self.scopes.contains(scope) {
            return Err(self.needs_scope(None, scope));
        }
        Ok(Verdict::Allowed(allowed))
    }

    fn needs_scope(&self, operation: Option<OperationId>, scope: Scope) -> Refusal {
        Refusal::NeedsScope { operation, scope, open: self.scopes }
    }

    fn method_not_allowed(&self, here: &[OperationId]) -> Refusal {
        let methods = here.iter().filter_map(|id| self.catalog.get(*id)).map(|operation| operation.method.as_str());
        let with_head = methods.flat_map(|method| if method == "GET" { vec!["GET", "HEAD"] } else { vec![method] });
        Refusal::MethodNotAllowed { allowed: with_head.collect::<Vec<_>>().join(", ") }
    }

    /// The verdict that holds whatever values are in the path, if there is one.
    fn verdict_always(&self, operation: &Operation) -> Option<Verdict> {
        let depends = |rules: &[Rule]| rules.iter().any(|rule| rule.fit(operation) == Fit::Sometimes);
        if depends(&self.allow) || depends(&self.deny) {
            return None;
        }
        Some(self.verdict_on(operation, |rule| rule.fit(operation) == Fit::Always))
    }

    fn verdict_on(&self, operation: &Operation, matches: impl Fn(&Rule) -> bool) -> Verdict {
        if let Some(rule) = self.deny.iter().position(&matches) {
            return Verdict::Denied(rule);
        }
        if !self.scopes.contains(operation.scope) {
            return Verdict::AboveCeiling;
        }
        if self.groups.is_empty() || self.groups.contains(&operation.group) {
            return Verdict::InScope;
        }
        self.allow.iter().position(&matches).map_or(Verdict::OutsideGroups, Verdict::Allowed)
    }

    fn check_groups(&self) -> Result<(), PolicyError> {
        let valid = self.catalog.groups();
        match self.groups.iter().find(|name| !valid.contains(&name.as_str())) {
            Some(name) => Err(PolicyError::UnknownGroup { name: name.clone(), valid: valid.join(", ") }),
            None => Ok(()),
        }
    }

    /// An `allow` rule must open something below the ceiling, of the catalogue or beyond it.
    fn check_ceiling(&self, rule: &Rule) -> Result<(), PolicyError> {
        let operations = self.catalog.operations().iter();
        let mut needed: Vec<Scope> =
            operations.filter(|operation| rule.fit(operation) != Fit::Never).map(|operation| operation.scope).collect();
        if needed.is_empty() {
            needed = rule::METHODS.iter().filter(|method| rule.has_method(method)).map(assumed_scope).collect();
        }
        match needed.first() {
            Some(scope) if !needed.iter().any(|scope| self.scopes.contains(*scope)) => {
                Err(PolicyError::AboveCeiling { rule: rule.to_string(), scope: *scope })
            }
            _ => Ok(()),
        }
    }
}

/// What an operation that the catalogue lacks is taken to need: `monitoring` to read, `management` to write.
fn assumed_scope(method: &Method) -> Scope {
    if method == Method::GET { Scope::Monitoring } else { Scope::Management }
}

fn rule_text(rules: &[Rule], index: usize) -> String {
    rules.get(index).map(Rule::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(scopes: &[Scope], groups: &[&str], allow: &[&str], deny: &[&str]) -> Result<Policy, PolicyError> {
        let rules = |texts: &[&str]| texts.iter().map(|text| Rule::parse(text).expect("a rule")).collect();
        let catalog = Arc::new(Catalog::built_in().expect("good"));
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        Policy::new(catalog, InstanceId(0), scopes.iter().copied().collect(), groups, rules(allow), rules(deny))
    }

    fn ask(policy: &Policy, method: &str, target: &str) -> Result<String, Refusal> {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        policy.foretell(&method, &target.parse().expect("a target")).map(|passage| passage.target.to_string())
    }

    #[test]
    fn policy_opens_what_the_scopes_say_and_nothing_else() {
        let policy = policy(&[Scope::Monitoring], &[], &[], &[]).expect("a policy");
        assert_eq!(ask(&policy, "GET", "/api/v2/devices?df=a"), Ok("/v2/devices?df=a".to_owned()));
        assert_eq!(ask(&policy, "HEAD", "/v2/devices"), Ok("/v2/devices".to_owned()));
        let refused = ask(&policy, "POST", "/v2/organizations");
        assert!(matches!(refused, Err(Refusal::NeedsScope { scope: Scope::Management, .. })), "{refused:?}");
        assert_eq!(ask(&policy, "GET", "/v2/nothing"), Err(Refusal::UnknownOperation));
        assert_eq!(ask(&policy, "GET", "/"), Err(Refusal::UnknownOperation));
        assert_eq!(ask(&policy, "GET", "/ws/oauth/token"), Err(Refusal::UnknownOperation));
        assert_eq!(
            ask(&policy, "DELETE", "/v2/organizations"),
            Err(Refusal::MethodNotAllowed { allowed: "GET, HEAD, POST".to_owned() })
        );
        for method in ["OPTIONS", "TRACE", "CONNECT", "BREW", "get"] {
            assert!(matches!(ask(&policy, method, "/v2/devices"), Err(Refusal::MethodNotAllowed { .. })), "{method}");
        }
    }

    #[test]
    fn policy_groups_narrow_and_allow_adds_below_the_ceiling() {
        let policy = policy(&[Scope::Monitoring], &["queries"], &["GET /v2/devices"], &[]).expect("a policy");
        assert!(ask(&policy, "GET", "/v2/queries/disks").is_ok());
        assert!(ask(&policy, "GET", "/v2/devices").is_ok());
        assert!(matches!(ask(&policy, "GET", "/v2/users"), Err(Refusal::OutsideGroups { .. })));
    }

    #[test]
    fn policy_allow_opens_operations_that_the_catalogue_lacks() {
        let policy =
            policy(&[Scope::Monitoring], &[], &["GET /v2/new-thing/{id}"], &["* /v2/new-thing/9"]).expect("a policy");
        assert!(ask(&policy, "GET", "/v2/new-thing/7").is_ok());
        assert!(ask(&policy, "HEAD", "/v2/new-thing/7").is_ok());
        assert_eq!(ask(&policy, "POST", "/v2/new-thing/7"), Err(Refusal::UnknownOperation));
        let wide = self::policy(&[Scope::Monitoring], &[], &["* /v2/**"], &[]).expect("a policy");
        assert!(ask(&wide, "GET", "/v2/new-thing").is_ok());
        for write in ["/v2/new-thing", "/v2/organizations/zap", "/v2/organizations"] {
            let refused = ask(&wide, "POST", write);
            assert!(matches!(refused, Err(Refusal::NeedsScope { scope: Scope::Management, .. })), "{refused:?}");
        }
        assert!(matches!(ask(&policy, "GET", "/v2/new-thing/9"), Err(Refusal::Denied { operation: None, .. })));
    }

    #[test]
    fn policy_deny_wins_for_all_or_for_single_values() {
        let policy = policy(&[Scope::Monitoring], &[], &["GET /v2/devices"], &["GET /v2/devices", "* /v2/device/7/**"])
            .expect("a policy");
        assert!(matches!(ask(&policy, "GET", "/v2/devices"), Err(Refusal::Denied { .. })));
        assert!(matches!(ask(&policy, "GET", "/v2/device/7/disks"), Err(Refusal::Denied { .. })));
        assert!(matches!(ask(&policy, "GET", "/v2/device/7"), Err(Refusal::Denied { .. })));
        assert!(ask(&policy, "GET", "/v2/device/8/disks").is_ok());
    }

    #[test]
    fn policy_refuses_an_allow_rule_above_its_ceiling_and_an_unknown_group() {
        let above = policy(&[Scope::Monitoring], &[], &["POST /v2/organizations"], &[]).expect_err("above");
        let rule = "POST /v2/organizations".to_owned();
        assert_eq!(above, PolicyError::AboveCeiling { rule, scope: Scope::Management });
        let unknown = policy(&[Scope::Monitoring], &[], &["PUT /v2/new-thing"], &[]).expect_err("above");
        assert!(matches!(unknown, PolicyError::AboveCeiling { scope: Scope::Management, .. }));
        let group = policy(&[Scope::Monitoring], &["quieries"], &[], &[]).expect_err("no such group");
        assert!(group.to_string().contains("valid groups are activities, "), "{group}");
    }

    #[test]
    fn policy_refuses_an_encoded_spelling_of_another_operation() {
        let policy = policy(&[Scope::Monitoring, Scope::Management], &[], &[], &[]).expect("a policy");
        assert_eq!(ask(&policy, "POST", "/v2/tag/%64elete"), Err(Refusal::Malformed(Malformed::EncodedSegment)));
    }
}
