//! ninjaone-proxy.
pub mod policy;
