//! What replicas share, through a real redis-server.

mod approvals;
mod limits;
mod rights;
mod server;
mod store;
mod tokens;

pub(crate) use server::{RedisServer, config};
