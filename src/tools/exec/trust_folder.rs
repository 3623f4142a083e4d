//! The folder of what commands are to trust: bundles of roots with the local CA among them, named by what is in them, so
//! that commands at the same time share them, and one that runs on keeps them. Nothing in it is secret.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ring::digest::{SHA256, digest};

use super::ExecError;
use crate::base::file;
use crate::base::state::StateFolder;

/// How long a file is kept that no command was started with.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The name of PHP's settings in a folder of its own.
const PHP: &str = "ninjaone-proxy.ini";

/// The folder.
#[derive(Debug)]
pub struct TrustFolder(PathBuf);

impl TrustFolder {
    /// Makes it in the folder for state, closed to others, and removes what has not been used for a month.
    pub fn make(state: &StateFolder) -> Result<Self, ExecError> {
        let path = state.trust();
        let made = state.make().and_then(|()| file::make_folder_within(&path));
        made.map_err(|cause| ExecError::Write { path: path.clone(), cause })?;
        let folder = Self(path);
        // What cannot be removed is in nobody's way.
        let _ = folder.sweep(SystemTime::now());
        Ok(folder)
    }

    /// The path of a file with this content: `WHAT-HASH.EXTENSION`.
    pub(super) fn keep(&self, what: &str, extension: &str, bytes: &[u8]) -> Result<PathBuf, ExecError> {
        let path = self.0.join(format!("{what}-{}.{extension}", hash(bytes)));
        keep_at(&path, bytes).map_err(|cause| ExecError::Write { path: path.clone(), cause })?;
        Ok(path)
    }

    /// The path of a folder in which PHP finds these settings.
    pub(super) fn keep_php(&self, settings: &[u8]) -> Result<PathBuf, ExecError> {
        let folder = self.0.join(format!("php-{}", hash(settings)));
        let kept = file::make_folder_within(&folder).and_then(|()| keep_at(&folder.join(PHP), settings));
        kept.map_err(|cause| ExecError::Write { path: folder.clone(), cause })?;
        Ok(folder)
    }

    fn sweep(&self, now: SystemTime) -> io::Result<()> {
        let is_old = |path: &Path| {
            let modified = path.metadata().and_then(|there| there.modified());
            modified.is_ok_and(|modified| now.duration_since(modified).is_ok_and(|age| age > KEPT))
        };
        for entry in std::fs::read_dir(&self.0)? {
            let path = entry?.path();
            let php = path.join(PHP);
            if php.is_file() && is_old(&php) {
                std::fs::remove_file(&php)?;
                std::fs::remove_dir(&path)?;
            } else if path.is_file() && is_old(&path) {
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

/// Says of one that is there that it is used.
fn keep_at(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let is_there = file::read(path, bytes.len() as u64).is_ok_and(|there| there == bytes);
    let touch = || File::options().append(true).open(path)?.set_modified(SystemTime::now());
    if is_there && touch().is_ok() { Ok(()) } else { file::replace(path, bytes, 0o600) }
}

/// As much of it as tells contents apart.
fn hash(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_shared_by_content_and_removed_a_month_after_their_last_use() {
        let state = tempfile::tempdir().expect("a folder");
        let state = StateFolder::at(state.path().join("state"));
        let folder = TrustFolder::make(&state).expect("a folder");
        let first = folder.keep("roots", "pem", b"one").expect("a file");
        assert_eq!(first, folder.keep("roots", "pem", b"one").expect("the same file"));
        let second = folder.keep("roots", "pem", b"two").expect("another file");
        let php = folder.keep_php(b"x=1").expect("a folder");
        assert_ne!(first, second);
        std::fs::write(&second, "broken").expect("a file");
        folder.keep("roots", "pem", b"two").expect("made again");
        assert_eq!(std::fs::read(&second).expect("a file"), b"two");
        folder.sweep(SystemTime::now() + KEPT / 2).expect("looked through");
        assert!(first.is_file() && second.is_file() && php.join(PHP).is_file());
        let old = SystemTime::now() - KEPT;
        for path in [&first, &second] {
            File::options().append(true).open(path).and_then(|file| file.set_modified(old)).expect("a time");
        }
        folder.keep("roots", "pem", b"two").expect("used again");
        folder.sweep(SystemTime::now() + KEPT / 2).expect("looked through");
        assert!(!first.exists() && second.is_file() && php.is_dir());
        folder.sweep(SystemTime::now() + KEPT * 2).expect("looked through");
        assert_eq!(std::fs::read_dir(state.trust()).expect("a folder").count(), 0);
    }
}
