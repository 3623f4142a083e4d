//! Faults on order, for tests of a client of the sandbox: the next requests at an endpoint go wrong.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::StatusCode;

use crate::sandbox::query::QueryParameters;
use crate::sandbox::refusal::SandboxRefusal;

/// Where a fault can be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultyEndpoint {
    Authorize,
    Token,
}

/// What a request gets in place of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OrderedFault {
    /// None: the connection is closed without an answer.
    pub(super) status: Option<StatusCode>,
    pub(super) error: Option<String>,
}

/// At most one order for each endpoint, with the number of requests that are left.
#[derive(Default)]
pub(super) struct Faults(Mutex<Vec<(FaultyEndpoint, OrderedFault, u64)>>);

impl Faults {
    /// Takes an order (`at`, `status`, `error`, `count`), which replaces the one before for its endpoint.
    pub(super) fn order(&self, query: &QueryParameters) -> Result<(), SandboxRefusal> {
        let at = match query.get("at") {
            Some("authorize") => FaultyEndpoint::Authorize,
            Some("token") => FaultyEndpoint::Token,
            _ => return Err(SandboxRefusal::BadRequest),
        };
        let status = match query.get("status") {
            Some("0") => None,
            Some(text) => Some(StatusCode::from_bytes(text.as_bytes()).map_err(|_| SandboxRefusal::BadRequest)?),
            None => return Err(SandboxRefusal::BadRequest),
        };
        if status.is_some_and(|status| status.is_informational()) {
            return Err(SandboxRefusal::BadRequest);
        }
        let count = query.get("count").map_or(Ok(1), str::parse).map_err(|_| SandboxRefusal::BadRequest)?;
        let error = query.get("error").map(str::to_owned);
        let mut orders = self.lock();
        orders.retain(|(other, ..)| *other != at);
        orders.push((at, OrderedFault { status, error }, count));
        Ok(())
    }

    /// The fault that the next request at this endpoint gets.
    pub(super) fn next(&self, at: FaultyEndpoint) -> Option<OrderedFault> {
        let mut orders = self.lock();
        let (_, fault, left) = orders.iter_mut().find(|(other, _, left)| *other == at && *left > 0)?;
        *left -= 1;
        Some(fault.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(FaultyEndpoint, OrderedFault, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<OrderedFault> for SandboxRefusal {
    fn from(fault: OrderedFault) -> Self {
        match (fault.status, fault.error) {
            (None, _) => Self::NoAnswer,
            (Some(status), Some(error)) => Self::OrderedError(status, error),
            (Some(status), None) => Self::Ordered(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(faults: &Faults, query: &str) -> Result<(), SandboxRefusal> {
        faults.order(&QueryParameters::parse(query))
    }

    #[test]
    fn order_lasts_for_its_count_and_replaces_the_one_before() {
        let faults = Faults::default();
        assert_eq!(faults.next(FaultyEndpoint::Token), None);
        assert_eq!(order(&faults, "at=token&status=500"), Ok(()));
        assert_eq!(order(&faults, "at=token&status=400&error=invalid_grant&count=2"), Ok(()));
        assert_eq!(order(&faults, "at=authorize&status=0"), Ok(()));
        let fault = OrderedFault { status: Some(StatusCode::BAD_REQUEST), error: Some("invalid_grant".to_owned()) };
        assert_eq!(faults.next(FaultyEndpoint::Token), Some(fault.clone()));
        assert_eq!(faults.next(FaultyEndpoint::Token), Some(fault));
        assert_eq!(faults.next(FaultyEndpoint::Token), None);
        assert_eq!(faults.next(FaultyEndpoint::Authorize), Some(OrderedFault { status: None, error: None }));
        assert_eq!(order(&faults, "at=token&status=500&count=9"), Ok(()));
        assert_eq!(order(&faults, "at=token&status=500&count=0"), Ok(()));
        assert_eq!(faults.next(FaultyEndpoint::Token), None);
    }

    #[test]
    fn order_that_says_nothing_is_refused() {
        for query in [
            "",
            "at=token",
            "at=other&status=500",
            "at=token&status=100",
            "at=token&status=x",
            "at=token&status=500&count=x",
        ] {
            assert_eq!(order(&Faults::default(), query), Err(SandboxRefusal::BadRequest), "{query}");
        }
    }
}
