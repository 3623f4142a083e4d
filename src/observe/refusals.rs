//! The last refusals, for the status page: a few, cut to a length, and written down only when the proxy refuses.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

/// How many are kept.
pub const KEPT: usize = 50;
/// How many are taken down in a second: a flood of refusals shall cost the workers no more than that.
const PER_SECOND: u32 = 100;
/// The longest short text and the longest reason that are kept, in bytes.
const SHORT: usize = 256;
const LONG: usize = 1024;

/// A request that the proxy answered itself.
#[derive(Debug, Clone)]
pub struct RecentRefusal {
    /// The last time.
    pub at: SystemTime,
    /// How many times in a row.
    pub times: u64,
    /// What was refused, and why.
    pub what: RefusedRequest,
}

/// What was refused, and why: never a query, a body or a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRequest {
    /// The listener's name.
    pub listener: String,
    /// The caller's name, once it is known.
    pub caller: Option<String>,
    /// The method; none if the head could not be read.
    pub method: Option<String>,
    /// The operation of the catalogue (method and path template), once it is known.
    pub operation: Option<String>,
    /// The path without its query; none if the head could not be read.
    pub path: Option<String>,
    /// The status of the answer.
    pub status: u16,
    /// Its stable code.
    pub code: &'static str,
    /// Whose fault it is: `caller`, `proxy` or `upstream`.
    pub blame: &'static str,
    /// What the caller was told: why, and what would allow it.
    pub reason: String,
}

/// The last refusals of the process; clones are the same.
#[derive(Debug, Clone)]
pub struct RecentRefusals(Arc<Ring>);

#[derive(Debug)]
struct Ring {
    begun: Instant,
    /// The second that is counted, and how many were taken down in it. Two workers may count one more or less.
    second: AtomicU64,
    count: AtomicU32,
    /// The newest last.
    kept: Mutex<VecDeque<RecentRefusal>>,
}

impl Default for RecentRefusals {
    fn default() -> Self {
        let (second, count) = (AtomicU64::new(0), AtomicU32::new(0));
        Self(Arc::new(Ring { begun: Instant::now(), second, count, kept: Mutex::default() }))
    }
}

impl RecentRefusals {
    /// Takes one down, unless there were too many in this second.
    pub fn add(&self, what: impl FnOnce() -> RefusedRequest) {
        if !self.has_room(self.0.begun.elapsed().as_secs()) {
            return;
        }
        let what = what().cut();
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = SystemTime::now();
        if let Some(last) = kept.back_mut().filter(|last| last.what == what) {
            (last.at, last.times) = (at, last.times.saturating_add(1));
            return;
        }
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(RecentRefusal { at, times: 1, what });
    }

    fn has_room(&self, second: u64) -> bool {
        if self.0.second.swap(second, Ordering::Relaxed) != second {
            self.0.count.store(0, Ordering::Relaxed);
        }
        // It cannot overflow: nobody refuses four thousand million requests in a second.
        self.0.count.fetch_add(1, Ordering::Relaxed) < PER_SECOND
    }

    /// Those that are kept, the newest first.
    pub fn last(&self) -> Vec<RecentRefusal> {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().rev().cloned().collect()
    }
}

impl RefusedRequest {
    fn cut(mut self) -> Self {
        cut(&mut self.listener, SHORT);
        let Self { caller, method, operation, path, .. } = &mut self;
        [caller, method, operation, path].into_iter().flatten().for_each(|text| cut(text, SHORT));
        cut(&mut self.reason, LONG);
        self
    }

    /// Whether the path is there to its end.
    pub fn has_whole_path(&self) -> bool {
        self.path.as_ref().is_some_and(|path| !path.ends_with('…'))
    }
}

/// Cuts a text down to so many bytes, and says so.
fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        let room = most - '…'.len_utf8();
        let end = text.char_indices().map(|(start, _)| start).take_while(|start| *start <= room).last();
        text.truncate(end.unwrap_or_default());
        text.push('…');
    }
    text.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn what(path: &str) -> RefusedRequest {
        RefusedRequest {
            listener: "local".into(),
            caller: None,
            method: Some("GET".into()),
            operation: None,
            path: Some(path.into()),
            status: 404,
            code: "operation-unknown",
            blame: "caller",
            reason: "no".into(),
        }
    }

    #[test]
    fn refusals_keep_the_newest_and_count_those_in_a_row() {
        let refusals = RecentRefusals::default();
        for number in 0..60 {
            refusals.add(|| what(&number.to_string()));
        }
        for _ in 0..3 {
            refusals.add(|| what("again"));
        }
        let last = refusals.last();
        let path = |place: usize| last[place].what.path.as_deref();
        assert_eq!(
            (last.len(), path(0), last[0].times, path(1), last[1].times),
            (KEPT, Some("again"), 3, Some("59"), 1)
        );
        assert_eq!(path(KEPT - 1), Some("11"), "the oldest of the last 50");
    }

    #[test]
    fn refusals_of_a_flood_are_taken_down_up_to_a_limit_each_second() {
        let refusals = RecentRefusals::default();
        let admitted = |second| (0..10_000).filter(|_| refusals.has_room(second)).count();
        assert_eq!((admitted(1), admitted(1), admitted(2)), (PER_SECOND as usize, 0, PER_SECOND as usize));
    }

    proptest! {
        #[test]
        fn refusals_keep_no_more_than_a_length(path in ".{0,600}", reason in ".{0,2000}") {
            let refusals = RecentRefusals::default();
            refusals.add(|| RefusedRequest { reason: reason.clone(), ..what(&path) });
            let kept = refusals.last().remove(0).what;
            let kept_path = kept.path.clone().unwrap_or_default();
            prop_assert!(kept_path.len() <= SHORT && kept.reason.len() <= LONG);
            prop_assert!(kept_path.len() >= path.len().min(SHORT - 6), "no more is cut than must be");
            prop_assert!(!kept.has_whole_path() || kept_path == path);
        }
    }
}
