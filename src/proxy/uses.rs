//! How often rules with `max-uses` were used: counted in files, so that a restart forgets nothing.
//!
//! A use is taken before the request is sent, and is safe on the disk then: a crash may lose one, and never gives one.
//! Several processes may use one folder, since a use is taken under a lock of the file. Replicas that share a store count
//! there, see `shared_uses.rs`; the file then says how many were taken with this folder.

mod shared_uses;
mod tally;
mod use_error;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;

use crate::base::clock::utc;
use crate::base::file;
use crate::base::state::make_folder;
use crate::proxy::policy::conditions::ConditionalRule;
use crate::proxy::policy::rule::{Rule, Terms};
use crate::proxy::policy::{Policy, Rules};
use shared_uses::SharedRule;
pub use shared_uses::SharedUses;
pub use use_error::UseError;

/// The longest first line, which says to a person what is counted, in bytes.
const MAX_HEAD: u64 = 4096;
/// How much of what is counted it says, in characters of at most four bytes.
const MAX_NAME: usize = 1000;
/// A line of the file: when a use was taken, such as `2026-11-29T05:00:00Z`, and a line feed.
const LINE: u64 = 21;
/// The most lines that are written at once for uses that the store has of this folder and the file has not.
const MAX_LINES: u64 = 10_000;
/// The store keeps the uses of a rule for so long after its end, or, where it has none, after the last use.
const KEPT_AFTER_END: Duration = Duration::from_secs(30 * 86_400);
const KEPT_AFTER_USE: Duration = Duration::from_secs(400 * 86_400);

/// The counters of a configuration, by the keys of their rules.
#[derive(Debug, Default)]
pub struct UseCounters(HashMap<String, Arc<UseCounter>>);

/// The uses of one rule.
#[derive(Debug)]
pub struct UseCounter {
    path: PathBuf,
    max: u32,
    /// How long the first line is, in bytes.
    head: u64,
    /// Where replicas count them together.
    shared: Option<Arc<SharedRule>>,
}

/// The uses of the rules of a caller, and of its listener.
#[derive(Debug, Default)]
pub struct RuleUses {
    own: Vec<Option<Arc<UseCounter>>>,
    of_listener: Vec<Option<Arc<UseCounter>>>,
}

/// A rule whose uses are counted.
#[derive(Debug)]
pub struct CountedRule {
    /// What they are counted under; hexadecimal digits.
    pub key: String,
    /// What it is, for a person who looks into the file.
    pub name: String,
    /// How many requests it opens.
    pub max: u32,
    /// How long a store keeps its uses.
    pub keep: Duration,
}

/// The proof that a use was taken.
#[derive(Debug)]
pub struct UseTaken(());

impl UseCounters {
    /// Opens a file for each rule, in a folder that is made if need be; where replicas share a store they are counted there.
    /// Blocks.
    pub fn open(folder: &Path, rules: Vec<CountedRule>, shared: Option<&SharedUses>) -> Result<Self, UseError> {
        let mut counters = HashMap::new();
        let name = shared.map(|_| make_folder(folder).and_then(|()| shared_uses::folder_name(folder))).transpose();
        let name = name.map_err(|source| UseError::Uncounted { path: folder.to_owned(), source })?;
        for CountedRule { key, name: text, max, keep } in rules {
            let path = folder.join(&key);
            let head = make_folder(folder).and_then(|()| prepare(&path, &text));
            let head = head.map_err(|source| UseError::Uncounted { path: path.clone(), source })?;
            let mut counter = UseCounter { path, max, head, shared: None };
            if let Some((shared, name)) = shared.zip(name.as_ref()) {
                counter.shared = Some(shared.rule(&key, name, counter.in_folder()?, keep));
            }
            counters.insert(key, Arc::new(counter));
        }
        Ok(Self(counters))
    }

    /// Those of a caller's rules, and of its listener's.
    pub fn rules(&self, listener: &str, caller: Option<&str>, policy: &Policy) -> RuleUses {
        let counter = |rule: &Rule, caller: Option<&str>| {
            self.0.get(&key(&rule.text(), rule.terms()?, listener, caller)?).cloned()
        };
        let of = |caller: Option<&str>, rules: &Rules| -> Vec<_> {
            // Each caller has its listener's: without such a rule they take no memory.
            let counted =
                rules.allow.iter().rposition(|rule| rule.terms().is_some_and(|terms| terms.max_uses.is_some()));
            let upto = counted.map_or(0, |last| last + 1);
            rules.allow.iter().take(upto).map(|rule| counter(rule, caller)).collect()
        };
        RuleUses {
            own: of(caller, policy.rules()),
            of_listener: policy.ceiling().map(|ceiling| of(None, ceiling.rules())).unwrap_or_default(),
        }
    }
}

