//! The operations that callers used, counted by template and kept in a file: never an id, a query or a body.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::base::file;
use crate::base::state::make_parent;

/// The largest file: a line has some 150 bytes.
const MAX_FILE: u64 = 64 << 20;
/// The version of the file's form.
const VERSION: u32 = 1;

/// Who used an operation, and which.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OperationUse {
    /// The listener's name.
    pub listener: String,
    /// The caller's name, where callers are told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Method and path template, such as `GET /v2/device/{id}`; or a rule of `allow`, for what the catalogue lacks.
    pub operation: String,
}

/// How often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Count {
    /// Requests.
    pub requests: u64,
    /// Those of them that the rules would have refused.
    #[serde(default)]
    pub overruled: u64,
    /// Those of them that asked for the values of secure fields.
    #[serde(default)]
    pub secure_values: u64,
    /// Those of these that only a careful reader takes for such.
    #[serde(default)]
    pub doubtful: u64,
}

/// A request, as it is counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct CountedRequest {
    /// The place of the operation: among the catalogue's operations, then among the rules of `allow`.
    pub place: usize,
    /// The rules would have refused it.
    pub overruled: bool,
    /// It asks for the values of secure fields.
    pub secure_values: bool,
    /// It does so in some readings only.
    pub doubtful: bool,
}

/// What was used, by whom.
pub type Used = BTreeMap<OperationUse, Count>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UsageRecord {
    version: u32,
    used: Vec<UsageLine>,
}

#[derive(Debug, Serialize, Deserialize)]
struct UsageLine {
    #[serde(flatten)]
    what: OperationUse,
    #[serde(flatten)]
    count: Count,
}

/// Why the file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// There is none.
    #[error(
        "{0} is not there: nothing was recorded yet; set mode = \"observe\" on a listener, run the proxy, and use it"
    )]
    Missing(PathBuf),
    /// The system does not let it be read or written.
    #[error("{0} cannot be read or written")]
    Io(PathBuf, #[source] io::Error),
    /// It is another kind of file.
    #[error("{0} is not a record of used operations: move it away, and record again")]
    Form(PathBuf, #[source] serde_json::Error),
    /// It was written by a later version.
    #[error("{0} has the form {1}, and this version knows {VERSION}: use a later ninjaone-proxy")]
    Version(PathBuf, u32),
}

/// The counters of one listener, or of one caller of it; shared by the workers, without a lock.
#[derive(Debug)]
pub struct UsageCounters {
    listener: String,
    caller: Option<String>,
    operations: Vec<String>,
    counters: Vec<OperationCounter>,
}

#[derive(Debug, Default)]
struct OperationCounter {
    requests: AtomicU64,
    overruled: AtomicU64,
    secure_values: AtomicU64,
    doubtful: AtomicU64,
}

/// The pages of a process, and the file that they are added to.
#[derive(Debug)]
pub struct UsageStore {
    file: PathBuf,
    pages: Mutex<Vec<Arc<UsageCounters>>>,
    /// What was taken from the pages and is not in the file yet.
    pending: Mutex<Used>,
}

impl UsageCounters {
    fn new(listener: &str, caller: Option<&str>, operations: Vec<String>) -> Arc<Self> {
        let counters = operations.iter().map(|_| OperationCounter::default()).collect();
        let caller = caller.map(str::to_owned);
        Arc::new(Self { listener: listener.to_owned(), caller, operations, counters })
    }

    fn is_of(&self, listener: &str, caller: Option<&str>, operations: &[String]) -> bool {
        self.listener == listener && self.caller.as_deref() == caller && self.operations == operations
    }

    /// Counts a request.
    pub fn count(&self, request: CountedRequest) {
        let Some(counter) = self.counters.get(request.place) else { return };
        let CountedRequest { overruled, secure_values, doubtful, .. } = request;
        for (counter, counts) in [
            (&counter.requests, true),
            (&counter.overruled, overruled),
            (&counter.secure_values, secure_values),
            (&counter.doubtful, doubtful),
        ] {
            if counts {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Takes what was counted since the last time.
    fn take(&self) -> impl Iterator<Item = (OperationUse, Count)> + '_ {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        self.operations.iter().zip(&self.counters).filter_map(move |(operation, counter)| {
            let count = Count {
                requests: take(&counter.requests),
                overruled: take(&counter.overruled),
                secure_values: take(&counter.secure_values),
                doubtful: take(&counter.doubtful),
            };
            let (listener, caller) = (self.listener.clone(), self.caller.clone());
            (count != Count::default())
                .then(|| (OperationUse { listener, caller, operation: operation.clone() }, count))
        })
    }
}

impl Count {
    /// Adds further requests.
    pub fn add(&mut self, more: Self) {
        self.requests += more.requests;
        self.overruled += more.overruled;
        self.secure_values += more.secure_values;
        self.doubtful += more.doubtful;
    }
}

impl UsageStore {
    /// No pages yet; what is counted on them will be added to `file`.
    pub fn new(file: PathBuf) -> Self {
        Self { file, pages: Mutex::default(), pending: Mutex::default() }
    }

    /// The page of a listener or caller; `operations` are the names by place. It stays in the ledger as long as
    /// somebody else has it.
    pub fn page(&self, listener: &str, caller: Option<&str>, operations: Vec<String>) -> Arc<UsageCounters> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(page) = pages.iter().find(|page| page.is_of(listener, caller, &operations)) {
            return Arc::clone(page);
        }
        let page = UsageCounters::new(listener, caller, operations);
        pages.push(Arc::clone(&page));
        page
    }

    /// Whether there is nothing to save, and nobody who could count more.
    pub fn is_closed(&self) -> bool {
        let empty = |pending: &Mutex<Used>| pending.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).is_empty() && empty(&self.pending)
    }

    /// Where it is kept.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Adds what was counted to the file, which may have been added to or taken away by others. Blocks. What cannot be
    /// written now is kept for the next time.
    pub fn save(&self) -> Result<(), UsageError> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).retain(|page| {
            // Looked at first: what is counted after that is taken the next time.
            let shared = Arc::strong_count(page) > 1;
            page.take().for_each(|(what, count)| pending.entry(what).or_default().add(count));
            shared
        });
        if pending.is_empty() {
            return Ok(());
        }
        let _lock = lock(&self.file).map_err(|error| UsageError::Io(self.file.clone(), error))?;
        let mut used = match read(&self.file) {
            Err(UsageError::Missing(_)) => Used::new(),
            read => read?,
        };
        for (what, count) in &*pending {
            used.entry(what.clone()).or_default().add(*count);
        }
        write(&self.file, used).map_err(|error| UsageError::Io(self.file.clone(), error))?;
        pending.clear();
        Ok(())
    }
}

