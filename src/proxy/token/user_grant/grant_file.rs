//! The file of one person's grant, in the folder for state: locked around each change, written anew and renamed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::base::file::{self, Lock};
use crate::base::secret::Secret;
use crate::base::state::{StateFolder, make_folder};

/// The longest file: twice the longest answer of a token endpoint, so that every token that is given can be read again.
const MAX_FILE: u64 = 128 * 1024;
/// The last second of the year 9999: no time of a grant is later, and none after it can be shown.
pub(super) const MAX_TIME: u64 = 253_402_300_799;
/// How long another process may hold the lock: it is held while the token endpoint is asked.
const LOCK_TIME: Duration = Duration::from_secs(90);
/// The form of the file.
const FORMAT: u32 = 1;

/// Whose grant it is: one file for each host, client and user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantOwner {
    /// The user's name in the configuration.
    pub user: String,
    /// Host and port of the instance, or `sandbox`.
    pub host: String,
    /// The id of the API client app.
    pub client_id: String,
}

/// Where a grant is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantFile {
    path: PathBuf,
    owner: GrantOwner,
}

/// A grant as it is kept.
#[derive(Debug, Clone)]
pub struct StoredGrant {
    /// Differs with each sign-in.
    pub sign_in: String,
    /// The scopes that were granted, as the server said them.
    pub scopes: String,
    /// When the person signed in.
    pub signed_in: SystemTime,
    /// When the refresh token was last used, or given.
    pub renewed: SystemTime,
    /// When NinjaOne ended it, if it did.
    pub ended: Option<SystemTime>,
    /// The refresh token.
    pub refresh_token: Secret,
}

/// Why there is no grant to be had from the file, or none can be put there.
#[derive(Debug, thiserror::Error)]
pub enum GrantFileError {
    /// The system says no.
    #[error("{} cannot be {what}: {source}{}", path.display(), folder_advice(what))]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It is not what we have written.
    #[error("{} is damaged ({why}): sign in again, which replaces it", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It was copied or renamed.
    #[error("{} is of {found}, not of {wanted}: sign in again, which replaces it", path.display())]
    OfAnother {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
}

/// What to do where the system says no. Who waits for a lock in vain is told that by the cause.
fn folder_advice(what: &str) -> &'static str {
    match what {
        "written" => "; make room, or correct the owner and mode of its folder, or name another one by STATE_DIRECTORY",
        "locked" => "",
        _ => "; correct the owner and mode of the file and its folder",
    }
}

/// The file, while no other process may change it.
#[derive(Debug)]
pub struct LockedGrantFile {
    file: GrantFile,
    _lock: Lock,
}

/// What is written. The token is only in memory that is overwritten.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Content {
    format: u32,
    user: String,
    host: String,
    client_id: String,
    sign_in: String,
    scopes: String,
    signed_in: u64,
    renewed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<u64>,
    refresh_token: Zeroizing<String>,
}

impl std::fmt::Display for GrantOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { user, host, client_id } = self;
        write!(f, "user {user}, host {host}, client id {client_id}")
    }
}

