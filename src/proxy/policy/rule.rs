//! One rule of `allow` or `deny`: methods, and a path template or a group, with conditions on the query; parsed once.
//!
//! ```text
//! rule      = [ methods SP ] "group:" name [ "?" conditions ]
//!           / methods SP path [ "?" conditions ]
//! methods   = "*" / method *( "," method )
//! path      = "/v2" 1*( "/" segment ) [ "/**" ]
//! segment   = word / "*" / "{" name "}"
//! condition = name / name "=" value / name "=*" / "!" name        ; joined by "&"
//! ```

mod condition;
mod error;
mod misspelled;
mod relations;
mod template;
mod terms;

use std::fmt;
use std::sync::Arc;

use http::Method;

use super::catalog::{Operation, ParameterType};
use super::group::{Group, SECURE_VALUES};
use super::path::Segments;
use super::query::{Query, SECURE};
pub use condition::Condition;
use condition::{WantedValue, parse_conditions};
pub use error::RuleError;
pub use template::Template;
pub use terms::{Expiry, Terms};

/// The methods that a rule may name. `HEAD` follows `GET`.
pub const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// A parsed rule, such as `GET /v2/user/**`, `GET,PATCH /v2/device/{id}/custom-fields` or `group:tickets`. A copy shares
/// what was parsed.
#[derive(Debug, Clone)]
pub struct Rule {
    text: Arc<str>,
    /// Empty: every method.
    methods: Arc<[Method]>,
    reach: Selector,
    conditions: Arc<[Condition]>,
    /// `None` for one that is written as a text.
    terms: Option<Arc<Terms>>,
}

/// What a rule speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The operations of a group.
    Group(&'static Group),
    /// Paths, known or not.
    Path(Template),
}

/// What a rule had to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleEffect {
    /// It matches.
    Matches,
    /// It is for other methods of this path.
    OtherMethod,
    /// It is for other paths or another group.
    Elsewhere,
    /// Its conditions on the query do not hold, or not in every reading.
    OtherQuery,
    /// It matches, but does not name the guarded group of the operation.
    DoesNotName,
}

/// How a rule relates to an operation of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// No request for the operation can match.
    Never,
    /// It depends on the values in the path, or on the query.
    Sometimes,
    /// Every request for the operation matches.
    Always,
}

/// What a rule does when it matches. It decides how doubtful queries are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// `allow`: matches what is so in every reading.
    Allow,
    /// `deny`: matches what is so in any reading.
    Deny,
}

