//! The verdict on an operation, whatever its requests say.

use super::Policy;
use super::catalog::OperationId;
use super::decision::{ClosedBy, OpenedBy, OperationVerdict};
use super::group::SECURE_VALUES;
use super::rules::OperationRow;

impl Policy {
    /// The verdict on every request for an operation that does not ask for the values of secure fields.
    pub fn verdict(&self, id: OperationId) -> OperationVerdict {
        let own = match self.row(id) {
            Some(OperationRow::Always(Ok(OpenedBy::Conditions(_)))) => OperationVerdict::Conditional,
            Some(OperationRow::Always(Ok(opened_by))) => OperationVerdict::Open(*opened_by),
            Some(OperationRow::Always(Err(closed_by))) => OperationVerdict::Closed(*closed_by),
            Some(OperationRow::Depends(_, Some(closed_by))) => OperationVerdict::Closed(*closed_by),
            Some(OperationRow::Depends(_, None)) => OperationVerdict::Depends,
            None => OperationVerdict::Closed(ClosedBy::Groups),
        };
        match self.ceiling.as_ref().map(|ceiling| ceiling.verdict(id)) {
            None | Some(OperationVerdict::Open(_)) => own,
            // What the listener closes stays closed; what depends there, depends here too, unless closed here.
            Some(OperationVerdict::Closed(_) | OperationVerdict::ClosedByListener) => {
                OperationVerdict::ClosedByListener
            }
            Some(above @ (OperationVerdict::Depends | OperationVerdict::Conditional)) => match own {
                OperationVerdict::Open(_) => above,
                OperationVerdict::Conditional => above,
                OperationVerdict::Depends | OperationVerdict::Closed(_) | OperationVerdict::ClosedByListener => own,
            },
        }
    }

    /// Whether some request for an operation is open.
    pub fn may_open(&self, id: OperationId) -> bool {
        self.verdict(id).may_open()
    }

    /// Whether some request for the values of secure fields may pass.
    pub fn may_open_secure_values(&self) -> bool {
        let here = self.rules.groups.contains(&SECURE_VALUES)
            || self.rules.allow.iter().any(|rule| rule.is_of_secure_values() || rule.names_secure_values());
        here && self.ceiling.as_ref().is_none_or(|ceiling| ceiling.may_open_secure_values())
    }
}
