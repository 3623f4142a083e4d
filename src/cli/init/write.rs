//! New files: whole or not at all, and never in the place of one that nobody gave up.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Of the configuration, which holds no secret: its owner writes, its group reads.
pub(super) const CONFIG_MODE: u32 = 0o640;
/// Of the file of the secret.
pub(super) const SECRET_MODE: u32 = 0o600;

/// Writes a file under another name in the same folder and moves it into place. Without `replace` an existing one is an error and stays.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32, replace: bool) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let aside = path.with_file_name(format!(".{name}.{:016x}", fastrand::u64(..)));
    let written = open(&aside, mode).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    let placed = written.and_then(|()| if replace { fs::rename(&aside, path) } else { place(&aside, path) });
    // Where it was moved it is gone.
    let _ = fs::remove_file(&aside);
    placed
}

/// A link fails where a file is; a file system without links gets what can be had.
fn place(aside: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(aside, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            OpenOptions::new().write(true).create_new(true).open(path)?;
            fs::rename(aside, path)
        }
        linked => linked,
    }
}

#[cfg(unix)]
fn open(path: &Path, mode: u32) -> io::Result<File> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    // Not what the mask of the process leaves of it.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

/// The folder says who may read.
#[cfg(not(unix))]
fn open(path: &Path, _: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_and_one_that_is_there_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.toml");
        write(&path, b"first", CONFIG_MODE, false).expect("a file");
        let error = write(&path, b"second", CONFIG_MODE, false).expect_err("it is there");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("a file"), b"first");
        write(&path, b"third", SECRET_MODE, true).expect("a file");
        assert_eq!(fs::read(&path).expect("a file"), b"third");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing else is left");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        }
        assert!(write(&folder.path().join("no/folder"), b"", CONFIG_MODE, false).is_err());
    }
}
