//! Approvals: a request that needs a person's yes waits here, whole, until enough approvers have said it.
//!
//! An approval is bound to caller, listener, method, target and the hash of the body: what was shown is what is approved.
//! It is used once. What cannot be decided is refused: nobody who could approve, no time left, no room, no record.

mod approvers;
mod binding;
mod config;
mod decisions;
mod entry;
mod held_request;
mod id;
mod store;
mod summary;
mod unapproved;
mod withdrawal;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{HeaderMap, HeaderName};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::base::clock::Moment;
use crate::net::listener::Buffers;
use crate::observe::audit_log::{ApprovalStep, AuditLog, Unrecorded};
use crate::observe::metrics::approvals::ApprovalSeries;
use crate::proxy::authn::throttle::Throttle;
pub use approvers::{Approver, ApproverError, Decision, KnownApprover};
use binding::Binding;
pub use binding::{BodyHash, Difference};
pub use config::ApprovalsConfig;
pub use decisions::DecisionError;
pub use held_request::{HeldOperation, HeldRequest};
pub use id::{ApprovalId, BadApprovalId};
use store::{Asked, Progress, Store};
pub use summary::{ApprovalDetails, ApprovalSummary, State, Vote};
pub use unapproved::{NoStatus, Unapproved};
use withdrawal::Withdrawal;

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

impl Approvals {
    /// Without an approver yet. The other part hears of each request that waits, where the configuration says so.
    pub fn new(buffers: Arc<Buffers>, series: ApprovalSeries) -> (Self, mpsc::Receiver<ApprovalSummary>) {
        let (notices, received) = mpsc::channel(MAX_NOTICES);
        (Self(Arc::new(Shared { state: Mutex::default(), buffers, series, notices })), received)
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
        let binding = Binding::of(&held);
        let (id, withdrawal) = match self::named(named)? {
            Some(id) => (id, None),
            None => {
                let (id, withdrawal) = self.ask(held.clone(), binding.clone()).await?;
                (id, Some(withdrawal))
            }
        };
        let asked = Asked { id, held: &held, binding: &binding };
        let wait_until = Instant::now() + self.state().store.config.wait;
        let outcome = loop {
            match self.use_up(&asked).await? {
                Ok(approved) => break Outcome::Approved(approved),
                Err((expires, mut changed)) => {
                    let until = wait_until.min(expires.monotonic);
                    // An error says that it is gone, which the next look finds out.
                    if timeout_at(until, changed.changed()).await.is_err() && Instant::now() >= wait_until {
                        break Outcome::Waiting(Box::new(self.summary(id).ok_or(Unapproved::Unknown)?));
                    }
                }
            }
        };
        if let Some(withdrawal) = withdrawal {
            withdrawal.cancel();
        }
        Ok(outcome)
    }

    /// Takes a request in, and waits until that is recorded.
    async fn ask(&self, held: HeldRequest, binding: Binding) -> Result<(ApprovalId, Withdrawal), Unapproved> {
        if held.body.len() > MAX_BODY {
            return Err(Unapproved::TooLarge { rule: held.rule });
        }
        let id = ApprovalId::new().map_err(|_| Unapproved::Impossible)?;
        let size = held.body.len() as u64;
        let room = (size > 0).then(|| self.0.buffers.reserve(size)).transpose()?;
        let recorded = {
            let mut state = self.state();
            let now = Moment::now();
            let steps = state.store.sweep(now);
            self.record_all(&state, steps);
            let step = state.store.ask((id, held, binding), room, now)?;
            self.record(&state, step)
        };
        let withdrawal = Withdrawal::of(self, id);
        if let Err(unrecorded) = recorded.await {
            self.state().store.forget(id);
            return Err(unrecorded.into());
        }
        self.notify(id);
        Ok((id, withdrawal))
    }

    /// Uses an approval up, and waits until that is recorded; else what hears of changes.
    async fn use_up(&self, asked: &Asked<'_>) -> Result<Result<Approved, (Moment, watch::Receiver<()>)>, Unapproved> {
        let (approvers, recorded) = {
            let mut state = self.state();
            match state.store.use_up(asked, Moment::now())? {
                Progress::Waiting { expires, changed } => return Ok(Err((expires, changed))),
                Progress::Used { approvers, step } => (approvers, self.record(&state, *step)),
            }
        };
        recorded.await?;
        Ok(Ok(Approved { id: asked.id, approvers }))
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
        let mut state = self.state();
        let steps = state.store.sweep(Moment::now());
        self.record_all(&state, steps);
    }

    /// Ends all that is open: the process ends.
    pub fn close(&self) {
        let mut state = self.state();
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
