//! Whatever the instance answers: what is taken for a whole answer is the one that is written there.
#![no_main]

#[path = "../../oracle/replies.rs"]
mod replies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    replies::hold(bytes);
});
