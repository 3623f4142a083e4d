//! What quotas count, and of which of them a request needs one.

use http::Method;

use crate::proxy::policy::catalog::{Operation, Risk};
use crate::proxy::policy::is_write;

/// What a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaKind {
    /// All requests.
    Requests,
    /// Those with another method than GET and HEAD.
    Writes,
    /// Those for an operation whose risk is critical, and writes that the catalogue does not know.
    Critical,
}

/// The kinds that a request is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaKinds {
    writes: bool,
    critical: bool,
}

/// Something for each kind, or for some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByKind<T> {
    /// For all requests.
    pub requests: Option<T>,
    /// For writes.
    pub writes: Option<T>,
    /// For critical operations.
    pub critical: Option<T>,
}

impl QuotaKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Requests, Self::Writes, Self::Critical];

    /// Its key in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Writes => "writes",
            Self::Critical => "critical",
        }
    }
}

impl QuotaKinds {
    /// Of a request with this method for this operation; of one for none of the catalogue, nobody knows what a write does.
    pub fn of(method: &Method, operation: Option<&Operation>) -> Self {
        let writes = is_write(method);
        Self { writes, critical: operation.map_or(writes, |operation| operation.risk == Risk::Critical) }
    }

    /// Whether the request is of this kind.
    pub fn contains(self, kind: QuotaKind) -> bool {
        match kind {
            QuotaKind::Requests => true,
            QuotaKind::Writes => self.writes,
            QuotaKind::Critical => self.critical,
        }
    }

    /// The kinds.
    pub fn iter(self) -> impl Iterator<Item = QuotaKind> {
        QuotaKind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}

impl<T> ByKind<T> {
    /// What is for this kind.
    pub fn get(&self, kind: QuotaKind) -> Option<&T> {
        match kind {
            QuotaKind::Requests => self.requests.as_ref(),
            QuotaKind::Writes => self.writes.as_ref(),
            QuotaKind::Critical => self.critical.as_ref(),
        }
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, kind: QuotaKind) -> &mut Option<T> {
        match kind {
            QuotaKind::Requests => &mut self.requests,
            QuotaKind::Writes => &mut self.writes,
            QuotaKind::Critical => &mut self.critical,
        }
    }

    /// What is there, with its kind.
    pub fn iter(&self) -> impl Iterator<Item = (QuotaKind, &T)> {
        QuotaKind::ALL.into_iter().filter_map(|kind| Some((kind, self.get(kind)?)))
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (QuotaKind, &mut T)> {
        let Self { requests, writes, critical } = self;
        let all = [(QuotaKind::Requests, requests), (QuotaKind::Writes, writes), (QuotaKind::Critical, critical)];
        all.into_iter().filter_map(|(kind, there)| Some((kind, there.as_mut()?)))
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl<T> Default for ByKind<T> {
    fn default() -> Self {
        Self { requests: None, writes: None, critical: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::policy::catalog::Catalog;

    fn kinds(method: &Method, operation: Option<&Operation>) -> Vec<&'static str> {
        QuotaKinds::of(method, operation).iter().map(QuotaKind::as_str).collect()
    }

    #[test]
    fn kinds_of_an_operation_come_from_its_method_and_its_risk() {
        let catalog = Catalog::built_in().expect("good");
        let find = |method: &str, template: &str| {
            let found = catalog.operations().iter().find(|own| own.method == method && own.template == template);
            found.unwrap_or_else(|| panic!("{method} {template}"))
        };
        let read = find("GET", "/v2/devices");
        assert_eq!(
            (kinds(&Method::GET, Some(read)), kinds(&Method::HEAD, Some(read))),
            (vec!["requests"], vec!["requests"])
        );
        let script = find("POST", "/v2/device/{id}/script/run");
        assert_eq!(kinds(&Method::POST, Some(script)), ["requests", "writes", "critical"]);
        let ticket = catalog.operations().iter().find(|own| own.method == Method::PUT && own.risk == Risk::Medium);
        assert_eq!(kinds(&Method::PUT, ticket), ["requests", "writes"]);
    }

    #[test]
    fn kinds_of_a_write_that_the_catalog_lacks_are_all() {
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
            assert_eq!(kinds(&method, None), ["requests", "writes", "critical"], "{method}");
        }
        assert_eq!((kinds(&Method::GET, None), kinds(&Method::HEAD, None)), (vec!["requests"], vec!["requests"]));
    }
}
