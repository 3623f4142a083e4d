//! What a rule wants of the query.

use super::super::path::decode;
use super::super::query::Query;
use super::{Effect, RuleError};

/// What a rule wants of the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The parameter.
    pub(super) name: String,
    pub(super) wanted: WantedValue,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WantedValue {
    Absent,
    Present,
    Value(String),
}

impl Condition {
    pub(super) fn holds(&self, effect: Effect, query: Query<'_>) -> bool {
        let name = &*self.name;
        match (&self.wanted, effect) {
            (WantedValue::Present, Effect::Allow) => query.has(name, None),
            (WantedValue::Present, Effect::Deny) => query.may_have(name, None),
            (WantedValue::Value(value), Effect::Allow) => query.has(name, Some(value)),
            (WantedValue::Value(value), Effect::Deny) => query.may_have(name, Some(value)),
            (WantedValue::Absent, Effect::Allow) => !query.may_have(name, None),
            (WantedValue::Absent, Effect::Deny) => !query.has(name, None),
        }
    }

    pub(super) fn contradicts(&self, other: &Self) -> bool {
        let both_values =
            matches!((&self.wanted, &other.wanted), (WantedValue::Value(a), WantedValue::Value(b)) if a != b);
        let absent = |condition: &Self| condition.wanted == WantedValue::Absent;
        self.name == other.name && (both_values || absent(self) != absent(other))
    }
}

pub(super) fn parse_conditions(text: &str) -> Result<Vec<Condition>, RuleError> {
    let conditions: Vec<_> = text.split('&').map(parse_condition).collect::<Result<_, _>>()?;
    for (i, condition) in conditions.iter().enumerate() {
        if conditions.iter().skip(i + 1).any(|other| condition.contradicts(other)) {
            return Err(RuleError::Contradiction(condition.name.clone()));
        }
    }
    Ok(conditions)
}

fn parse_condition(text: &str) -> Result<Condition, RuleError> {
    let bad = || RuleError::Condition(text.to_owned());
    let word = |word: &str| {
        let decoded = decode(word).map_err(|_| bad())?.into_owned();
        // A + in a query is a space to some servers, and itself to others. Blanks at the ends are nothing to some.
        let doubtful = word.contains(['+', '*', '!']) || decoded.trim_matches([' ', '+']) != decoded;
        if doubtful { Err(bad()) } else { Ok(decoded) }
    };
    let (name, wanted) = match (text.strip_prefix('!'), text.split_once('=')) {
        (Some(name), None) => (name, WantedValue::Absent),
        (None, Some((name, "*"))) => (name, WantedValue::Present),
        (None, Some((name, value))) => (name, WantedValue::Value(word(value)?)),
        (None, None) => (text, WantedValue::Present),
        (Some(_), Some(_)) => return Err(bad()),
    };
    let name = word(name)?;
    if name.is_empty() { Err(bad()) } else { Ok(Condition { name, wanted }) }
}
