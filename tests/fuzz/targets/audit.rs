//! Whatever a file holds, `audit verify` reads it to its end; and whatever is done to a good log, it finds.
//!
//! The first byte says how many of the next are the kinds of a good log's lines; three bytes each are what is done to
//! it then. All of it is read as a log of its own too, and is the text of a caller's that a line holds.
#![no_main]

#[path = "../../oracle/chain.rs"]
mod chain;

use chain::Edit;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let report = chain::judge(bytes, bytes.len() / 2, None, &[]);
    assert!(report.lines == 0 || !report.findings.is_empty(), "there is no head");
    chain::hold_text(&String::from_utf8_lossy(bytes));
    let Some((count, rest)) = bytes.split_first() else { return };
    let (kinds, rest) = rest.split_at(usize::from(*count % 12).min(rest.len()));
    let edits: Vec<Edit> = rest.chunks_exact(3).take(4).map(|part| edit(part[0], part[1].into(), part[2])).collect();
    chain::hold(kinds, &edits);
});

fn edit(kind: u8, place: usize, more: u8) -> Edit {
    match kind % 6 {
        0 => Edit::Flip(place * 37, more),
        1 => Edit::Remove(place),
        2 => Edit::Swap(place, more.into()),
        3 => Edit::Repeat(place, more.into()),
        4 => Edit::Cut(place * 37 + usize::from(more)),
        _ => Edit::Insert(place * 37, vec![more, b'\n', more][..usize::from(more % 3) + 1].to_vec()),
    }
}
