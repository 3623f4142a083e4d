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

mod misspelled;

use std::fmt;
use std::sync::Arc;

use http::Method;

use super::catalog::{Operation, ParameterType, TemplateSegment};
use super::group::{Group, SECURE_VALUES};
use super::path::{MAX_SEGMENTS, Segments, decode};
use super::query::{Query, SECURE};
use super::spelling;

/// The methods that a rule may name. `HEAD` follows `GET`.
pub const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// A parsed rule, such as `GET /v2/user/**`, `GET,PATCH /v2/device/{id}/custom-fields` or `group:tickets`.
#[derive(Debug, Clone)]
pub struct Rule {
    text: Arc<str>,
    /// Empty: every method.
    methods: Vec<Method>,
    reach: Selector,
    conditions: Vec<Condition>,
}

/// What a rule speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The operations of a group.
    Group(&'static Group),
    /// Paths, known or not.
    Path(Template),
}

/// The paths of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    segments: Vec<TemplateSegmentRule>,
    /// Ends in `**`: any number of further segments, none included.
    open_ended: bool,
}

/// A segment of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
enum TemplateSegmentRule {
    Literal(String),
    /// `{name}`: a value. Not a fixed word of a known operation: `/v2/organization/{id}` is not `/v2/organization/documents`.
    Value,
    /// `*`: one segment.
    Any,
}

/// What a rule wants of the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The parameter.
    name: String,
    wanted: WantedValue,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum WantedValue {
    Absent,
    Present,
    Value(String),
}

/// What a rule had to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleEffect {
    /// It matches.
    Matches,
    /// It is for other methods.
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

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Not two words.
    #[error(
        "a rule is a method, a space and a path, such as \"GET /v2/user/**\", or a group, such as \"group:tickets\" or \"GET group:tickets\""
    )]
    Form,
    /// An unknown method.
    #[error("unknown method {0:?}: valid methods are GET (HEAD follows it), POST, PUT, PATCH, DELETE, or * for all")]
    Method(String),
    /// The path is not below `/v2/`.
    #[error("the path must begin with /v2/ (requests to /api/v2/ and /ws/api/v2/ are judged as /v2/)")]
    Prefix,
    /// `**` before the end, `a*b`, `{}`, or a character that no accepted path has.
    #[error(
        "bad path segment {0:?}: a segment is a fixed word, {{name}} for a value, * for any one segment, or ** at the end for the rest"
    )]
    Segment(String),
    /// A literal that no accepted request has, since it has a plainer spelling.
    #[error(
        "{segment:?} never matches: requests must have {}",
        plain.as_ref().map_or_else(
            || "numbers in ASCII digits, UUIDs in lower case, and no space at the ends of a segment".to_owned(),
            |plain| format!("{plain:?} instead"),
        )
    )]
    Spelling {
        /// As written.
        segment: String,
        /// As it must be written, if that is known.
        plain: Option<String>,
    },
    /// More segments than an accepted path has.
    #[error("the path has more than {MAX_SEGMENTS} segments, which no accepted request has")]
    TooDeep,
    /// A group that there is not.
    #[error("unknown group {name:?}: valid groups are {}", Group::names().join(", "))]
    Group {
        /// What was written.
        name: String,
    },
    /// A condition that is none.
    #[error(
        "bad condition {0:?}: after ? stand conditions, joined by &: NAME (it is there), NAME=VALUE, or !NAME (it is not there), percent-encoded"
    )]
    Condition(String),
    /// Conditions that no query can fulfil.
    #[error("the conditions on {0:?} contradict each other: no request can match")]
    Contradiction(String),
}

