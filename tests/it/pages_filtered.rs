//! Pages of lists in every shape: the filter of the fence says what the plain reading says.

use std::cell::RefCell;

use ninjaone_proxy::proxy::fence::rows::PageEnd;
use proptest::prelude::*;

use crate::page_documents::Choices;
use crate::pages::{checks, hold};

/// One page, made of choices.
fn page(choices: &[u8]) -> Option<PageEnd> {
    let mut choices = Choices(choices);
    let checks = checks();
    let check = &checks[choices.below(checks.len())];
    let limits = choices.limits();
    let document = choices.document(check);
    let cuts = choices.cuts(document.len());
    hold(&document, check, limits, &cuts)
}

/// What came of many pages.
#[derive(Debug, Default)]
struct Tally {
    pages: u64,
    errors: u64,
    kept: u64,
    withheld: u64,
    outside: u64,
    unreadable: u64,
    cursors: u64,
}

impl Tally {
    fn add(&mut self, end: Option<PageEnd>) {
        self.pages += 1;
        let Some(end) = end else {
            self.errors += 1;
            return;
        };
        self.kept += end.kept;
        self.withheld += end.withheld;
        self.outside += end.outside;
        self.unreadable += end.unreadable;
        self.cursors += u64::from(end.cursor.is_some());
    }

    /// Whether pages of every kind were among them.
    fn is_rich(&self) -> bool {
        let Self { pages, errors, kept, withheld, outside, unreadable, cursors } = *self;
        [errors, kept, outside, unreadable].iter().all(|part| part * 10 > pages)
            && [withheld, cursors].iter().all(|part| part * 100 > pages)
            && errors * 2 < pages
    }
}

#[test]
fn the_filter_lets_pass_what_a_plain_reading_finds_inside() {
    let tally = RefCell::new(Tally::default());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(3000));
    let choices = prop::collection::vec(any::<u8>(), 0..600);
    let result = runner.run(&choices, |choices| {
        let end = page(&choices);
        tally.borrow_mut().add(end);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    assert!(tally.borrow().is_rich(), "{tally:?}");
}

#[test]
#[ignore = "a minute or more: cargo test --release --test it pages_filtered::a_million -- --ignored --nocapture"]
fn a_million_pages_are_filtered_as_a_plain_reading_has_them() {
    let mut random = fastrand::Rng::with_seed(20_261_129);
    let mut tally = Tally::default();
    for _ in 0..1_000_000 {
        let mut choices = vec![0; random.usize(0..800)];
        random.fill(&mut choices);
        tally.add(page(&choices));
    }
    println!("{tally:?}");
    assert!(tally.is_rich(), "{tally:?}");
}
