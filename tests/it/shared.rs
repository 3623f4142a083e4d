//! What replicas share, through a real redis-server.

mod approvals;
mod limits;
mod rights;
mod server;
mod store;
mod tokens;

use crate::harness::{Proxy, request};
pub(crate) use server::{RedisServer, config};

/// Whether the metrics of a proxy have this line.
fn has_metric(proxy: &Proxy, line: &str) -> bool {
    let said = request(proxy.admin, "GET", "/metrics", "", b"");
    String::from_utf8_lossy(&said.body).lines().any(|found| found == line)
}

fn is_up(proxy: &Proxy) -> bool {
    has_metric(proxy, "ninjaone_proxy_shared_store_up 1")
}

fn is_down(proxy: &Proxy) -> bool {
    has_metric(proxy, "ninjaone_proxy_shared_store_up 0")
}
