//! The conditions under which rules open a request: when each ends, what the body must have, how often, and with whose
//! approval.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::body::{JsonBody, UnmetCondition, UnreadableBody};
use super::catalog::OperationId;
use super::refusal::{Denied, DenyReason};
use super::rule::{Rule, Terms};
use super::rules::RuleId;

/// The conditions of a request that its rules open if these hold: those of the listener's rules and of the caller's.
#[derive(Debug)]
pub struct Conditions {
    pub(super) operation: Option<OperationId>,
    pub(super) layers: Vec<ConditionLayer>,
}

/// The rules of one table; one of them must open the request.
#[derive(Debug)]
pub(super) struct ConditionLayer {
    first: ConditionalRule,
    others: Vec<ConditionalRule>,
}

/// A rule with conditions that matches a request.
#[derive(Debug, Clone)]
pub struct ConditionalRule {
    /// Whether it is a rule of the listener.
    pub by_listener: bool,
    /// Its place in `allow`.
    pub id: RuleId,
    /// As it was written.
    pub text: Arc<str>,
    /// What it asks.
    pub terms: Arc<Terms>,
}

/// What is known of a request when its conditions are judged.
pub struct Evidence<'a> {
    /// The time.
    pub now: SystemTime,
    /// Its body, where a rule wants that; `None` if it is not known yet, and taken to be as wanted.
    pub body: Option<&'a Result<JsonBody, UnreadableBody>>,
    /// Whether a rule has been used as often as it may.
    pub is_used_up: &'a dyn Fn(&ConditionalRule) -> bool,
}

/// Why a rule with conditions does not open a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmet {
    /// It matches the request in some readings only.
    Reading,
    /// It has ended, at this time.
    Expired(Arc<str>),
    /// The body does not have what it wants.
    Body(UnmetCondition),
    /// The body cannot be judged.
    Unreadable(UnreadableBody),
    /// The body is too large to be judged, or to be shown to a person: it has more bytes than this.
    TooLarge(u64),
    /// It has been used as often as it may.
    UsedUp(u32),
    /// A person must approve, and nobody is asked where rules are only observed.
    Approval,
}

/// A rule whose conditions do not hold, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmetRule {
    /// The rule, as written.
    pub rule: Arc<str>,
    /// Which of its conditions does not hold.
    pub why: Unmet,
}

impl Unmet {
    /// Of several rules, the one that came nearest to opening the request tells most.
    fn nearness(&self) -> u8 {
        match self {
            Self::Reading => 0,
            Self::Expired(_) => 1,
            Self::Unreadable(_) | Self::TooLarge(_) => 2,
            Self::Body(_) => 3,
            Self::UsedUp(_) => 4,
            Self::Approval => 5,
        }
    }
}

/// After "the rule of allow".
impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reading => f.write_str("has conditions, and does not match this query in every reading"),
            Self::Expired(at) => write!(f, "ended at {at}"),
            Self::Body(unmet) => write!(f, "wants another body: {unmet}"),
            Self::Unreadable(unreadable) => write!(f, "cannot judge this body: {unreadable}"),
            Self::TooLarge(limit) => write!(f, "cannot judge this body: it has more than {limit} bytes"),
            Self::UsedUp(max) => write!(f, "is used up: it opens {max} requests, and so many were sent"),
            Self::Approval => f.write_str("wants the approval of a person"),
        }
    }
}

impl Conditions {
    /// The first rule that wants to judge the body.
    pub fn judging_body(&self) -> Option<&ConditionalRule> {
        self.rules().find(|rule| rule.terms.body.is_some())
    }

    /// The first rule that wants the approval of a person, who is shown the body.
    pub fn wanting_approval(&self) -> Option<&ConditionalRule> {
        self.rules().find(|rule| rule.terms.approval)
    }

    /// The rules that may open the request.
    pub fn rules(&self) -> impl Iterator<Item = &ConditionalRule> {
        self.layers.iter().flat_map(ConditionLayer::rules)
    }

    /// The rules that open the request: the first of each table whose conditions hold. Whether a person approves, and
    /// whether a use is left when it is taken, comes later.
    pub fn judge(&self, evidence: &Evidence<'_>) -> Result<Vec<ConditionalRule>, Denied> {
        self.layers.iter().map(|layer| layer.judge(evidence).map_err(|unmet| self.denied(unmet))).collect()
    }

    /// The refusal for a rule that turned out not to open the request.
    pub fn denied(&self, (rule, why): (&ConditionalRule, Unmet)) -> Denied {
        let barrier = DenyReason::Conditions(Box::new(UnmetRule { rule: Arc::clone(&rule.text), why }));
        Denied { operation: self.operation, barrier, by_listener: rule.by_listener }
    }
}