impl RuleError {
    /// The name that no group has.
    pub fn unknown_group(&self) -> Option<&str> {
        if let Self::Group { name } = self { Some(name) } else { None }
    }
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
        Ok(Self { text: text.into(), methods: parse_methods(methods)?, reach, conditions })
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
        let has_place = || match &self.reach {
            Selector::Group(own) if *own == &SECURE_VALUES => query.asks_for_secure_values(),
            Selector::Group(own) => Some(*own) == group,
            Selector::Path(template) => template.matches(effect, path),
        };
        if !self.has_method(method) {
            RuleEffect::OtherMethod
        } else if !has_place() {
            RuleEffect::Elsewhere
        } else if !self.conditions.iter().all(|condition| condition.holds(effect, query)) {
            RuleEffect::OtherQuery
        } else {
            RuleEffect::Matches
        }
    }

    /// How the rule relates to `operation`.
    pub fn fit(&self, operation: &Operation) -> Match {
        if !self.has_method(&operation.method) {
            return Match::Never;
        }
        let fit = match &self.reach {
            Selector::Group(group) if *group == &SECURE_VALUES => Match::Sometimes,
            Selector::Group(group) if *group == operation.group => Match::Always,
            Selector::Group(_) => Match::Never,
            Selector::Path(template) => template.fit(&operation.segments),
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
        matches!(&self.reach, Selector::Path(template) if template.fit(&operation.segments) != Match::Never)
    }

    /// The first word that stands where `operation` has a parameter of another type, if nothing else keeps the rule from
    /// matching it.
    pub fn misfit<'a>(&'a self, operation: &'a Operation) -> Option<(&'a str, &'a ParameterType)> {
        match &self.reach {
            Selector::Path(template) => template.misfit(&operation.segments),
            Selector::Group(_) => None,
        }
    }

    /// Its path without names of parameters; empty for a group.
    pub fn path_text(&self) -> String {
        match &self.reach {
            Selector::Path(template) => template.segments.iter().map(|piece| format!("/{piece}")).collect(),
            Selector::Group(_) => String::new(),
        }
    }

    /// Whether some request may match this rule and `other`.
    pub fn overlaps(&self, other: &Self) -> bool {
        let method = METHODS.iter().any(|method| self.has_method(method) && other.has_method(method));
        let reach = match (&self.reach, &other.reach) {
            (Selector::Path(own), Selector::Path(path)) => own.overlaps(path),
            (Selector::Group(_), _) | (_, Selector::Group(_)) => true,
        };
        method && reach
    }

    /// Whether every request that `other` matches is matched by this rule too, as far as the texts tell.
    pub fn covers(&self, other: &Self) -> bool {
        let methods = METHODS.iter().filter(|method| other.has_method(method)).all(|method| self.has_method(method));
        let reach = match (&self.reach, &other.reach) {
            (Selector::Group(own), Selector::Group(group)) => own == group,
            (Selector::Path(own), Selector::Path(path)) => own.covers(path),
            (Selector::Group(_), Selector::Path(_)) | (Selector::Path(_), Selector::Group(_)) => false,
        };
        methods && reach && self.conditions.iter().all(|condition| other.conditions.contains(condition))
    }
}

/// What a group's name is written after.
const GROUP: &str = "group:";

impl Template {
    fn parse(path: &str) -> Result<Self, RuleError> {
        let path = path.strip_prefix('/').filter(|path| path.starts_with("v2/")).ok_or(RuleError::Prefix)?;
        let (path, open_ended) = match path.strip_suffix("/**") {
            Some(path) => (path, true),
            None => (path, false),
        };
        let segments: Vec<_> = path.split('/').map(parse_piece).collect::<Result<_, _>>()?;
        if segments.len() > MAX_SEGMENTS { Err(RuleError::TooDeep) } else { Ok(Self { segments, open_ended }) }
    }

    fn fits_length(&self, length: usize) -> bool {
        length == self.segments.len() || (self.open_ended && length > self.segments.len())
    }

    fn matches(&self, effect: Effect, path: &Segments<'_>) -> bool {
        self.fits_length(path.len())
            && self.segments.iter().zip(path.iter()).all(|(piece, segment)| match piece {
                TemplateSegmentRule::Literal(text) => match effect {
                    Effect::Allow => segment.is(text),
                    Effect::Deny => segment.may_be(text),
                },
                // Where the request's operation has a fixed word instead, the rule does not fit it.
                TemplateSegmentRule::Value | TemplateSegmentRule::Any => true,
            })
    }

    fn fit(&self, template: &[TemplateSegment]) -> Match {
        if !self.fits_length(template.len()) {
            return Match::Never;
        }
        self.segments.iter().zip(template).map(|(piece, segment)| piece.fit(segment)).min().unwrap_or(Match::Never)
    }

    /// Whether each fixed word of `template` stands here too.
    fn spells(&self, template: &[TemplateSegment]) -> bool {
        template.len() == self.segments.len()
            && self.segments.iter().zip(template).all(|(piece, segment)| match (piece, segment) {
                (TemplateSegmentRule::Literal(text), TemplateSegment::Literal(word)) => text == word,
                (TemplateSegmentRule::Value | TemplateSegmentRule::Any, TemplateSegment::Literal(_)) => false,
                (
                    TemplateSegmentRule::Literal(_) | TemplateSegmentRule::Value | TemplateSegmentRule::Any,
                    TemplateSegment::Parameter(..),
                ) => true,
            })
    }

