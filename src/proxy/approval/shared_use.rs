//! An approval that replicas share is used exactly once among all of them.

use super::following::ATTEMPTS;
use super::replication::{Replication, Way, Written};
use super::store::{Asked, Progress, Usable};
use super::{Approvals, Approved, Look, Unapproved};
use crate::base::clock::Moment;

impl Approvals {
    /// Uses an approval up, if no other replica has. What is begun is ended and recorded, also if the caller leaves.
    pub(super) async fn use_shared(&self, asked: &Asked) -> Result<Look, Unapproved> {
        let (this, asked) = (self.clone(), asked.clone());
        let using = tokio::spawn(async move {
            match &this.0.replication {
                Some(replication) => this.use_once(replication, &asked).await,
                None => Ok(Look::Blocked),
            }
        });
        using.await.unwrap_or(Err(Unapproved::Unreachable))
    }

    async fn use_once(&self, replication: &Replication, asked: &Asked) -> Result<Look, Unapproved> {
        for _ in 0..ATTEMPTS {
            let progress = self.state().store.progress(asked, Moment::now())?;
            let usable = match progress {
                Progress::Approved(usable) => *usable,
                Progress::Waiting { expires, changed } => return Ok(Look::Waiting { expires, changed }),
                Progress::Blocked => return Ok(Look::Blocked),
            };
            let Usable { approvers, step, used } = usable;
            let Some(ballot) = used else {
                // It was used by this very request, which did not hear of it then.
                let recorded = self.record(&self.state(), step);
                recorded.await?;
                return Ok(Look::Used(Approved { id: asked.id, approvers }));
            };
            let before = replication.state();
            let Some((shown, _)) = self.snapshot(asked.id).filter(|_| replication.is_settled(before)) else {
                return Ok(Look::Blocked);
            };
            let change = Way::Change { needs_body: false };
            match replication.write(asked.id, change, &shown, &ballot).await {
                Ok(Written::Done) => {
                    self.state().store.follow(asked.id, ballot);
                    replication.wait_for_copies().await;
                    // The store may have lost that another replica has used it.
                    if replication.state().switches != before.switches {
                        return Err(Unapproved::Unreachable);
                    }
                }
                Ok(Written::Conflict(stored)) => {
                    let _ = self.reconcile(replication, asked.id, stored).await;
                }
                Ok(Written::Missing) => {
                    let _ = self.restore(replication, asked.id).await;
                    return Ok(Look::Blocked);
                }
                Ok(Written::Bodiless | Written::Full) | Err(_) => return Ok(Look::Blocked),
            }
        }
        Ok(Look::Blocked)
    }
}
