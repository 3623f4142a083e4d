//! The last refusals, for the status page: grouped by cause, a few, cut to a length, and written down only when the
//! proxy refuses.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

/// How many causes are kept.
pub const CAUSES: usize = 30;
/// How many different requests are kept of each.
pub const EXAMPLES: usize = 5;
/// How many are taken down in a second, so that a flood of refusals costs the workers no more than that.
const PER_SECOND: u32 = 100;
/// The longest short text and the longest reason that are kept, in bytes.
const SHORT: usize = 256;
const LONG: usize = 1024;

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
    /// What caused it: `caller`, `proxy` or `upstream`.
    pub blame: &'static str,
    /// What the caller was told: why, and what would allow it.
    pub reason: String,
}

/// The refusals that have one cause: the same code at the same listener, and if the caller is the cause, the same
/// operation of the same caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalGroup {
    /// When it was first seen.
    pub first: SystemTime,
    /// When it was last seen.
    pub last: SystemTime,
    /// How many times.
    pub count: u64,
    /// The last different requests, the newest first; at least one.
    pub examples: Vec<RefusalExample>,
}

/// A request of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalExample {
    /// The last time.
    pub at: SystemTime,
    /// How many times.
    pub count: u64,
    /// What was refused, and why.
    pub what: RefusedRequest,
}

/// The last refusals of the process; clones are the same.
#[derive(Debug, Clone)]
pub struct RecentRefusals(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    begun: Instant,
    /// The second that is counted, and how many were taken down in it. Two workers may count one more or less.
    second: AtomicU64,
    count: AtomicU32,
    /// The newest first.
    groups: Mutex<Vec<RefusalGroup>>,
}

impl Default for RecentRefusals {
    fn default() -> Self {
        let (second, count) = (AtomicU64::new(0), AtomicU32::new(0));
        Self(Arc::new(Kept { begun: Instant::now(), second, count, groups: Mutex::default() }))
    }
}

impl RecentRefusals {
    /// Takes one down, unless there were too many in this second.
    pub fn add(&self, what: impl FnOnce() -> RefusedRequest) {
        if !self.has_room(self.0.begun.elapsed().as_secs()) {
            return;
        }
        let (at, what) = (SystemTime::now(), what().cut());
        let mut groups = self.0.groups.lock().unwrap_or_else(PoisonError::into_inner);
        match groups.iter().position(|group| group.has_cause_of(&what)) {
            Some(place) => {
                if let Some(group) = groups.get_mut(place) {
                    group.add(at, what);
                }
                if let Some(newer) = groups.get_mut(..=place) {
                    newer.rotate_right(1);
                }
            }
            None => {
                groups.truncate(CAUSES - 1);
                let examples = vec![RefusalExample { at, count: 1, what }];
                groups.insert(0, RefusalGroup { first: at, last: at, count: 1, examples });
            }
        }
    }

    fn has_room(&self, second: u64) -> bool {
        if self.0.second.swap(second, Ordering::Relaxed) != second {
            self.0.count.store(0, Ordering::Relaxed);
        }
        // It cannot overflow: nobody refuses four thousand million requests in a second.
        self.0.count.fetch_add(1, Ordering::Relaxed) < PER_SECOND
    }