impl RuleUses {
    /// Those of a rule, if they are limited.
    pub fn of(&self, rule: &ConditionalRule) -> Option<&Arc<UseCounter>> {
        let layer = if rule.by_listener { &self.of_listener } else { &self.own };
        layer.get(rule.id.index())?.as_ref()
    }
}

/// What the uses of a rule are counted under, if they are limited.
pub fn key(rule: &str, terms: &Terms, listener: &str, caller: Option<&str>) -> Option<String> {
    terms.max_uses.map(|_| terms.key(rule, &owner(listener, caller)))
}

/// How many uses were taken of the rule with this key; `None` if that cannot be said. Makes nothing.
pub fn used(folder: &Path, key: &str) -> Option<u64> {
    let path = folder.join(key);
    if path.try_exists().is_ok_and(|there| !there) {
        return Some(0);
    }
    let head = first_line(&path).ok()?;
    UseCounter { path, max: 0, head, shared: None }.used().ok()
}

/// The rules of a policy whose uses are limited.
pub fn counted(listener: &str, caller: Option<&str>, policy: &Policy) -> Vec<CountedRule> {
    let owner = owner(listener, caller);
    let rule = |rule: &Rule| {
        let max = rule.terms()?.max_uses?;
        Some(CountedRule {
            key: key(&rule.text(), rule.terms()?, listener, caller)?,
            name: format!("{rule} in {owner}"),
            max: max.get(),
            keep: rule.terms()?.expires.as_ref().map_or(KEPT_AFTER_USE, |expiry| {
                expiry.at.duration_since(SystemTime::now()).unwrap_or_default() + KEPT_AFTER_END
            }),
        })
    };
    policy.rules().allow.iter().filter_map(rule).collect()
}

fn owner(listener: &str, caller: Option<&str>) -> String {
    caller.map_or_else(|| listener.to_owned(), |caller| format!("{listener} callers {caller}"))
}

impl UseCounter {
    /// How many uses were taken, as far as is known where replicas share a store: that is at most a second old while it is
    /// asked often.
    pub fn used(&self) -> Result<u64, UseError> {
        match &self.shared {
            Some(shared) => {
                shared.refresh();
                Ok(shared.used())
            }
            None => self.in_folder(),
        }
    }

    /// How many were taken with this folder.
    fn in_folder(&self) -> Result<u64, UseError> {
        let length = std::fs::metadata(&self.path).map(|there| there.len());
        length.map(|length| self.uses_in(length)).map_err(|source| self.uncounted(source))
    }

    /// How many there are.
    pub fn max(&self) -> u32 {
        self.max
    }

    /// Whether none is left, or nobody knows.
    pub fn is_used_up(&self) -> bool {
        self.used().map_or(true, |used| used >= u64::from(self.max))
    }

    /// Takes a use, which is safe on the disk then, and in the store if replicas share one.
    pub async fn take(self: &Arc<Self>) -> Result<UseTaken, UseError> {
        let in_store = match &self.shared {
            Some(shared) => Some(shared.take(self.max).await?),
            None => None,
        };
        let this = Arc::clone(self);
        // A file is written, and the system asked to write it to the disk.
        let taken = spawn_blocking(move || match in_store {
            Some(count) => this.record(count),
            None => this.take_locked(),
        });
        match taken.await.map_err(|_| UseError::Uncountable)? {
            Ok(true) => Ok(UseTaken(())),
            Ok(false) => Err(UseError::UsedUp(self.max)),
            Err(source) => Err(self.uncounted(source)),
        }
    }

    fn take_locked(&self) -> io::Result<bool> {
        let _lock = file::lock(&lock_of(&self.path))?;
        let (file, length) = self.open()?;
        if self.uses_in(length) >= u64::from(self.max) {
            return Ok(false);
        }
        self.write(file, length, 1)?;
        Ok(true)
    }

    /// So many were taken with this folder.
    fn record(&self, count: u64) -> io::Result<bool> {
        let _lock = file::lock(&lock_of(&self.path))?;
        let (file, length) = self.open()?;
        // Another process with this folder may have written more.
        let missing = count.saturating_sub(self.uses_in(length));
        if missing > 0 {
            self.write(file, length, missing.min(MAX_LINES))?;
        }
        Ok(true)
    }

    fn open(&self) -> io::Result<(File, u64)> {
        let file = OpenOptions::new().append(true).open(&self.path).and_then(file::regular)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    }

    fn write(&self, mut file: File, length: u64, count: u64) -> io::Result<()> {
        let torn = length.saturating_sub(self.head) % LINE;
        let mut lines = vec![b'.'; usize::try_from((LINE - torn) % LINE).unwrap_or_default()];
        let line = format!("{}\n", utc::seconds(SystemTime::now()));
        (0..count).for_each(|_| lines.extend_from_slice(line.as_bytes()));
        file.write_all(&lines)?;
        file.sync_data()
    }

