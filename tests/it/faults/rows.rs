//! The table: what a faulty upstream does, and what must come of it.

use super::Expect::{self, Broken, Refused, Whole};
use super::{Family, Method, Over, Row, Step};
use Family::*;
use Over::{Clear, Http2, Tls};
use Step::*;

/// A good answer to the faulty request.
pub(crate) const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n[\"good\"]";
/// The body of it.
pub(crate) const BODY: &[u8] = b"[\"good\"]";
/// What nobody may ever be given.
const EVIL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n[\"evil\"]";

const MALFORMED: Expect = Refused(502, "upstream-malformed");
const BROKEN: Expect = Refused(502, "upstream-broken");
const LATE: Expect = Refused(504, "upstream-timeout");
const UNTRUSTED: Expect = Refused(502, "instance-untrusted");
const GOOD_COMES: Expect = Whole(200, BODY);

/// A GET in clear text on a new connection, which arrives once.
fn row(family: Family, about: &'static str, rfc: &'static str, script: Vec<Step>, expect: Expect) -> Row {
    let (over, method, arrived) = (Clear, Method::Get, 1);
    Row { family, about, rfc, over, method, warm: false, idle: vec![], greeting: b"", script, expect, arrived }
}

impl Row {
    fn over(self, over: Over) -> Self {
        Self { over, ..self }
    }

    fn by(self, method: Method) -> Self {
        Self { method, ..self }
    }

    /// On a connection that has served before.
    fn warm(self) -> Self {
        Self { warm: true, ..self }
    }

    fn arrives(self, arrived: usize) -> Self {
        Self { arrived, ..self }
    }
}

/// All rows.
pub(crate) fn all() -> Vec<Row> {
    [heads(), lengths(), codings(), bodies(), refusals(), surplus(), informational(), silence(), once(), tls()]
        .into_iter()
        .chain([http2_heads(), http2_bodies(), http2_connections()])
        .flatten()
        .collect()
}

/// A head, sent whole, and then the end of the connection.
fn head_row(family: Family, about: &'static str, rfc: &'static str, bytes: &'static [u8]) -> Row {
    row(family, about, rfc, vec![Send(bytes), Close], MALFORMED)
}

fn heads() -> Vec<Row> {
    let bad = |about, rfc, bytes| head_row(Head, about, rfc, bytes);
    vec![
        bad("no HTTP at all", "9112-4", b"evil evil\r\n\r\n"),
        bad("bytes of zero", "9112-4", b"\0\0\0\0\0\0\0\0evil"),
        bad("HTTP/0.9", "9112-4", b"[\"evil\"]"),
        bad("a request", "9112-4", b"GET /evil HTTP/1.1\r\nHost: x\r\n\r\n"),
        bad("an alert of TLS", "9112-4", b"\x15\x03\x01\x00\x02\x02\x28"),
        bad("a frame of HTTP/2", "9112-4", b"\0\0\0\x04\0\0\0\0\0"),
        bad("a status of letters", "9112-4", b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n"),
        bad("a status of two digits", "9112-4", b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
        bad("a status of four digits", "9112-4", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
        bad("a negative status", "9112-4", b"HTTP/1.1 -20 OK\r\nContent-Length: 0\r\n\r\n"),
        bad("the status 099", "9110-15", b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n"),
        bad("the status 600", "9110-15", b"HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n"),
        bad("the status 999", "9110-15", b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n"),
        bad("the version 2.0", "9112-2.3", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        bad("a version in small letters", "9112-2.3", b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        bad("another protocol's name", "9112-2.3", b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n"),
        bad("a space before the colon", "9112-5.1", b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"),
        bad("a folded line", "9112-5.2", b"HTTP/1.1 200 OK\r\nX: a\r\n evil\r\nContent-Length: 0\r\n\r\n"),
        bad("a line without a colon", "9112-5", b"HTTP/1.1 200 OK\r\nevil\r\nContent-Length: 0\r\n\r\n"),
        bad("a field without a name", "9112-5", b"HTTP/1.1 200 OK\r\n: evil\r\nContent-Length: 0\r\n\r\n"),
        bad("a zero in a value", "9110-5.5", b"HTTP/1.1 200 OK\r\nX: a\0evil\r\nContent-Length: 0\r\n\r\n"),
        bad("a bare CR in a value", "9110-5.5", b"HTTP/1.1 200 OK\r\nX: a\rEvil: b\r\nContent-Length: 0\r\n\r\n"),
        bad("a bracket in a name", "9110-5.1", b"HTTP/1.1 200 OK\r\nX(evil): a\r\nContent-Length: 0\r\n\r\n"),
        row(
            Head,
            "more than 1024 fields",
            "9110-5.4",
            vec![Send(b"HTTP/1.1 200 OK\r\n"), Flood(b"X: evil\r\n", 1025), Send(b"\r\n"), Close],
            MALFORMED,
        ),
        row(
            Head,
            "a head of 80 KiB",
            "9110-5.4",
            vec![Send(b"HTTP/1.1 200 OK\r\nX: "), Flood(b"evilevil", 10 << 10), Send(b"\r\n\r\n"), Close],
            MALFORMED,
        ),
        row(Head, "half a head, then the end", "9112-8", vec![Send(b"HTTP/1.1 200 OK\r\nX: evil"), Close], BROKEN),
        row(Head, "half a head, then a reset", "9112-8", vec![Send(b"HTTP/1.1 200 OK\r\nX: evil"), Reset], BROKEN),
        row(
            Head,
            "a reason phrase of its own is not passed on",
            "9112-4",
            vec![Send(b"HTTP/1.1 200 <b>evil</b>\r\nContent-Length: 8\r\n\r\n[\"good\"]")],
            GOOD_COMES,
        ),
        row(
            Head,
            "lines that end in LF alone are understood",
            "9112-2.2",
            vec![Send(b"HTTP/1.1 200 OK\nContent-Length: 8\n\n[\"good\"]")],
            GOOD_COMES,
        ),
        row(
            Head,
            "HTTP/1.0 with a length is understood",
            "9112-9.3",
            vec![Send(b"HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\n[\"good\"]"), Close],
            GOOD_COMES,
        ),
    ]
}

fn lengths() -> Vec<Row> {
    let bad = |about, bytes| head_row(Length, about, "9112-6.3", bytes);
    vec![
        bad("a length of letters", b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nevil"),
        bad("a negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nevil"),
        bad("a length with a plus", b"HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\nevil"),
        bad("a hexadecimal length", b"HTTP/1.1 200 OK\r\nContent-Length: 0x4\r\n\r\nevil"),
        bad("an empty length", b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nevil"),
        bad("two numbers in a length", b"HTTP/1.1 200 OK\r\nContent-Length: 4 4\r\n\r\nevil"),
        bad("a length with a parameter", b"HTTP/1.1 200 OK\r\nContent-Length: 4;x\r\n\r\nevil"),
        bad("a list of equal lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\nevil"),
        bad("equal lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nevil"),
        bad("different lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 2\r\n\r\nevil"),
        bad("a length over 64 bits", b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nevil"),
        bad("204 with a length", b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil"),
        row(
            Length,
            "204 with the length 0 is understood",
            "9110-8.6",
            vec![Send(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")],
            Whole(204, b""),
        ),
        row(
            Length,
            "blanks around a length are understood",
            "9110-5.5",
            vec![Send(b"HTTP/1.1 200 OK\r\nContent-Length: \t 8 \t\r\n\r\n[\"good\"]")],
            GOOD_COMES,
        ),
    ]
}

fn codings() -> Vec<Row> {
    let bad = |about, bytes| head_row(Coding, about, "9112-6.1", bytes);
    vec![
        bad("an unknown coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\n\r\nevil"),
        bad("an unknown coding before chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: x, chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        bad("chunked twice in a line", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        bad("chunked in two lines", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        bad("chunked not last", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        bad("identity", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nevil"),
        bad("gzip before chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        bad("chunked with a parameter", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;x=y\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        bad("chunked with a letter before", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        bad("an empty coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\nevil"),
        bad("a coding in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        bad("a coding of 204", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        bad("a coding before a length", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        bad("a length before a coding", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        bad("a length and a coding in the answer to HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n").by(Method::Head),
        row(
            Coding,
            "chunked in other letters is understood",
            "9112-6.1",
            vec![Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n8\r\n[\"good\"]\r\n0\r\n\r\n")],
            GOOD_COMES,
        ),
    ]
}

fn bodies() -> Vec<Row> {
    let cut = |about, script| row(Body, about, "9112-8", script, Broken(200));
    let chunks = |about, bytes| row(Body, about, "9112-7.1", vec![Send(bytes), Close], Broken(200));
    vec![
        cut(
            "less than its length, then the end",
            vec![Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[\"good"), Close],
        ),
        cut(
            "less than its length, then a reset",
            vec![Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[\"good"), Reset],
        ),
        cut(
            "less than its length, then nothing",
            vec![Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[\"good"), Hang],
        ),
        cut(
            "less than its length inside of TLS",
            vec![Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[\"good"), CloseNotify],
        )
        .over(Tls),
        cut("nothing of its length", vec![Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), Close]),
        cut(
            "nothing of a length of 64 bits",
            vec![Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n"), Close],
        ),
        cut("a body until the end, cut off", vec![Send(b"HTTP/1.1 200 OK\r\n\r\n[\"good"), Close]).over(Tls),
        cut("a body until the end, reset", vec![Send(b"HTTP/1.1 200 OK\r\n\r\n[\"good"), Wait(50), Reset]),
        cut(
            "chunks without the last, then nothing",
            vec![Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[\"goo\r\n"), Hang],
        ),
        chunks("chunks without the last", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[\"goo\r\n"),
        chunks("no chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        chunks("half a chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n[\"goo"),
        chunks("half a size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[\"goo\r\n1"),
        chunks(
            "a last chunk without its end",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[\"goo\r\n0\r\n",
        ),
        chunks("a size of letters", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nevil\r\n0\r\n\r\n"),
        chunks("a negative size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-4\r\nevil\r\n0\r\n\r\n"),
        chunks(
            "a size with a prefix",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x4\r\nevil\r\n0\r\n\r\n",
        ),
        chunks(
            "a size over 64 bits",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000004\r\nevil\r\n0\r\n\r\n",
        ),
        chunks(
            "a chunk longer than its size",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n[\"goodevil\r\n0\r\n\r\n",
        ),
        chunks("an empty size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nevil\r\n0\r\n\r\n"),
        row(
            Body,
            "a flood of trailers",
            "9112-7.1.2",
            vec![
                Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"),
                Flood(b"X: evil\r\n", 40_000),
                Close,
            ],
            Broken(200),
        ),
        row(
            Body,
            "a trailer is left out",
            "9110-6.5.1",
            vec![Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n[\"good\"]\r\n0\r\nX: evil\r\n\r\n")],
            GOOD_COMES,
        ),
        row(
            Body,
            "a body until the end of TLS is whole",
            "9112-9.8",
            vec![Send(b"HTTP/1.1 200 OK\r\n\r\n[\"good\"]"), CloseNotify],
            GOOD_COMES,
        )
        .over(Tls),
        row(Body, "an answer in single bytes is whole", "9112-6", vec![Drip(GOOD, 5)], GOOD_COMES),
    ]
}

/// Answers whose body is looked at before they are passed on.
fn refusals() -> Vec<Row> {
    let refusal = |about, status, script| row(Body, about, "9112-8", script, Broken(status));
    vec![
        refusal("nothing of a 403's length", 403, vec![Send(b"HTTP/1.1 403 X\r\nContent-Length: 100\r\n\r\n"), Close]),
        refusal(
            "some of a 403's length, then the end",
            403,
            vec![Send(b"HTTP/1.1 403 X\r\nContent-Length: 100\r\n\r\nNot yo"), Close],
        ),
        refusal(
            "some of a 403's length, then nothing",
            403,
            vec![Send(b"HTTP/1.1 403 X\r\nContent-Length: 100\r\n\r\nNot yo"), Hang],
        ),
        refusal(
            "some of a 401's length, then a reset",
            401,
            vec![Send(b"HTTP/1.1 401 X\r\nContent-Length: 100\r\n\r\nNot yo"), Wait(50), Reset],
        )
        .by(Method::Post),
        refusal(
            "half a chunk of a 404",
            404,
            vec![
                Send(b"HTTP/1.1 404 X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n[\"goo"),
                Close,
            ],
        ),
    ]
}

fn surplus() -> Vec<Row> {
    let after = |about, bytes| row(Surplus, about, "9112-9.2", vec![Send(bytes), Send(EVIL)], GOOD_COMES);
    let idle = |about, idle| Row { idle, ..row(Surplus, about, "9112-9.2", vec![Send(GOOD)], GOOD_COMES).warm() };
    vec![
        after("a second answer", GOOD),
        after("a second answer inside of TLS", GOOD).over(Tls),
        after("a second answer after chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n[\"good\"]\r\n0\r\n\r\n"),
        row(
            Surplus,
            "a second answer in the same segment",
            "9112-9.2",
            vec![Send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n[\"good\"]HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n[\"evil\"]")],
            GOOD_COMES,
        ),
        row(
            Surplus,
            "204 with a body",
            "9112-6.3",
            vec![Send(b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n[\"evil\"]")],
            Whole(204, b""),
        ),
        row(
            Surplus,
            "304 with a body",
            "9112-6.3",
            vec![Send(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 8\r\n\r\n[\"evil\"]")],
            Whole(304, b""),
        ),
        row(
            Surplus,
            "HEAD with a body",
            "9112-6.3",
            vec![Send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n[\"evil\"]")],
            Whole(200, b""),
        )
        .by(Method::Head),
        row(
            Surplus,
            "an empty line after the body",
            "9112-9.2",
            vec![Send(GOOD), Send(b"\r\n\r\n")],
            GOOD_COMES,
        ),
        idle("an answer on an idle connection", vec![Send(EVIL)]),
        idle("an answer on an idle connection before a write", vec![Send(EVIL)]).by(Method::Post),
        idle("an answer on an idle connection inside of TLS", vec![Send(EVIL)]).over(Tls),
        idle("half an answer on an idle connection", vec![Send(b"HTTP/1.1 200 OK\r\nX: evil")]),
        idle("408 on an idle connection", vec![Send(b"HTTP/1.1 408 evil\r\nContent-Length: 0\r\n\r\n"), Close]),
        Row {
            greeting: EVIL,
            ..row(Surplus, "an answer before the first request", "9112-9.2", vec![Send(GOOD)], BROKEN)
        }
        .over(Tls)
        .arrives(0),
    ]
}

fn informational() -> Vec<Row> {
    let good = |about, first| row(Informational, about, "9110-15.2", vec![Send(first), Send(GOOD)], GOOD_COMES);
    let upgrade: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nevil";
    vec![
        good("100 that nobody waits for", b"HTTP/1.1 100 Continue\r\n\r\n"),
        good("100 to a write", b"HTTP/1.1 100 Continue\r\n\r\n").by(Method::Post),
        good("102 and 103", b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </evil>\r\n\r\n"),
        good("199", b"HTTP/1.1 199 evil\r\n\r\n"),
        good("100 with a length", b"HTTP/1.1 100 Continue\r\nContent-Length: 4\r\n\r\n"),
        row(
            Informational,
            "a thousand of 100",
            "9110-15.2",
            vec![Flood(b"HTTP/1.1 100 Continue\r\n\r\n", 1000), Send(GOOD)],
            GOOD_COMES,
        ),
        row(
            Informational,
            "a flood of 100 without an end",
            "9110-15.2",
            vec![Flood(b"HTTP/1.1 100 Continue\r\nX: evil evil evil evil evil evil evil evil evil evil evil evil evil evil evil\r\nX: evil evil evil evil evil evil evil evil evil evil evil evil evil evil evil evil evil\r\n\r\n", 200_000), Close],
            MALFORMED,
        ),
        row(
            Informational,
            "100, then the end",
            "9110-15.2",
            vec![Send(b"HTTP/1.1 100 Continue\r\n\r\n"), Close],
            BROKEN,
        ),
        row(Informational, "100, then nothing", "9110-15.2", vec![Send(b"HTTP/1.1 100 Continue\r\n\r\n"), Hang], LATE),
        row(Informational, "101 unasked", "9110-15.2.2", vec![Send(upgrade), Hang], MALFORMED),
        row(Informational, "101 unasked, to a write", "9110-15.2.2", vec![Send(upgrade), Hang], MALFORMED)
            .by(Method::Post),
        row(Informational, "101 unasked, inside of TLS", "9110-15.2.2", vec![Send(upgrade), Hang], MALFORMED).over(Tls),
    ]
}

fn silence() -> Vec<Row> {
    vec![
        row(Silence, "no answer", "9110-15.6.5", vec![Hang], LATE),
        row(Silence, "no answer inside of TLS", "9110-15.6.5", vec![Hang], LATE).over(Tls),
        row(Silence, "no answer on a connection that served", "9110-15.6.5", vec![Hang], LATE).warm(),
        row(Silence, "half a head", "9110-15.6.5", vec![Send(b"HTTP/1.1 200 OK\r\nX: evil"), Hang], LATE),
        row(Silence, "a head in single bytes, too slow", "9110-15.6.5", vec![Drip(GOOD, 400)], LATE),
        row(Silence, "empty lines, too slow", "9110-15.6.5", vec![Drip(&[b'\n'; 100], 200)], LATE),
        row(Silence, "a slow answer is in time", "9110-15.6.5", vec![Wait(500), Send(GOOD)], GOOD_COMES),
    ]
}

fn once() -> Vec<Row> {
    let mut rows = Vec::new();
    for method in [Method::Post, Method::Put, Method::Patch, Method::Delete] {
        let write = |about, script, expect| row(Once, about, "9110-9.2.2", script, expect).by(method).warm();
        let idle = |about, idle| Row { idle, ..write(about, vec![Send(GOOD)], GOOD_COMES) };
        rows.extend([
            write("a write, then the end", vec![Close], BROKEN),
            write("a write, then the end of TLS", vec![CloseNotify], BROKEN).over(Tls),
            write("a write, then a reset", vec![Reset], BROKEN),
            write("a write, then nothing", vec![Hang], LATE),
            write("a write, then half a head", vec![Send(b"HTTP/1.1 200 OK\r\n"), Close], BROKEN),
            write("a write and 500", vec![Send(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")], Whole(500, b"")),
            write(
                "a write and 503",
                vec![Send(b"HTTP/1.1 503 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")],
                Whole(503, b""),
            ),
            write(
                "a write and 429",
                vec![Send(b"HTTP/1.1 429 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")],
                Whole(429, b""),
            ),
            idle("a write on a connection that was closed", vec![Close]),
            idle("a write on a connection that was reset", vec![Reset]),
            idle("a write on a connection that was closed inside of TLS", vec![CloseNotify]).over(Tls),
        ]);
    }
    let read = |about, script, expect| row(Once, about, "9110-9.2.2", script, expect);
    rows.extend([
        read("a read on a new connection, then the end", vec![Close], BROKEN),
        read("a read on a new connection, then a reset", vec![Reset], BROKEN),
        read("a read, then the end, is repeated", vec![Close], GOOD_COMES).warm().arrives(2),
        read("a read, then a reset, is repeated", vec![Reset], GOOD_COMES).warm().arrives(2),
        read("a read, then the end of TLS, is repeated", vec![CloseNotify], GOOD_COMES).warm().arrives(2).over(Tls),
        read("a read of the head, then the end, is repeated", vec![Close], Whole(200, b""))
            .warm()
            .arrives(2)
            .by(Method::Head),
        read(
            "a read and 500 is not repeated",
            vec![Send(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")],
            Whole(500, b""),
        )
        .warm(),
        read("a read and garbage is not repeated", vec![Send(b"evil\r\n\r\n"), Close], MALFORMED).warm(),
    ]);
    rows
}

fn tls() -> Vec<Row> {
    let bad = |about, over| row(Certificate, about, "9110-4.3.4", vec![], UNTRUSTED).over(over).arrives(0);
    let raw = |about, script, expect| row(Handshake, about, "8446-4", script, expect).over(Over::Raw).arrives(0);
    vec![
        bad("a certificate of another name", Over::OtherName),
        bad("a certificate with a common name only", Over::CommonName),
        bad("a certificate that has ended", Over::Expired),
        bad("a certificate that has not begun", Over::Early),
        bad("a certificate of an unknown CA", Over::UnknownCa),
        raw("TLS 1.1", vec![Send(super::TLS_1_1), Hang], UNTRUSTED),
        raw("HTTP in clear text", vec![Send(EVIL), Close], UNTRUSTED),
        raw("garbage", vec![Send(b"\x16\x03\x03\x00\x04evil"), Close], UNTRUSTED),
        raw("the alert unrecognized_name", vec![Send(b"\x15\x03\x03\x00\x02\x02\x70"), Close], UNTRUSTED),
        raw("the alert handshake_failure", vec![Send(b"\x15\x03\x03\x00\x02\x02\x28"), Close], UNTRUSTED),
        raw("the end", vec![Close], UNTRUSTED),
        raw("a reset", vec![Reset], UNTRUSTED),
        raw("nothing", vec![Hang], Refused(504, "instance-unreachable")),
    ]
}

/// A frame on the stream of the request.
fn frame(kind: u8, flags: u8, payload: &'static [u8]) -> Step {
    Frame(kind, flags, payload)
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PUSH_PROMISE: u8 = 5;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Fields of a head (RFC 7541): 0x88 is `:status: 200`, 0x08 begins a `:status` of any text.
fn head(flags: u8, fields: &'static [u8]) -> Step {
    frame(HEADERS, END_HEADERS | flags, fields)
}

fn data(flags: u8, bytes: &'static [u8]) -> Step {
    frame(DATA, flags, bytes)
}

fn reset(code: &'static [u8; 4]) -> Step {
    frame(RST_STREAM, 0, code)
}

/// A head that announces nine bytes.
const NINE: &[u8] = b"\x88\x00\x0econtent-length\x019";

fn two(about: &'static str, rfc: &'static str, script: Vec<Step>, expect: Expect) -> Row {
    row(Frames, about, rfc, script, expect).over(Http2)
}

/// A good answer, after these frames.
fn then_good(mut script: Vec<Step>) -> Vec<Step> {
    script.extend([head(0, b"\x88"), data(END_STREAM, BODY)]);
    script
}

fn http2_heads() -> Vec<Row> {
    let refused = |about, rfc, script| two(about, rfc, script, BROKEN);
    vec![
        two("REFUSED_STREAM, which is repeated", "9113-8.7", vec![reset(b"\0\0\0\x07")], GOOD_COMES).arrives(2),
        two("REFUSED_STREAM to a write, which is repeated", "9113-8.7", vec![reset(b"\0\0\0\x07")], GOOD_COMES)
            .by(Method::Post)
            .arrives(2),
        refused("INTERNAL_ERROR", "9113-5.4.2", vec![reset(b"\0\0\0\x02")]),
        refused("INTERNAL_ERROR to a write", "9113-5.4.2", vec![reset(b"\0\0\0\x02")]).by(Method::Post),
        refused("INTERNAL_ERROR on a connection that served", "9113-5.4.2", vec![reset(b"\0\0\0\x02")]).warm(),
        refused("CANCEL", "9113-5.4.2", vec![reset(b"\0\0\0\x08")]),
        refused("NO_ERROR before an answer", "9113-8.1", vec![reset(b"\0\0\0\0")]),
        refused("ENHANCE_YOUR_CALM to a write", "9113-7", vec![reset(b"\0\0\0\x0b")]).by(Method::Put),
        refused("data before a head", "9113-8.1", vec![data(END_STREAM, b"[\"evil\"]")]),
        refused("fields that cannot be decoded", "9113-4.3", vec![head(0, b"\xff\xff\xff\xff\xff\xff\xff\xff")]),
        refused("a field in capitals", "9113-8.2.1", vec![head(END_STREAM, b"\x88\x00\x04EVIL\x01x")]),
        refused("a transfer coding", "9113-8.2.2", vec![head(END_STREAM, b"\x88\x00\x11transfer-encoding\x07chunked")]),
        refused("a Connection field", "9113-8.2.2", vec![head(END_STREAM, b"\x88\x00\x0aconnection\x05close")]),
        refused("no status", "9113-8.3.2", vec![head(END_STREAM, b"\x00\x01x\x04evil")]),
        refused("a status of letters", "9113-8.3.2", vec![head(END_STREAM, b"\x08\x03abc")]),
        refused("a length that is too long", "9113-8.1.1", vec![head(END_STREAM, NINE)]),
        refused("a pushed stream", "9113-8.4", vec![frame(PUSH_PROMISE, END_HEADERS, b"\0\0\0\x02\x82")]),
        refused(
            "a frame over the limit",
            "9113-4.2",
            vec![Send(b"\x7f\xff\xff\0\0\0\0\0\x01"), Flood(b"evilevil", 4096)],
        ),
        refused("a window of nothing", "9113-6.9", vec![frame(WINDOW_UPDATE, 0, b"\0\0\0\0")]),
        refused("HTTP/1.1", "9113-3.4", vec![Send(EVIL)]),
        two("the status 101", "9113-8.6", vec![head(0, b"\x08\x03101"), Hang], LATE),
        two("the status 600", "9110-15", vec![head(END_STREAM, b"\x08\x03600")], MALFORMED),
        two(
            "equal lengths",
            "9110-8.6",
            vec![head(0, b"\x88\x00\x0econtent-length\x018\x00\x0econtent-length\x018"), data(END_STREAM, BODY)],
            MALFORMED,
        ),
    ]
}

fn http2_bodies() -> Vec<Row> {
    vec![
        two(
            "NO_ERROR in a body",
            "9113-8.1",
            vec![head(0, b"\x88"), data(0, b"[\"good"), reset(b"\0\0\0\0")],
            Broken(200),
        ),
        two(
            "CANCEL in a body",
            "9113-8.1",
            vec![head(0, b"\x88"), data(0, b"[\"good"), reset(b"\0\0\0\x08")],
            Broken(200),
        ),
        two("nothing of a body, then a reset", "9113-8.1", vec![head(0, b"\x88"), reset(b"\0\0\0\x02")], Broken(200)),
        two(
            "nothing of a 403, then a reset",
            "9113-8.1",
            vec![head(0, b"\x08\x03403"), reset(b"\0\0\0\x02")],
            Broken(403),
        ),
        two(
            "half a 401, then the end",
            "9113-8.1",
            vec![head(0, b"\x08\x03401"), data(0, b"[\"good"), Close],
            Broken(401),
        )
        .by(Method::Post),
        two("less than its length", "9113-8.1.1", vec![head(0, NINE), data(END_STREAM, BODY)], Broken(200)),
        two("more than its length", "9113-8.1.1", vec![head(0, NINE), data(END_STREAM, b"[\"good\"]..")], Broken(200)),
        two("half a body, then the end", "9113-8.1", vec![head(0, b"\x88"), data(0, b"[\"good"), Close], Broken(200)),
        two("half a body, then nothing", "9113-8.1", vec![head(0, b"\x88"), data(0, b"[\"good"), Hang], Broken(200)),
        two(
            "half a body, GOAWAY and the end",
            "9113-6.8",
            vec![head(0, b"\x88"), data(0, b"[\"good"), GoAway(0, 0), CloseNotify],
            Broken(200),
        ),
        two(
            "half a body that GOAWAY disowns",
            "9113-6.8",
            vec![head(0, b"\x88"), data(0, b"[\"good"), GoAway(-2, 0), Hang],
            Broken(200),
        ),
    ]
}

/// HEADERS with 100 on the first stream of a connection.
const INFORMATIONAL: &[u8] = b"\0\0\x05\x01\x04\0\0\0\x01\x08\x03100";

fn http2_connections() -> Vec<Row> {
    let mut rows = vec![
        two("no answer", "9110-15.6.5", vec![Hang], LATE),
        two("no answer to a write", "9110-15.6.5", vec![Hang], LATE).by(Method::Post),
        two("the end", "9113-8.1", vec![Close], BROKEN),
        two("the end, to a write", "9113-8.1", vec![Close], BROKEN).by(Method::Patch).warm(),
        two("the end, to a read on a connection that served", "9113-8.1", vec![Close], GOOD_COMES).warm().arrives(2),
        two("an unknown frame is ignored", "9113-5.5", then_good(vec![frame(0x77, 0, b"evil")]), GOOD_COMES),
        two(
            "trailers are left out",
            "9110-6.5.1",
            vec![head(0, b"\x88"), data(0, BODY), head(END_STREAM, b"\x00\x01x\x04evil")],
            GOOD_COMES,
        ),
        two("103 first", "9110-15.2", then_good(vec![head(0, b"\x08\x03103")]), GOOD_COMES),
        two("a thousand of 100", "9110-15.2", then_good(vec![Flood(INFORMATIONAL, 1000)]), GOOD_COMES),
        two("too many of 100", "9110-15.2", then_good(vec![Flood(INFORMATIONAL, 1100)]), MALFORMED),
        two("too many of 100 to a write", "9110-15.2", vec![Flood(INFORMATIONAL, 2_000), Hang], MALFORMED)
            .by(Method::Post),
    ];
    for (about, code) in
        [("GOAWAY before the request, which is repeated", 0), ("GOAWAY with an error, which is repeated", 2)]
    {
        for method in [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete] {
            let script = vec![GoAway(-2, code), Hang];
            rows.push(two(about, "9113-6.8", script, GOOD_COMES).by(method).arrives(2));
        }
    }
    rows.extend([
        two("GOAWAY after the request, and its answer", "9113-6.8", then_good(vec![GoAway(0, 0)]), GOOD_COMES),
        two("GOAWAY after the request, and the end", "9113-6.8", vec![GoAway(0, 0), Close], BROKEN).by(Method::Delete),
        Row {
            idle: vec![GoAway(0, 0)],
            ..two("GOAWAY on an idle connection", "9113-6.8", then_good(vec![]), GOOD_COMES)
        }
        .warm()
        .by(Method::Post),
    ]);
    rows
}
