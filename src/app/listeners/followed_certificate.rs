//! The certificate of a listener, read again when its files change.

use std::sync::Arc;

use tokio::task::AbortHandle;

use super::super::StartError;
use crate::net::tls::server::{Identity, IdentitySource};

/// The certificate of a listener; its files are watched until this is dropped.
pub(super) struct FollowedCertificate {
    source: IdentitySource,
    identity: Identity,
    following: AbortHandle,
}

impl Drop for FollowedCertificate {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl FollowedCertificate {
    /// The certificate that a listener has if it comes from the same source, else another one.
    pub(super) fn follow(
        listener: &str,
        source: &IdentitySource,
        kept: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, StartError> {
        if let Some(kept) = kept.filter(|kept| kept.source == *source) {
            return Ok(Arc::clone(kept));
        }
        let served = source.clone().serve();
        let (identity, follow) = served.map_err(|error| StartError::Identity(listener.to_owned(), error))?;
        let following = tokio::task::spawn_local(follow).abort_handle();
        Ok(Arc::new(Self { source: source.clone(), identity, following }))
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity.clone()
    }
}
