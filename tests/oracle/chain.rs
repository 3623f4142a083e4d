//! An audit log as a process writes it, and what may be done to it: the measure of `audit verify`.

use std::time::{Duration, SystemTime};

use ninjaone_proxy::observe::audit_log::chain::{ChainHead, Hash};
use ninjaone_proxy::observe::audit_log::entry::{
    DecisionLabel, EndedRequest, Entry, Event, LogStart, RequestFacts, RequestOutcome, Text, TornBytes,
};
use ninjaone_proxy::observe::audit_log::line::ReadLine;
use ninjaone_proxy::observe::audit_log::verify::{Verifier, VerifyReport};

/// A log in two files, and its head.
pub(crate) struct Log {
    pub(crate) text: Vec<u8>,
    /// Where the second file begins.
    pub(crate) seam: usize,
    pub(crate) head: ChainHead,
}

/// Something that is done to a text.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    /// Changes bits of an byte.
    Flip(usize, u8),
    /// Removes a line.
    Remove(usize),
    /// Swaps two lines.
    Swap(usize, usize),
    /// Repeats a line somewhere.
    Repeat(usize, usize),
    /// Cuts the end off.
    Cut(usize),
    /// Puts bytes in.
    Insert(usize, Vec<u8>),
}

fn facts(id: usize) -> RequestFacts {
    RequestFacts {
        id: format!("{id:016x}"),
        trace: None,
        listener: "local".to_owned(),
        caller: None,
        user: None,
        organizations: None,
        peer: "127.0.0.1:1".to_owned(),
        method: Some(Text::new("POST")),
        operation: "POST /v2/organizations".to_owned(),
        path: Some(Text::new("/v2/organizations")),
        decision: DecisionLabel::Permitted,
        overruled: None,
        dry_run: false,
        rule: None,
        approval: None,
    }
}

/// When the line at this place was written: no two lines are the same, however fast they are made.
pub(crate) fn moment(place: usize) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_338_273 + place as u64)
}

/// A line for each number, which says of which kind it is.
pub(crate) fn log(kinds: &[u8]) -> Log {
    let (mut text, mut head, mut seam) = (Vec::new(), ChainHead::NONE, 0);
    for (place, kind) in kinds.iter().enumerate() {
        if place == kinds.len() / 2 {
            seam = text.len();
        }
        // Of the line before, if that is an intent.
        let ended = || EndedRequest {
            facts: facts(place.saturating_sub(1)),
            outcome: RequestOutcome { status: Some(200), ..RequestOutcome::default() },
        };
        let event = match kind % 7 {
            0 => Event::Begin(LogStart { abrupt: true, ..LogStart::default() }),
            1 => {
                let torn = &b"{\"seq\":7,\"ti\n\0\0"[..usize::from(kind / 7 % 14) + 1];
                text.extend_from_slice(torn);
                if !torn.ends_with(b"\n") {
                    text.push(b'\n');
                }
                let torn = torn.strip_suffix(b"\n").unwrap_or(torn);
                let torn = Some(TornBytes { bytes: torn.len() as u64, sha256: Hash::of(torn) });
                Event::Begin(LogStart { torn, ..LogStart::default() })
            }
            2 => Event::Intent(facts(place)),
            3 => Event::Outcome(ended()),
            4 => Event::Refusal(ended()),
            5 => Event::Gap { lost: 3 },
            _ => Event::End {},
        };
        head = Entry { at: moment(place), event }.write(head, &mut text);
    }
    Log { text, seam, head }
}

