//! Files that people and other programs write: only regular ones are read, opened without waiting, within a limit; and
//! files of our own, replaced as a whole.

use std::borrow::Cow;
use std::fs::{DirEntry, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

/// How long a lock may be held by another process: what is done under one takes milliseconds.
const LOCK_TIME: Duration = Duration::from_secs(10);
/// How often a lock is asked for.
const LOCK_STEP: Duration = Duration::from_millis(5);

/// What changes when a file is written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    identity: [i64; 3],
}

impl Stamp {
    /// That of the file at this path, if there is one.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt;
            [metadata.ino().cast_signed(), metadata.ctime(), metadata.ctime_nsec()]
        };
        #[cfg(not(unix))]
        let identity = [0; 3];
        Some(Self { length: metadata.len(), modified: metadata.modified().ok(), identity })
    }
}

/// Why a file is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableFile {
    /// Reading it could take for ever.
    #[error("it is {0}, and only regular files are read")]
    NotRegular(&'static str),
    /// It holds more than such a file has.
    #[error("it is larger than {0} bytes: another file was meant")]
    TooLarge(u64),
    /// Its encoding is not known.
    #[error("it is not text: save it as UTF-8")]
    NoText,
    /// Every other byte is zero, and no mark says in which order they come.
    #[error("it looks like UTF-16: save it as UTF-8")]
    UnmarkedUtf16,
    /// It begins as UTF-16 does, and does not go on so.
    #[error("it is damaged UTF-16 text: save it as UTF-8")]
    BrokenUtf16,
}

impl From<UnreadableFile> for io::Error {
    fn from(unfit: UnreadableFile) -> Self {
        Self::new(io::ErrorKind::InvalidData, unfit)
    }
}

/// Opens a file for reading. A pipe would make us wait until somebody writes to it; it is refused, as is anything else
/// that is not a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, WITHOUT_WAITING);
    match options.open(path) {
        Ok(file) => regular(file),
        // A socket cannot be opened; the system says so in a way that helps nobody.
        Err(error) => Err(path.metadata().ok().and_then(|there| kind(&there)).map_or(error, io::Error::from)),
    }
}

/// The flags of open(2) with which it never waits.
#[cfg(unix)]
pub const WITHOUT_WAITING: i32 = rustix::fs::OFlags::NONBLOCK.union(rustix::fs::OFlags::NOCTTY).bits().cast_signed();

/// The file itself, if it is a regular one.
pub fn regular(file: File) -> io::Result<File> {
    kind(&file.metadata()?).map_or(Ok(file), |unfit| Err(unfit.into()))
}

/// What else it is.
fn kind(there: &Metadata) -> Option<UnreadableFile> {
    if there.is_file() {
        return None;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = there.file_type();
        if kind.is_fifo() {
            return Some(UnreadableFile::NotRegular("a pipe"));
        } else if kind.is_socket() {
            return Some(UnreadableFile::NotRegular("a socket"));
        }
    }
    Some(UnreadableFile::NotRegular(if there.is_dir() { "a folder" } else { "a device" }))
}

/// Reads a file of at most so many bytes.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata()?.len().min(limit);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1);
    // One more than is allowed tells that there are more.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(UnreadableFile::TooLarge(limit).into()) } else { Ok(bytes) }
}

/// Reads a text file of at most so many bytes.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let bytes = read(path, limit)?;
    Ok(text(&bytes)?.into_owned())
}

