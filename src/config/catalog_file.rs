//! The file of a newer OpenAPI document, read within its limit.

use std::io;
use std::path::{Path, PathBuf};

use crate::base::file::{self, UnreadableFile};
use crate::proxy::policy::catalog::openapi::{Document, DocumentError, MAX_DOCUMENT};

/// Why a file gives no document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It is not there, closed to us, or not a text file.
    #[error("the file {0:?} cannot be read: {1}")]
    Unreadable(PathBuf, #[source] io::Error),
    /// It is something else.
    #[error("the file {0:?} cannot be used: {1}")]
    Unusable(PathBuf, #[source] DocumentError),
}

/// Reads the document in this file. Blocks.
pub(crate) fn read(path: &Path) -> Result<Document, FileError> {
    let unusable = |error| FileError::Unusable(path.to_owned(), error);
    let text = file::read_text(path, MAX_DOCUMENT).map_err(|error| {
        let unfit = error.get_ref().and_then(|cause| cause.downcast_ref::<UnreadableFile>());
        match unfit {
            Some(UnreadableFile::TooLarge(_)) => unusable(DocumentError::TooLarge),
            Some(_) | None => FileError::Unreadable(path.to_owned(), error),
        }
    })?;
    Document::parse(&text).map_err(unusable)
}
