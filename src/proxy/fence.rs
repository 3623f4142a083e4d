//! The fence: what a caller with `organizations` sees of answers, and what its requests may name.
//!
//! Pure and synchronous but for the [`directory`], which knows what belongs to the organizations inside. Whatever is not
//! known to be inside is outside.

pub mod directory;
mod fence_error;
mod loading;
pub mod request;
pub mod rows;
mod sources;

pub use fence_error::FenceError;

use crate::proxy::policy::catalog::EntityKind;
pub use crate::proxy::policy::references::EntityId;

/// What is inside.
pub trait Inside {
    /// Whether this is known to belong to an organization inside.
    fn contains(&self, kind: EntityKind, id: EntityId) -> bool;
}
