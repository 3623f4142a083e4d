//! The operation that a path was probably meant for: all of its segments but one are the operation's.

use std::fmt;

use http::Method;

use super::super::path::Segments;
use super::{Catalog, Operation, OperationName, TemplateSegment};

/// How alike two words must be to be taken for a slip, from 0 to 1.
const ALIKE: f64 = 0.85;

/// An operation, and the segment in which a path differs from it.
#[derive(Debug, Clone)]
pub struct Nearest<'a> {
    operation: &'a Operation,
    /// What the operation has in place of a value that does not fit.
    misfit: Option<(String, String)>,
}

impl Nearest<'_> {
    /// Whether a value in the path is of the wrong type.
    pub fn is_misfit(&self) -> bool {
        self.misfit.is_some()
    }

    /// The operation.
    pub fn operation(&self) -> &Operation {
        self.operation
    }
}

/// As a question or a statement, to stand in a sentence of its own.
impl fmt::Display for Nearest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = OperationName(self.operation);
        match &self.misfit {
            Some((value, wanted)) => write!(f, "{name} has {wanted} where {value:?} is."),
            None => write!(f, "Did you mean {name}?"),
        }
    }
}

impl Catalog {
    /// The nearest operation to a path that none has. One with the method is nearer than one without. Its cost grows
    /// with the operations that have as many segments, and few of these are compared letter by letter.
    pub fn nearest(&self, method: &Method, path: &Segments<'_>) -> Option<Nearest<'_>> {
        let method = super::super::judged_as(method);
        let ranked = self.operations.iter().filter_map(|operation| {
            let (likeness, misfit) = likeness(operation, path)?;
            Some(((likeness, operation.method == method), Nearest { operation, misfit }))
        });
        let best = ranked.max_by(|(one, _), (other, _)| one.1.cmp(&other.1).then(one.0.total_cmp(&other.0)));
        best.map(|(_, nearest)| nearest)
    }
}

/// How near a path is; with the value that does not fit and what is wanted, if it is that.
fn likeness(operation: &Operation, path: &Segments<'_>) -> Option<(f64, Option<(String, String)>)> {
    if operation.segments.len() != path.len() {
        return None;
    }
    let mut differing = operation.segments.iter().zip(path.iter()).filter(|(wanted, own)| match wanted {
        TemplateSegment::Literal(word) => !own.is(word),
        TemplateSegment::Parameter(_, kind) => !kind.admits(&own.decoded()),
    });
    let (wanted, own) = differing.next()?;
    if differing.next().is_some() {
        return None;
    }
    let own: String = own.decoded().chars().take(super::super::path::MAX_WORD).collect();
    match wanted {
        TemplateSegment::Literal(word) => {
            let likeness = strsim::jaro_winkler(word, &own);
            (likeness > ALIKE).then_some((likeness, None))
        }
        // A word that is nearly a fixed word was meant for that.
        TemplateSegment::Parameter(_, kind) => Some((0.0, Some((own, kind.wanted())))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_operation_is_one_slip_away() {
        let catalog = Catalog::built_in().expect("good");
        let nearest = |method: &str, path: &str| {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            catalog.nearest(&method, &Segments::parse(path).expect("a path")).map(|nearest| nearest.to_string())
        };
        for (method, path, told) in [
            ("GET", "/v2/organisations", "Did you mean GET /v2/organizations?"),
            ("HEAD", "/v2/organization", "Did you mean GET /v2/organizations?"),
            ("POST", "/v2/organisations", "Did you mean POST /v2/organizations?"),
            ("GET", "/v2/device/7/disk", "Did you mean GET /v2/device/{id}/disks?"),
            ("GET", "/v2/device/abc", "GET /v2/device/{id} has a number where \"abc\" is."),
            (
                "POST",
                "/v2/device/7/reboot/SOFT",
                "POST /v2/device/{id}/reboot/{mode} has one of NORMAL, FORCED where \"SOFT\" is.",
            ),
        ] {
            assert_eq!(nearest(method, path).as_deref(), Some(told), "{method} {path}");
        }
        for path in ["/v2/nothing", "/v2/device/7/8/9/10", "/v2/sandwiches", "/"] {
            assert_eq!(nearest("GET", path), None, "{path}");
        }
    }
}
