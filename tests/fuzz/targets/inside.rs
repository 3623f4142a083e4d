//! Whatever handshake, Host and target inside a CONNECT say: what passes is for the server that CONNECT names.
#![no_main]

#[path = "../../oracle/doorkeeper.rs"]
mod doorkeeper;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    thread_local!(static GUARD: ninjaone_proxy::proxy::authn::Authn = doorkeeper::guard());
    let mut parts = data.splitn(4, |&byte| byte == b'\n');
    let host = parts.next().unwrap_or_default();
    let mut text = || parts.next().and_then(|part| std::str::from_utf8(part).ok()).filter(|part| !part.is_empty());
    let name = text();
    let target = text().zip(text());
    GUARD.with(|guard| doorkeeper::agree_inside(guard, name, host, target));
});
