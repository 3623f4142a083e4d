//! What replicas share, through a real redis-server.

mod server;
mod store;

pub(crate) use server::{RedisServer, config};
