//! The fence of a listener or caller, as `organizations` says it.

use std::sync::Arc;

use toml::Spanned;

use super::mistake::ConfigMistake;
use super::warnings::Warning;
use super::{Config, ListenerConfig};
use crate::proxy::policy::catalog::{Scope, ScopeSet};
use crate::proxy::policy::{MAX_ORGANIZATION, Organizations};
use crate::proxy::response;

/// The ids as written.
pub(super) type OrganizationList = Spanned<Vec<Spanned<i64>>>;

impl Config {
    /// The organizations that callers are kept to; all without a list.
    pub(super) fn organizations(
        &self,
        list: Option<&OrganizationList>,
    ) -> Result<Option<Arc<Organizations>>, ConfigMistake> {
        let Some(list) = list else { return Ok(None) };
        let ids = list.get_ref().iter().map(|id| self.organization(id)).collect::<Result<Vec<_>, _>>()?;
        let empty = "the list is empty: name at least one organization, such as organizations = [5], close all of them with deny = [\"* /v2/**\"], or remove the line to have no fence";
        Organizations::new(ids).map(Arc::new).map(Some).ok_or_else(|| self.mistake(list, empty))
    }

    /// What belongs to an organization is read with the token of the listener or caller.
    pub(super) fn check_fence(&self, list: Option<&OrganizationList>, scopes: ScopeSet) -> Result<(), ConfigMistake> {
        let hint = "organizations needs the scope monitoring in the same table, with which the proxy reads what belongs to them: add \"monitoring\" to scopes there, and close reads by groups or deny if you like";
        match list {
            Some(list) if !scopes.contains(Scope::Monitoring) => Err(self.mistake(list, hint)),
            Some(_) | None => Ok(()),
        }
    }

    /// Those of a caller, which its listener must have if it has any.
    pub(super) fn caller_organizations(
        &self,
        list: Option<&OrganizationList>,
        of_listener: Option<&Arc<Organizations>>,
    ) -> Result<Option<Arc<Organizations>>, ConfigMistake> {
        let own = self.organizations(list)?;
        let (Some(list), Some(ids), Some(listener)) = (list, &own, of_listener) else { return Ok(own) };
        let Some(outside) = ids.outside(listener) else { return Ok(own) };
        let is_it = |id: &&Spanned<i64>| u64::try_from(*id.get_ref()) == Ok(outside);
        let message = format!(
            "the organization {outside} is not one of the listener's ({listener}): a caller has no more than its listener; take it out here, or add it there"
        );
        Err(match list.get_ref().iter().find(is_it) {
            Some(place) => self.mistake(place, message),
            None => self.mistake(list, message),
        })
    }

    fn organization(&self, id: &Spanned<i64>) -> Result<u64, ConfigMistake> {
        let number = u64::try_from(*id.get_ref()).ok().filter(|id| (1..=MAX_ORGANIZATION).contains(id));
        number.ok_or_else(|| {
            let message = format!(
                "{} is not the id of an organization: ids are whole numbers from 1 to {MAX_ORGANIZATION}, as in the address of the organization's page in NinjaOne",
                id.get_ref()
            );
            self.mistake(id, message)
        })
    }
}

impl ListenerConfig {
    /// Rules that open what no fence can keep.
    pub(super) fn fence_warnings(&self) -> Vec<Warning> {
        let of_callers = self.callers.iter().map(|caller| (Some(&*caller.entry.name), &caller.policy));
        let tables = [(None, &self.policy)].into_iter().chain(of_callers);
        let fenced =
            tables.filter_map(|(caller, policy)| Some((caller, policy, policy.rules().organizations.as_ref()?)));
        let warnings = fenced.flat_map(|(caller, policy, organizations)| {
            let table = response::table(&self.name, caller);
            policy.rules().allow.iter().filter(|rule| policy.opens_tenant_wide(rule)).map(move |rule| Warning {
                text: format!(
                    "{table}: the rule {:?} in allow opens an operation that no fence can keep: through it, callers see or change more than the organizations {organizations}",
                    rule.to_string()
                ),
                fix: format!("take the rule out of [{table}], unless its callers may know of all organizations."),
            })
        });
        warnings.collect()
    }
}
