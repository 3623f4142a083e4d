//! What this process knows of the approvals of all replicas, and what the store is told again when it has forgotten.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep};

use super::ballot::{Ballot, End, Merge};
use super::entry::Entry;
use super::held_request::ShownRequest;
use super::replication::{Found, KEPT, Replication, Stored, Way, Written};
use super::{ApprovalId, Approvals};
use crate::base::clock::Moment;
use crate::shared::{SETTLE, StoreError, StoreState};

/// How often the store is asked for changes while something is open, and while nothing is.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(1));
/// How often a change is tried that others come before.
pub(super) const ATTEMPTS: usize = 16;
/// A change is of this time at most; one that says later comes from nobody of us.
const AHEAD: u64 = 24 * 3600 * 1000;

/// The store that replicas share cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("approvals are shared, and the shared store cannot be reached")]
pub struct Unreachable;

impl From<StoreError> for Unreachable {
    // What it is is in the log of the store already.
    fn from(_: StoreError) -> Self {
        Self
    }
}

impl Approvals {
    /// Learns what other replicas know of an approval. Without a shared store there is nothing to learn.
    pub async fn look_up(&self, id: ApprovalId) -> Result<(), Unreachable> {
        match &self.0.replication {
            Some(replication) => Ok(self.fetch(replication, id, false).await?),
            None => Ok(()),
        }
    }

    /// The same, and the body that was shown.
    pub async fn look_up_whole(&self, id: ApprovalId) -> Result<(), Unreachable> {
        match &self.0.replication {
            Some(replication) => {
                let wants_body = self.state().store.get(id).is_none_or(Entry::wants_body);
                Ok(self.fetch(replication, id, wants_body).await?)
            }
            None => Ok(()),
        }
    }

    /// The same of all approvals.
    pub async fn look_up_all(&self) -> Result<(), Unreachable> {
        match &self.0.replication {
            Some(replication) => Ok(self.read_changes(replication).await?),
            None => Ok(()),
        }
    }

    /// Follows the store until the runtime ends: to be run once, by the main thread.
    pub async fn follow_store(&self) {
        let Some(replication) = &self.0.replication else { return };
        let Some(mut left) = replication.take_withdrawn() else { return };
        let (mut states, mut waiting) = (replication.subscribe(), Vec::new());
        loop {
            let state = *states.borrow_and_update();
            // Where nobody can approve, nothing is asked for or used.
            let is_needed = !self.state().store.config.approvers.is_empty();
            if state.up && is_needed {
                self.synchronize(replication, state, &mut waiting).await;
            }
            let is_idle = self.state().store.open().next().is_none() && waiting.is_empty();
            tokio::select! {
                () = sleep(if is_idle { PAUSES.1 } else { PAUSES.0 }) => {}
                _ = states.changed() => {}
                Some(id) = left.recv() => waiting.push(id),
            }
            waiting.extend(std::iter::from_fn(|| left.try_recv().ok()));
        }
    }

    /// Errors need no more than to try again later: the store says itself what is wrong with it.
    async fn synchronize(&self, replication: &Replication, state: StoreState, withdrawn: &mut Vec<ApprovalId>) {
        if replication.published() != state.switches && self.publish_all(replication).await.is_ok() {
            *replication.cursor.lock().await = 0;
            replication.set_published(state.switches);
        }
        let _ = self.read_changes(replication).await;
        let mut failed = Vec::new();
        for id in std::mem::take(withdrawn) {
            let has_ended = self.state().store.get(id).is_none_or(Entry::has_ended);
            let ended = if has_ended {
                // It could not be shared, and the store may have it nevertheless.
                self.fetch(replication, id, false).await
            } else {
                self.end_shared(replication, id, End::Withdrawn).await
            };
            if ended.is_err() {
                failed.push(id);
            }
        }
        *withdrawn = failed;
        let over = self.state().store.over(Moment::now());
        for id in over {
            let _ = self.end_shared(replication, id, End::Expired).await;
        }
    }

    /// The store may have lost something: it is told what it does not know any more.
    async fn publish_all(&self, replication: &Replication) -> Result<(), StoreError> {
        let known = self.state().store.all();
        for id in known {
            self.fetch(replication, id, false).await?;
        }
        Ok(())
    }