    /// A line that a crash or a full disk cut short is a use too.
    fn uses_in(&self, length: u64) -> u64 {
        length.saturating_sub(self.head).div_ceil(LINE)
    }

    fn uncounted(&self, source: io::Error) -> UseError {
        UseError::Uncounted { path: self.path.clone(), source }
    }
}

/// Makes the file of a rule if there is none; how long its first line is, which says what is counted.
fn prepare(path: &Path, name: &str) -> io::Result<u64> {
    // Of two processes that make it at once, the later one must not undo a use of the other.
    let _lock = file::lock(&lock_of(path))?;
    if !path.try_exists()? {
        let name: String = name.chars().take(MAX_NAME).map(|c| if c.is_control() { ' ' } else { c }).collect();
        file::replace(path, format!("uses of {name}\n").as_bytes(), 0o600)?;
    }
    first_line(path)
}

/// How long the first line is, in bytes.
fn first_line(path: &Path) -> io::Result<u64> {
    let mut head = Vec::new();
    file::open(path)?.take(MAX_HEAD).read_to_end(&mut head)?;
    let end = head.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is not a file of uses"))?;
    Ok(end as u64 + 1)
}

fn lock_of(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef";

    fn open(folder: &Path, max: u32) -> Arc<UseCounter> {
        let rule =
            CountedRule { key: KEY.to_owned(), name: "POST /v2/x\nof local".to_owned(), max, keep: Duration::MAX };
        Arc::clone(&UseCounters::open(folder, vec![rule], None).expect("a folder").0[KEY])
    }

    #[tokio::test]
    async fn uses_are_taken_up_to_the_last_and_outlast_the_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = open(&folder.path().join("uses"), 3);
        assert_eq!((first.used().expect("a count"), first.is_used_up()), (0, false));
        first.take().await.expect("a use");
        first.take().await.expect("a use");
        let second = open(&folder.path().join("uses"), 3);
        assert_eq!(second.used().expect("a count"), 2);
        second.take().await.expect("a use");
        for counter in [&first, &second] {
            assert!(matches!(counter.take().await, Err(UseError::UsedUp(3))));
            assert!(counter.is_used_up());
        }
        let more = open(&folder.path().join("uses"), 4);
        more.take().await.expect("one more is allowed now");
        assert!(more.is_used_up());
    }

    #[tokio::test]
    async fn uses_that_were_written_in_part_are_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let counter = open(folder.path(), 3);
        let path = folder.path().join(KEY);
        let mut file = OpenOptions::new().append(true).open(&path).expect("a file");
        file.write_all(b"2026-1").expect("a torn line");
        assert_eq!(counter.used().expect("a count"), 1);
        counter.take().await.expect("a use");
        assert_eq!(counter.used().expect("a count"), 2);
        let text = std::fs::read_to_string(&path).expect("a file");
        assert_eq!(text.lines().next(), Some("uses of POST /v2/x of local"));
        assert_eq!(text.len() as u64, counter.head + 2 * LINE, "{text}");
    }

    #[tokio::test]
    async fn uses_that_nobody_can_count_are_not_given() {
        let folder = tempfile::tempdir().expect("a folder");
        let counter = open(folder.path(), 3);
        std::fs::remove_file(folder.path().join(KEY)).expect("a file");
        assert!(counter.is_used_up());
        assert!(matches!(counter.take().await, Err(UseError::Uncounted { .. })));
        std::fs::write(folder.path().join(KEY), "no line end").expect("a file");
        let rule = CountedRule { key: KEY.to_owned(), name: String::new(), max: 3, keep: Duration::MAX };
        assert!(matches!(UseCounters::open(folder.path(), vec![rule], None), Err(UseError::Uncounted { .. })));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_more_uses_are_given_than_there_are_to_many_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let counters = [open(folder.path(), 50), open(folder.path(), 50)];
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..80 {
            let counter = Arc::clone(&counters[number % 2]);
            tasks.spawn(async move { counter.take().await.is_ok() });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|taken| *taken).count(), 50);
        assert_eq!(counters[0].used().expect("a count"), 50);
    }

    #[test]
    fn a_file_says_what_the_store_has_of_its_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let counter = open(folder.path(), 10);
        for (count, there) in [(1, 1), (4, 4), (3, 4), (5, 5)] {
            assert!(counter.record(count).expect("a file"));
            assert_eq!(counter.in_folder().expect("a count"), there);
        }
        let name = shared_uses::folder_name(folder.path()).expect("a name");
        assert_eq!(shared_uses::folder_name(folder.path()).expect("a name"), name, "it stays");
        std::fs::write(folder.path().join("folder-id"), "x").expect("a file");
        assert!(shared_uses::folder_name(folder.path()).is_err(), "nothing is counted under a name that is not one");
    }
}