/// The text of a file: UTF-8, or UTF-16 with its mark, as PowerShell and Notepad write it. A byte order mark is left
/// out.
pub fn text(bytes: &[u8]) -> Result<Cow<'_, str>, UnreadableFile> {
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        [0xef, 0xbb, 0xbf, rest @ ..] => {
            return std::str::from_utf8(rest).map(Cow::Borrowed).map_err(|_| UnreadableFile::NoText);
        }
        [0, first, 0, second, ..] | [first, 0, second, 0, ..] if *first != 0 && *second != 0 => {
            return Err(UnreadableFile::UnmarkedUtf16);
        }
        [..] => return std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| UnreadableFile::NoText),
    };
    let (pairs, rest) = bytes.get(2..).unwrap_or_default().as_chunks::<2>();
    if !rest.is_empty() {
        return Err(UnreadableFile::BrokenUtf16);
    }
    // As much as it can become, so that no outgrown piece of a secret is left in memory.
    let mut text = String::with_capacity(pairs.len() * 3);
    for character in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        text.push(character.map_err(|_| UnreadableFile::BrokenUtf16)?);
    }
    Ok(Cow::Owned(text))
}

/// Puts a whole file in the place of the one that is there, if any: nobody reads a part of it, also after a crash.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:08x}", fastrand::u32(..)));
    let next = path.with_file_name(name);
    let mut options = OpenOptions::new();
    // Never something that another one has put there.
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(&next)?;
    let written = give_to_owner_of_folder(&file, &next)
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&next, path));
    if written.is_err() {
        // The first error says more.
        let _ = std::fs::remove_file(&next);
    }
    written
}

/// Does the rest of what [`replace`] had begun: `next` is one of the [`unfinished`], and whole.
pub fn finish(next: &Path, path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(next)?.sync_all()?;
    std::fs::rename(next, path)
}

/// What [`replace`] had begun for this path when its process was killed. The one who asks holds the lock under which the file
/// is replaced: else another process may be about to rename one of them.
pub fn unfinished(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let is_begun = |own: &[u8]| {
        let suffix = own.strip_prefix(name).and_then(|rest| rest.strip_prefix(b"."));
        suffix.is_some_and(|suffix| suffix.len() == 8 && suffix.iter().all(is_hex))
    };
    let entries = std::fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    Ok(entries.iter().filter(|entry| is_begun(entry.file_name().as_encoded_bytes())).map(DirEntry::path).collect())
}

/// Gives a file that root has just made in another user's folder to that user, who must be able to use it: an
/// administrator often makes the files of a service.
#[cfg(unix)]
fn give_to_owner_of_folder(file: &File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (owner, own) = (folder.metadata()?, file.metadata()?);
    if own.uid() != 0 || owner.uid() == 0 {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))
}

/// Makes a folder in one that is there, closed to others; that of root in another user's folder belongs to that user.
pub fn make_folder_within(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Ok(()) => own_folder(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// The folder was made just now. It is opened without following a link that was put in its place.
#[cfg(unix)]
fn own_folder(path: &Path) -> io::Result<()> {
    let flags = rustix::fs::OFlags::NOFOLLOW.union(rustix::fs::OFlags::DIRECTORY).bits().cast_signed();
    let mut options = OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true), flags);
    give_to_owner_of_folder(&options.open(path)?, path)
}

#[cfg(not(unix))]
fn own_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Only Unix has such owners.
#[cfg(not(unix))]
fn give_to_owner_of_folder(_: &File, _: &Path) -> io::Result<()> {
    Ok(())
}

/// Held while several processes must not do the same at once; the system gives it back when a process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Waits for the lock of this file, which is made if missing and stays. Blocks.
pub fn lock(path: &Path) -> io::Result<Lock> {
    lock_within(path, LOCK_TIME)
}

