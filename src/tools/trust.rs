//! Trust in the local CA: what it can vouch for, how each runtime comes to trust it, and the store of the system.

pub mod authority;
pub mod guide;
mod program;
pub mod store;
