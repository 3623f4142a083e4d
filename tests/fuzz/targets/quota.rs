//! Whatever quotas there are, and whoever asks when: they decide as one who counts the whole history anew.
#![no_main]

#[path = "../../oracle/quotas.rs"]
mod quotas;

libfuzzer_sys::fuzz_target!(|script: &[u8]| {
    quotas::agree(script);
});
