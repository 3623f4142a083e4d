//! The files of an audit log on the disk: their names, how they are opened, and what the head file says.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::chain::ChainHead;
use crate::base::file;

/// Options for a file that only its owner may read; a symbolic link is refused.
pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed() | file::WITHOUT_WAITING);
    }
    options
}

/// Opens a regular file; opening a pipe would block.
pub(super) fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    file::regular(options.open(path)?)
}

/// Locks the log against other writers. The lock of the head file does so too, as long as nobody removes that file.
/// Outside Unix a lock would keep readers out as well.
pub(super) fn keep_others_out(log: &File) -> io::Result<()> {
    if cfg!(unix) { Ok(log.try_lock()?) } else { Ok(()) }
}

pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// The head file of the log at `path`.
pub(super) fn head_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".head");
    name.into()
}

/// What the head file says; `None` if it says nothing that can be read.
pub(super) fn read_head(file: &mut File) -> io::Result<Option<ChainHead>> {
    let mut text = Vec::new();
    file.take(1024).read_to_end(&mut text)?;
    Ok(std::str::from_utf8(&text).ok().and_then(|text| text.strip_suffix('\n')?.parse().ok()))
}

/// A full file: its name ends with the number of its first line.
pub(super) fn aside(path: &Path, first: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{first:012}"));
    name.into()
}

/// All files of the log at `path` that are there, in the order of the chain.
pub(super) fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut numbered = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = path.file_name().and_then(|own| {
            let rest = name.as_encoded_bytes().strip_prefix(own.as_encoded_bytes())?.strip_prefix(b".")?;
            let digits = rest.len() >= 12 && rest.iter().all(u8::is_ascii_digit);
            std::str::from_utf8(rest).ok().filter(|_| digits)?.parse::<u64>().ok()
        });
        if let Some(number) = number {
            numbered.push((number, path.with_file_name(name)));
        }
    }
    numbered.sort();
    let mut files: Vec<_> = numbered.into_iter().map(|(_, file)| file).collect();
    if path.try_exists()? {
        files.push(path.to_owned());
    }
    Ok(files)
}
