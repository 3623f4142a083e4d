//! The rules of a list that a request for one operation may match. Those that ask for a value of its path are found by
//! that value, however many there are.

use super::super::catalog::{Operation, TemplateSegment};
use super::super::path::Segments;
use super::super::rule::{Match, Rule};
use super::super::spelling::{self, WordHash};
use super::RuleId;

/// The rules of a list that may match a request for an operation, each with whether it always does.
#[derive(Debug, Default)]
pub(in super::super) struct Candidates {
    /// In order.
    others: Vec<(RuleId, Match)>,
    /// Those that ask for a value at `depth`, by its hash, then in order.
    by_value: Vec<(WordHash, RuleId)>,
    depth: usize,
}

impl Candidates {
    /// These rules of `rules`, which are in order.
    pub(super) fn new(found: Vec<(RuleId, Match)>, rules: &[Rule], operation: &Operation) -> Self {
        let is_parameter =
            |depth: &usize| matches!(operation.segments.get(*depth), Some(TemplateSegment::Parameter(..)));
        let word = |id: RuleId, depth| rules.get(id.index()).and_then(|rule| rule.word_at(depth));
        let asks = |depth: usize| {
            found.iter().filter(|(id, fit)| *fit == Match::Sometimes && word(*id, depth).is_some()).count()
        };
        let counted = (0..operation.segments.len()).filter(is_parameter).map(|depth| (asks(depth), depth));
        let (count, depth) = counted.max().unwrap_or_default();
        if count == 0 {
            return Self { others: found, ..Self::default() };
        }
        let mut made = Self { depth, ..Self::default() };
        for (id, fit) in found {
            match word(id, depth).filter(|_| fit == Match::Sometimes) {
                Some(word) => made.by_value.push((spelling::word_hash(word), id)),
                None => made.others.push((id, fit)),
            }
        }
        made.by_value.sort_unstable();
        made
    }

    /// The first that passes, of those that a request for `path` may match; `None`: of all.
    pub(super) fn first(&self, path: Option<&Segments<'_>>, passes: impl Fn(RuleId, Match) -> bool) -> Option<RuleId> {
        let of_others = self.others.iter().find(|(id, fit)| passes(*id, *fit)).map(|(id, _)| *id);
        if self.by_value.is_empty() {
            return of_others;
        }
        let first_of = |rules: &[(WordHash, RuleId)]| {
            rules.iter().map(|(_, id)| *id).filter(|id| passes(*id, Match::Sometimes)).min()
        };
        let of_values = match path.and_then(|path| path.get(self.depth)) {
            Some(segment) => {
                segment.word_hashes().into_iter().flatten().filter_map(|hash| first_of(self.with_hash(hash))).min()
            }
            None => first_of(&self.by_value),
        };
        of_others.into_iter().chain(of_values).min()
    }

    /// All, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RuleId, Match)> {
        let by_value = self.by_value.iter().map(|(_, id)| (*id, Match::Sometimes));
        self.others.iter().copied().chain(by_value)
    }

    fn with_hash(&self, hash: WordHash) -> &[(WordHash, RuleId)] {
        let start = self.by_value.partition_point(|(other, _)| *other < hash);
        let rest = self.by_value.get(start..).unwrap_or_default();
        rest.split_at(rest.partition_point(|(other, _)| *other == hash)).0
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::super::super::catalog::Catalog;
    use super::super::super::decision::JudgedRequest;
    use super::super::super::path::Target;
    use super::super::super::rule::{Effect, Terms};
    use super::super::{Groups, OperationRow, Rules};
    use super::*;

    const RULES: [&str; 24] = [
        "GET /v2/device/7/disks",
        "* /v2/device/7/**",
        "* /v2/device/70/**",
        "* /v2/device/*/disks",
        "* /v2/device/{id}/disks?a=1",
        "* /v2/device/7/disks?a=1",
        "* /v2/device/12/*",
        "group:devices-read?a=1",
        "* /v2/related-items/DOCUMENT/**",
        "* /v2/related-items/document/**",
        "* /v2/related-items/*/7",
        "* /v2/related-items/NODE/7",
        "* /v2/related-items/NODE/70",
        "* /v2/related-items/{type}/12?a",
        "GET /v2/custom-fields/field-name/secret",
        "* /v2/custom-fields/field-name/Secret",
        "* /v2/custom-fields/field-name/7",
        "* /v2/custom-fields/field-name/7a",
        "* /v2/custom-fields/field-name/B%C3%BCro",
        "* /v2/custom-fields/*/kiosk",
        "DELETE /v2/alert/3f2c8a9e-0000-4000-8000-00000000abcd",
        "* /v2/alert/3f2c8a9e-0000-4000-8000-00000000abce",
        "* /v2/alert/{uid}?a",
        "* /v2/**",
    ];
    const VALUES: [&str; 16] = [
        "7",
        "70",
        "12",
        "7.0",
        "7a",
        "7A",
        "-7",
        "DOCUMENT",
        "document",
        "NODE",
        "secret",
        "%C5%BFECRET",
        "B%C3%9CRO",
        "%E2%84%AAiosk",
        "3f2c8a9e-0000-4000-8000-00000000abcd",
        "3f2c8a9e00004000800000000000abcd",
    ];

    proptest! {
        #[test]
        fn a_look_up_by_value_finds_what_a_walk_finds(
            allow in subsequence(&RULES[..], 0..RULES.len()),
            deny in subsequence(&RULES[..RULES.len() - 1], 0..6),
            (first, second, query) in (select(&VALUES[..]), select(&VALUES[..]), select(&["", "?a=1", "?A=1"][..])),
        ) {
            let parse = |text: &&str| Rule::parse(text).expect("a rule");
            let conditional = |(number, rule): (usize, Rule)| {
                if number % 3 == 1 { rule.with_terms(Terms { approval: true, ..Terms::default() }) } else { rule }
            };
            let allow = allow.iter().map(parse).enumerate().map(conditional).collect();
            let catalog = Catalog::built_in().expect("good");
            let scopes = catalog.operations().iter().map(|known| known.scope).collect();
            let rules = Rules {
                scopes,
                groups: Groups::Only(Vec::new()),
                allow,
                deny: deny.iter().map(parse).collect(),
                organizations: None,
            };
            for (method, path) in [
                (Method::GET, format!("/v2/device/{first}/disks")),
                (Method::DELETE, format!("/v2/related-items/{first}/{second}")),
                (Method::GET, format!("/v2/custom-fields/field-name/{first}")),
                (Method::DELETE, format!("/v2/alert/{first}")),
            ] {
                let uri = format!("{path}{query}").parse().expect("a target");
                let target = Target::canonical(&uri).expect("canonical");
                let Some(operation) = catalog.find(&method, &path) else { continue };
                let path = &target.segments().expect("segments");
                let asked =
                    JudgedRequest { method: &method, path, query: target.query(), operation: None, secure_values: false };
                let OperationRow::Depends(relevant, _) = rules.row(operation) else { continue };
                let judge = |path| rules.verdict(operation, &relevant, path, |rule, effect: Effect| asked.matches(rule, effect));
                prop_assert_eq!(judge(Some(path)), judge(None), "{} {}", method, uri);
            }
        }
    }
}
