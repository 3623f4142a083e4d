//! The organizations that a caller is kept to.

use std::fmt;
use std::sync::Arc;

use super::Policy;
use super::catalog::{Operation, OperationId};
use super::references::EntityId;
use super::rule::{Effect, Match, Rule};

/// Some organizations, by their ids: at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organizations(Box<[u64]>);

/// The largest id: NinjaOne's ids are signed 32-bit numbers today, and JSON numbers are exact up to here.
pub const MAX_ORGANIZATION: u64 = (1 << 53) - 1;

impl Organizations {
    /// These organizations; `None` if there are none.
    pub fn new(ids: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut ids: Vec<_> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        (!ids.is_empty()).then(|| Self(ids.into()))
    }

    /// Whether this organization is one of them.
    pub fn contains(&self, id: u64) -> bool {
        self.0.binary_search(&id).is_ok()
    }

    /// Whether this is the id of one of them.
    pub fn contains_id(&self, EntityId(id): EntityId) -> bool {
        u64::try_from(id).is_ok_and(|id| self.contains(id))
    }

    /// The ids, ascending.
    pub fn ids(&self) -> &[u64] {
        &self.0
    }

    /// `the organization 5`, or `the organizations 5, 7`.
    pub fn named(&self) -> String {
        let noun = if self.0.len() == 1 { "organization" } else { "organizations" };
        format!("the {noun} {self}")
    }

    /// The first of these that is not one of `others`.
    pub fn outside(&self, others: &Self) -> Option<u64> {
        self.0.iter().copied().find(|id| !others.contains(*id))
    }
}

/// `5, 7`.
impl fmt::Display for Organizations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for id in &self.0 {
            write!(f, "{separator}{id}")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl Policy {
    /// The fence: the organizations that callers are kept to; `None`: all.
    pub fn organizations(&self) -> Option<&Arc<Organizations>> {
        let above = || self.ceiling.as_ref().and_then(|ceiling| ceiling.rules.organizations.as_ref());
        self.rules.organizations.as_ref().or_else(above)
    }

    /// Whether a rule of `allow` opens something in spite of the fence of its own table.
    pub fn opens_tenant_wide(&self, rule: &Rule) -> bool {
        let is_named =
            |operation: &&Operation| rule.fit(operation, Effect::Allow) != Match::Never && rule.names(operation);
        let mut named = self.catalog.operations().iter().filter(is_named).peekable();
        let is_unknown = named.peek().is_none();
        rule.is_exact() && (is_unknown || named.any(|operation| self.rules.is_tenant_wide(operation)))
    }

    /// The fence, where it can be kept by what is known of the operation. What is tenant-wide is only open if a rule opens
    /// it by name, and nothing of it is checked then.
    pub(super) fn fence(&self, operation: Option<OperationId>) -> Option<Arc<Organizations>> {
        let organizations = self.organizations()?;
        let fenced = operation.and_then(|id| self.catalog.get(id)).is_some_and(|known| known.fencing.rules.is_some());
        fenced.then(|| Arc::clone(organizations))
    }

    /// Whether rules are only observed for an operation. A fence holds in any case, whatever else closes what it cannot
    /// keep.
    pub(super) fn may_overrule(&self, operation: Option<OperationId>) -> bool {
        let is_kept = || self.organizations().is_none() || self.fence(operation).is_some();
        self.observes && self.is_in_scope(operation) && is_kept()
    }
}
