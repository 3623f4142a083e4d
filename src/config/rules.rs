//! Scopes, groups and rules of listeners and callers become policies.

use std::sync::Arc;

use toml::Spanned;

use super::compiled_policies::CompiledPolicies;
use super::mistake::ConfigMistake;
use super::sections::{AllowEntry, CallerSection, ListenerSection};
use super::settings::CallerConfig;
use super::{Config, nearest};
use crate::proxy::authn::callers::CallerProofs;
use crate::proxy::authn::key::KeyHash;
use crate::proxy::policy::catalog::{Catalog, Scope, ScopeSet};
use crate::proxy::policy::group::{self, Group};
use crate::proxy::policy::rule::Rule;
use crate::proxy::policy::{Groups, InstanceId, Organizations, Policy, PolicyError, Rules};

/// What a listener or a caller says of what is open.
pub(super) struct RulesFile<'a> {
    pub(super) scopes: &'a Spanned<Vec<Spanned<String>>>,
    pub(super) groups: &'a [Spanned<String>],
    pub(super) allow: &'a [Spanned<AllowEntry>],
    pub(super) deny: &'a [Spanned<String>],
    /// The fence.
    pub(super) organizations: Option<Arc<Organizations>>,
}

impl Config {
    pub(super) fn policy(
        &self,
        rules: &RulesFile<'_>,
        instance: InstanceId,
        catalog: &Arc<Catalog>,
    ) -> Result<Policy, ConfigMistake> {
        let scopes = self.scopes(rules.scopes)?;
        let (groups, allow, deny) = (self.groups(rules.groups)?, self.allow(rules.allow)?, self.deny(rules.deny)?);
        Policy::new(
            Arc::clone(catalog),
            instance,
            Rules { scopes, groups, allow, deny, organizations: rules.organizations.clone() },
        )
        .map_err(|error| self.policy_mistake(rules, &error))
    }

    fn groups(&self, names: &[Spanned<String>]) -> Result<Groups, ConfigMistake> {
        let find = |name: &Spanned<String>| {
            let text = name.get_ref();
            let unknown = || {
                let valid = Group::names();
                format!("unknown group {text:?}: valid groups are {}{}", valid.join(", "), nearest(text, valid))
            };
            Group::find(text).ok_or_else(|| self.mistake(name, unknown()))
        };
        match names {
            [] => Ok(Groups::Ordinary),
            [one] if one.get_ref() == group::NONE => Ok(Groups::Only(Vec::new())),
            [..] => match names.iter().find(|name| *name.get_ref() == group::NONE) {
                Some(none) => {
                    Err(self.mistake(none, "\"none\" must be the only entry: it means that no group is open"))
                }
                None => names.iter().map(find).collect::<Result<_, _>>().map(Groups::Only),
            },
        }
    }

    pub(super) fn caller<'a>(
        &self,
        name: &str,
        file: &'a Spanned<CallerSection>,
        listener: &'a ListenerSection,
        (ceiling, compiled): (&Arc<Policy>, &mut CompiledPolicies<'a>),
    ) -> Result<CallerConfig, ConfigMistake> {
        let CallerSection { key, certificate, uids, gids, scopes, groups, allow, deny, .. } = file.get_ref();
        let CallerSection { user, user_for, quota, writes, organizations: list, .. } = file.get_ref();
        if key.is_none() && certificate.is_none() && uids.is_empty() && gids.is_empty() {
            let message = format!(
                "the caller {name} has nothing to prove who it is: give it key, uids, gids or certificate (\"ninjaone-proxy key new {name}\" makes a key)"
            );
            return Err(self.mistake(file, message));
        }
        let hash = |text: &Spanned<String>| {
            KeyHash::parse(text.get_ref()).map_err(|error| {
                // Anything else may be the key itself.
                let shown = text.get_ref().starts_with("sha256:").then(|| format!("{:?}", text.get_ref()));
                self.mistake(text, format!("{} is {error}", shown.as_deref().unwrap_or("this")))
            })
        };
        let unguessed = |text: &Spanned<String>| match hash(text)? {
            guessed if guessed.is_guessed(name) => {
                let message = format!(
                    "this is the hash of a key that is guessed at once, such as a common word, the caller's name or nothing: \"ninjaone-proxy key new {name}\" makes one that nobody can guess"
                );
                Err(self.mistake(text, message))
            }
            hash => Ok(hash),
        };
        let key = key.as_ref().map(unguessed).transpose()?;
        let certificate = certificate.as_ref().map(hash).transpose()?;
        let entry = CallerProofs { name: name.to_owned(), key, certificate, uids: uids.clone(), gids: gids.clone() };
        let organizations = self.caller_organizations(list.as_ref(), ceiling.organizations())?;
        let scopes = scopes.as_ref().unwrap_or(&listener.scopes);
        self.check_fence(list.as_ref(), self.scopes(scopes)?)?;
        let rules = RulesFile { scopes, groups, allow, deny, organizations };
        let compile = || self.policy(&rules, ceiling.instance(), &ceiling.shared_catalog());
        // Without organizations of its own it has those of its listener, as the others have.
        let policy = if list.is_none() { compiled.get(&rules, compile) } else { compile() }?;
        let within = policy.within(Arc::clone(ceiling));
        let policy = within.map_err(|error| self.mistake(rules.scopes, error.to_string()))?;
        let user = self.policy_user(ceiling.instance(), (user.as_ref(), user_for.as_ref()), ceiling.user())?;
        let policy = policy.with_user(user);
        let tries_writes = self.caller_tries_writes(writes.as_ref(), listener.writes.as_ref())?;
        let (quota, reach) = (self.quota(quota.as_ref())?, self.caller_reach(file.get_ref(), listener)?);
        Ok(CallerConfig { entry, policy: Arc::new(policy), quota, tries_writes, reach })
    }

