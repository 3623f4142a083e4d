//! Whatever Host and Origin say: the guard lets in who is plainly ours, and nobody else, and the probes no domain.
#![no_main]

#[path = "../../oracle/doorkeeper.rs"]
mod doorkeeper;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    thread_local!(static GUARD: ninjaone_proxy::proxy::authn::Authn = doorkeeper::guard());
    let mut parts = data.splitn(2, |&byte| byte == b'\n');
    let (host, origin) = (parts.next().unwrap_or_default(), parts.next());
    doorkeeper::nobodys_domain(host);
    GUARD.with(|guard| doorkeeper::agree(guard, host, origin));
});
