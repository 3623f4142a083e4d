//! Unix sockets: a file whose mode and group say who may connect, from its first moment to its removal.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::BACKLOG;
use super::BindError;
use super::address::SocketFile;

/// A socket file of ours. Dropping it removes the file, unless somebody else's is there by then.
#[derive(Debug)]
pub(super) struct SocketFileGuard {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFileGuard {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }

    /// Changes who may connect. In no moment may anybody whom both keep out; if it fails, all is as it was.
    pub(super) fn admit(&self, old: &SocketFile, new: &SocketFile) -> Result<(), BindError> {
        if identity(&self.path)? != self.identity {
            return Err(BindError::Replaced);
        }
        let give = |mode| std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(mode));
        give(old.mode & new.mode)?;
        let group = new.group.filter(|_| new.group != old.group);
        let given = group.map_or(Ok(()), |group| {
            chown(&self.path, None, Some(group)).map_err(|cause| BindError::Group { group, cause })
        });
        let given = given.and_then(|()| Ok(give(new.mode)?));
        if given.is_err() {
            // It was possible a moment ago.
            let _ = give(old.mode);
        }
        given
    }
}

impl Drop for SocketFileGuard {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket file cannot be removed");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Binds a socket under a name that nobody knows, gives it group and mode, and then its own name: so it takes the
/// place of a stale one at once, and never lets anybody in whom the mode keeps out.
pub(super) fn bind(file: &SocketFile) -> Result<(UnixListener, SocketFileGuard), BindError> {
    check_free(&file.path)?;
    let hidden = file.path.with_file_name(format!(".{:08x}", fastrand::u32(..)));
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let _ = SockAddr::unix(&file.path)?;
    socket.bind(&SockAddr::unix(&hidden)?)?;
    let placed = place(&socket, &hidden, file);
    if placed.is_err() {
        // Nothing is lost when it cannot be removed: nobody listens on it.
        let _ = std::fs::remove_file(&hidden);
    }
    placed.map(|lease| (socket.into(), lease))
}

fn place(socket: &Socket, hidden: &Path, file: &SocketFile) -> Result<SocketFileGuard, BindError> {
    if let Some(group) = file.group {
        chown(hidden, None, Some(group)).map_err(|cause| BindError::Group { group, cause })?;
    }
    std::fs::set_permissions(hidden, PermissionsExt::from_mode(file.mode))?;
    socket.listen(BACKLOG)?;
    std::fs::rename(hidden, &file.path)?;
    Ok(SocketFileGuard::of(&file.path)?)
}

/// Nothing is there, or a socket that nobody accepts from.
fn check_free(path: &Path) -> Result<(), BindError> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(BindError::NoSocket),
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        // It went away between the two looks.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A full queue of one that listens.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(BindError::Live),
        Err(error) => Err(error.into()),
        Ok(()) => Err(BindError::Live),
    }
}

/// The number of a group given by name or number; `None` if this system knows no group of that name.
pub(super) fn group(name: &str) -> io::Result<Option<u32>> {
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    Ok(nix::unistd::Group::from_name(name)?.map(|group| group.gid.as_raw()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn file(folder: &tempfile::TempDir) -> SocketFile {
        SocketFile { path: folder.path().join("s"), mode: 0o620, group: None }
    }

    #[test]
    fn unix_socket_has_its_mode_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = file(&folder);
        let (_listener, lease) = bind(&file).expect("a socket");
        assert_eq!(std::fs::metadata(&file.path).expect("a file").mode() & 0o7777, 0o620);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
        drop(lease);
        assert!(!file.path.exists(), "removed");
    }

    #[test]
    fn unix_socket_replaces_a_stale_one_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = file(&folder);
        let (listener, first) = bind(&file).expect("a socket");
        assert!(matches!(bind(&file), Err(BindError::Live)));
        drop(listener);
        let (_listener, _second) = bind(&file).expect("the stale one is replaced");
        drop(first);
        assert!(UnixStream::connect(&file.path).is_ok(), "who lost the name does not remove it");
        let other = SocketFile { path: folder.path().join("file"), ..file };
        std::fs::write(&other.path, "precious").expect("a file");
        assert!(matches!(bind(&other), Err(BindError::NoSocket)));
        assert_eq!(std::fs::read(&other.path).expect("a file"), b"precious");
    }

    #[test]
    fn unix_group_is_a_number_or_a_known_name() {
        assert_eq!(group("4711").expect("a number"), Some(4711));
        assert_eq!(group("no-such-group-here").expect("an answer"), None);
    }
}
