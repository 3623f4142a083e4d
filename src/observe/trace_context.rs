//! The trace that a request belongs to (W3C Trace Context): passed on if its name can be read, begun if there is none.

use std::cell::RefCell;
use std::fmt;
use std::num::NonZeroU128;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::base::hex;
use crate::net::fields::{self, FieldLines};

static PARENT: HeaderName = HeaderName::from_static("traceparent");
static STATE: HeaderName = HeaderName::from_static("tracestate");

/// The bytes of `traceparent` in version 00, and of what every later version begins with.
const LENGTH: usize = 55;
/// What is taken for the fields of many requests at once, in bytes: one of its own would be copied to be kept, too.
const ROOM: usize = 4096;

thread_local! {
    /// Room for the fields of the next requests.
    static FIELDS: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(ROOM));
}

/// The id of a trace, which shows as 32 lower case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(NonZeroU128);

impl TraceId {
    /// Another one. It need not be secret, only different, so it comes from a generator of this thread and costs no
    /// system call.
    #[expect(clippy::new_without_default, reason = "there is no default trace")]
    pub fn new() -> Self {
        Self(NonZeroU128::new(fastrand::u128(..)).unwrap_or(NonZeroU128::MIN))
    }

    /// The number that its digits are.
    pub fn number(self) -> u128 {
        self.0.get()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// From where in which trace a request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace: TraceId,
    /// The caller's span; not 0.
    pub span: u64,
    /// Whether the caller records it.
    pub sampled: bool,
}

/// The trace that a request says it belongs to; `None` also if it says so in a way that cannot be read.
pub fn of(headers: &HeaderMap) -> Option<Parent> {
    match fields::only(headers, &PARENT) {
        FieldLines::One(line) => read(line.as_bytes()),
        FieldLines::None | FieldLines::Many => None,
    }
}

/// Begins a trace in place of whatever the headers say of one. It is marked as not recorded: nothing is exported.
pub fn begin(headers: &mut HeaderMap) -> TraceId {
    let trace = TraceId::new();
    remove_state(headers);
    put(headers, trace, fastrand::u64(1..), false);
    trace
}

/// Says that what these headers are sent with is called from this recorded span of the trace. What the caller keeps in
/// `tracestate` goes on only with the caller's own trace.
pub fn name(headers: &mut HeaderMap, trace: TraceId, span: u64, goes_on: bool) {
    if !goes_on {
        remove_state(headers);
    }
    put(headers, trace, span, true);
}

fn remove_state(headers: &mut HeaderMap) {
    if fields::has(headers, &STATE) {
        headers.remove(&STATE);
    }
}

fn put(headers: &mut HeaderMap, trace: TraceId, span: u64, sampled: bool) {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    let [_, _, _, ids @ .., _, _, flags] = &mut text;
    if let Some((of_trace, [_, of_span @ ..])) = ids.split_first_chunk_mut() {
        *of_trace = hex::long_digits(trace.number());
        of_span.copy_from_slice(&hex::digits(span));
    }
    *flags = b'0' + u8::from(sampled);
    if let Ok(mut value) = HeaderValue::from_maybe_shared(in_room(&text)) {
        // It is never the same again: in the table of HTTP/2 it would push others out.
        value.set_sensitive(true);
        headers.insert(&PARENT, value);
    }
}

fn in_room(text: &[u8; LENGTH]) -> Bytes {
    FIELDS.with_borrow_mut(|room| {
        room.extend_from_slice(text);
        room.split().freeze()
    })
}

/// Reads `traceparent` (section 3.2): lower case only, neither id 0, no version ff, nothing after version 00.
fn read(text: &[u8]) -> Option<Parent> {
    let (known, rest) = text.split_at_checked(LENGTH)?;
    let known = std::str::from_utf8(known).ok()?;
    let mut parts = known.split('-');
    let [version, trace, parent, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let lengths = [version.len(), trace.len(), parent.len(), flags.len()];
    let hexadecimal = known.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    let later = version != "00" && (rest.is_empty() || rest.starts_with(b"-"));
    if lengths != [2, 32, 16, 2] || !hexadecimal || version == "ff" || !(later || rest.is_empty()) {
        return None;
    }
    let trace = TraceId(NonZeroU128::new(u128::from_str_radix(trace, 16).ok()?)?);
    let (span, flags) = (u64::from_str_radix(parent, 16).ok()?, u8::from_str_radix(flags, 16).ok()?);
    (span != 0).then_some(Parent { trace, span, sampled: flags & 1 == 1 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn trace_is_read_as_the_recommendation_says() {
        let trace = TraceId(NonZeroU128::new(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c).expect("not 0"));
        let id = Some(Parent { trace, span: 0xb7ad_6b71_6920_3331, sampled: true });
        assert_eq!(read(GOOD.as_bytes()), id);
        for later in ["cc-", "01-", "fe-"].map(|version| GOOD.replacen("00-", version, 1)) {
            assert_eq!(read(later.as_bytes()), id, "{later}");
            assert_eq!(read(format!("{later}-what-the-future-brings").as_bytes()), id);
            assert_eq!(read(format!("{later}x").as_bytes()), None);
        }
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-B7AD6B7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
            "+0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(read(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn fields_of_many_requests_take_memory_once_and_each_keeps_its_own() {
        let mut heads = Vec::with_capacity(1000);
        let begin = || {
            let mut headers = HeaderMap::with_capacity(1);
            (begin(&mut headers), headers)
        };
        let taken = allocation_counter::measure(|| heads.extend((0..1000).map(|_| begin())));
        for (trace, headers) in &heads {
            assert_eq!(of(headers).map(|parent| parent.trace), Some(*trace));
        }
        // A map takes two, a piece of room for 74 fields two at most.
        assert!(taken.count_total < 2 * 1000 + 2 * 15, "{}", taken.count_total);
    }

    #[test]
    fn trace_that_is_named_twice_is_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(of(&headers), None);
        headers.append(&PARENT, HeaderValue::from_static(GOOD));
        assert!(of(&headers).is_some());
        headers.append(&PARENT, HeaderValue::from_static(GOOD));
        assert_eq!(of(&headers), None);
    }

    #[test]
    fn trace_that_begins_replaces_all_that_was_said_of_one() {
        let mut headers = HeaderMap::new();
        headers.append(&PARENT, HeaderValue::from_static("nonsense"));
        headers.append(&PARENT, HeaderValue::from_static(GOOD));
        headers.append(&STATE, HeaderValue::from_static("a=1"));
        headers.append(&STATE, HeaderValue::from_static("b=2"));
        let begun = begin(&mut headers);
        assert_eq!((headers.len(), of(&headers).map(|it| (it.trace, it.sampled))), (1, Some((begun, false))));
        assert_ne!(begin(&mut headers), begun);
    }

    #[test]
    fn trace_of_a_recorded_span_keeps_the_callers_state_only_if_it_is_the_callers() {
        let trace = TraceId::new();
        for goes_on in [true, false] {
            let mut headers = HeaderMap::new();
            headers.append(&PARENT, HeaderValue::from_static(GOOD));
            headers.append(&STATE, HeaderValue::from_static("a=1"));
            name(&mut headers, trace, 7, goes_on);
            assert_eq!(of(&headers), Some(Parent { trace, span: 7, sampled: true }));
            assert_eq!(headers.contains_key(&STATE), goes_on);
        }
    }

    proptest! {
        #[test]
        fn trace_ids_are_what_stands_in_the_field(trace in 1u128.., parent in 1u64.., flags: u8, version in 0u8..0xff) {
            let text = format!("{version:02x}-{trace:032x}-{parent:016x}-{flags:02x}");
            let told = read(text.as_bytes()).map(|it| (it.trace.to_string(), it.span, it.sampled));
            prop_assert_eq!(told, Some((format!("{trace:032x}"), parent, flags & 1 == 1)));
            for place in [2, 35, 52] {
                let mut broken = text.clone().into_bytes();
                broken[place] = b'0';
                prop_assert_eq!(read(&broken), None);
            }
        }

        #[test]
        fn trace_is_read_from_any_bytes(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }
    }
}
