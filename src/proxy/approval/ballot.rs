//! What approvers have said of a request, and how its approval ended: the part of an approval that changes.

use std::time::SystemTime;

use super::approvers::is_current;
use super::{ApprovalsConfig, Decision, KnownApprover, State, Vote};
use crate::base::clock::Moment;
use crate::observe::audit_log::StepKind;
use crate::proxy::authn::key::KeyHash;

/// The votes on a request, and its end. Each change makes another one, with the next version.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ballot {
    /// Of two, the one with the higher version is the later.
    pub(super) version: u64,
    pub(super) votes: Vec<KeyedVote>,
    pub(super) ended: Option<Ended>,
}

/// A vote, and the key that it was given with: it counts as long as that is the approver's.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KeyedVote {
    pub(super) vote: Vote,
    pub(super) key: KeyHash,
}

/// How and when an approval ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ended {
    pub(super) end: End,
    pub(super) at: Moment,
    /// Which request used it: one that does not hear whether it was the first finds out by this.
    pub(super) by: u64,
}

/// How an approval ended. What is not ended may be expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Denied,
    Expired,
    Used,
    Withdrawn,
}

impl End {
    pub(super) const ALL: [Self; 4] = [Self::Denied, Self::Expired, Self::Used, Self::Withdrawn];

    pub(super) fn state(self) -> State {
        match self {
            Self::Denied => State::Denied,
            Self::Expired | Self::Withdrawn => State::Expired,
            Self::Used => State::Used,
        }
    }

    pub(super) fn step(self) -> StepKind {
        match self {
            Self::Denied => StepKind::Denied,
            Self::Expired => StepKind::Expired,
            Self::Used => StepKind::Used,
            Self::Withdrawn => StepKind::Withdrawn,
        }
    }
}

impl Ballot {
    /// The first one, without a vote.
    pub(super) fn new() -> Self {
        Self { version: 1, votes: Vec::new(), ended: None }
    }

    /// With one more vote. One of the same approver, who has another key now, takes the place of the one before: nobody
    /// counts twice. A no ends it.
    pub(super) fn with_vote(
        &self,
        approver: &KnownApprover,
        (decision, comment): (Decision, Option<String>),
        at: Moment,
    ) -> Self {
        let mut next = self.next();
        next.votes.retain(|keyed| keyed.vote.approver != approver.name);
        let vote = Vote { approver: approver.name.clone(), decision, comment, at: at.wall };
        next.votes.push(KeyedVote { vote, key: approver.key });
        match decision {
            Decision::Approve => next,
            Decision::Deny => Self { ended: Some(Ended { end: End::Denied, at, by: 0 }), ..next },
        }
    }

    /// Ended; `by` the request of this number, if it was used.
    pub(super) fn with_end(&self, end: End, at: Moment, by: u64) -> Self {
        Self { ended: Some(Ended { end, at, by }), ..self.next() }
    }

    fn next(&self) -> Self {
        Self { version: self.version.saturating_add(1), ..self.clone() }
    }

