//! What `audit verify` says of a log that was tampered with: that it was, how, and where.

use ninjaone_proxy::observe::audit_log::chain::{ChainHead, Hash};
use ninjaone_proxy::observe::audit_log::entry::{Entry, Event};
use ninjaone_proxy::observe::audit_log::verify::{FileLine, Tampering, VerifyNote, VerifyReport};
use proptest::prelude::*;

use crate::chain::{Edit, Log, edited, hold, hold_text, judge, log, moment};

/// Ten lines: begin, intents and outcomes, end.
const KINDS: [u8; 10] = [0, 2, 3, 2, 3, 4, 4, 2, 3, 6];

fn at(line: u64) -> FileLine {
    FileLine { file: "log".to_owned(), line }
}

/// In one file.
fn told(log: &Log, text: &[u8]) -> VerifyReport {
    judge(text, 0, Some(log.head), &[])
}

fn findings(edit: &Edit) -> Vec<Tampering> {
    let log = log(&KINDS);
    told(&log, &edited(&log.text, edit)).findings
}

fn line_start(log: &Log, line: usize) -> usize {
    log.text.split_inclusive(|byte| *byte == b'\n').take(line - 1).map(<[u8]>::len).sum()
}

#[test]
fn verify_names_the_lines_that_were_changed_removed_moved_or_cut() {
    let log = log(&KINDS);
    assert_eq!(told(&log, &log.text).findings, []);
    let inside = |line| line_start(&log, line) + 20;
    let changed = |from, to| Tampering::Changed { place: at(from), from, to };
    let removed = |line, from, to| Tampering::Removed { place: at(line), from, to };
    let cut = |from| Tampering::Cut { file: "log".to_owned(), from, to: 10 };
    for (edit, wanted) in [
        (Edit::Flip(inside(1), 1), vec![changed(1, 1)]),
        (Edit::Flip(inside(5), 1), vec![changed(5, 5)]),
        (Edit::Flip(inside(10), 1), vec![changed(10, 10)]),
        (Edit::Flip(line_start(&log, 6) - 2, 1), vec![changed(5, 5)]),
        (Edit::Flip(line_start(&log, 6) - 5, 1), vec![changed(5, 5)]),
        (Edit::Remove(0), vec![removed(1, 1, 1)]),
        (Edit::Remove(4), vec![removed(5, 5, 5)]),
        (Edit::Remove(9), vec![cut(10)]),
        (Edit::Swap(4, 5), vec![Tampering::Reordered { place: at(6), seq: 5, after: 6 }]),
        (Edit::Repeat(4, 7), vec![Tampering::Repeated { place: at(8), seq: 5 }]),
        (Edit::Cut(line_start(&log, 8)), vec![cut(8)]),
        (Edit::Cut(inside(8)), vec![cut(8)]),
        (Edit::Cut(log.text.len() - 1), vec![Tampering::FeedCut { place: at(10) }]),
        (Edit::Cut(0), vec![cut(1)]),
        (Edit::Insert(line_start(&log, 4), b"{}\n".to_vec()), vec![Tampering::Inserted { place: at(4), bytes: 2 }]),
    ] {
        assert_eq!(findings(&edit), wanted, "{edit:?}");
    }
    // A line feed less makes two lines one.
    assert_eq!(findings(&Edit::Flip(line_start(&log, 6) - 1, 1)), [changed(5, 5), removed(6, 6, 6)]);
    let two = edited(&edited(&log.text, &Edit::Flip(inside(3), 1)), &Edit::Remove(6));
    assert_eq!(told(&log, &two).findings, [changed(3, 3), removed(7, 7, 7)]);
}

#[test]
fn verify_finds_a_line_that_was_written_anew_with_a_good_hash() {
    let log = log(&KINDS);
    for line in [1_usize, 5, 10] {
        let lines: Vec<&[u8]> = log.text.split_inclusive(|byte| *byte == b'\n').collect();
        let before: serde_json::Value = serde_json::from_slice(lines[line - 1]).expect("JSON");
        let prev: Hash = before["prev"].as_str().expect("a hash").parse().expect("a hash");
        let mut forged = Vec::new();
        // At another time than any line of the log.
        Entry { at: moment(KINDS.len()), event: Event::End {} }
            .write(ChainHead { seq: line as u64 - 1, hash: prev }, &mut forged);
        let text = [lines[..line - 1].concat(), forged, lines[line..].concat()].concat();
        let place = at(if line == 10 { 10 } else { line as u64 + 1 });
        assert_eq!(told(&log, &text).findings, [Tampering::Replaced { place, seq: line as u64 }]);
    }
}