/// A caller's text stands in its line so that no terminal obeys it and no reader takes it for a line end, and as it was
/// sent. The measure is this list, by the names that Unicode gives to what is on it.
pub(crate) fn hold_text(text: &str) {
    const DEL_AND_C1: std::ops::RangeInclusive<char> = '\u{7f}'..='\u{9f}';
    const SEPARATORS: [char; 2] = ['\u{2028}', '\u{2029}'];
    const DIRECTIONS: [char; 12] = [
        '\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}',
        '\u{2067}', '\u{2068}', '\u{2069}',
    ];
    const UNSEEN: [char; 6] = ['\u{ad}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}'];
    let told = Text::new(text);
    let facts = RequestFacts { path: Some(told.clone()), method: Some(told.clone()), rule: Some(told), ..facts(1) };
    let mut written = Vec::new();
    Entry { at: moment(1), event: Event::Intent(facts) }.write(ChainHead::NONE, &mut written);
    let line = std::str::from_utf8(&written).expect("text").strip_suffix('\n').expect("a line feed");
    for c in line.chars() {
        let bad = c < ' ' || DEL_AND_C1.contains(&c) || [&SEPARATORS[..], &DIRECTIONS, &UNSEEN].concat().contains(&c);
        assert!(!bad, "U+{:04X} of {text:?} in {line:?}", u32::from(c));
    }
    assert!(ReadLine::read(line.as_bytes()).is_some(), "{line:?}");
    let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
    for name in ["path", "method", "rule"] {
        let shown = value[name].as_str().expect("text");
        assert!(shown == text || text.starts_with(shown.strip_suffix('…').expect("cut")), "{shown:?} of {text:?}");
    }
}

/// What is said of a text in one file or two.
pub(crate) fn judge(text: &[u8], seam: usize, head: Option<ChainHead>, known: &[ChainHead]) -> VerifyReport {
    let mut walk = Verifier::new(head, known);
    let (first, second) = text.split_at(seam.min(text.len()));
    for part in [first, second].into_iter().filter(|part| !part.is_empty()) {
        walk.read("log", part).expect("memory can be read");
    }
    walk.finish("log")
}

/// What becomes of `text`.
pub(crate) fn edited(text: &[u8], edit: &Edit) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let (bytes, count) = (text.len().max(1), lines.len().max(1));
    match edit {
        Edit::Flip(place, bits) => {
            let mut text = text.to_vec();
            if let Some(byte) = text.get_mut(place % bytes) {
                *byte ^= (*bits).max(1);
            }
            return text;
        }
        Edit::Cut(length) => return text[..length % bytes].to_vec(),
        Edit::Insert(place, more) => {
            let (before, after) = text.split_at(place % bytes);
            return [before, more, after].concat();
        }
        _ if lines.is_empty() => {}
        Edit::Remove(line) => drop(lines.remove(line % count)),
        Edit::Swap(one, other) => lines.swap(one % count, other % count),
        Edit::Repeat(line, place) => lines.insert(place % count, lines[line % count]),
    }
    lines.concat()
}

/// Whatever is done to a log is found. Only what is added behind its last line, without a line feed and no whole line, is
/// taken for a line that was torn.
pub(crate) fn hold(kinds: &[u8], edits: &[Edit]) {
    // A process begins with a line.
    let kinds = if kinds.is_empty() { &[0] } else { kinds };
    let log = log(kinds);
    let kept = Some(log.head);
    let good = judge(&log.text, log.seam, kept, &[]);
    assert!(good.findings.is_empty(), "{:?}", good.findings);
    assert_eq!((good.lines, good.head), (kinds.len() as u64, kept));
    let text = edits.iter().fold(log.text.clone(), |text, edit| edited(&text, edit));
    let report = judge(&text, log.seam, kept, &[]);
    let added = text.strip_prefix(&log.text[..]);
    let torn = |added: &[u8]| !added.contains(&b'\n') && ReadLine::read(added).is_none();
    match added {
        Some([]) => {}
        Some(added) if torn(added) => {
            assert!(report.findings.is_empty() && !report.notes.is_empty(), "{:?}", report.findings);
        }
        Some(_) | None => assert!(!report.findings.is_empty(), "{edits:?} made\n{}", String::from_utf8_lossy(&text)),
    }
}