    /// The approvers whose yes counts: each one once, and never the caller.
    pub(super) fn given<'a>(
        &'a self,
        config: &'a ApprovalsConfig,
        caller: Option<&'a str>,
    ) -> impl Iterator<Item = &'a str> {
        let counts = move |keyed: &&KeyedVote| {
            let name = &*keyed.vote.approver;
            keyed.vote.decision == Decision::Approve
                && is_current(&config.approvers, name, keyed.key)
                && caller != Some(name)
        };
        self.votes.iter().filter(counts).map(|keyed| &*keyed.vote.approver)
    }

    /// Whether this approver has said yes with this key.
    pub(super) fn has_yes_of(&self, approver: &KnownApprover) -> bool {
        let is_it = |keyed: &KeyedVote| keyed.vote.approver == approver.name && keyed.key == approver.key;
        self.votes.iter().any(|keyed| is_it(keyed) && keyed.vote.decision == Decision::Approve)
    }

    /// What the approver who said no wrote.
    pub(super) fn denial(&self) -> Option<String> {
        let denial = self.votes.iter().find(|keyed| keyed.vote.decision == Decision::Deny);
        denial.and_then(|keyed| keyed.vote.comment.clone())
    }

    /// Which of two that are known of one approval is right: what has ended stays ended; else the later one. `None` if
    /// `self` is; else what takes its place, with a version that is newer than both where neither can stay as it is.
    pub(super) fn merged(&self, stored: &Self) -> Merge {
        let later = self.version.max(stored.version).saturating_add(1);
        match (&self.ended, &stored.ended) {
            (Some(_), None) => Merge::Publish(Self { version: later, ..self.clone() }),
            // Nobody goes back to a lower version, whose end would not be noticed.
            (None, Some(_)) if stored.version <= self.version => {
                Merge::Publish(Self { version: later, ..stored.clone() })
            }
            _ if stored.version > self.version => Merge::Follow,
            _ if stored.version < self.version => Merge::Publish(self.clone()),
            _ => Merge::Same,
        }
    }
}

/// What becomes of a ballot that differs from the one in the store.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Merge {
    /// Both are the same.
    Same,
    /// That of the store is right.
    Follow,
    /// The store has forgotten something: this one belongs there.
    Publish(Ballot),
}

impl Default for Ballot {
    fn default() -> Self {
        Self::new()
    }
}

/// A wall-clock time of another process as a moment of this one.
pub(super) fn moment(wall: SystemTime, now: Moment) -> Moment {
    let monotonic = match wall.duration_since(now.wall) {
        Ok(ahead) => now.monotonic.checked_add(ahead),
        Err(behind) => now.monotonic.checked_sub(behind.duration()),
    };
    Moment { monotonic: monotonic.unwrap_or(now.monotonic), wall }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::approver;
    use super::*;

    /// What has happened to a ballot, as one replica knows it.
    fn ballot(steps: &[u8]) -> Ballot {
        let now = Moment::now();
        steps.iter().fold(Ballot::new(), |ballot, step| match step % 6 {
            _ if ballot.ended.is_some() => ballot,
            end @ 0..=3 if *step < 60 => ballot.with_end(End::ALL[usize::from(end)], now, 0),
            number => {
                let approver = approver(["lead", "deputy"][usize::from(number % 2)]);
                let approver = KnownApprover { name: approver.name, key: approver.key };
                ballot.with_vote(&approver, (Decision::Approve, None), now)
            }
        })
    }

    /// A replica looks at the store.
    fn look(own: &mut Ballot, stored: &mut Ballot) {
        match own.merged(stored) {
            Merge::Same => {}
            Merge::Follow => *own = stored.clone(),
            Merge::Publish(next) => {
                assert!(next.version > stored.version, "the store takes what is newer");
                (*own, *stored) = (next.clone(), next);
            }
        }
    }

    proptest! {
        #[test]
        fn replicas_agree_in_the_end_and_what_has_ended_stays_ended(
            steps in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 3),
            order in prop::collection::vec(0..2_usize, 0..6),
        ) {
            let mut stored = ballot(&steps[0]);
            let mut replicas = [ballot(&steps[1]), ballot(&steps[2])];
            let had_ended = stored.ended.is_some() || replicas.iter().any(|own| own.ended.is_some());
            let highest = stored.version.max(replicas[0].version).max(replicas[1].version);
            for number in order.into_iter().chain([0, 1, 0, 1]) {
                let before = replicas[number].clone();
                look(&mut replicas[number], &mut stored);
                prop_assert!(replicas[number].version >= before.version);
                prop_assert!(before.ended.is_none() || replicas[number].ended.is_some());
            }
            let of = |own: &Ballot| (own.version, own.ended.is_some());
            prop_assert_eq!(of(&replicas[0]), of(&stored));
            prop_assert_eq!(of(&replicas[1]), of(&stored));
            prop_assert_eq!(stored.ended.is_some(), had_ended);
            prop_assert!(stored.version >= highest);
        }
    }
}