/// The same, if another process may hold it for longer.
pub fn lock_within(path: &Path, time: Duration) -> io::Result<Lock> {
    let open = |new: bool| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(new);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, WITHOUT_WAITING);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path)
    };
    let file = match open(true) {
        Ok(file) => give_to_owner_of_folder(&file, path).map(|()| file)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => regular(open(false)?)?,
        Err(error) => return Err(error),
    };
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock { _file: file }),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if begun.elapsed() > time => {
                let what = format!("another process has held the lock {} for {time:?}: end it", path.display());
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            Err(TryLockError::WouldBlock) => sleep(LOCK_STEP),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(text: &str, mark: &[u8], bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        mark.iter().copied().chain(text.encode_utf16().flat_map(bytes)).collect()
    }

    #[test]
    fn text_is_read_in_each_encoding_that_editors_write() {
        let plain = "host = \"eu\" # \u{fc}\u{1f600}\r\n";
        let marked = format!("\u{feff}{plain}");
        for bytes in [
            plain.as_bytes().to_vec(),
            marked.into_bytes(),
            wide(plain, &[0xff, 0xfe], u16::to_le_bytes),
            wide(plain, &[0xfe, 0xff], u16::to_be_bytes),
        ] {
            assert_eq!(text(&bytes).as_deref(), Ok(plain), "{bytes:?}");
        }
        assert_eq!(text(b"").as_deref(), Ok(""));
        assert_eq!(text(b"\xff"), Err(UnreadableFile::NoText));
        for bytes in [wide(plain, &[], u16::to_le_bytes), wide(plain, &[], u16::to_be_bytes)] {
            assert_eq!(text(&bytes), Err(UnreadableFile::UnmarkedUtf16), "{bytes:?}");
        }
        assert_eq!(text(b"\xff\xfea"), Err(UnreadableFile::BrokenUtf16), "half a character");
        assert_eq!(text(b"\xff\xfe\x00\xd8a\x00"), Err(UnreadableFile::BrokenUtf16), "half of a pair");
    }

    #[test]
    fn file_is_read_to_its_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "12345").expect("a file");
        assert_eq!(read(&path, 5).expect("a file"), b"12345");
        let error = read(&path, 4).expect_err("too large");
        assert_eq!(error.to_string(), UnreadableFile::TooLarge(4).to_string());
        assert_eq!(read(&folder.path().join("none"), 4).expect_err("none").kind(), io::ErrorKind::NotFound);
    }

    #[cfg(unix)]
    #[test]
    fn only_a_regular_file_is_read_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status();
        assert!(made.expect("mkfifo runs").success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("a socket");
        std::os::unix::fs::symlink(at("pipe"), at("link")).expect("a link");
        for (path, what) in [
            (at("pipe"), "a pipe"),
            (at("link"), "a pipe"),
            (at("socket"), "a socket"),
            (folder.path().to_owned(), "a folder"),
            ("/dev/zero".into(), "a device"),
        ] {
            let said = read(&path, 10).expect_err("not a regular file").to_string();
            assert_eq!(said, format!("it is {what}, and only regular files are read"));
        }
        let said = lock(&at("pipe")).expect_err("not a regular file").to_string();
        assert!(said.starts_with("it is a pipe"), "{said}");
    }

    #[test]
    fn file_is_replaced_as_a_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        for text in ["one", "two"] {
            replace(&path, text.as_bytes(), 0o600).expect("written");
            assert_eq!(std::fs::read_to_string(&path).expect("a file"), text);
        }
        std::fs::create_dir(folder.path().join("folder")).expect("a folder");
        std::fs::write(folder.path().join("folder/full"), "").expect("a file");
        replace(&folder.path().join("folder"), b"", 0o600).expect_err("something in the way");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 2);
    }

    #[test]
    fn what_a_killed_process_has_begun_is_found_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in
            ["a.json", "a.json.0123abcd", "a.json.0123abcde", "a.json.0123ABCD", "a.json.lock", "b.json.0123abcd"]
        {
            std::fs::write(at(name), "").expect("a file");
        }
        assert_eq!(unfinished(&at("a.json")).expect("a folder"), [at("a.json.0123abcd")]);
        replace(&at("a.json"), b"whole", 0o600).expect("written");
        assert_eq!(unfinished(&at("c.json")).expect("a folder"), Vec::<PathBuf>::new());
    }

    #[test]
    fn lock_is_held_by_one_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        let (inside, most) = (std::sync::atomic::AtomicUsize::new(0), std::sync::atomic::AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let _lock = lock(&path).expect("a lock");
                        let now = inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                        most.fetch_max(now, std::sync::atomic::Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 1);
    }
}
