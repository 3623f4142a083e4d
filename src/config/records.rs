//! Where the proxy writes down what was done: the audit log, and the operations used.

use std::path::PathBuf;

use super::Config;
use super::file::Audit;
use super::mistake::Mistake;
use crate::journal;
use crate::state::Folder;

/// The least size of a file of the audit log, in octets.
const MIN_AUDIT: u64 = 64 << 10;

impl Config {
    /// Where and how writes and refusals are recorded; `None`: they are not.
    pub fn audit(&self) -> Result<Option<journal::Settings>, Mistake> {
        let Audit { enabled, file, max_size, sync, on_failure } = &self.file.audit;
        let size = max_size.get_ref();
        if size.0 < MIN_AUDIT {
            return Err(self.mistake(max_size, format!("{:?} is too small: write 64KiB or more", size.to_string())));
        }
        if !enabled.unwrap_or(file.is_some()) {
            return Ok(None);
        }
        let file = match file {
            Some(file) => self.beside(file.get_ref()),
            None => self.folder("the audit log", "[audit]")?.audit(),
        };
        Ok(Some(journal::Settings { file, max_size: size.0, sync: *sync, on_failure: *on_failure }))
    }

    /// Where the operations used are recorded.
    pub fn record(&self) -> Result<PathBuf, Mistake> {
        match &self.file.learn.file {
            Some(path) => Ok(self.beside(path)),
            None => self.folder("the record of operations used", "[learn]").map(|folder| folder.learned()),
        }
    }

    fn folder(&self, what: &str, table: &str) -> Result<Folder, Mistake> {
        let message = |error| format!("there is no place for {what}: {error}; set file in {table}");
        Folder::find().map_err(|error| Mistake::of_file(&self.path, message(error)))
    }
}
