//! Connections in and out: listeners, TLS, dialing, bodies on their way, shutdown.

pub mod body;
pub mod dial;
pub mod fields;
pub mod listener;
pub mod own_addresses;
pub(crate) mod pass_writes;
pub mod shutdown;
pub mod tls;