    pub(super) fn scopes(&self, names: &Spanned<Vec<Spanned<String>>>) -> Result<ScopeSet, ConfigMistake> {
        let valid = Scope::ALL.map(Scope::as_str);
        let scope = |name: &Spanned<String>| {
            let text = name.get_ref();
            let hint =
                || format!("unknown scope {text:?}: valid scopes are {}{}", valid.join(", "), nearest(text, valid));
            Scope::parse(text).ok_or_else(|| self.mistake(name, hint()))
        };
        let scopes: ScopeSet = names.get_ref().iter().map(scope).collect::<Result<_, _>>()?;
        if scopes.iter().next().is_none() {
            return Err(self.mistake(
                names,
                "a listener needs at least one scope, such as [\"monitoring\"]: NinjaOne grants no token without",
            ));
        }
        Ok(scopes)
    }

    fn allow(&self, entries: &[Spanned<AllowEntry>]) -> Result<Vec<Rule>, ConfigMistake> {
        let rule = |entry: &Spanned<AllowEntry>| match entry.get_ref() {
            AllowEntry::Text(text) => self.rule(text, entry),
            AllowEntry::Table(file) => {
                let rule = self.rule(file.rule.get_ref(), &file.rule)?;
                let terms = self.terms(&rule, file)?;
                Ok(rule.with_terms(terms))
            }
        };
        entries.iter().map(rule).collect()
    }

    fn deny(&self, texts: &[Spanned<String>]) -> Result<Vec<Rule>, ConfigMistake> {
        texts.iter().map(|text| self.rule(text.get_ref(), text)).collect()
    }

    fn rule<T>(&self, text: &str, place: &Spanned<T>) -> Result<Rule, ConfigMistake> {
        Rule::parse(text).map_err(|error| {
            let hint = error.unknown_group().map_or_else(String::new, |name| nearest(name, Group::names()));
            self.mistake(place, format!("{text:?}: {error}{hint}"))
        })
    }

    /// The mistake at the entry of `allow` or `deny` with this text, or else at `scopes`.
    fn at_rule(&self, file: &RulesFile<'_>, rule: &str, message: &str) -> ConfigMistake {
        let allowed = file.allow.iter().find(|entry| entry.get_ref().rule() == rule);
        let denied = file.deny.iter().find(|entry| entry.get_ref() == rule);
        match (allowed, denied) {
            (Some(entry), _) => self.mistake(entry, message),
            (None, Some(entry)) => self.mistake(entry, message),
            (None, None) => self.mistake(file.scopes, message),
        }
    }

    fn policy_mistake(&self, file: &RulesFile<'_>, error: &PolicyError) -> ConfigMistake {
        match error {
            PolicyError::AboveCeiling { rule, scope } => {
                let hint = format!(
                    "add {:?} to scopes (and to the API client app in NinjaOne), or take the rule out",
                    scope.as_str()
                );
                self.at_rule(file, rule, &format!("{error}: {hint}"))
            }
            PolicyError::Misspelled { rule, .. } | PolicyError::ConditionsOnSecureValues { rule } => {
                self.at_rule(file, rule, &error.to_string())
            }
            PolicyError::AboveListener(_) => self.mistake(file.scopes, error.to_string()),
            PolicyError::TooManyRules => match (file.allow.first(), file.deny.first()) {
                (Some(place), _) => self.mistake(place, error.to_string()),
                (None, Some(place)) => self.mistake(place, error.to_string()),
                (None, None) => self.mistake(file.scopes, error.to_string()),
            },
        }
    }
}
