//! Which operations a listener's callers may use.

pub mod catalog;
pub mod path;