    /// Those that are kept, the newest first.
    pub fn groups(&self) -> Vec<RefusalGroup> {
        self.0.groups.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl RefusalGroup {
    /// The newest request of the group.
    pub fn newest(&self) -> Option<&RefusalExample> {
        self.examples.first()
    }

    fn has_cause_of(&self, other: &RefusedRequest) -> bool {
        self.newest().is_some_and(|RefusalExample { what, .. }| {
            let same = (what.code, what.blame, &what.listener) == (other.code, other.blame, &other.listener);
            let same_request = what.operation == other.operation && what.caller == other.caller;
            same && (what.blame != "caller" || same_request)
        })
    }

    fn add(&mut self, at: SystemTime, what: RefusedRequest) {
        (self.last, self.count) = (at, self.count.saturating_add(1));
        let known = self.examples.iter().position(|example| example.what == what);
        let count = match known {
            Some(place) => self.examples.remove(place).count.saturating_add(1),
            None => 1,
        };
        self.examples.truncate(EXAMPLES - 1);
        self.examples.insert(0, RefusalExample { at, count, what });
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

    /// Whether the path is there to its end. One that was cut is about as long as it may be; a shorter one may end with
    /// the same character by itself.
    pub fn has_whole_path(&self) -> bool {
        self.path.as_ref().is_some_and(|path| path.len() < SHORT - '…'.len_utf8() || !path.ends_with('…'))
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
    fn refusals_are_grouped_by_cause_the_newest_first() {
        let refusals = RecentRefusals::default();
        for number in 0..7 {
            refusals.add(|| what(&number.to_string()));
        }
        refusals.add(|| RefusedRequest { listener: "other".into(), ..what("6") });
        refusals.add(|| RefusedRequest { caller: Some("reports".into()), ..what("6") });
        refusals.add(|| RefusedRequest { operation: Some("GET /v2/x".into()), ..what("6") });
        refusals.add(|| RefusedRequest { code: "scope-missing", ..what("6") });
        refusals.add(|| what("3"));
        let groups = refusals.groups();
        assert_eq!(groups.iter().map(|group| group.count).collect::<Vec<_>>(), [8, 1, 1, 1, 1]);
        let examples = groups[0].examples.iter().map(|kept| (kept.what.path.as_deref(), kept.count));
        let newest = [("3", 2), ("6", 1), ("5", 1), ("4", 1), ("2", 1)].map(|(path, count)| (Some(path), count));
        assert_eq!(examples.collect::<Vec<_>>(), newest);
        assert_eq!(groups[1].examples[0].what.code, "scope-missing");
        assert_eq!(groups[4].examples[0].what.listener, "other");
        assert!(groups[0].first <= groups[4].first && groups[0].last >= groups[1].last);
    }

    #[test]
    fn refusals_that_no_caller_causes_are_one_group() {
        let refusals = RecentRefusals::default();
        for (number, caller) in ["desk", "reports", "reports"].into_iter().enumerate() {
            let (caller, operation) = (Some(caller.into()), Some(number.to_string()));
            refusals.add(|| RefusedRequest { blame: "upstream", caller, operation, ..what("x") });
        }
        refusals.add(|| what("x"));
        assert_eq!(refusals.groups().iter().map(|group| group.count).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn refusals_of_the_oldest_cause_make_room() {
        let refusals = RecentRefusals::default();
        for number in 0..40 {
            refusals.add(|| RefusedRequest { operation: Some(number.to_string()), ..what("x") });
        }
        let groups = refusals.groups();
        let operation = |place: usize| groups[place].examples[0].what.operation.as_deref();
        assert_eq!((groups.len(), operation(0), operation(CAUSES - 1)), (CAUSES, Some("39"), Some("10")));
    }

    #[test]
    fn refusals_of_a_flood_are_taken_down_up_to_a_limit_each_second() {
        let refusals = RecentRefusals::default();
        let admitted = |second| (0..10_000).filter(|_| refusals.has_room(second)).count();
        assert_eq!((admitted(1), admitted(1), admitted(2)), (PER_SECOND as usize, 0, PER_SECOND as usize));
    }

    proptest! {
        #[test]
        fn refusals_keep_no_more_than_a_length(path in ".{0,600}…?", reason in ".{0,2000}") {
            let refusals = RecentRefusals::default();
            refusals.add(|| RefusedRequest { reason: reason.clone(), ..what(&path) });
            let kept = refusals.groups().remove(0).examples.remove(0).what;
            let kept_path = kept.path.clone().unwrap_or_default();
            prop_assert!(kept_path.len() <= SHORT && kept.reason.len() <= LONG);
            prop_assert!(kept_path.len() >= path.len().min(SHORT - 6), "no more is cut than must be");
            prop_assert!(!kept.has_whole_path() || kept_path == path);
            prop_assert!(kept.has_whole_path() || path.len() >= SHORT - 3);
        }
    }
}