impl Rule {
    /// Reads a rule.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let mut words = text.split_whitespace();
        let (methods, target) = match (words.next(), words.next(), words.next()) {
            (Some(group), None, None) if group.starts_with(GROUP) => ("*", group),
            (Some(methods), Some(target), None) => (methods, target),
            _ => return Err(RuleError::Form),
        };
        let (target, conditions) = match target.split_once('?') {
            Some((target, conditions)) => (target, parse_conditions(conditions)?),
            None => (target, Vec::new()),
        };
        let reach = match target.strip_prefix(GROUP) {
            Some(name) => {
                let unknown = || RuleError::Group { name: name.to_owned() };
                Selector::Group(Group::find(name).ok_or_else(unknown)?)
            }
            None => Selector::Path(Template::parse(target)?),
        };
        let (methods, conditions) = (parse_methods(methods)?.into(), conditions.into());
        Ok(Self { text: text.into(), methods, reach, conditions, terms: None })
    }

    /// Whether the rule speaks of this method.
    pub fn has_method(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    /// The rule as it was written.
    pub fn text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// What it speaks of.
    pub fn reach(&self) -> &Selector {
        &self.reach
    }

    /// Whether the rule ends in `**`.
    pub fn is_open_ended(&self) -> bool {
        matches!(&self.reach, Selector::Path(template) if template.open_ended)
    }

    /// Whether the rule is about the values of secure fields as such.
    pub fn is_of_secure_values(&self) -> bool {
        matches!(&self.reach, Selector::Group(group) if *group == &SECURE_VALUES)
    }

    /// Whether the rule says that a request may ask for the values of secure fields.
    pub fn names_secure_values(&self) -> bool {
        self.conditions
            .iter()
            .any(|condition| condition.wanted != WantedValue::Absent && condition.name.eq_ignore_ascii_case(SECURE))
    }

    /// Whether an `allow` rule opens an operation of a guarded group: it says the group, or each fixed word of the path.
    pub fn names(&self, operation: &Operation) -> bool {
        match &self.reach {
            Selector::Group(group) => *group == operation.group,
            Selector::Path(template) => !template.open_ended && template.spells(&operation.segments),
        }
    }

    /// Whether it speaks of one method and one path, without a `*`.
    pub fn is_exact(&self) -> bool {
        matches!(&self.reach, Selector::Path(template) if template.is_exact()) && self.methods.len() == 1
    }

    /// Whether a rule of `allow` may open an operation: one of a guarded group it must name.
    pub fn may_open(&self, operation: &Operation) -> bool {
        !operation.group.guarded || self.names(operation)
    }

    /// Whether a request matches; `HEAD` is asked as `GET`. `group` is that of its operation, if it is a known one, which
    /// the rule must fit.
    pub fn matches(
        &self,
        effect: Effect,
        method: &Method,
        path: &Segments<'_>,
        query: Query<'_>,
        group: Option<&'static Group>,
    ) -> bool {
        self.examine(effect, method, path, query, group) == RuleEffect::Matches
    }

    /// Whether a request matches, and if not, why not.
    pub(super) fn examine(
        &self,
        effect: Effect,
        method: &Method,
        path: &Segments<'_>,
        query: Query<'_>,
        group: Option<&'static Group>,
    ) -> RuleEffect {
        if !self.has_method(method) {
            RuleEffect::OtherMethod
        } else if !self.has_place(effect, path, query, group) {
            RuleEffect::Elsewhere
        } else if !self.conditions.iter().all(|condition| condition.holds(effect, query)) {
            RuleEffect::OtherQuery
        } else {
            RuleEffect::Matches
        }
    }

    /// Whether it is for this path or group, whatever its methods are.
    pub(super) fn has_place(
        &self,
        effect: Effect,
        path: &Segments<'_>,
        query: Query<'_>,
        group: Option<&'static Group>,
    ) -> bool {
        match &self.reach {
            Selector::Group(own) if *own == &SECURE_VALUES => query.asks_for_secure_values(),
            Selector::Group(own) => Some(*own) == group,
            Selector::Path(template) => template.matches(effect, path),
        }
    }

    /// How the rule relates to `operation`.
    pub fn fit(&self, operation: &Operation, effect: Effect) -> Match {
        if !self.has_method(&operation.method) {
            return Match::Never;
        }
        let fit = match &self.reach {
            Selector::Group(group) if *group == &SECURE_VALUES => Match::Sometimes,
            Selector::Group(group) if *group == operation.group => Match::Always,
            Selector::Group(_) => Match::Never,
            Selector::Path(template) => template.fit(&operation.segments, effect),
        };
        if self.conditions.is_empty() { fit } else { fit.min(Match::Sometimes) }
    }

    /// The group that it speaks of.
    pub fn group(&self) -> Option<&'static Group> {
        match &self.reach {
            Selector::Group(group) => Some(group),
            Selector::Path(_) => None,
        }
    }

    /// Whether it speaks of the path of `operation`, whatever the methods.
    pub fn fits_path(&self, operation: &Operation) -> bool {
        matches!(&self.reach, Selector::Path(template) if template.fit(&operation.segments, Effect::Allow) != Match::Never)
    }

    /// The first word that is where `operation` has a parameter of another type, if nothing else keeps the rule from
    /// matching it.
    pub fn misfit<'a>(&'a self, operation: &'a Operation) -> Option<(&'a str, &'a ParameterType)> {
        match &self.reach {
            Selector::Path(template) => template.misfit(&operation.segments),
            Selector::Group(_) => None,
        }
    }

    /// The word that it asks for at this depth of the path, if any.
    pub(super) fn word_at(&self, depth: usize) -> Option<&str> {
        let Selector::Path(template) = &self.reach else { return None };
        template.word_at(depth)
    }

    /// Its path without names of parameters; empty for a group.
    pub fn path_text(&self) -> String {
        match &self.reach {
            Selector::Path(template) => template.segments.iter().map(|piece| format!("/{piece}")).collect(),
            Selector::Group(_) => String::new(),
        }
    }
}

/// What a group's name is written after.
const GROUP: &str = "group:";

impl fmt::Display for RuleEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Matches => "matches",
            Self::OtherMethod => "is for other methods of this path",
            Self::Elsewhere => "is for other paths",
            Self::OtherQuery => "wants another query",
            Self::DoesNotName => "does not name it: its group is guarded, or a fence closes it",
        })
    }
}

