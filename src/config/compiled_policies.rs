//! The policies of callers that are written alike: compiled once, since a policy has a row for each operation.

use std::collections::HashMap;

use toml::Spanned;

use super::mistake::ConfigMistake;
use super::rules::RulesFile;
use super::sections::AllowEntry;
use crate::proxy::policy::Policy;

/// What was compiled of the callers of one listener, by what is written.
#[derive(Debug, Default)]
pub(super) struct CompiledPolicies<'a>(HashMap<[Vec<&'a str>; 4], Policy>);

impl<'a> CompiledPolicies<'a> {
    /// The policy of these rules, which are compiled if they are new.
    pub(super) fn get(
        &mut self,
        rules: &RulesFile<'a>,
        compile: impl FnOnce() -> Result<Policy, ConfigMistake>,
    ) -> Result<Policy, ConfigMistake> {
        let Some(written) = written(rules) else { return compile() };
        if let Some(known) = self.0.get(&written) {
            return Ok(known.clone());
        }
        let policy = compile()?;
        self.0.insert(written, policy.clone());
        Ok(policy)
    }
}

/// Scopes, groups, `allow` and `deny`; `None` if there are rules with conditions.
fn written<'a>(rules: &RulesFile<'a>) -> Option<[Vec<&'a str>; 4]> {
    let RulesFile { scopes, groups, allow, deny, organizations: _ } = rules;
    let texts = |list: &'a [Spanned<String>]| list.iter().map(|text| text.get_ref().as_str()).collect();
    let text = |entry: &'a Spanned<AllowEntry>| match entry.get_ref() {
        AllowEntry::Text(text) => Some(text.as_str()),
        AllowEntry::Table(_) => None,
    };
    Some([texts(scopes.get_ref()), texts(groups), allow.iter().map(text).collect::<Option<_>>()?, texts(deny)])
}
