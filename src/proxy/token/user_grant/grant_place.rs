//! Where a person's grant is kept: in a file of this machine, or where all replicas share it. For who signs in and out.

use std::fmt;
use std::sync::Arc;

use super::grant_entry::GrantEntry;
use super::grant_file::{GrantFile, GrantFileError, StoredGrant};
use super::shared_grant::SharedGrant;
use crate::shared::{SharedStore, StoreError};

/// A place for one grant.
#[derive(Debug, Clone)]
pub enum GrantPlace {
    /// In a file.
    File(GrantFile),
    /// In the shared store.
    Store(Arc<SharedGrant>),
}

/// Why a grant cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum GrantPlaceError {
    /// In the file.
    #[error(transparent)]
    File(#[from] GrantFileError),
    /// In the shared store.
    #[error("the sign-in cannot be kept where [shared] says: {0}")]
    Store(#[from] StoreError),
}

/// As people read it.
impl fmt::Display for GrantPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", file.path().display()),
            Self::Store(shared) => write!(f, "the shared store {}", shared.store().address()),
        }
    }
}

impl GrantPlace {
    /// In the store, if there is one, else in the file.
    pub fn new(file: GrantFile, store: Option<SharedStore>) -> Self {
        match store {
            Some(store) => Self::Store(Arc::new(SharedGrant::new(store, file.owner().clone()))),
            None => Self::File(file),
        }
    }

    /// Whether a grant can be kept. What there is stays as it is. Blocks where it is a file.
    pub async fn try_writing(&self) -> Result<(), GrantPlaceError> {
        match self {
            Self::File(file) => Ok(file.try_writing()?),
            Self::Store(shared) => Ok(shared.read().await.map(drop)?),
        }
    }

    /// The grant, if somebody is signed in, or was until NinjaOne ended it. Blocks where it is a file.
    pub async fn read(&self) -> Result<Option<StoredGrant>, GrantPlaceError> {
        match self {
            Self::File(file) => Ok(file.read()?),
            Self::Store(shared) => {
                let entry: Option<GrantEntry> = shared.read().await?;
                Ok(entry.and_then(|entry| entry.grant))
            }
        }
    }

    /// Keeps the grant of a person who has just signed in. Blocks where it is a file.
    pub async fn write(&self, grant: &StoredGrant) -> Result<(), GrantPlaceError> {
        match self {
            Self::File(file) => Ok(file.lock()?.write(grant)?),
            Self::Store(shared) => Ok(shared.change_hands(Some(grant.clone())).await.map(drop)?),
        }
    }

    /// Removes the grant; whether there was one. Blocks where it is a file.
    pub async fn remove(&self) -> Result<bool, GrantPlaceError> {
        match self {
            Self::File(file) => Ok(file.lock()?.remove()?),
            Self::Store(shared) => Ok(shared.change_hands(None).await?),
        }
    }

    /// Whether something is there. Blocks where it is a file.
    pub fn has_file(&self) -> bool {
        match self {
            Self::File(file) => file.path().exists(),
            Self::Store(_) => false,
        }
    }
}
