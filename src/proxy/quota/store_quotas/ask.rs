//! Taking from the quotas in the store, by a script that takes from all that a request needs or from none.

use std::sync::LazyLock;

use redis::Script;

use super::{Asked, LOOK, StoreQuotas, key};
use crate::proxy::quota::limit::QuotaLimit;
use crate::proxy::quota::listener_quotas::{CallerPlace, QuotaHolder};
use crate::proxy::quota::needed::Needed;
use crate::proxy::quota::taken_ahead::{TakenAhead, Told};
use crate::proxy::quota::tracker::QuotaTracker;
use crate::proxy::quota::use_log::Nanos;
use crate::shared::StoreError;

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../slots.lua")));

/// A window has so many slots.
const SLOTS: u64 = 60;

/// A row of the script's answer.
type Row = (u32, u32, u32, u32, u32, u64, u64, u64);

impl StoreQuotas {
    /// Asks the store for one of each quota of which nothing is there, and for some more.
    pub(super) async fn ask(
        &self,
        tracker: &QuotaTracker,
        place: CallerPlace,
        needed: &[Needed],
    ) -> Result<Asked, StoreError> {
        let now = tracker.nanos();
        // What is there is held while the others are asked for.
        let (mut held, mut lacking, mut arguments) = (Vec::new(), Vec::new(), Vec::new());
        {
            let mut ahead = self.ahead();
            for need in needed {
                let entry = ahead.entry(key(place, need)).or_default();
                if entry.take(now) {
                    held.push(need);
                    continue;
                }
                let untold = std::mem::take(&mut entry.untold);
                let (wanted, own) = (entry.wanted(need.limit, now).max(1), need.holder == QuotaHolder::Caller);
                let slot = u64::from(need.limit.seconds()) * 1_000_000 / SLOTS;
                arguments.push(need.limit.count().to_string());
                arguments.push(slot.to_string());
                arguments.push(self.field(need));
                arguments.push(u8::from(own).to_string());
                arguments.push(need.ceiling.to_string());
                arguments.push(wanted.to_string());
                arguments.push(untold.to_string());
                lacking.push((need, untold));
            }
        }
        if lacking.is_empty() {
            return Ok(Asked::Taken);
        }
        let keys: Vec<_> = lacking.iter().map(|(need, _)| self.entry_of(need)).collect();
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let arguments: Vec<_> = arguments.iter().map(String::as_bytes).collect();
        let rows: Result<Vec<Row>, _> = self.store.run(&TAKE, &keys, &arguments, self.store.deadline()).await;
        let received = tracker.nanos();
        let mut ahead = self.ahead();
        let rows =
            rows.and_then(|rows| if rows.len() == lacking.len() { Ok(rows) } else { Err(StoreError::Unexpected) });
        let taken = rows.as_ref().is_ok_and(|rows| rows.iter().all(|row| row.0 > 0));
        for need in held.into_iter().filter(|_| !taken) {
            ahead.entry(key(place, need)).or_default().give_back();
        }
        match rows {
            Err(error) => {
                // It may have been told; if not, nothing of it is forgotten.
                for (need, untold) in lacking {
                    ahead.entry(key(place, need)).or_default().untold += untold;
                }
                Err(error)
            }
            Ok(rows) => {
                for ((need, _), row) in lacking.into_iter().zip(rows) {
                    hear(ahead.entry(key(place, need)).or_default(), need.limit, row, (now, received));
                }
                Ok(if taken { Asked::Taken } else { Asked::Closed })
            }
        }
    }

    fn entry_of(&self, need: &Needed) -> String {
        let (listener, unit) = (self.listener.as_str(), need.limit.unit().as_str());
        match (need.holder, &need.caller) {
            (QuotaHolder::Caller, Some(caller)) => {
                self.store.key("quota", &[listener, need.kind.as_str(), unit, caller.as_str()])
            }
            (QuotaHolder::Caller | QuotaHolder::Listener, _) => {
                self.store.key("quota", &[listener, need.kind.as_str(), unit])
            }
        }
    }

    /// The field of a caller, which does not name it.
    fn field(&self, need: &Needed) -> String {
        let name = need.caller.as_deref();
        let key = self.store.key("caller", &[name.map_or("everybody", |_| "caller"), name.unwrap_or_default()]);
        key.rsplit(':').next().unwrap_or_default().to_owned()
    }
}

/// Keeps what the store told, which it was asked at `asked`: by then the slot that it meant had begun.
fn hear(entry: &mut TakenAhead, limit: QuotaLimit, row: Row, (asked, received): (Nanos, Nanos)) {
    let (taken, used, own, active, remaining, left, more, opens) = row;
    let after = |from: Nanos, micros: u64| from.saturating_add(micros.saturating_mul(1000));
    let window = u64::from(limit.seconds()).saturating_mul(LOOK);
    // One is used at once, by the request that has asked.
    entry.add(taken.saturating_sub(1), asked, after(asked, left));
    let closed_until = if taken == 0 && remaining == 0 { after(received, opens) } else { 0 };
    let more_at = if more > 0 { after(received, more) } else { 0 };
    entry.told = Told {
        used,
        own,
        active,
        remaining,
        more_at: if closed_until > 0 { closed_until } else { more_at },
        closed_until: closed_until.min(received.saturating_add(LOOK)),
        until: received.saturating_add(window),
    };
}
