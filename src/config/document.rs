//! The file of a newer OpenAPI document, read within its limit.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::policy::catalog::openapi::{Document, DocumentError, MAX_DOCUMENT};

/// Why a file gives no document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It is not there, or closed to us.
    #[error("the file {0:?} cannot be read: {1}")]
    Unreadable(PathBuf, #[source] io::Error),
    /// It is not text.
    #[error("the file {0:?} cannot be used: it is not UTF-8")]
    NoText(PathBuf),
    /// It is something else.
    #[error("the file {0:?} cannot be used: {1}")]
    Unusable(PathBuf, #[source] DocumentError),
}

/// Reads the document in this file. Blocks.
pub(crate) fn read(path: &Path) -> Result<Document, FileError> {
    let unreadable = |error| FileError::Unreadable(path.to_owned(), error);
    let mut octets = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    // One octet more than is allowed tells that there are more.
    file.take(MAX_DOCUMENT + 1).read_to_end(&mut octets).map_err(unreadable)?;
    let unusable = |error| FileError::Unusable(path.to_owned(), error);
    if octets.len() as u64 > MAX_DOCUMENT {
        return Err(unusable(DocumentError::TooLarge));
    }
    let text = String::from_utf8(octets).map_err(|_| FileError::NoText(path.to_owned()))?;
    Document::parse(&text).map_err(unusable)
}
