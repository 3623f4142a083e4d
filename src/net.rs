//! Connections in and out: listeners, TLS, dialing, bodies on their way, shutdown.

pub mod body;
pub mod dial;
pub mod fields;
pub mod listener;
pub mod own_addresses;
pub mod shutdown;
pub mod tls;
