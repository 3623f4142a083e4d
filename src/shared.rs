//! What replicas share: a store (Redis or Valkey), and the keys that seal what is in it.
//!
//! One connection for all, kept by one task of the main runtime, which alone asks a store that is down: all others
//! hear at once that it is, and never wait for it.

mod connection;
mod heartbeat;
pub mod sealing;
mod state;
mod store;
mod store_config;
mod store_error;

pub use state::{SETTLE, StoreState};
pub use store::SharedStore;
pub use store_config::{StoreAddress, StoreConfig};
pub use store_error::{ConnectFault, StoreError};
