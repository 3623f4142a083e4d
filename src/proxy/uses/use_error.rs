//! Why a request is not sent that a rule with `max-uses` would open.

use std::io;
use std::path::PathBuf;

use crate::shared::StoreError;

/// Why a use could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum UseError {
    /// All are taken.
    #[error("it is used up: it opens {0} requests, and so many were sent")]
    UsedUp(u32),
    /// It has no counter.
    #[error("its uses cannot be counted")]
    Uncountable,
    /// The store in which replicas count them does not answer as it should.
    #[error("its uses are counted in the shared store, and that cannot be done now: {0}")]
    Store(#[source] StoreError),
    /// The store may have lost some.
    #[error("its uses are counted in the shared store, which has just begun anew; the replicas tell it what they know")]
    Unsettled,
    /// Nobody knows how many are left.
    #[error("its uses cannot be counted in {}", path.display())]
    Uncounted {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
