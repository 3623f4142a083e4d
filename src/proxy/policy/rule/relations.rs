//! Two rules: whether they meet, and whether one makes the other idle.

use super::{METHODS, Rule, Selector};

impl Rule {
    /// Whether some request may match this rule and `other`.
    pub fn overlaps(&self, other: &Self) -> bool {
        let method = METHODS.iter().any(|method| self.has_method(method) && other.has_method(method));
        let reach = match (&self.reach, &other.reach) {
            (Selector::Path(own), Selector::Path(path)) => own.overlaps(path),
            (Selector::Group(_), _) | (_, Selector::Group(_)) => true,
        };
        method && reach
    }

    /// Whether every request that `other` matches is matched by this rule too, as far as the texts tell.
    pub fn covers(&self, other: &Self) -> bool {
        let methods = METHODS.iter().filter(|method| other.has_method(method)).all(|method| self.has_method(method));
        let reach = match (&self.reach, &other.reach) {
            (Selector::Group(own), Selector::Group(group)) => own == group,
            (Selector::Path(own), Selector::Path(path)) => own.covers(path),
            (Selector::Group(_), Selector::Path(_)) | (Selector::Path(_), Selector::Group(_)) => false,
        };
        methods && reach && self.conditions.iter().all(|condition| other.conditions.contains(condition))
    }
}
