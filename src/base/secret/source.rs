//! Where a credential comes from: the environment, a file that may change, or a command that prints it.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{Secret, command};
use crate::base::file::{self, Stamp};

/// The longest credential, in bytes; a longer one is another file.
pub(super) const MAX_LENGTH: usize = 16 * 1024;
/// How long a command may take: somebody may have to touch a key.
const COMMAND_TIME: Duration = Duration::from_secs(30);
/// Where systemd puts the credentials of a service.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// A place that a credential is read from.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// The value itself.
    Given(Secret),
    /// An environment variable: read once, a process's environment does not change.
    Env(String),
    /// A file: read again when it changes.
    File(PathBuf),
    /// Program and arguments, run without a shell: run again when what it printed is refused.
    Command(Vec<String>),
}

/// Why a credential cannot be read. Never holds any of it.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The variable is missing, or not text.
    #[error("the environment variable {0} is not set")]
    NoVariable(String),
    /// The system does not let us.
    #[error("the file {} cannot be read: {cause}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// There is no folder of credentials.
    #[error("there is no credential {0:?}: systemd passes them to services with LoadCredential={0}:PATH")]
    NoCredentials(String),
    /// A name that leads out of the folder.
    #[error("{0:?} is not the name of a systemd credential")]
    BadName(String),
    /// The program did not start.
    #[error("the command {name:?} cannot be run: {cause}")]
    NotRun {
        /// The program.
        name: String,
        /// What the system says.
        cause: io::Error,
    },
    /// The program says that it failed.
    #[error("the command {name:?} failed ({status}): run it by hand to see why")]
    Failed {
        /// The program.
        name: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The program was ended by us.
    #[error("the command {0:?} did not end within {1:?}")]
    TookTooLong(String, Duration),
    /// The quotation marks would be part of the value.
    #[error("the value from {0} is in quotes: write it without them")]
    Quoted(String),
    /// What was read cannot be a credential.
    #[error("{from} {fault}")]
    NoCredential {
        /// The source, for people.
        from: String,
        /// What is wrong with it.
        fault: &'static str,
    },
}

impl SecretSource {
    /// The systemd credential of this name.
    pub fn credential(name: &str) -> Result<Self, SourceError> {
        if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(SourceError::BadName(name.to_owned()));
        }
        let folder = std::env::var_os(CREDENTIALS_DIRECTORY);
        let folder = folder.ok_or_else(|| SourceError::NoCredentials(name.to_owned()))?;
        Ok(Self::File(Path::new(&folder).join(name)))
    }

    /// Reads the credential, without line breaks and blanks around it. Blocks, for a command up to half a minute.
    pub fn read(&self) -> Result<Secret, SourceError> {
        let bytes = match self {
            Self::Given(secret) => return Ok(secret.clone()),
            Self::Env(name) => {
                std::env::var(name).map_err(|_| SourceError::NoVariable(name.clone()))?.into_bytes().into()
            }
            Self::File(path) => {
                let unreadable = |cause| SourceError::Unreadable { path: path.clone(), cause };
                file::open(path).and_then(read_all).map_err(unreadable)?
            }
            Self::Command(words) => command::run(words, COMMAND_TIME)?,
        };
        let no_credential = |fault| SourceError::NoCredential { from: self.to_string(), fault };
        let text = credential(&bytes).map_err(no_credential)?;
        if is_quoted(&text) {
            return Err(SourceError::Quoted(self.to_string()));
        }
        Ok(Secret::new(text.to_string()))
    }

    /// What shows that a file has changed; `None` for anything else than a file that exists.
    pub fn stamp(&self) -> Option<Stamp> {
        match self {
            Self::File(path) => Stamp::of(path),
            Self::Given(_) | Self::Env(_) | Self::Command(_) => None,
        }
    }

    /// Whether it is the same place as `other`; a given value the same value.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Given(own), Self::Given(other)) => own.is_same(other),
            (Self::Env(own), Self::Env(other)) => own == other,
            (Self::File(own), Self::File(other)) => own == other,
            (Self::Command(own), Self::Command(other)) => own == other,
            (Self::Given(_) | Self::Env(_) | Self::File(_) | Self::Command(_), _) => false,
        }
    }

    /// Whether reading it again can bring something new although no stamp tells so.
    pub fn is_command(&self) -> bool {
        matches!(self, Self::Command(_))
    }

    /// A warning if users of this machine may read or write the file who need not.
    #[cfg(unix)]
    pub fn exposure(&self) -> Option<String> {
        use std::os::unix::fs::PermissionsExt;
        let Self::File(path) = self else { return None };
        let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
        let who = if mode & 0o004 != 0 { "every user may read" } else { "other users may write" };
        let path = path.display();
        (mode & 0o026 != 0).then(|| format!("{who} {path} (mode {mode:03o}): chmod 600 {path}"))
    }

    /// Permissions are told on Unix only.
    #[cfg(not(unix))]
    pub fn exposure(&self) -> Option<String> {
        None
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("the value"),
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Command(words) => write!(f, "the command {:?}", program(words)),
        }
    }
}

fn program(words: &[String]) -> &str {
    words.first().map_or("", String::as_str)
}

