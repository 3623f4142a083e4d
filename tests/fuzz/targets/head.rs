//! Whatever comes on a connection, in whatever pieces: the watch sees the heads that are plainly there, and no other.
#![no_main]

#[path = "../../oracle/heads.rs"]
mod heads;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((piece, bytes)) = data.split_first() else { return };
    heads::agree(bytes, usize::from(*piece));
});
