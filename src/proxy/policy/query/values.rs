//! The values of a parameter, and a query with another value of it.

use super::{Decoded, NARROW, Query, may_spell, pair, spells};

/// A query that servers could read in more than one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("servers could read this query in more than one way")]
pub struct AmbiguousQuery;

impl Query<'_> {
    /// The values of a parameter, decoded, in their order: none if no reading finds it. An error if readings differ.
    pub fn values(self, name: &str) -> Result<Vec<String>, AmbiguousQuery> {
        if !self.may_have(name, None) {
            return Ok(Vec::new());
        }
        if !self.has(name, None) || self.0.contains(';') || self.hides_separators() {
            return Err(AmbiguousQuery);
        }
        let own = self.0.split(NARROW).map(pair).filter(|(own, _)| spells(own, name));
        own.map(|(_, given)| decoded(given.unwrap_or_default())).collect()
    }

    /// The value of a parameter that is there once, as it was written.
    pub fn written(self, name: &str) -> Option<String> {
        let mut own = self.0.split(NARROW).map(pair).filter(|(own, _)| may_spell(own, name));
        let (_, given) = own.next()?;
        own.next().is_none().then(|| given.unwrap_or_default().to_owned())
    }

    /// The query with one value of a parameter, written as it is to be sent, in place of all that it has.
    pub fn with_value(self, name: &str, value: &str) -> String {
        let others = self.0.split(NARROW).filter(|piece| !piece.is_empty() && !may_spell(pair(piece).0, name));
        others.chain([format!("{name}={value}").as_str()]).collect::<Vec<_>>().join("&")
    }
}

/// A value that all servers decode alike.
fn decoded(raw: &str) -> Result<String, AmbiguousQuery> {
    if raw.contains('+') {
        return Err(AmbiguousQuery);
    }
    String::from_utf8(Decoded(raw.bytes()).collect()).map_err(|_| AmbiguousQuery)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_has_the_values_that_every_reading_finds() {
        let values = |query| Query::new(Some(query)).values("organizationIds");
        let texts = |texts: &[&str]| Ok(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(values(""), texts(&[]));
        assert_eq!(values("pageSize=5"), texts(&[]));
        assert_eq!(values("organizationIds=5%2C7&a=b&organizationIds=9"), texts(&["5,7", "9"]));
        assert_eq!(values("organizationIds"), texts(&[""]));
        for unclear in [
            "ORGANIZATIONIDS=5",
            "organizationIds=5;x=1",
            "organizationIds=5&organizationids=9",
            "organizationIds=5+7",
            "organizationIds[]=5",
            "%6frganizationIds=5&organizationId%73[0]=9",
            "x=1%26organizationIds=9",
            "organizationIds=%ff",
        ] {
            assert_eq!(values(unclear), Err(AmbiguousQuery), "{unclear}");
        }
    }

    #[test]
    fn a_query_gets_another_value_in_place_of_all_that_may_be_one() {
        let with = |query| Query::new(Some(query)).with_value("after", "7");
        assert_eq!(with(""), "after=7");
        assert_eq!(with("pageSize=5&after=3&AFTER=4&df=a%20b"), "pageSize=5&df=a%20b&after=7");
    }
}