#[test]
fn verify_needs_a_head_that_was_kept_elsewhere_for_a_log_that_was_written_anew() {
    let (log, other) = (log(&KINDS), log(&[0, 2, 3, 4, 4, 4, 4, 2, 3, 6]));
    let known = ChainHead { seq: 10, ..log.head };
    assert_eq!(judge(&other.text, 0, Some(other.head), &[]).findings, [], "nobody can tell");
    let told = judge(&other.text, 0, Some(other.head), &[known]).findings;
    assert_eq!(told, [Tampering::Replaced { place: at(10), seq: 10 }]);
    // Without its head a log is whole as far as the known one.
    assert_eq!(judge(&log.text, 0, None, &[]).findings, [Tampering::NoHead("log.head".to_owned())]);
    assert_eq!(judge(&log.text, 0, None, &[known]).findings, []);
}

#[test]
fn verify_begins_where_a_known_head_says_that_the_part_before_is_kept_elsewhere() {
    let log = log(&KINDS);
    let start = line_start(&log, 6);
    let last = judge(&log.text[..start], 0, None, &[]).head.expect("a head");
    assert_eq!(last.seq, 5);
    let removed = |to| vec![Tampering::Removed { place: at(1), from: 1, to }];
    assert_eq!(judge(&log.text[start..], 0, Some(log.head), &[]).findings, removed(5));
    assert_eq!(judge(&log.text[start..], 0, Some(log.head), &[last]).findings, []);
    let later = line_start(&log, 8);
    let told = judge(&log.text[later..], 0, Some(log.head), &[last]).findings;
    assert_eq!(told, [Tampering::Removed { place: at(1), from: 6, to: 7 }]);
}

#[test]
fn verify_tells_a_torn_line_and_writes_without_outcome_from_tampering() {
    let torn = log(&[0, 2, 3, 1 + 7 * 5, 2]);
    let report = judge(&torn.text, 0, Some(torn.head), &[]);
    assert_eq!(report.findings, []);
    assert_eq!(report.notes[1], VerifyNote::Torn { place: at(4), bytes: 6 });
    assert!(matches!(report.notes[2], VerifyNote::Unanswered { count: 1, .. }), "{:?}", report.notes);
    // A process was killed before the head was written, in the midst of a line.
    let log = log(&KINDS);
    let text = [&log.text[..], b"{\"seq\":11"].concat();
    let earlier = judge(&log.text[..line_start(&log, 9)], 0, None, &[]).head;
    let report = judge(&text, 0, earlier, &[]);
    assert_eq!((report.findings.as_slice(), report.lines), (&[][..], 10));
    let notes = [VerifyNote::TornEnd { place: at(11), bytes: 9 }, VerifyNote::Newer(2)];
    assert!(notes.iter().all(|note| report.notes.contains(note)), "{:?}", report.notes);
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let place = 0..100_000_usize;
    let one = prop_oneof![
        4 => (place.clone(), 1..=255_u8).prop_map(|(place, bits)| Edit::Flip(place, bits)),
        1 => place.clone().prop_map(Edit::Remove),
        1 => (place.clone(), place.clone()).prop_map(|(one, other)| Edit::Swap(one, other)),
        1 => (place.clone(), place.clone()).prop_map(|(line, place)| Edit::Repeat(line, place)),
        1 => place.clone().prop_map(Edit::Cut),
        1 => (place, prop::collection::vec(any::<u8>(), 1..5)).prop_map(|(place, more)| Edit::Insert(place, more)),
    ];
    prop::collection::vec(one, 1..4)
}

#[test]
fn a_line_that_is_repeated_behind_the_last_one_is_found_with_and_without_its_line_feed() {
    // The first line of two, behind them: whole, without its line feed, and without the last of it.
    let lines = log(&[5, 6]);
    let first = line_start(&lines, 2);
    let told = |end: usize| told(&lines, &[&lines.text[..], &lines.text[..end]].concat());
    let repeated = Tampering::Repeated { place: at(3), seq: 1 };
    assert_eq!(told(first).findings, std::slice::from_ref(&repeated));
    assert_eq!(told(first - 1).findings, [repeated, Tampering::FeedCut { place: at(3) }]);
    assert_eq!(told(first - 2).findings, []);
    hold(&[152, 237], &[Edit::Swap(672, 89_135), Edit::Repeat(3_043, 63_482), Edit::Cut(9_494)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_to_a_log_is_found(kinds in prop::collection::vec(any::<u8>(), 0..12), edits in edits()) {
        hold(&kinds, &edits);
    }

    #[test]
    fn no_text_of_a_callers_does_anything_in_a_line(
        pieces in prop::collection::vec(prop_oneof![
            any::<String>(),
            "[\\x00-\\x1f\\x7f-\u{9f}\u{ad}\u{61c}\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2060}-\u{2069}\u{feff}]{1,4}",
        ], 0..6),
    ) {
        hold_text(&pieces.concat());
    }

    #[test]
    fn verify_reads_any_bytes_to_their_end(bytes: Vec<u8>, seam: usize) {
        let report = judge(&bytes, seam % (bytes.len() + 1), None, &[]);
        prop_assert_eq!(report.lines, 0);
    }
}
