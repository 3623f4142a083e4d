//! Approvals: a request that needs a person's yes waits here, whole, until enough approvers have said it.
//!
//! An approval is bound to caller, listener, method, target and the hash of the body: what was shown is what is approved.
//! It is used once. What cannot be decided is refused: nobody who could approve, no time left, no room, no record.

mod approvers;
mod asking;
mod ballot;
mod binding;
mod config;
mod decisions;
mod document;
mod entry;
mod following;
mod held_request;
mod id;
mod replication;
mod shared_use;
mod store;
mod summary;
mod unapproved;
mod withdrawal;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{HeaderMap, HeaderName};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::base::clock::Moment;
use crate::net::listener::Buffers;
use crate::observe::audit_log::{ApprovalStep, AuditLog, Unrecorded};
use crate::observe::metrics::approvals::ApprovalSeries;
use crate::proxy::authn::throttle::Throttle;
use crate::shared::SharedStore;
pub use approvers::{Approver, ApproverError, Decision, KnownApprover};
use binding::Binding;
pub use binding::{BodyHash, Difference};
pub use config::ApprovalsConfig;
pub use decisions::DecisionError;
pub use following::Unreachable;
pub use held_request::{HeldOperation, HeldRequest};
pub use id::{ApprovalId, BadApprovalId};
use replication::Replication;
use store::{Asked, Progress, Store, Usable};
pub use summary::{ApprovalDetails, ApprovalSummary, State, Vote};
pub use unapproved::{NoStatus, Unapproved};

/// The header field by which a caller names the approval of a request.
pub const FIELD: HeaderName = HeaderName::from_static("x-approval-id");
/// The largest body that is shown to approvers, in bytes.
pub const MAX_BODY: usize = 1 << 20;
/// The most approvals that are open at a time.
pub const MAX_OPEN: usize = 4096;
/// The most of them of one caller.
pub const MAX_OPEN_OF_CALLER: usize = 2048;
/// The most notices that wait to be sent.
const MAX_NOTICES: usize = 1024;
/// How soon an approval is looked at again that cannot be used for a moment.
const RETRY: Duration = Duration::from_millis(250);

/// The approvals of the process, shared by all workers and the admin listener. They live over reloads, which give them a
/// new configuration.
#[derive(Debug, Clone)]
pub struct Approvals(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<ApprovalState>,
    /// The memory for bodies.
    buffers: Arc<Buffers>,
    series: ApprovalSeries,
    notices: mpsc::Sender<ApprovalSummary>,
    /// Where replicas share them.
    replication: Option<Replication>,
}

#[derive(Debug, Default)]
struct ApprovalState {
    store: Store,
    audit_log: AuditLog,
    throttle: Throttle,
}

/// The proof that a request was approved. The approval is used up.
#[derive(Debug)]
pub struct Approved {
    id: ApprovalId,
    approvers: Vec<String>,
}

impl Approved {
    /// The approval.
    pub fn id(&self) -> ApprovalId {
        self.id
    }

    /// Who said yes.
    pub fn approvers(&self) -> &[String] {
        &self.approvers
    }
}

/// What becomes of a request that needs an approval, unless it is refused.
#[derive(Debug)]
pub enum Outcome {
    /// It goes on.
    Approved(Approved),
    /// The caller asks later.
    Waiting(Box<ApprovalSummary>),
}

/// What a look at an approval finds.
enum Look {
    /// It is used now, by the one who looks.
    Used(Approved),
    /// It waits: its end, and what hears of changes.
    Waiting { expires: Moment, changed: watch::Receiver<()> },
    /// It cannot be used for a moment.
    Blocked,
}

impl Approvals {
    /// Without an approver yet; shared with other replicas where there is a store. The other part hears of each request
    /// that waits, where the configuration says so.
    pub fn new(
        buffers: Arc<Buffers>,
        series: ApprovalSeries,
        store: Option<SharedStore>,
    ) -> (Self, mpsc::Receiver<ApprovalSummary>) {
        let (notices, received) = mpsc::channel(MAX_NOTICES);
        let replication = store.map(Replication::new);
        (Self(Arc::new(Shared { state: Mutex::default(), buffers, series, notices, replication })), received)
    }

    /// This configuration is in force from now on. Votes of those who are no longer approvers stop counting at once.
    pub fn configure(&self, config: ApprovalsConfig, audit_log: AuditLog) {
        let mut state = self.state();
        state.audit_log = audit_log;
        state.store.configure(config);
    }