/// Reads a file of used operations.
pub fn read(file: &Path) -> Result<Used, UsageError> {
    let text = file::read(file, MAX_FILE).map_err(|error| {
        let missing = error.kind() == ErrorKind::NotFound;
        if missing { UsageError::Missing(file.to_owned()) } else { UsageError::Io(file.to_owned(), error) }
    })?;
    let record: UsageRecord =
        serde_json::from_slice(&text).map_err(|error| UsageError::Form(file.to_owned(), error))?;
    if record.version != VERSION {
        return Err(UsageError::Version(file.to_owned(), record.version));
    }
    Ok(record.used.into_iter().map(|UsageLine { what, count }| (what, count)).collect())
}

/// Replaces the file as a whole, so that a reader or a full disk never finds half of one.
fn write(file: &Path, used: Used) -> io::Result<()> {
    let used = used.into_iter().map(|(what, count)| UsageLine { what, count }).collect();
    let text = serde_json::to_string_pretty(&UsageRecord { version: VERSION, used })? + "\n";
    file::replace(file, text.as_bytes(), 0o644)
}

/// Keeps other processes from adding to the file between our reading and writing.
fn lock(file: &Path) -> io::Result<file::Lock> {
    make_parent(file)?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    file::lock(&file.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn page(ledger: &UsageStore) -> Arc<UsageCounters> {
        let operations = ["GET /v2/devices", "GET /v2/device/{id}"].map(str::to_owned);
        ledger.page("local", Some("reports"), operations.into())
    }

    #[test]
    fn usage_of_a_page_that_is_left_is_saved_before_the_ledger_forgets_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = UsageStore::new(folder.path().join("used.json"));
        let (first, again) = (page(&ledger), page(&ledger));
        assert!(Arc::ptr_eq(&first, &again), "one page for one caller");
        let other = ledger.page("local", None, vec!["GET /v2/devices".to_owned()]);
        assert!(!Arc::ptr_eq(&first, &other));
        drop((again, other));
        first.count(CountedRequest::default());
        ledger.save().expect("saved");
        assert!(!ledger.is_closed());
        first.count(CountedRequest::default());
        drop(first);
        assert!(!ledger.is_closed());
        ledger.save().expect("saved");
        assert!(ledger.is_closed());
        let used = read(ledger.file()).expect("a record");
        assert_eq!(used.values().map(|count| count.requests).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn usage_is_added_to_what_the_file_has_and_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("deep/used.json");
        assert!(matches!(read(&file), Err(UsageError::Missing(_))));
        let ledger = UsageStore::new(file.clone());
        let page = page(&ledger);
        ledger.save().expect("nothing to save");
        assert!(!file.exists());
        for round in 1..=2 {
            page.count(CountedRequest { place: 1, ..CountedRequest::default() });
            page.count(CountedRequest { place: 1, overruled: true, secure_values: true, doubtful: false });
            page.count(CountedRequest { place: 7, ..CountedRequest::default() });
            ledger.save().expect("saved");
            let used = read(&file).expect("a record");
            let what = OperationUse {
                listener: "local".to_owned(),
                caller: Some("reports".to_owned()),
                operation: "GET /v2/device/{id}".to_owned(),
            };
            let count = Count { requests: 2 * round, overruled: round, secure_values: round, doubtful: 0 };
            assert_eq!(used, Used::from([(what, count)]));
        }
    }

    #[test]
    fn usage_of_several_processes_is_added_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("used.json");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let ledger = UsageStore::new(file.clone());
                    let page = page(&ledger);
                    for _ in 0..10 {
                        page.count(CountedRequest::default());
                        ledger.save().expect("saved");
                    }
                });
            }
        });
        assert_eq!(read(&file).expect("a record").values().map(|count| count.requests).collect::<Vec<_>>(), [40]);
    }

    #[test]
    fn usage_that_cannot_be_written_is_kept_for_the_next_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("used.json");
        fs::create_dir(&file).expect("a folder in the way");
        let ledger = UsageStore::new(file.clone());
        let page = page(&ledger);
        page.count(CountedRequest::default());
        assert!(matches!(ledger.save(), Err(UsageError::Io(..))));
        fs::remove_dir(&file).expect("out of the way");
        ledger.save().expect("saved");
        assert_eq!(read(&file).expect("a record").len(), 1);
    }

    #[test]
    fn usage_of_another_form_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("used.json");
        for (text, wanted) in [("nonsense", "is not a record"), ("{\"version\":9,\"used\":[]}", "has the form 9")] {
            fs::write(&file, text).expect("a file");
            let error = read(&file).expect_err("no such file").to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
