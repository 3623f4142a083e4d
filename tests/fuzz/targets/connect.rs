//! Whatever CONNECT names, and whatever Host says: it reaches what is listed, by the text that is listed, and nothing else.
#![no_main]

#[path = "../../oracle/connects.rs"]
mod connects;

use connects::Asked;
use http::Version;
use libfuzzer_sys::fuzz_target;
use ninjaone_proxy::proxy::connect::{ConnectTargets, TunnelTarget};

fuzz_target!(|data: &[u8]| {
    thread_local!(static TARGETS: ConnectTargets = connects::targets());
    let mut lines = data.split(|&byte| byte == b'\n');
    let version = match lines.next() {
        Some(b"1.0") => Version::HTTP_10,
        Some(b"2") => Version::HTTP_2,
        Some(_) | None => Version::HTTP_11,
    };
    let target = lines.next().unwrap_or_default();
    let length = lines.next().filter(|length| !length.is_empty());
    let hosts: Vec<&[u8]> = lines.collect();
    TARGETS.with(|targets| connects::agree(targets, &Asked { version, target, hosts: &hosts, length }));
    // What is read from the configuration is one spelling of itself.
    if let Ok(target) = TunnelTarget::parse(&String::from_utf8_lossy(target)) {
        assert_eq!(TunnelTarget::parse(target.authority()), Ok(target));
    }
});
