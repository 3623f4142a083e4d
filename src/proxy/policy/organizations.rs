//! The organizations that a caller is kept to.

use std::fmt;

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
