//! A rule that speaks of a known operation in a spelling that no accepted request has.

use super::template::TemplateSegmentRule;
use super::{Rule, Selector, Template};
use crate::proxy::policy::catalog::{Operation, TemplateSegment};
use crate::proxy::policy::spelling::same_word;

impl Rule {
    /// The first word that is another spelling of what `operation` has there, and what that is; `None` if the rule
    /// speaks of something else, or of `operation` in its own spelling.
    pub fn misspells<'a>(&'a self, operation: &'a Operation) -> Option<(&'a str, &'a TemplateSegment)> {
        match &self.reach {
            Selector::Path(template) if self.has_method(&operation.method) => template.misspells(&operation.segments),
            Selector::Path(_) | Selector::Group(_) => None,
        }
    }
}

impl Template {
    fn misspells<'a>(&'a self, template: &'a [TemplateSegment]) -> Option<(&'a str, &'a TemplateSegment)> {
        if !self.fits_length(template.len()) {
            return None;
        }
        let mut first = None;
        for (piece, segment) in self.segments.iter().zip(template) {
            let word = match (piece, segment) {
                (TemplateSegmentRule::Any, _) | (TemplateSegmentRule::Value, TemplateSegment::Parameter(..)) => {
                    continue;
                }
                (TemplateSegmentRule::Value, TemplateSegment::Literal(_)) => return None,
                (TemplateSegmentRule::Literal(word), _) => word,
            };
            let (is_it, may_be) = match segment {
                TemplateSegment::Literal(own) => (word == own, same_word(word, own)),
                TemplateSegment::Parameter(_, kind) => (kind.admits(word), kind.may_admit(word)),
            };
            match (is_it, may_be) {
                (true, _) => {}
                (false, true) => first = first.or(Some((word.as_str(), segment))),
                (false, false) => return None,
            }
        }
        first
    }
}
