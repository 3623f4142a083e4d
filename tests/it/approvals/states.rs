//! Whatever is asked, decided, repeated, reloaded, and whenever: only what enough approvers have said yes to goes on, once.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::votes::agree;

#[test]
fn a_request_goes_on_only_with_the_votes_that_it_needs_and_only_once() {
    let went_on = AtomicUsize::new(0);
    let mut runner = TestRunner::new(Config { cases: 2000, ..Config::default() });
    let steps = prop::collection::vec(any::<u8>(), 0..400);
    let held = runner.run(&steps, |bytes| {
        went_on.fetch_add(agree(&bytes), Ordering::Relaxed);
        Ok(())
    });
    if let Err(error) = held {
        panic!("{error}");
    }
    let went_on = went_on.into_inner();
    assert!(went_on > 1000, "few requests were approved: {went_on}");
}
