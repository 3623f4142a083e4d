//! Warnings that a caller can provoke with each request: one line a minute of each kind.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::Instant;

/// How long a line of a kind keeps the next ones out of the log.
const PERIOD: Duration = Duration::from_secs(60);

/// What was logged of late. Each worker has its own for each listener, so it takes no lock; it holds nothing until the
/// first warning.
#[derive(Debug, Default)]
pub struct WarnLimit(RefCell<Vec<WarnedKind>>);

#[derive(Debug)]
struct WarnedKind {
    name: &'static str,
    last: Instant,
    left_out: u64,
}

impl WarnLimit {
    /// How many lines of this kind were left out since the last one, if another is due now.
    pub fn due(&self, kind: &'static str) -> Option<u64> {
        let (now, mut kinds) = (Instant::now(), self.0.borrow_mut());
        let Some(known) = kinds.iter_mut().find(|known| known.name == kind) else {
            kinds.push(WarnedKind { name: kind, last: now, left_out: 0 });
            return Some(0);
        };
        if now.duration_since(known.last) < PERIOD {
            known.left_out += 1;
            return None;
        }
        known.last = now;
        Some(std::mem::take(&mut known.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_kind_is_due_once_a_minute_and_says_how_many_were_left_out() {
        let limit = WarnLimit::default();
        assert_eq!([limit.due("a"), limit.due("a"), limit.due("a"), limit.due("b")], [Some(0), None, None, Some(0)]);
        tokio::time::advance(PERIOD).await;
        assert_eq!([limit.due("a"), limit.due("a"), limit.due("b")], [Some(2), None, Some(0)]);
    }
}