    /// Asks for the approval of a request, or looks for the one that it names, and waits for it up to the configured
    /// time. Dropped before that, a request that has not named one is withdrawn.
    pub async fn require(&self, held: HeldRequest, named: &HeaderMap) -> Result<Outcome, Unapproved> {
        let (binding, facts) = (Binding::of(&held), held.facts.clone());
        let (id, withdrawal) = match self::named(named)? {
            Some(id) => {
                self.look_up(id).await.map_err(|_| Unapproved::Unreachable)?;
                (id, None)
            }
            None => {
                let (id, withdrawal) = self.ask(held, binding.clone()).await?;
                (id, Some(withdrawal))
            }
        };
        let asked = Asked { id, facts, binding, number: fastrand::u64(1..) };
        let wait_until = Instant::now() + self.state().store.config.wait;
        let outcome = loop {
            let (until, changed) = match self.use_up(&asked).await? {
                Look::Used(approved) => break Outcome::Approved(approved),
                Look::Waiting { expires, changed } => (expires.monotonic, Some(changed)),
                Look::Blocked => (Instant::now() + RETRY, None),
            };
            if Instant::now() >= wait_until || self.state().store.leaving {
                break Outcome::Waiting(Box::new(self.summary(id).ok_or(Unapproved::Unknown)?));
            }
            let until = until.min(wait_until);
            match changed {
                // An error says that it is gone, which the next look finds out.
                Some(mut changed) => drop(timeout_at(until, changed.changed()).await),
                None => sleep_until(until).await,
            }
        };
        if let Some(withdrawal) = withdrawal {
            withdrawal.cancel();
        }
        Ok(outcome)
    }

    /// Uses an approval up, and waits until that is recorded; else what hears of changes.
    async fn use_up(&self, asked: &Asked) -> Result<Look, Unapproved> {
        let (approvers, recorded) = {
            let mut state = self.state();
            match state.store.progress(asked, Moment::now())? {
                Progress::Waiting { expires, changed } => return Ok(Look::Waiting { expires, changed }),
                Progress::Blocked => return Ok(Look::Blocked),
                Progress::Approved(usable) => {
                    let Usable { approvers, step, used } = *usable;
                    let shared = self.0.replication.is_some();
                    if let Some(ballot) = used.filter(|_| !shared) {
                        state.store.follow(asked.id, ballot);
                    }
                    (approvers, (!shared).then(|| self.record(&state, step)))
                }
            }
        };
        let Some(recorded) = recorded else { return self.use_shared(asked).await };
        recorded.await?;
        Ok(Look::Used(Approved { id: asked.id, approvers }))
    }

    fn notify(&self, id: ApprovalId) {
        if !self.state().store.config.notifies {
            return;
        }
        if let Some(summary) = self.summary(id)
            && self.0.notices.try_send(summary).is_err()
        {
            self.0.series.notice_failed();
        }
    }

    /// Ends what has expired; to be called now and then.
    pub fn sweep(&self) {
        self.sweep_at(&mut self.state(), Moment::now());
    }

    fn sweep_at(&self, state: &mut ApprovalState, now: Moment) {
        // Of what is shared, one replica records the end: the one that tells the store.
        if self.0.replication.is_none() {
            let steps = state.store.expire(now);
            self.record_all(state, steps);
        }
        state.store.purge(now);
    }

    /// The process ends: all that is open ends with it, unless other replicas go on.
    pub fn close(&self) {
        let mut state = self.state();
        if self.0.replication.is_some() {
            state.store.leave();
            return;
        }
        let steps = state.store.close(Moment::now());
        self.record_all(&state, steps);
    }

    fn state(&self) -> MutexGuard<'_, ApprovalState> {
        // Each change is made at once, so what a panic leaves behind is whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts and records a step, in the order in which the steps happen.
    fn record(
        &self,
        state: &ApprovalState,
        step: ApprovalStep,
    ) -> impl Future<Output = Result<(), Unrecorded>> + use<> {
        self.0.series.step(step.step.as_str());
        state.audit_log.approval(step)
    }

    /// The same for steps that nobody waits for.
    fn record_all(&self, state: &ApprovalState, steps: impl IntoIterator<Item = ApprovalStep>) {
        for step in steps {
            drop(self.record(state, step));
        }
    }
}

/// The approval that a request names, if it names one.
fn named(headers: &HeaderMap) -> Result<Option<ApprovalId>, Unapproved> {
    let mut values = headers.get_all(FIELD).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let id = value.to_str().ok().and_then(|text| text.trim().parse().ok());
            id.map(Some).ok_or(Unapproved::Unknown)
        }
        (Some(_), Some(_)) => Err(Unapproved::Unknown),
    }
}

#[cfg(test)]
mod tests;
