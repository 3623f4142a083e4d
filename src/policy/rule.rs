//! One rule of `allow` or `deny`: methods and a path template, parsed once and matched segment by segment.

use std::fmt;

use http::Method;

use super::catalog::{Operation, ParameterType, TemplateSegment};
use super::path::{Segments, decode};

/// The methods that a rule may name. `HEAD` follows `GET`.
pub const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// A parsed rule, such as `GET /v2/user/**` or `GET,PATCH /v2/device/{id}/custom-fields`.
#[derive(Debug, Clone)]
pub struct Rule {
    text: String,
    /// Empty: every method.
    methods: Vec<Method>,
    segments: Vec<Piece>,
    /// Ends in `**`: any number of further segments, none included.
    open_ended: bool,
}

#[derive(Debug, Clone)]
enum Piece {
    Literal(String),
    /// `*` or `{name}`: one segment.
    Any,
}

/// How a rule relates to an operation of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// No request for the operation can match.
    Never,
    /// It depends on the values in the path.
    Sometimes,
    /// Every request for the operation matches.
    Always,
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Not two words.
    #[error("a rule is a method, a space and a path, such as \"GET /v2/user/**\"")]
    Form,
    /// An unknown method.
    #[error("unknown method {0:?}: valid methods are GET (HEAD follows it), POST, PUT, PATCH, DELETE, or * for all")]
    Method(String),
    /// The path is not below `/v2/`.
    #[error("the path must begin with /v2/ (requests to /api/v2/ and /ws/api/v2/ are judged as /v2/)")]
    Prefix,
    /// `**` before the end, `a*b`, `{}`, or a character that no accepted path has.
    #[error(
        "bad path segment {0:?}: a segment is a fixed word, {{name}} or * for one segment, or ** at the end for the rest"
    )]
    Segment(String),
}

impl Rule {
    /// Reads a rule.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let mut words = text.split_whitespace();
        let (Some(methods), Some(path), None) = (words.next(), words.next(), words.next()) else {
            return Err(RuleError::Form);
        };
        let path = path.strip_prefix('/').filter(|path| path.starts_with("v2/")).ok_or(RuleError::Prefix)?;
        let (path, open_ended) = match path.strip_suffix("/**") {
            Some(path) => (path, true),
            None => (path, false),
        };
        let segments = path.split('/').map(parse_piece).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), methods: parse_methods(methods)?, segments, open_ended })
    }

    /// Whether the rule speaks of this method.
    pub fn has_method(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    /// Whether the rule ends in `**`.
    pub fn is_open_ended(&self) -> bool {
        self.open_ended
    }

    /// Whether a request matches; `HEAD` is asked as `GET`.
    pub fn matches(&self, method: &Method, path: &Segments<'_>) -> bool {
        let path = path.as_slice();
        let length_fits = path.len() == self.segments.len() || (self.open_ended && path.len() > self.segments.len());
        length_fits
            && self.has_method(method)
            && self.segments.iter().zip(path).all(|(piece, segment)| match piece {
                Piece::Literal(text) => text == segment.decoded(),
                Piece::Any => true,
            })
    }

    /// How the rule relates to `operation`.
    pub fn fit(&self, operation: &Operation) -> Fit {
        let template = &operation.segments;
        let length_fits =
            template.len() == self.segments.len() || (self.open_ended && template.len() > self.segments.len());
        if !length_fits || !self.has_method(&operation.method) {
            return Fit::Never;
        }
        self.segments.iter().zip(template).map(|(piece, segment)| piece.fit(segment)).min().unwrap_or(Fit::Never)
    }
}

impl Piece {
    fn fit(&self, segment: &TemplateSegment) -> Fit {
        match (self, segment) {
            (Self::Any, _) => Fit::Always,
            (Self::Literal(text), TemplateSegment::Literal(other)) if text == other => Fit::Always,
            (Self::Literal(_), TemplateSegment::Literal(_)) => Fit::Never,
            (Self::Literal(text), TemplateSegment::Parameter(_, ParameterType::OneOf(words)))
                if words.as_slice() == [text.as_str()] =>
            {
                Fit::Always
            }
            (Self::Literal(text), TemplateSegment::Parameter(_, kind)) if kind.admits(text) => Fit::Sometimes,
            (Self::Literal(_), TemplateSegment::Parameter(..)) => Fit::Never,
        }
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

fn parse_piece(segment: &str) -> Result<Piece, RuleError> {
    let named = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    if segment == "*" || named.is_some_and(|name| !name.is_empty() && !name.contains(['{', '}'])) {
        return Ok(Piece::Any);
    }
    let bad = || RuleError::Segment(segment.to_owned());
    if segment.contains('*') {
        return Err(bad());
    }
    decode(segment).map(|text| Piece::Literal(text.into_owned())).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::super::catalog::Catalog;
    use super::*;

    fn matches(rule: &str, method: &str, path: &str) -> bool {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        Rule::parse(rule).expect("a rule").matches(&method, &Segments::parse(path).expect("a path"))
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
    fn rule_fits_an_operation_always_sometimes_or_never() {
        let catalog = Catalog::built_in().expect("good");
        let disks = catalog.find(&Method::GET, "/v2/device/7/disks").expect("known");
        let fit = |rule: &str| Rule::parse(rule).expect("a rule").fit(disks);
        assert_eq!(fit("GET /v2/device/{id}/disks"), Fit::Always);
        assert_eq!(fit("* /v2/**"), Fit::Always);
        assert_eq!(fit("GET /v2/device/7/disks"), Fit::Sometimes);
        assert_eq!(fit("GET /v2/device/7/**"), Fit::Sometimes);
        assert_eq!(fit("GET /v2/device/abc/disks"), Fit::Never);
        assert_eq!(fit("POST /v2/device/{id}/disks"), Fit::Never);
    }

    #[test]
    fn rule_mistakes_are_refused() {
        for (text, error) in [
            ("", RuleError::Form),
            ("/v2/devices", RuleError::Form),
            ("GET /v2/devices now", RuleError::Form),
            ("get /v2/devices", RuleError::Method("get".to_owned())),
            ("GET, /v2/devices", RuleError::Method(String::new())),
            ("GET /api/v2/devices", RuleError::Prefix),
            ("GET /v1/devices", RuleError::Prefix),
            ("GET /v2/", RuleError::Segment(String::new())),
            ("GET /v2/**/disks", RuleError::Segment("**".to_owned())),
            ("GET /v2/dev*", RuleError::Segment("dev*".to_owned())),
            ("GET /v2/device/{}", RuleError::Segment("{}".to_owned())),
            ("GET /v2/../users", RuleError::Segment("..".to_owned())),
        ] {
            assert_eq!(Rule::parse(text).err(), Some(error), "{text}");
        }
    }
}
