//! ninjaone-proxy.
fn main() {}
