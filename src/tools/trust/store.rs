//! The certificates that a whole system trusts: the local CA goes in, and comes out again without a trace.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::authority::{AuthorityCertificate, AuthorityError};
use super::program::{self, Environment, ProgramError};
use crate::base::file;

/// The name of our file, which is one for the whole system.
const FILE: &str = "ninjaone-proxy-local-ca.crt";
/// Where Debian's program puts a link to it, for programs that read the folder.
const LINK: &str = "etc/ssl/certs/ninjaone-proxy-local-ca.pem";

/// Why the system's store could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nobody but an administrator may.
    #[error("nothing was changed: {} cannot be written ({cause}); only an administrator can change what this system trusts", path.display())]
    NoRights {
        /// Our file in the store.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// What is there is not of a local CA.
    #[error("nothing was changed: {0}. Another program or a person put it there: if nothing needs it, remove it first")]
    Foreign(#[from] AuthorityError),
    /// What is there is not a file.
    #[error("nothing was changed: {} is not a regular file: if nothing needs it, remove it first", .0.display())]
    NotAFile(PathBuf),
    /// The system does not let us.
    #[error("nothing was changed: {} cannot be written: {cause}", path.display())]
    File {
        /// Our file in the store.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The system's program did not add the certificate.
    #[error("the local CA was not added: {0}")]
    NotAdded(#[source] ProgramError),
    /// The system's program did not remove the certificate.
    #[error("the local CA was not removed: {cause}. If the store no longer has it, remove {}", path.display())]
    NotRemoved {
        /// Our file in the store.
        path: PathBuf,
        /// What the program says.
        cause: ProgramError,
    },
}

/// What an installation did.
#[derive(Debug, PartialEq, Eq)]
pub enum Installed {
    /// There was none before.
    Added,
    /// It was there already; the store was made anew.
    Again,
    /// It took the place of another local CA.
    Replaced(Box<AuthorityCertificate>),
}

/// How a system comes to trust a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Method {
    /// A program reads a folder of certificates.
    Folder,
    /// The same. What is gone must be said, or Debian's trust store of Java keeps it.
    Debian { configuration: PathBuf, link: PathBuf },
    /// A program keeps certificates in this keychain of macOS.
    Keychain(PathBuf),
    /// A program keeps certificates in the registry.
    Windows,
}

/// Where this system keeps the certificates that it trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemStore {
    systems: &'static str,
    /// Our certificate, while it is installed. Where the store itself is no folder, this is how it is found again.
    file: PathBuf,
    program: PathBuf,
    method: Method,
}

impl SystemStore {
    /// That of this system, if it is of a kind that is known.
    pub fn find() -> Option<Self> {
        if cfg!(windows) {
            let folder = |name| std::env::var_os(name).map(PathBuf::from);
            return Some(Self::windows(&folder("SystemRoot")?, &folder("ProgramData")?));
        }
        let root = Path::new("/");
        if cfg!(target_os = "macos") { Some(Self::keychain(root)) } else { Self::folder(root) }
    }

    /// That of a Linux system.
    fn folder(root: &Path) -> Option<Self> {
        // openSUSE has a program of the same name as Debian, and comes first.
        let known = [
            ("openSUSE, SLES", "etc/pki/trust/anchors", "update-ca-certificates"),
            ("Fedora, RHEL", "etc/pki/ca-trust/source/anchors", "update-ca-trust"),
            ("Arch Linux", "etc/ca-certificates/trust-source/anchors", "update-ca-trust"),
        ];
        let found = known.into_iter().find_map(|(systems, folder, name)| {
            let folder = Some(root.join(folder)).filter(|folder| folder.is_dir())?;
            let program = program::find(root, name)?;
            Some(Self { systems, file: folder.join(FILE), program, method: Method::Folder })
        });
        found.or_else(|| {
            let folder = Some(root.join("usr/local/share/ca-certificates")).filter(|folder| folder.is_dir())?;
            let program = program::find(root, "update-ca-certificates")?;
            let method = Method::Debian { configuration: root.join("etc/ca-certificates.conf"), link: root.join(LINK) };
            Some(Self { systems: "Debian, Ubuntu, Alpine", file: folder.join(FILE), program, method })
        })
    }

    fn keychain(root: &Path) -> Self {
        Self {
            systems: "macOS",
            file: root.join("Library/Application Support").join(FILE),
            program: root.join("usr/bin/security"),
            method: Method::Keychain(root.join("Library/Keychains/System.keychain")),
        }
    }

    fn windows(system: &Path, data: &Path) -> Self {
        let program = system.join("System32").join("certutil.exe");
        Self { systems: "Windows", file: data.join(FILE), program, method: Method::Windows }
    }

    /// The systems of this kind.
    pub fn systems(&self) -> &'static str {
        self.systems
    }

    /// Our file, while the CA is installed.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The local CA that is installed.
    pub fn installed(&self) -> Result<Option<AuthorityCertificate>, StoreError> {
        match self.file.symlink_metadata() {
            Ok(found) if !found.is_file() => Err(StoreError::NotAFile(self.file.clone())),
            Ok(_) | Err(_) => Ok(AuthorityCertificate::read(&self.file)?),
        }
    }

    /// Has the system trust this CA, and no other local CA.
    pub fn install(&self, authority: &AuthorityCertificate) -> Result<Installed, StoreError> {
        let before = self.installed()?;
        // First out with the old one: whoever is told of changes only, as Java's store on Debian, would keep it.
        let old = before.as_ref().filter(|old| *old != authority);
        if old.is_some() {
            self.uninstall()?;
        }
        self.write(authority)?;
        if let Err(error) = self.put_in() {
            // What was trusted before is trusted on. The first error says more.
            let _ = match old {
                Some(old) => self.write(old).map(|()| self.put_in()).map(drop),
                None if before.is_none() => std::fs::remove_file(&self.file).map_err(|cause| self.not_written(cause)),
                None => Ok(()),
            };
            return Err(StoreError::NotAdded(error));
        }
        Ok(match before {
            None => Installed::Added,
            Some(old) if old == *authority => Installed::Again,
            Some(old) => Installed::Replaced(Box::new(old)),
        })
    }

    /// Takes out what was installed, whatever has become of the CA since; `None` if nothing was.
    pub fn uninstall(&self) -> Result<Option<AuthorityCertificate>, StoreError> {
        let Some(old) = self.installed()? else { return Ok(None) };
        if !self.is_folder() {
            self.take_out(&old)?;
        }
        std::fs::remove_file(&self.file).map_err(|cause| self.not_written(cause))?;
        if self.is_folder()
            && let Err(error) = self.take_out(&old)
        {
            // The store has it still: so does the folder, or the next try would find nothing.
            self.write(&old)?;
            return Err(error);
        }
        Ok(Some(old))
    }

    fn is_folder(&self) -> bool {
        matches!(self.method, Method::Folder | Method::Debian { .. })
    }

    fn write(&self, authority: &AuthorityCertificate) -> Result<(), StoreError> {
        file::replace(&self.file, authority.pem().as_bytes(), 0o644).map_err(|cause| self.not_written(cause))
    }

    fn not_written(&self, cause: io::Error) -> StoreError {
        let path = self.file.clone();
        if cause.kind() == io::ErrorKind::PermissionDenied {
            return StoreError::NoRights { path, cause };
        }
        StoreError::File { path, cause }
    }

    /// Has the system's program take our file.
    fn put_in(&self) -> Result<(), ProgramError> {
        match &self.method {
            Method::Folder | Method::Debian { .. } => self.run(&[]),
            Method::Keychain(keychain) => self.run(&[
                "add-trusted-cert".into(),
                "-d".into(),
                "-r".into(),
                "trustRoot".into(),
                "-k".into(),
                keychain.into(),
                self.file.clone().into(),
            ]),
            Method::Windows => self.run(&["-addstore".into(), "-f".into(), "Root".into(), self.file.clone().into()]),
        }
    }

    /// Has the system's program drop this certificate.
    fn take_out(&self, old: &AuthorityCertificate) -> Result<(), StoreError> {
        let ran = match &self.method {
            Method::Folder => self.run(&[]),
            Method::Debian { configuration, link } => self.rebuild_without(configuration, link),
            Method::Keychain(keychain) => {
                self.run(&["remove-trusted-cert".into(), "-d".into(), self.file.clone().into()]).and_then(|()| {
                    self.run(&["delete-certificate".into(), "-Z".into(), old.sha1().into(), keychain.into()])
                })
            }
            Method::Windows => self.run(&["-delstore".into(), "Root".into(), old.sha1().into()]),
        };
        ran.map_err(|cause| StoreError::NotRemoved { path: self.file.clone(), cause })
    }

    /// Debian's program forgets links to files that are gone only when it is told to begin afresh, and says then of every
    /// certificate that it is new, and of none that it is gone. A configuration that deselects ours makes it say so, and
    /// hooks such as that of Java remove it too.
    fn rebuild_without(&self, configuration: &Path, link: &Path) -> Result<(), ProgramError> {
        let unread = |cause| ProgramError::NotRun { program: self.program.clone(), cause };
        let mut text = match std::fs::read(configuration) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(unread(cause)),
            read => read.unwrap_or_default(),
        };
        text.extend_from_slice(format!("\n!{FILE}\n").as_bytes());
        let other = configuration.with_extension("conf.ninjaone-proxy");
        file::replace(&other, &text, 0o644).map_err(unread)?;
        let ran = self.run(&["--certsconf".into(), other.clone().into()]);
        std::fs::remove_file(&other).map_err(unread)?;
        ran?;
        // An old one that does not know the option.
        if link.symlink_metadata().is_ok() { self.run(&["--fresh".into()]) } else { Ok(()) }
    }

    fn run(&self, arguments: &[OsString]) -> Result<(), ProgramError> {
        let environment = if self.is_folder() { Environment::Clean } else { Environment::Ours };
        program::run(&self.program, arguments, environment)
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests;
