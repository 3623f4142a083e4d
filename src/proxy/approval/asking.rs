//! A request asks for its approval: it is taken in, recorded, and shown to approvers.

use super::ballot::End;
use super::binding::Binding;
use super::entry::Entry;
use super::replication::{Replication, Way, Written};
use super::withdrawal::Withdrawal;
use super::{ApprovalId, Approvals, HeldRequest, MAX_BODY, Unapproved};
use crate::base::clock::Moment;

impl Approvals {
    /// Takes a request in, and waits until that is recorded, and shared.
    pub(super) async fn ask(
        &self,
        held: HeldRequest,
        binding: Binding,
    ) -> Result<(ApprovalId, Withdrawal), Unapproved> {
        if held.body.len() > MAX_BODY {
            return Err(Unapproved::TooLarge { rule: held.rule });
        }
        if self.0.replication.as_ref().is_some_and(|replication| !replication.state().up) {
            return Err(Unapproved::Unreachable);
        }
        let id = ApprovalId::new().map_err(|_| Unapproved::Impossible)?;
        let size = held.body.len() as u64;
        let room = (size > 0).then(|| self.0.buffers.reserve(size)).transpose()?;
        let recorded = {
            let mut state = self.state();
            self.sweep_at(&mut state, Moment::now());
            let step = state.store.ask((id, held, binding), room, Moment::now())?;
            self.record(&state, step)
        };
        let withdrawal = Withdrawal::of(self, id);
        if let Err(unrecorded) = recorded.await {
            self.state().store.forget(id);
            return Err(unrecorded.into());
        }
        if let Some(replication) = &self.0.replication
            && let Err(error) = self.share(replication, id).await
        {
            let mut state = self.state();
            if error == Unapproved::Unreachable {
                // The store may have it nevertheless, and is told of the end when it can be.
                state.store.get_mut(id).into_iter().for_each(Entry::set_published);
            }
            let step = state.store.end(id, End::Withdrawn, Moment::now());
            self.record_all(&state, step);
            return Err(error);
        }
        self.notify(id);
        Ok((id, withdrawal))
    }

    /// Tells other replicas of what was asked for here.
    async fn share(&self, replication: &Replication, id: ApprovalId) -> Result<(), Unapproved> {
        let asked = self.state().store.get(id).map(|entry| (entry.request(), entry.ballot().clone()));
        let (shown, ballot) = asked.ok_or(Unapproved::Unknown)?;
        match replication.write(id, Way::Ask, &shown, &ballot).await {
            Ok(Written::Done) => {
                if let Some(entry) = self.state().store.get_mut(id) {
                    entry.set_published();
                }
                Ok(())
            }
            Ok(Written::Full) => Err(Unapproved::Full),
            Ok(Written::Conflict(_) | Written::Missing | Written::Bodiless) | Err(_) => Err(Unapproved::Unreachable),
        }
    }
}