/// Into one piece of memory, so that no outgrown one is left behind.
fn read_all(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LENGTH + 64));
    from.take(MAX_LENGTH as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A line of text, in each encoding that editors write, without the blanks around it.
fn credential(bytes: &[u8]) -> Result<Zeroizing<String>, &'static str> {
    if bytes.len() > MAX_LENGTH {
        return Err("holds more than 16 KiB, so it is not a credential");
    }
    let text = match file::text(bytes) {
        Ok(Cow::Borrowed(text)) => Zeroizing::new(text.to_owned()),
        Ok(Cow::Owned(text)) => Zeroizing::new(text),
        Err(file::UnreadableFile::UnmarkedUtf16) => return Err("looks like UTF-16: save it as UTF-8"),
        Err(_) => return Err("is not text: save it as UTF-8"),
    };
    let line = text.trim();
    match line {
        "" => Err("is empty"),
        line if line.chars().any(char::is_control) => Err("holds more than one line, or control characters"),
        line => Ok(Zeroizing::new(line.to_owned())),
    }
}

/// Quotes are hardly part of a credential: they may be meant for a shell that never reads them.
fn is_quoted(line: &str) -> bool {
    let quoted = |quote| line.len() > 1 && line.starts_with(quote) && line.ends_with(quote);
    quoted('"') || quoted('\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> (tempfile::TempDir, SecretSource) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, content).expect("a file");
        (folder, SecretSource::File(path))
    }

    fn read(content: &[u8]) -> Result<String, String> {
        file(content).1.read().map(|secret| secret.expose().to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn source_reads_a_file_without_its_line_break_and_byte_order_mark() {
        for content in ["s3cret", "s3cret\n", "s3cret\r\n", "\u{feff}s3cret\r\n", "s3cret\n\n"] {
            assert_eq!(read(content.as_bytes()).as_deref(), Ok("s3cret"), "{content:?}");
        }
        assert_eq!(read(b" \ts3 cret \n").as_deref(), Ok("s3 cret"), "blanks inside are the secret's own");
        for (mark, unit) in [([0xff, 0xfe], u16::to_le_bytes as fn(u16) -> [u8; 2]), ([0xfe, 0xff], u16::to_be_bytes)] {
            let wide: Vec<u8> = mark.into_iter().chain("s3cr\u{e9}t\r\n".encode_utf16().flat_map(unit)).collect();
            assert_eq!(read(&wide).as_deref(), Ok("s3cr\u{e9}t"), "UTF-16, as PowerShell writes it");
        }
    }

    #[test]
    fn source_says_what_is_no_credential_and_shows_none_of_it() {
        for (content, fault) in [
            (&b""[..], "is empty"),
            (b"\r\n", "is empty"),
            (b"one\ntwo\n", "more than one line"),
            (b"a\0b", "control characters"),
            (b"\xff\xfes", "save it as UTF-8"),
            (b"\"s3cret\"\n", "is in quotes"),
            (b" 's3cret' ", "is in quotes"),
            (&[b'x'; MAX_LENGTH + 1], "more than 16 KiB"),
        ] {
            let said = read(content).expect_err("no credential");
            let said = said.strip_prefix("the value from ").unwrap_or(&said);
            assert!(said.starts_with("the file ") && said.contains(fault) && !said.contains("one\n"), "{said}");
        }
    }

    #[test]
    fn source_changes_its_stamp_with_the_file() {
        let (folder, source) = file(b"one");
        let first = source.stamp();
        assert!(first.is_some() && first == source.stamp());
        let next = folder.path().join("next");
        std::fs::write(&next, b"two").expect("a file");
        std::fs::rename(next, folder.path().join("secret")).expect("a replaced file");
        assert_ne!(first, source.stamp());
        std::fs::remove_file(folder.path().join("secret")).expect("no file");
        assert_eq!(source.stamp(), None);
    }

    #[cfg(unix)]
    #[test]
    fn source_warns_of_a_file_that_others_may_read_or_write() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, source) = file(b"one");
        for (mode, warns) in [(0o600, false), (0o400, false), (0o440, false), (0o644, true), (0o620, true)] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(folder.path().join("secret"), permissions).expect("a mode");
            assert_eq!(source.exposure().is_some(), warns, "{mode:o}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn source_runs_a_command_without_a_shell() {
        let command =
            |words: &[&str]| SecretSource::Command(words.iter().map(|&word| word.to_owned()).collect()).read();
        assert_eq!(command(&["printf", "%s\n", "$HOME; s3cret"]).expect("printed").expose().as_str(), "$HOME; s3cret");
        let said = |words: &[&str]| command(words).expect_err("a failure").to_string();
        assert!(said(&["false"]).contains("\"false\" failed (exit status: 1)"));
        assert!(said(&["no-such-program-here"]).contains("cannot be run"));
        assert!(said(&["true"]).contains("is empty"));
        assert!(said(&["yes"]).contains("more than 16 KiB") || said(&["yes"]).contains("failed"));
    }

    #[test]
    fn source_credential_is_a_file_name_only() {
        for bad in ["", "../x", "a/b", ".x", "a\\b"] {
            assert!(matches!(SecretSource::credential(bad), Err(SourceError::BadName(_))), "{bad}");
        }
    }
}