impl ConditionLayer {
    /// Of the rules that match, if there are any.
    pub(super) fn new<'a>(by_listener: bool, rules: impl Iterator<Item = (RuleId, &'a Rule)>) -> Option<Self> {
        let mut rules = rules.filter_map(|(id, rule)| {
            Some(ConditionalRule { by_listener, id, text: rule.text(), terms: Arc::clone(rule.terms()?) })
        });
        Some(Self { first: rules.next()?, others: rules.collect() })
    }

    fn rules(&self) -> impl Iterator<Item = &ConditionalRule> {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Result<ConditionalRule, (&ConditionalRule, Unmet)> {
        let mut nearest = match self.first.judge(evidence) {
            Ok(()) => return Ok(self.first.clone()),
            Err(unmet) => (&self.first, unmet),
        };
        for rule in &self.others {
            match rule.judge(evidence) {
                Ok(()) => return Ok(rule.clone()),
                Err(unmet) if unmet.nearness() > nearest.1.nearness() => nearest = (rule, unmet),
                Err(_) => {}
            }
        }
        Err(nearest)
    }
}

impl ConditionalRule {
    fn judge(&self, evidence: &Evidence<'_>) -> Result<(), Unmet> {
        let Terms { body, expires, max_uses, .. } = &*self.terms;
        if let Some(expiry) = expires.as_ref().filter(|expiry| expiry.at <= evidence.now) {
            return Err(Unmet::Expired(Arc::clone(&expiry.text)));
        }
        if let (Some(wanted), Some(found)) = (body, evidence.body) {
            let found = found.as_ref().map_err(|unreadable| Unmet::Unreadable(unreadable.clone()))?;
            wanted.judge(found).map_err(Unmet::Body)?;
        }
        match max_uses {
            Some(max) if (evidence.is_used_up)(self) => Err(Unmet::UsedUp(max.get())),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;
    use http::header::{CONTENT_TYPE, HeaderValue};

    use super::super::body::{BodyConditions, BodyPattern, Scalar};
    use super::super::rule::Expiry;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn terms() -> Terms {
        Terms::default()
    }

    fn wants(id: i64) -> Terms {
        let pattern = BodyPattern::Exactly(Scalar::Integer(id));
        Terms { body: Some(BodyConditions::new(vec![("/id".to_owned(), pattern)]).expect("conditions")), ..terms() }
    }

    fn until(at: SystemTime) -> Terms {
        Terms { expires: Some(Expiry { at, text: "then".into() }), ..terms() }
    }

    fn conditions(layers: Vec<Vec<Terms>>) -> Conditions {
        let layer = |(place, terms): (usize, Vec<Terms>)| {
            let rules: Vec<_> = terms
                .into_iter()
                .map(|terms| Rule::parse("POST /v2/organizations").expect("a rule").with_terms(terms))
                .collect();
            ConditionLayer::new(place == 1, RuleId::all().zip(&rules)).expect("a rule")
        };
        Conditions { operation: None, layers: layers.into_iter().enumerate().map(layer).collect() }
    }

    /// The places of the rules that open a request with this body, or why none does.
    fn judge(conditions: &Conditions, body: &str, used_up: &[usize]) -> Result<Vec<usize>, Unmet> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let body = JsonBody::read(&headers, body.as_bytes());
        let is_used_up = |rule: &ConditionalRule| used_up.contains(&rule.id.index());
        let evidence = Evidence { now: SystemTime::now(), body: Some(&body), is_used_up: &is_used_up };
        match conditions.judge(&evidence) {
            Ok(rules) => Ok(rules.iter().map(|rule| rule.id.index()).collect()),
            Err(Denied { barrier: DenyReason::Conditions(unmet), .. }) => Err(unmet.why),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn conditions_hold_if_all_of_one_rule_do() {
        let now = SystemTime::now();
        let limited = |terms: Terms| Terms { max_uses: std::num::NonZeroU32::new(3), ..terms };
        let both = conditions(vec![vec![until(now - HOUR), Terms { ..limited(wants(12)) }, wants(13)]]);
        assert_eq!(judge(&both, r#"{"id":12}"#, &[]), Ok(vec![1]));
        assert_eq!(judge(&both, r#"{"id":13}"#, &[]), Ok(vec![2]));
        assert_eq!(judge(&both, r#"{"id":12}"#, &[1]), Err(Unmet::UsedUp(3)), "the one that came nearest");
        assert!(matches!(judge(&both, r#"{"id":14}"#, &[]), Err(Unmet::Body(_))));
        assert!(matches!(judge(&both, r#"{"id":12,"ID":13}"#, &[]), Err(Unmet::Unreadable(_) | Unmet::Body(_))));
        let ended = conditions(vec![vec![until(now - HOUR)]]);
        assert_eq!(judge(&ended, "{}", &[]), Err(Unmet::Expired("then".into())));
        assert_eq!(judge(&conditions(vec![vec![until(now + HOUR)]]), "", &[]), Ok(vec![0]));
    }

    #[test]
    fn conditions_of_every_table_must_hold() {
        let two = conditions(vec![vec![wants(12)], vec![wants(12), wants(13)]]);
        assert_eq!(judge(&two, r#"{"id":12}"#, &[]), Ok(vec![0, 0]));
        assert!(matches!(judge(&two, r#"{"id":13}"#, &[]), Err(Unmet::Body(_))));
    }

    #[test]
    fn body_that_is_not_known_yet_is_taken_to_be_as_wanted() {
        let evidence = Evidence { now: SystemTime::now(), body: None, is_used_up: &|_| false };
        assert!(conditions(vec![vec![wants(12)]]).judge(&evidence).is_ok());
    }
}
