//! The state directory: what must outlast a restart, kept where systemd or the XDG rules say. Nothing in it is secret but
//! the key of the local CA, and the grants of the persons who have signed in.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Nobody says where state is kept.
#[derive(Debug, thiserror::Error)]
#[error("there is no folder for state: set STATE_DIRECTORY (StateDirectory= of systemd), XDG_STATE_HOME or HOME")]
pub struct StateFolderError;

/// The folder; it may not be there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFolder(PathBuf);

impl StateFolder {
    /// The one that the environment names.
    pub fn find() -> Result<Self, StateFolderError> {
        choose(|name| std::env::var_os(name)).map(Self).ok_or(StateFolderError)
    }

    /// A folder of a test's own.
    #[cfg(test)]
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the operations used are recorded if the configuration does not say.
    pub fn learned(&self) -> PathBuf {
        self.0.join("used.json")
    }

    /// Where writes and refusals are recorded if the configuration does not say.
    pub fn audit(&self) -> PathBuf {
        self.0.join("audit.jsonl")
    }

    /// The folder of the grants of persons who have signed in.
    pub fn grants(&self) -> PathBuf {
        self.0.join("grants")
    }

    /// The folder of the uses of rules with `max-uses`.
    pub fn uses(&self) -> PathBuf {
        self.0.join("uses")
    }

    /// The folder of what commands are to trust.
    pub fn trust(&self) -> PathBuf {
        self.0.join("trust")
    }

    /// The folder for the state of the proxies that commands start for themselves, of this name.
    pub fn commands(&self, name: &str) -> Self {
        Self(self.0.join("commands").join(name))
    }

    /// Makes it, closed to others, if it is not there.
    pub fn make(&self) -> io::Result<()> {
        make_folder(&self.0)
    }
}

/// The first of the folders of systemd (there may be several, with a colon between them), else one in the folder for
/// the state of programs. A relative path is none (XDG Base Directory Specification).
fn choose(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let first = |folders: OsString| std::env::split_paths(&folders).next();
    let own = variable("STATE_DIRECTORY").and_then(first).and_then(absolute);
    own.or_else(|| shared(variable).and_then(absolute).map(|folder| folder.join("ninjaone-proxy")))
}

#[cfg(not(windows))]
fn shared(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    variable("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home)
}

#[cfg(windows)]
fn shared(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    variable("LOCALAPPDATA").map(PathBuf::from)
}

/// Makes a folder and those above it, all closed to others. What is there already stays as it is.
#[cfg(unix)]
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes a folder and those above it.
#[cfg(not(unix))]
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

/// A folder of a file does not exist, nor does the one above it.
#[derive(Debug, thiserror::Error)]
#[error("the folder {} does not exist: make it, or correct the path", .0.display())]
pub struct MissingFolder(PathBuf);

impl MissingFolder {
    /// That of this file. Its own folder may be missing: it is made, see [`make_parent`].
    pub(crate) fn of(file: &Path) -> Result<(), Self> {
        let is_missing = |folder: &Path| {
            let found = std::fs::metadata(folder);
            found.is_err_and(|error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
        };
        let folders = file.ancestors().skip(1).take(2).filter(|folder| !folder.as_os_str().is_empty());
        let missing: Vec<_> = folders.filter(|folder| is_missing(folder)).collect();
        match missing.as_slice() {
            [_, above] => Err(Self((*above).to_owned())),
            _ => Ok(()),
        }
    }
}

/// Makes the folder of a file, closed to others, but none above it: a path that is typed wrong would make many. Only the
/// state directory is made with all above it.
pub(crate) fn make_parent(file: &Path) -> io::Result<()> {
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    if StateFolder::find().is_ok_and(|state| state.path() == folder) {
        return make_folder(folder);
    }
    MissingFolder::of(file).map_err(|missing| io::Error::new(io::ErrorKind::NotFound, missing))?;
    make_folder(folder)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn chosen(pairs: &[(&str, &str)]) -> Option<String> {
        let find = |name: &str| pairs.iter().find(|(own, _)| *own == name).map(|(_, value)| OsString::from(value));
        choose(find).map(|path| path.to_str().expect("text").to_owned())
    }

    #[test]
    fn state_is_kept_where_systemd_says_else_by_xdg_else_in_the_home() {
        let (home, xdg) = (("HOME", "/home/u"), ("XDG_STATE_HOME", "/xdg"));
        let of_home = Some("/home/u/.local/state/ninjaone-proxy".to_owned());
        assert_eq!(chosen(&[home]), of_home);
        assert_eq!(chosen(&[home, xdg]).as_deref(), Some("/xdg/ninjaone-proxy"));
        let systemd = ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b");
        assert_eq!(chosen(&[home, xdg, systemd]).as_deref(), Some("/var/lib/a"));
        for relative in [("XDG_STATE_HOME", "xdg"), ("XDG_STATE_HOME", ""), ("STATE_DIRECTORY", "lib")] {
            assert_eq!(chosen(&[home, relative]), of_home, "{relative:?}");
        }
        assert_eq!(chosen(&[("HOME", "u")]), None);
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn only_the_last_folder_of_a_path_is_made() {
        let folder = tempfile::tempdir().expect("a folder");
        make_parent(&folder.path().join("new/file")).expect("made");
        assert!(folder.path().join("new").is_dir());
        make_parent(&folder.path().join("new/other")).expect("there");
        make_parent(Path::new("file")).expect("the working directory");
        let error = make_parent(&folder.path().join("typo/folder/file")).expect_err("a path that is typed wrong");
        let typo = folder.path().join("typo");
        assert_eq!(
            error.to_string(),
            format!("the folder {} does not exist: make it, or correct the path", typo.display())
        );
        assert!(!typo.exists());
    }

    #[test]
    fn state_folder_is_closed_to_others_and_one_that_is_there_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let mode = |path: &Path| std::fs::metadata(path).expect("a folder").permissions().mode() & 0o777;
        let state = StateFolder::at(folder.path().join("deep/state"));
        state.make().expect("made");
        assert_eq!((mode(state.path()), mode(&folder.path().join("deep"))), (0o700, 0o700));
        std::fs::set_permissions(state.path(), std::fs::Permissions::from_mode(0o750)).expect("a mode");
        state.make().expect("there");
        assert_eq!(mode(state.path()), 0o750);
    }
}