/// The rule as it was written.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_methods(text: &str) -> Result<Vec<Method>, RuleError> {
    if text == "*" {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|name| {
            let known = METHODS.into_iter().find(|method| method.as_str() == name);
            known.ok_or_else(|| RuleError::Method(name.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::catalog::Catalog;
    use super::*;

    fn matches_as(effect: Effect, rule: &str, method: &str, target: &str) -> bool {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let path = Segments::parse(path).expect("a path");
        Rule::parse(rule).expect("a rule").matches(effect, &method, &path, Query::new(query), None)
    }

    fn matches(rule: &str, method: &str, path: &str) -> bool {
        matches_as(Effect::Allow, rule, method, path)
    }

    #[test]
    fn rule_matches_literals_single_segments_and_the_rest() {
        assert!(matches("GET /v2/devices", "GET", "/v2/devices"));
        assert!(!matches("GET /v2/devices", "POST", "/v2/devices"));
        assert!(!matches("GET /v2/devices", "GET", "/v2/devices-detailed"));
        assert!(matches("* /v2/device/{id}/disks", "PUT", "/v2/device/7/disks"));
        assert!(matches("GET,PUT /v2/device/*/disks", "PUT", "/v2/device/7/disks"));
        assert!(!matches("GET /v2/device/*", "GET", "/v2/device/7/disks"));
        for path in ["/v2/user", "/v2/user/roles", "/v2/user/end-user/7"] {
            assert!(matches("GET /v2/user/**", "GET", path), "{path}");
        }
        assert!(!matches("GET /v2/user/**", "GET", "/v2/users"));
    }

    #[test]
    fn rule_sees_through_encoding() {
        assert!(matches("GET /v2/custom-fields/field-name/secret", "GET", "/v2/custom-fields/field-name/s%65cret"));
    }

    #[test]
    fn rule_conditions_hold_in_every_reading_to_allow_and_in_any_to_deny() {
        for (rule, query, allows, denies) in [
            ("GET /v2/devices?df", "df=a", true, true),
            ("GET /v2/devices?df=*", "df=a", true, true),
            ("GET /v2/devices?df", "", false, false),
            ("GET /v2/devices?df", "DF=a", false, true),
            ("GET /v2/devices?a=1", "a=1", true, true),
            ("GET /v2/devices?a=1", "a=1&a=2", false, true),
            ("GET /v2/devices?a=1", "x;a=1", false, true),
            ("GET /v2/devices?a=1", "pageSize=1000;a=1", false, true),
            ("GET /v2/devices?a=1", "a=1&x=%26a%3D2", false, true),
            ("GET /v2/devices?a=1", "a=01", false, true),
            ("GET /v2/devices?!a", "x=%26a%3D2", false, true),
            ("GET /v2/devices?a=1", "%2561=1", false, true),
            ("GET /v2/devices?a=1&b=2", "b=2&a=1", true, true),
            ("GET /v2/devices?a=1&b=2", "a=1", false, false),
            ("GET /v2/devices?!a", "b=2", true, true),
            ("GET /v2/devices?!a", "a=2", false, false),
            ("GET /v2/devices?!a", "A=2", false, true),
            ("GET /v2/devices?df=K%C4%B1z", "df=K%C4%B1z", true, true),
        ] {
            let target = format!("/v2/devices?{query}");
            assert_eq!(matches_as(Effect::Allow, rule, "GET", &target), allows, "allow {rule} {query}");
            assert_eq!(matches_as(Effect::Deny, rule, "GET", &target), denies, "deny {rule} {query}");
        }
    }

    #[test]
    fn rule_fits_an_operation_always_sometimes_or_never() {
        let catalog = Catalog::built_in().expect("good");
        let disks = catalog.find(&Method::GET, "/v2/device/7/disks").expect("known");
        let fit = |rule: &str| Rule::parse(rule).expect("a rule").fit(disks, Effect::Allow);
        assert_eq!(fit("GET /v2/device/{id}/disks"), Match::Always);
        assert_eq!(fit("* /v2/**"), Match::Always);
        assert_eq!(fit("GET /v2/device/{id}/{what}"), Match::Never);
        assert_eq!(fit("GET /v2/device/*/*"), Match::Always);
        assert_eq!(fit("group:devices-read"), Match::Always);
        assert_eq!(fit("GET group:devices-read"), Match::Always);
        assert_eq!(fit("GET group:devices-read?df"), Match::Sometimes);
        assert_eq!(fit("GET /v2/device/7/disks"), Match::Sometimes);
        assert_eq!(fit("GET /v2/device/7/**"), Match::Sometimes);
        assert_eq!(fit("GET /v2/device/abc/disks"), Match::Never);
        assert_eq!(fit("POST /v2/device/{id}/disks"), Match::Never);
        assert_eq!(fit("POST group:devices-read"), Match::Never);
        assert_eq!(fit("group:queries"), Match::Never);
    }

    #[test]
    fn rule_names_an_operation_by_its_group_or_by_all_its_fixed_words() {
        let catalog = Catalog::built_in().expect("good");
        let run = catalog.find(&Method::POST, "/v2/device/7/script/run").expect("known");
        let names = |rule: &str| Rule::parse(rule).expect("a rule").names(run);
        for rule in ["group:scripts", "POST /v2/device/{id}/script/run", "* /v2/device/7/script/run"] {
            assert!(names(rule), "{rule}");
        }
        for rule in ["* /v2/**", "POST /v2/device/**", "POST /v2/device/{id}/*/run", "POST /v2/device/{id}/script/**"] {
            assert!(!names(rule), "{rule}");
        }
    }

    #[test]
    fn rule_covers_another_that_says_less() {
        let covers = |a: &str, b: &str| Rule::parse(a).expect("a rule").covers(&Rule::parse(b).expect("a rule"));
        for (wide, narrow) in [
            ("* /v2/**", "GET /v2/devices"),
            ("GET /v2/device/*", "GET /v2/device/7"),
            ("GET /v2/device/{id}", "GET /v2/device/7"),
            ("GET /v2/organization/*", "GET /v2/organization/{id}"),
            ("GET,PUT /v2/device/{id}", "GET /v2/device/{device}"),
            ("* /v2/device/{id}", "GET,POST,PUT,PATCH,DELETE /v2/device/{id}"),
            ("GET,POST,PUT,PATCH,DELETE /v2/device/{id}", "* /v2/device/{id}"),
            ("GET /v2/devices", "GET /v2/devices?df"),
            ("group:tickets", "GET group:tickets"),
        ] {
            assert!(covers(wide, narrow), "{wide} over {narrow}");
        }
        for (one, other) in [
            ("GET /v2/devices", "* /v2/devices"),
            ("GET /v2/device/7", "GET /v2/device/{id}"),
            ("GET /v2/device/*", "GET /v2/device/**"),
            ("GET /v2/organization/{id}", "GET /v2/organization/documents"),
            ("GET /v2/organization/{id}", "GET /v2/organization/*"),
            ("GET /v2/devices?df", "GET /v2/devices"),
            ("GET group:tickets", "group:tickets"),
            ("* /v2/**", "group:tickets"),
        ] {
            assert!(!covers(one, other), "{one} over {other}");
        }
    }

    #[test]
    fn rule_mistakes_are_refused() {
        for (text, error) in [
            ("", RuleError::Form),
            ("/v2/devices", RuleError::Form),
            ("GET /v2/devices now", RuleError::Form),
            ("get /v2/devices", RuleError::Method("get".to_owned())),
            ("HEAD /v2/devices", RuleError::Method("HEAD".to_owned())),
            ("GET, /v2/devices", RuleError::Method(String::new())),
            ("GET /api/v2/devices", RuleError::Prefix),
            ("GET /v1/devices", RuleError::Prefix),
            ("GET /v2/", RuleError::Segment(String::new())),
            ("GET /v2/**/disks", RuleError::Segment("**".to_owned())),
            ("GET /v2/dev*", RuleError::Segment("dev*".to_owned())),
            ("GET /v2/device/{}", RuleError::Segment("{}".to_owned())),
            ("GET /v2/../users", RuleError::Segment("..".to_owned())),
            ("* /v2/device/007/**", RuleError::Spelling { segment: "007".to_owned(), plain: Some("7".to_owned()) }),
            ("* /v2/device/+7", RuleError::Spelling { segment: "+7".to_owned(), plain: Some("7".to_owned()) }),
            ("* /v2/x/a%20", RuleError::Spelling { segment: "a%20".to_owned(), plain: Some("a".to_owned()) }),
            (
                "DELETE /v2/alert/3F2C8A9E-0000-4000-8000-00000000ABCD",
                RuleError::Spelling {
                    segment: "3F2C8A9E-0000-4000-8000-00000000ABCD".to_owned(),
                    plain: Some("3f2c8a9e-0000-4000-8000-00000000abcd".to_owned()),
                },
            ),
            ("GET /v2/devices?=1", RuleError::Condition("=1".to_owned())),
            ("GET /v2/devices?!", RuleError::Condition("!".to_owned())),
            ("GET /v2/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16", RuleError::TooDeep),
            ("group:ticket", RuleError::Group { name: "ticket".to_owned() }),
            ("group:", RuleError::Group { name: String::new() }),
            ("GET /v2/devices?", RuleError::Condition(String::new())),
            ("GET /v2/devices?!a=1", RuleError::Condition("!a=1".to_owned())),
            ("GET /v2/devices?a=%20b", RuleError::Condition("a=%20b".to_owned())),
            ("GET /v2/devices?b%2B", RuleError::Condition("b%2B".to_owned())),
            ("GET /v2/devices?a=b+c", RuleError::Condition("a=b+c".to_owned())),
            ("GET /v2/devices?a=1&a=2", RuleError::Contradiction("a".to_owned())),
            ("GET /v2/devices?a&!a", RuleError::Contradiction("a".to_owned())),
        ] {
            assert_eq!(Rule::parse(text).err(), Some(error), "{text}");
        }
    }
}
