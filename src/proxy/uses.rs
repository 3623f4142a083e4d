//! How often rules with `max-uses` were used: counted in files, so that a restart forgets nothing.
//!
//! A use is taken before the request is sent, and is safe on the disk then: a crash may lose one, and never gives one.
//! Several processes may use one folder, since a use is taken under a lock of the file.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::base::clock::utc;
use crate::base::file;
use crate::base::state::make_folder;
use crate::proxy::policy::conditions::ConditionalRule;
use crate::proxy::policy::rule::{Rule, Terms};
use crate::proxy::policy::{Policy, Rules};

/// The longest first line, which says to a person what is counted, in bytes.
const MAX_HEAD: u64 = 4096;
/// How much of what is counted it says, in characters of at most four bytes.
const MAX_NAME: usize = 1000;
/// A line of the file: when a use was taken, such as `2026-11-29T05:00:00Z`, and a line feed.
const LINE: u64 = 21;

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
}

/// Why a use could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum UseError {
    /// All are taken.
    #[error("it is used up: it opens {0} requests, and so many were sent")]
    UsedUp(u32),
    /// It has no counter.
    #[error("its uses cannot be counted")]
    Uncountable,
    /// Nobody knows how many are left.
    #[error("its uses cannot be counted in {}", path.display())]
    Uncounted {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The proof that a use was taken.
#[derive(Debug)]
pub struct UseTaken(());

impl UseCounters {
    /// Opens a file for each rule, in a folder that is made if need be. Blocks.
    pub fn open(folder: &Path, rules: Vec<CountedRule>) -> Result<Self, UseError> {
        let mut counters = HashMap::new();
        for CountedRule { key, name, max } in rules {
            let path = folder.join(&key);
            let head = make_folder(folder).and_then(|()| prepare(&path, &name));
            let head = head.map_err(|source| UseError::Uncounted { path: path.clone(), source })?;
            counters.insert(key, Arc::new(UseCounter { path, max, head }));
        }
        Ok(Self(counters))
    }

    /// Those of a caller's rules, and of its listener's.
    pub fn rules(&self, listener: &str, caller: Option<&str>, policy: &Policy) -> RuleUses {
        let of = |caller: Option<&str>, rules: &Rules| -> Vec<_> {
            rules
                .allow
                .iter()
                .map(|rule| self.0.get(&key(&rule.text(), rule.terms()?, listener, caller)?).cloned())
                .collect()
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
    UseCounter { path, max: 0, head }.used().ok()
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
        })
    };
    policy.rules().allow.iter().filter_map(rule).collect()
}

fn owner(listener: &str, caller: Option<&str>) -> String {
    caller.map_or_else(|| listener.to_owned(), |caller| format!("{listener} callers {caller}"))
}

impl UseCounter {
    /// How many uses were taken.
    pub fn used(&self) -> Result<u64, UseError> {
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

    /// Takes a use, which is safe on the disk then. Blocks.
    pub fn take(&self) -> Result<UseTaken, UseError> {
        match self.take_locked() {
            Ok(true) => Ok(UseTaken(())),
            Ok(false) => Err(UseError::UsedUp(self.max)),
            Err(source) => Err(self.uncounted(source)),
        }
    }

    fn take_locked(&self) -> io::Result<bool> {
        let _lock = file::lock(&lock_of(&self.path))?;
        let mut file = OpenOptions::new().append(true).open(&self.path).and_then(file::regular)?;
        let length = file.metadata()?.len();
        if self.uses_in(length) >= u64::from(self.max) {
            return Ok(false);
        }
        let torn = length.saturating_sub(self.head) % LINE;
        let mut line = vec![b'.'; usize::try_from((LINE - torn) % LINE).unwrap_or_default()];
        line.extend_from_slice(utc::seconds(SystemTime::now()).as_bytes());
        line.push(b'\n');
        file.write_all(&line)?;
        file.sync_data()?;
        Ok(true)
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
        let rule = CountedRule { key: KEY.to_owned(), name: "POST /v2/x\nof local".to_owned(), max };
        Arc::clone(&UseCounters::open(folder, vec![rule]).expect("a folder").0[KEY])
    }

    #[test]
    fn uses_are_taken_up_to_the_last_and_outlast_the_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = open(&folder.path().join("uses"), 3);
        assert_eq!((first.used().expect("a count"), first.is_used_up()), (0, false));
        first.take().expect("a use");
        first.take().expect("a use");
        let second = open(&folder.path().join("uses"), 3);
        assert_eq!(second.used().expect("a count"), 2);
        second.take().expect("a use");
        for counter in [&first, &second] {
            assert!(matches!(counter.take(), Err(UseError::UsedUp(3))));
            assert!(counter.is_used_up());
        }
        let more = open(&folder.path().join("uses"), 4);
        more.take().expect("one more is allowed now");
        assert!(more.is_used_up());
    }

    #[test]
    fn uses_that_were_written_in_part_are_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let counter = open(folder.path(), 3);
        let path = folder.path().join(KEY);
        let mut file = OpenOptions::new().append(true).open(&path).expect("a file");
        file.write_all(b"2026-1").expect("a torn line");
        assert_eq!(counter.used().expect("a count"), 1);
        counter.take().expect("a use");
        assert_eq!(counter.used().expect("a count"), 2);
        let text = std::fs::read_to_string(&path).expect("a file");
        assert_eq!(text.lines().next(), Some("uses of POST /v2/x of local"));
        assert_eq!(text.len() as u64, counter.head + 2 * LINE, "{text}");
    }

    #[test]
    fn uses_that_nobody_can_count_are_not_given() {
        let folder = tempfile::tempdir().expect("a folder");
        let counter = open(folder.path(), 3);
        std::fs::remove_file(folder.path().join(KEY)).expect("a file");
        assert!(counter.is_used_up());
        assert!(matches!(counter.take(), Err(UseError::Uncounted { .. })));
        std::fs::write(folder.path().join(KEY), "no line end").expect("a file");
        let rule = CountedRule { key: KEY.to_owned(), name: String::new(), max: 3 };
        assert!(matches!(UseCounters::open(folder.path(), vec![rule]), Err(UseError::Uncounted { .. })));
    }

    #[test]
    fn no_more_uses_are_given_than_there_are_to_many_threads_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let counters = [open(folder.path(), 50), open(folder.path(), 50)];
        let given: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|number| {
                    let counter = &counters[number % 2];
                    scope.spawn(move || (0..10).filter(|_| counter.take().is_ok()).count())
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("a thread")).sum()
        });
        assert_eq!(given, 50);
        assert_eq!(counters[0].used().expect("a count"), 50);
    }
}