    fn misfit<'a>(&'a self, template: &'a [TemplateSegment]) -> Option<(&'a str, &'a ParameterType)> {
        let mut found = None;
        for (piece, segment) in self.segments.iter().zip(template).filter(|_| self.fits_length(template.len())) {
            match (piece, segment) {
                (TemplateSegmentRule::Literal(word), TemplateSegment::Parameter(_, kind)) if !kind.admits(word) => {
                    found = found.or(Some((word.as_str(), kind)));
                }
                _ if piece.fit(segment) == Match::Never => return None,
                _ => {}
            }
        }
        found
    }

    fn overlaps(&self, other: &Self) -> bool {
        let (short, long) = if self.segments.len() < other.segments.len() { (self, other) } else { (other, self) };
        let is_open = |piece: &TemplateSegmentRule| !matches!(piece, TemplateSegmentRule::Literal(_));
        let literals_meet = |own: &TemplateSegmentRule, piece: &TemplateSegmentRule| match (own, piece) {
            (TemplateSegmentRule::Literal(own), TemplateSegmentRule::Literal(piece)) => {
                spelling::alike(own.chars(), piece) || spelling::alike(piece.chars(), own)
            }
            (TemplateSegmentRule::Literal(_) | TemplateSegmentRule::Value | TemplateSegmentRule::Any, _) => false,
        };
        let alike = |(own, piece): (&TemplateSegmentRule, &TemplateSegmentRule)| {
            is_open(own) || is_open(piece) || literals_meet(own, piece)
        };
        short.fits_length(long.segments.len()) && short.segments.iter().zip(&long.segments).all(alike)
    }

    fn covers(&self, other: &Self) -> bool {
        let length = if self.open_ended {
            other.segments.len() >= self.segments.len()
        } else {
            !other.open_ended && other.segments.len() == self.segments.len()
        };
        // A number is no fixed word, so it is a value wherever it stands.
        let is_number = |piece: &TemplateSegmentRule| matches!(piece, TemplateSegmentRule::Literal(text) if text.bytes().all(|b| b.is_ascii_digit()));
        let piece_covers = |(own, piece): (&TemplateSegmentRule, &TemplateSegmentRule)| match own {
            TemplateSegmentRule::Any => true,
            TemplateSegmentRule::Value => own == piece || is_number(piece),
            TemplateSegmentRule::Literal(_) => own == piece,
        };
        length && self.segments.iter().zip(&other.segments).all(piece_covers)
    }
}

impl TemplateSegmentRule {
    fn fit(&self, segment: &TemplateSegment) -> Match {
        match (self, segment) {
            (Self::Any, _) | (Self::Value, TemplateSegment::Parameter(..)) => Match::Always,
            (Self::Value, TemplateSegment::Literal(_)) => Match::Never,
            (Self::Literal(text), TemplateSegment::Literal(other)) if text == other => Match::Always,
            (Self::Literal(_), TemplateSegment::Literal(_)) => Match::Never,
            (Self::Literal(text), TemplateSegment::Parameter(_, ParameterType::OneOf(words)))
                if **words == [text.as_str()] =>
            {
                Match::Always
            }
            (Self::Literal(text), TemplateSegment::Parameter(_, kind)) if kind.admits(text) => Match::Sometimes,
            (Self::Literal(_), TemplateSegment::Parameter(..)) => Match::Never,
        }
    }
}

impl Condition {
    fn holds(&self, effect: Effect, query: Query<'_>) -> bool {
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

    fn contradicts(&self, other: &Self) -> bool {
        let both_values =
            matches!((&self.wanted, &other.wanted), (WantedValue::Value(a), WantedValue::Value(b)) if a != b);
        let absent = |condition: &Self| condition.wanted == WantedValue::Absent;
        self.name == other.name && (both_values || absent(self) != absent(other))
    }
}

impl fmt::Display for RuleEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Matches => "matches",
            Self::OtherMethod => "is for other methods",
            Self::Elsewhere => "is for other paths",
            Self::OtherQuery => "wants another query",
            Self::DoesNotName => "does not name the guarded group",
        })
    }
}

impl fmt::Display for TemplateSegmentRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Literal(text) => text,
            Self::Value | Self::Any => "{id}",
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

fn parse_piece(segment: &str) -> Result<TemplateSegmentRule, RuleError> {
    let named = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    if segment == "*" {
        return Ok(TemplateSegmentRule::Any);
    }
    if named.is_some_and(|name| !name.is_empty() && !name.contains(['{', '}'])) {
        return Ok(TemplateSegmentRule::Value);
    }
    let bad = || RuleError::Segment(segment.to_owned());
    if segment.contains('*') {
        return Err(bad());
    }
    let text = decode(segment).map_err(|_| bad())?;
    let other_spelling = |_| RuleError::Spelling { segment: segment.to_owned(), plain: spelling::plain(segment) };
    spelling::check(text.chars()).map_err(other_spelling)?;
    Ok(TemplateSegmentRule::Literal(text.into_owned()))
}

fn parse_conditions(text: &str) -> Result<Vec<Condition>, RuleError> {
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
        let fit = |rule: &str| Rule::parse(rule).expect("a rule").fit(disks);
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
