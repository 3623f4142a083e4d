//! Whether a connection is used, and may be ended if not.

use std::cell::Cell;
use std::rc::Rc;

/// Whether a connection is used.
#[derive(Debug, Default)]
pub(super) struct Usage {
    requests: Cell<usize>,
    recent: Cell<bool>,
}

impl Usage {
    /// Whether a request is being served.
    pub(super) fn is_in_use(&self) -> bool {
        self.requests.get() > 0
    }

    /// Whether a request was there since the last look.
    pub(super) fn since_last_look(&self) -> bool {
        self.recent.replace(false) || self.requests.get() > 0
    }
}

/// Kept as long as a request's answer.
#[derive(Debug)]
pub(super) struct Using(Rc<Usage>);

impl Using {
    pub(super) fn begin(usage: &Rc<Usage>) -> Self {
        usage.requests.set(usage.requests.get() + 1);
        usage.recent.set(true);
        Self(Rc::clone(usage))
    }
}

impl Drop for Using {
    fn drop(&mut self) {
        self.0.requests.set(self.0.requests.get().saturating_sub(1));
        self.0.recent.set(true);
    }
}