impl GrantFile {
    /// That of this owner.
    pub fn new(state: &StateFolder, owner: GrantOwner) -> Self {
        let text = format!("{}\n{}\n{}", owner.host, owner.client_id, owner.user);
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let short = digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect::<String>();
        let plain = |text: &str| {
            let plain = |c: char| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' };
            text.chars().take(60).map(plain).collect::<String>()
        };
        // Two owners that are plain in the same way differ by the digest.
        let name = format!("{}@{}.{short}.json", plain(&owner.user), plain(&owner.host));
        Self { path: state.grants().join(name), owner }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is.
    pub fn owner(&self) -> &GrantOwner {
        &self.owner
    }

    /// The grant, if there is one. Blocks.
    pub fn read(&self) -> Result<Option<StoredGrant>, GrantFileError> {
        self.read_from(&self.path)
    }

    fn read_from(&self, path: &Path) -> Result<Option<StoredGrant>, GrantFileError> {
        let bytes = match file::read(path, MAX_FILE) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io("read", error)),
        };
        let damaged = |why| GrantFileError::Damaged { path: path.to_owned(), why };
        let content: Content = serde_json::from_slice(&bytes).map_err(|_| damaged("not the JSON of a grant"))?;
        if content.format != FORMAT {
            return Err(damaged("written by another version"));
        }
        let Content { user, host, client_id, sign_in, scopes, signed_in, renewed, ended, refresh_token, .. } = content;
        let found = GrantOwner { user, host, client_id };
        if found != self.owner {
            let (found, wanted) = (found.to_string(), self.owner.to_string());
            return Err(GrantFileError::OfAnother { path: path.to_owned(), found, wanted });
        }
        if refresh_token.is_empty() {
            return Err(damaged("without a refresh token"));
        }
        let at = |seconds: u64| match seconds {
            0..=MAX_TIME => Ok(UNIX_EPOCH + Duration::from_secs(seconds)),
            _ => Err(damaged("a time in it is not possible")),
        };
        let (signed_in, renewed, ended) = (at(signed_in)?, at(renewed)?, ended.map(at).transpose()?);
        let refresh_token = Secret::new(refresh_token.to_string());
        Ok(Some(StoredGrant { sign_in, scopes, signed_in, renewed, ended, refresh_token }))
    }

    /// Whether a grant can be written. What there is stays as it is. Blocks.
    pub fn try_writing(&self) -> Result<(), GrantFileError> {
        self.make_folders()?;
        let probe = self.path.with_extension("probe");
        let tried = file::replace(&probe, b"", 0o600).and_then(|()| std::fs::remove_file(&probe));
        tried.map_err(|error| self.io("written", error))
    }

    fn make_folders(&self) -> Result<(), GrantFileError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let state = folder.parent().unwrap_or(Path::new("."));
        let made = make_folder(state).and_then(|()| file::make_folder_within(folder));
        made.map_err(|error| self.io("written", error))
    }

    /// Waits until no other process changes it. Blocks.
    pub fn lock(&self) -> Result<LockedGrantFile, GrantFileError> {
        self.make_folders()?;
        let path = self.path.with_extension("lock");
        let lock = file::lock_within(&path, LOCK_TIME).map_err(|error| self.io("locked", error))?;
        self.finish();
        Ok(LockedGrantFile { file: self.clone(), _lock: lock })
    }

    /// Puts in place what a process had written when it was killed: it holds the only token that is good. What is not the
    /// next of this sign-in goes, so that no token is left about. To be called under the lock.
    fn finish(&self) {
        for begun in file::unfinished(&self.path).unwrap_or_default() {
            let is_next = match (self.read(), self.read_from(&begun)) {
                (Ok(Some(last)), Ok(Some(next))) => next.sign_in == last.sign_in && next.renewed >= last.renewed,
                (_, _) => false,
            };
            // What fails here fails for the next file that is written too, which says so.
            let _ = if is_next { file::finish(&begun, &self.path) } else { std::fs::remove_file(&begun) };
        }
    }

    fn io(&self, what: &'static str, source: io::Error) -> GrantFileError {
        GrantFileError::Io { path: self.path.clone(), what, source }
    }
}

impl LockedGrantFile {
    /// The grant, if there is one. Blocks.
    pub fn read(&self) -> Result<Option<StoredGrant>, GrantFileError> {
        self.file.read()
    }

    /// Puts this grant in the place of the one that is there. Blocks.
    pub fn write(&self, grant: &StoredGrant) -> Result<(), GrantFileError> {
        let GrantOwner { user, host, client_id } = self.file.owner.clone();
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let content = Content {
            format: FORMAT,
            user,
            host,
            client_id,
            sign_in: grant.sign_in.clone(),
            scopes: grant.scopes.clone(),
            signed_in: seconds(grant.signed_in),
            renewed: seconds(grant.renewed),
            ended: grant.ended.map(seconds),
            refresh_token: grant.refresh_token.expose(),
        };
        // Room for all of it at once, so that no outgrown piece of the token is left in memory.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize));
        serde_json::to_writer(&mut *bytes, &content).map_err(|error| self.file.io("written", error.into()))?;
        file::replace(&self.file.path, &bytes, 0o600).map_err(|error| self.file.io("written", error))
    }

