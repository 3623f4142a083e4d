//! Fuzzes the reading of token answers and of NinjaOne's errors.

#![no_main]

#[path = "../../oracle/answers.rs"]
mod answers;

libfuzzer_sys::fuzz_target!(|body: &[u8]| answers::read_every_way(body));
