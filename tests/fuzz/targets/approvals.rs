//! Whatever is asked, decided, repeated, reloaded, and whenever: only what enough approvers have said yes to goes on, once.
//! Four bytes are a step.
#![no_main]

#[path = "../../oracle/votes.rs"]
mod votes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    votes::agree(bytes);
});