    /// Removes the grant; whether there was one. Blocks.
    pub fn remove(&self) -> Result<bool, GrantFileError> {
        match std::fs::remove_file(&self.file.path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.file.io("removed", error)),
        }
    }
}

impl StoredGrant {
    /// That of a sign-in that has just ended well.
    pub fn new(refresh_token: Secret, scopes: String) -> Self {
        let sign_in = format!("{:016x}", fastrand::u64(..));
        let now = SystemTime::now();
        Self { sign_in, scopes, signed_in: now, renewed: now, ended: None, refresh_token }
    }

    /// The same grant after its token was used; a server that rotates gives another one (RFC 6749 section 6).
    #[must_use]
    pub fn renewed(self, rotated: Option<Secret>) -> Self {
        Self { renewed: SystemTime::now(), refresh_token: rotated.unwrap_or(self.refresh_token), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(user: &str) -> GrantOwner {
        GrantOwner { user: user.to_owned(), host: "eu.ninjarmm.com".to_owned(), client_id: "a/b".to_owned() }
    }

    fn place() -> (tempfile::TempDir, GrantFile) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = GrantFile::new(&StateFolder::at(folder.path().join("state")), owner("technician"));
        (folder, file)
    }

    fn grant(token: &str) -> StoredGrant {
        StoredGrant::new(Secret::new(token.to_owned()), "monitoring offline_access".to_owned())
    }

    #[test]
    fn grant_is_kept_renewed_and_removed() {
        let (_folder, file) = place();
        assert!(file.read().expect("no file").is_none());
        file.lock().expect("a lock").write(&grant("one")).expect("written");
        let first = file.read().expect("a file").expect("a grant");
        assert_eq!(*first.refresh_token.expose(), "one");
        let sign_in = first.sign_in.clone();
        let locked = file.lock().expect("a lock");
        locked.write(&first.renewed(Some(Secret::new("two".to_owned())))).expect("written");
        drop(locked);
        let second = file.read().expect("a file").expect("a grant");
        assert_eq!((&**second.refresh_token.expose(), &second.sign_in), ("two", &sign_in));
        assert!(file.lock().expect("a lock").remove().expect("removed"));
        assert!(!file.lock().expect("a lock").remove().expect("nothing there") && file.read().expect("none").is_none());
    }

    #[cfg(unix)]
    #[test]
    fn grant_is_closed_to_others() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, file) = place();
        file.lock().expect("a lock").write(&grant("one")).expect("written");
        let mode = |path: &Path| std::fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        assert_eq!((mode(file.path()), mode(file.path().parent().expect("a folder"))), (0o600, 0o700));
        assert_eq!(mode(&file.path().with_extension("lock")), 0o600);
    }

    #[test]
    fn a_token_of_any_length_that_is_given_is_read_again() {
        let (_folder, file) = place();
        let long = "\\".repeat(32 * 1024);
        file.lock().expect("a lock").write(&grant(&long)).expect("written");
        assert_eq!(*file.read().expect("a file").expect("a grant").refresh_token.expose(), long);
    }

    #[test]
    fn writing_is_tried_without_a_trace_and_told_where_it_is_not_possible() {
        let (folder, file) = place();
        file.lock().expect("a lock").write(&grant("one")).expect("written");
        file.try_writing().expect("a folder that can be written");
        assert_eq!(std::fs::read_dir(folder.path().join("state/grants")).expect("a folder").count(), 2);
        assert_eq!(*file.read().expect("a file").expect("a grant").refresh_token.expose(), "one");
        let occupied = GrantFile::new(&StateFolder::at(file.path().to_owned()), owner("technician"));
        let error = occupied.try_writing().expect_err("a file is in the place of the folder").to_string();
        assert!(error.contains("cannot be written: ") && error.contains("STATE_DIRECTORY"), "{error}");
    }

    #[test]
    fn owners_have_files_of_their_own() {
        let state = StateFolder::at(PathBuf::from("/state"));
        let path = |user: &str, host: &str, client: &str| {
            let [user, host, client_id] = [user, host, client].map(str::to_owned);
            GrantFile::new(&state, GrantOwner { user, host, client_id }).path().to_owned()
        };
        let all = [("a", "h", "c"), ("a/", "h", "c"), ("a_", "h", "c"), ("a", "h:1", "c"), ("a", "h", "d")];
        let mut paths: Vec<_> = all.iter().map(|(user, host, client)| path(user, host, client)).collect();
        assert!(paths.iter().all(|path| path.parent() == Some(Path::new("/state/grants"))), "{paths:?}");
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), all.len());
    }

    #[test]
    fn what_is_not_ours_is_said_and_left() {
        let (_folder, file) = place();
        file.lock().expect("a lock").write(&grant("one")).expect("written");
        let text = std::fs::read_to_string(file.path()).expect("a file");
        for (content, said) in [
            (String::new(), "is damaged (not the JSON of a grant)"),
            (text[..text.len() / 2].to_owned(), "is damaged (not the JSON of a grant)"),
            (text.replace("\"format\":1", "\"format\":2"), "is damaged (written by another version)"),
            (text.replace("\"one\"", "\"\""), "is damaged (without a refresh token)"),
            (
                text.replace("eu.ninjarmm", "us.ninjarmm"),
                "is of user technician, host us.ninjarmm.com, client id a/b, not of",
            ),
            (text.replace("\"technician\"", "\"other\""), "is of user other"),
            (text.replace("\"renewed\":", "\"renewed\":999999999"), "is damaged (a time in it is not possible)"),
        ] {
            std::fs::write(file.path(), &content).expect("a file");
            let error = file.read().expect_err(said).to_string();
            assert!(error.contains(said) && !error.contains("one\""), "{error}");
            assert_eq!(std::fs::read_to_string(file.path()).expect("a file"), content);
        }
    }

    #[test]
    fn what_a_killed_process_has_written_is_put_in_place_if_it_is_the_whole_next_of_the_sign_in() {
        let (_folder, file) = place();
        let begun = file.path().with_extension("json.0123abcd");
        let first = grant("one");
        file.lock().expect("a lock").write(&first).expect("written");
        let whole = std::fs::read_to_string(file.path()).expect("a file");
        let next = whole.replace("\"one\"", "\"two\"");
        let earlier = StoredGrant { renewed: UNIX_EPOCH, ..first.clone() };
        file.lock().expect("a lock").write(&earlier).expect("written");
        let early = std::fs::read_to_string(file.path()).expect("a file").replace("\"one\"", "\"zero\"");
        file.lock().expect("a lock").write(&first).expect("written");
        for (content, wanted) in [
            (String::new(), "one"),
            (next[..next.len() - 2].to_owned(), "one"),
            (next.replace(&first.sign_in, "of another sign-in"), "one"),
            (next.replace("eu.ninjarmm", "us.ninjarmm"), "one"),
            (early, "one"),
            (next, "two"),
        ] {
            std::fs::write(&begun, &content).expect("a file");
            assert_ne!(*file.read().expect("a file").expect("a grant").refresh_token.expose(), "two", "under the lock");
            let found = file.lock().expect("a lock").read().expect("a file").expect("a grant");
            assert_eq!((&**found.refresh_token.expose(), begun.exists()), (wanted, false), "{content}");
        }
        // Who signs out leaves no token.
        std::fs::write(&begun, whole).expect("a file");
        assert!(file.lock().expect("a lock").remove().expect("removed") && !begun.exists() && !file.path().exists());
    }

    #[test]
    fn a_grant_is_not_printed() {
        assert!(!format!("{:?}", grant("hunter2")).contains("hunter2"));
    }
}