    async fn read_changes(&self, replication: &Replication) -> Result<(), StoreError> {
        let mut cursor = replication.cursor.lock().await;
        loop {
            let (changed, more) = replication.changes(*cursor).await?;
            let latest = super::document::millis(Moment::now().wall).saturating_add(AHEAD);
            for (id, number) in changed {
                if let Ok(id) = id.parse() {
                    match self.fetch(replication, id, false).await {
                        // Somebody else has put something there.
                        Ok(()) | Err(StoreError::Refused(_) | StoreError::Unexpected) => {}
                        Err(error) => return Err(error),
                    }
                }
                if number <= latest {
                    *cursor = number;
                }
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Reads an approval, and makes the store and this process know the same of it.
    pub(super) async fn fetch(
        &self,
        replication: &Replication,
        id: ApprovalId,
        wants_body: bool,
    ) -> Result<(), StoreError> {
        let is_known = self.state().store.get(id).is_some();
        let Some(Found { ballot, request, body }) = replication.read(id, is_known, wants_body).await? else {
            return self.restore(replication, id).await;
        };
        if let (false, Stored::Known(ballot), Some(request)) = (is_known, &ballot, request) {
            self.state().store.take_in(id, || Entry::shown((id, request), None, Ballot::clone(ballot)));
        }
        if let Some(body) = body {
            let room = self.0.buffers.reserve(body.len() as u64).ok();
            if let (Some(room), Some(entry)) = (room, self.state().store.get_mut(id)) {
                entry.take_body(body, Some(room));
            }
        }
        self.reconcile(replication, id, ballot).await
    }

    /// Takes over what the store knows, or tells it what it has forgotten.
    pub(super) async fn reconcile(
        &self,
        replication: &Replication,
        id: ApprovalId,
        stored: Stored,
    ) -> Result<(), StoreError> {
        let Some((shown, own)) = self.snapshot(id) else { return Ok(()) };
        match &stored {
            Stored::Known(ballot) => match own.merged(ballot) {
                Merge::Same => Ok(()),
                Merge::Follow => {
                    self.state().store.follow(id, Ballot::clone(ballot));
                    Ok(())
                }
                Merge::Publish(next) => self.tell(replication, (id, Way::Publish), &shown, next).await,
            },
            Stored::Foreign(bytes) => self.tell(replication, (id, Way::Replace(bytes)), &shown, own).await,
            Stored::Unreadable => {
                self.block(id);
                Ok(())
            }
        }
    }

    /// Tells the store of an approval that it does not have any more.
    pub(super) async fn restore(&self, replication: &Replication, id: ApprovalId) -> Result<(), StoreError> {
        let Some((shown, own)) = self.snapshot(id) else { return Ok(()) };
        // The store has let go of it in time.
        if Moment::now().has_reached(shown.expires + KEPT) {
            return Ok(());
        }
        self.tell(replication, (id, Way::Publish), &shown, own).await
    }

    async fn tell(
        &self,
        replication: &Replication,
        (id, way): (ApprovalId, Way<'_>),
        shown: &ShownRequest,
        ballot: Ballot,
    ) -> Result<(), StoreError> {
        self.block(id);
        match replication.write(id, way, shown, &ballot).await? {
            Written::Done => self.state().store.follow(id, ballot),
            Written::Conflict(Stored::Known(newer)) => {
                let mut state = self.state();
                let follows = |entry: &Entry| matches!(entry.ballot().merged(&newer), Merge::Follow);
                if state.store.get(id).is_some_and(follows) {
                    state.store.follow(id, *newer);
                }
            }
            // The next look finds out.
            Written::Conflict(Stored::Foreign(_) | Stored::Unreadable)
            | Written::Missing
            | Written::Bodiless
            | Written::Full => {}
        }
        Ok(())
    }

    /// Another replica may know more of it than this one, and needs the time to say so.
    fn block(&self, id: ApprovalId) {
        if let Some(entry) = self.state().store.get_mut(id) {
            entry.block(Instant::now() + SETTLE);
        }
    }

    /// Ends an approval that nobody decided, and records it, unless another replica was first.
    async fn end_shared(&self, replication: &Replication, id: ApprovalId, end: End) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let ending = {
                let state = self.state();
                let request = state.store.get(id).map(Entry::request);
                state.store.ending(id, end, Moment::now()).zip(request)
            };
            let Some(((step, ballot), shown)) = ending else { return Ok(()) };
            let change = Way::Change { needs_body: false };
            let mut written = replication.write(id, change, &shown, &ballot).await?;
            if matches!(written, Written::Missing) {
                written = replication.write(id, Way::Publish, &shown, &ballot).await?;
            }
            match written {
                Written::Done => {
                    let mut state = self.state();
                    state.store.follow(id, ballot);
                    drop(self.record(&state, step));
                    return Ok(());
                }
                Written::Conflict(stored) => self.reconcile(replication, id, stored).await?,
                Written::Missing | Written::Bodiless | Written::Full => return Ok(()),
            }
        }
        Ok(())
    }

    /// What this process knows of an approval that the store knows too.
    pub(super) fn snapshot(&self, id: ApprovalId) -> Option<(ShownRequest, Ballot)> {
        let state = self.state();
        let entry = state.store.get(id).filter(|entry| entry.is_published())?;
        Some((entry.request(), entry.ballot().clone()))
    }
}

/// Where callers that left are told of.
pub(super) type Withdrawn = UnboundedReceiver<ApprovalId>;
