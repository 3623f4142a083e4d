//! A listener that the main thread serves alone: the admin listener, the probe listener.

use super::StartError;
use super::bind_hint::bind_error;
use crate::net::listener::{Bound, BoundSockets, Hold, Inheritance, ListenAddress, ListeningSocket};

/// A listener that does not proxy, such as the admin listener.
pub(super) struct SingleListener {
    /// Where it was to listen.
    pub(super) wanted: ListenAddress,
    pub(super) sockets: Vec<ListeningSocket>,
    /// Where it listens.
    pub(super) address: Bound,
    pub(super) hold: Hold,
}

impl SingleListener {
    /// Binds it; `what` is its name in messages.
    pub(super) fn bind(what: &str, wanted: &ListenAddress) -> Result<Self, StartError> {
        let fault = |error| bind_error(what.to_owned(), wanted, error);
        let opened = wanted.open(1, &mut Inheritance::default(), &[]).map_err(fault)?;
        let BoundSockets { sockets, bound, hold } = opened;
        Ok(Self { wanted: wanted.clone(), sockets: sockets.into_iter().flatten().collect(), address: bound, hold })
    }
}
