//! Messages that two readers could understand in two ways, and what must become of each.

/// One message.
pub(crate) struct Row {
    pub(crate) family: &'static str,
    /// Of RFC 9112, unless it says otherwise.
    pub(crate) section: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) fate: Fate,
}

/// What must become of a message, when another request follows it on the same connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// It gets one of these statuses (0: no answer), and the connection ends. NinjaOne sees nothing.
    Closed(&'static [u16]),
    /// It gets one of these statuses, and NinjaOne sees nothing of it.
    Refused(&'static [u16]),
    /// NinjaOne sees exactly one request, with this body.
    Served(&'static str),
    /// Its body is malformed: it gets 400, the connection ends, and NinjaOne sees no whole request.
    Cut,
    /// It ends too soon: NinjaOne sees no whole request.
    Truncated,
    /// It is a part of a request: there is no answer.
    Waits,
}

use Fate::{Closed, Cut, Refused, Served, Truncated, Waits};

const BAD: Fate = Closed(&[400]);
const FRAMING: Fate = Closed(&[400, 501]);
const LENGTH: Fate = Closed(&[400, 413, 431]);
const VERSION: Fate = Closed(&[400, 505]);
const LARGE: Fate = Closed(&[400, 413, 414, 431]);
const TARGET: Fate = Refused(&[400]);
const FOREIGN: Fate = Refused(&[421]);
const METHOD: Fate = Refused(&[400, 405, 501]);

/// A request for this line, with a good `Host`.
fn of_line(line: &str) -> String {
    format!("{line}\r\nHost: localhost\r\n\r\n")
}

/// A request with these lines, which end in CR LF, after its request line.
fn of_lines(lines: &str) -> String {
    format!("GET /v2/organizations HTTP/1.1\r\n{lines}\r\n")
}

/// A read with these field lines, which end in CR LF.
fn of_fields(fields: &str) -> String {
    of_lines(&format!("Host: localhost\r\n{fields}"))
}

/// A write with these field lines, which end in CR LF, and what follows its head.
fn write(fields: &str, rest: &str) -> String {
    format!("POST /v2/organizations HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n{rest}")
}

/// A write in chunks.
fn chunked(body: &str) -> String {
    write("Transfer-Encoding: chunked\r\n", body)
}

/// A family whose rows differ in what `form` puts into a request.
fn family<'a>(
    name: &'static str,
    form: impl Fn(&str) -> String + 'a,
    rows: &'a [(&'static str, &'a str, Fate)],
) -> impl Iterator<Item = Row> + 'a {
    let row = move |(section, text, fate): &(&'static str, &str, Fate)| Row {
        family: name,
        section,
        bytes: form(text).into_bytes(),
        fate: *fate,
    };
    rows.iter().map(row)
}

/// All of them.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    rows.extend(lengths());
    rows.extend(codings());
    rows.extend(conflicts());
    rows.extend(chunks());
    rows.extend(smuggled());
    rows.extend(line_ends());
    rows.extend(controls());
    rows.extend(fields());
    rows.extend(hosts());
    rows.extend(versions());
    rows.extend(request_lines());
    rows.extend(methods());
    rows.extend(sizes());
    rows.extend(truncated());
    rows.extend(h1spec());
    rows.iter_mut().filter(|row| matches!(row.fate, Cut | Truncated)).for_each(mark);
    rows
}

/// So that NinjaOne can tell a message whose body is cut from others.
fn mark(row: &mut Row) {
    let text = String::from_utf8_lossy(&row.bytes).replacen("/v2/organizations", "/v2/organizations?cut=1", 1);
    row.bytes = text.into_bytes();
}

fn lengths() -> Vec<Row> {
    let value = |value: &str| write(&format!("Content-Length:{value}\r\n"), "hello");
    let rows: Vec<Row> = family(
        "content-length",
        value,
        &[
            ("6.3", " 5", Served("hello")),
            ("6.3", "\t5 \t", Served("hello")),
            ("6.3", " 0005", Served("hello")),
            ("RFC 9110 7.6.1", " 5\r\nConnection: Content-Length", Served("hello")),
            ("6.3", " 5, 5", FRAMING),
            ("6.3", " 5, 6", FRAMING),
            ("6.3", " 5,", FRAMING),
            ("6.3", " ,5", FRAMING),
            ("6.3", " 5 5", FRAMING),
            ("6.3", " 5\t5", FRAMING),
            ("6.3", " +5", FRAMING),
            ("6.3", " -5", FRAMING),
            ("6.3", " -0", FRAMING),
            ("6.3", " 5.0", FRAMING),
            ("6.3", " 5e0", FRAMING),
            ("6.3", " 0x5", FRAMING),
            ("6.3", " 0o5", FRAMING),
            ("6.3", " 5h", FRAMING),
            ("6.3", " 5_0", FRAMING),
            ("6.3", " five", FRAMING),
            ("6.3", "", FRAMING),
            ("6.3", "  \t", FRAMING),
            ("6.3", " 5;x=1", FRAMING),
            ("6.3", " \"5\"", FRAMING),
            ("6.3", " \u{ff15}", FRAMING),
            ("6.3", " \u{665}", FRAMING),
            ("6.3", " 5\u{a0}", FRAMING),
            ("6.3", " 5\u{b}", FRAMING),
            ("6.3", " \u{c}5", FRAMING),
            ("6.3", " 5\0", FRAMING),
            ("6.3", " 18446744073709551615", LENGTH),
            ("6.3", " 18446744073709551616", LENGTH),
            ("6.3", " 18446744073709551621", LENGTH),
            ("6.3", " 99999999999999999999999999", LENGTH),
            ("6.3", " 5\r\nContent-Length: 5", FRAMING),
            ("6.3", " 5\r\nContent-Length: 6", FRAMING),
            ("6.3", " 6\r\nContent-Length: 5", FRAMING),
            ("6.3", " 0\r\nContent-Length: 5", FRAMING),
            ("6.3", " 5\r\nX-Between: 1\r\ncontent-lengtH: 4", FRAMING),
            ("6.3", " 5\r\nContent-Length: x", FRAMING),
            ("6.3", " 5\r\nContent-Length:", FRAMING),
        ],
    )
    .collect();
    rows
}

fn codings() -> Vec<Row> {
    let value = |value: &str| write(&format!("Transfer-Encoding:{value}\r\n"), "5\r\nhello\r\n0\r\n\r\n");
    let mut rows: Vec<Row> = family(
        "transfer-encoding",
        value,
        &[
            ("6.1", " chunked", Served("hello")),
            ("RFC 9110 7.6.1", " chunked\r\nConnection: Transfer-Encoding", Served("hello")),
            ("6.1", "\tChunKed ", Served("hello")),
            ("6.1", " gzip", FRAMING),
            ("6.1", " identity", FRAMING),
            ("6.1", " x, chunked", FRAMING),
            ("6.1", " gzip, chunked", FRAMING),
            ("6.1", " gzip,chunked", FRAMING),
            ("6.1", " identity, chunked", FRAMING),
            ("6.1", " chunked, chunked", FRAMING),
            ("6.1", " chunked, identity", FRAMING),
            ("6.1", " chunked, x", FRAMING),
            ("6.1", " chunked,", FRAMING),
            ("6.1", " ,chunked", FRAMING),
            ("6.1", " , , chunked", FRAMING),
            ("6.1", " chunked;q=1", FRAMING),
            ("6.1", " chunked;", FRAMING),
            ("6.1", " \"chunked\"", FRAMING),
            ("6.1", " 'chunked'", FRAMING),
            ("6.1", " xchunked", FRAMING),
            ("6.1", " chunkedx", FRAMING),
            ("6.1", " chunke", FRAMING),
            ("6.1", " x chunked", FRAMING),
            ("6.1", " chunked x", FRAMING),
            ("6.1", " x\tchunked", FRAMING),
            ("6.1", "", FRAMING),
            ("6.1", " \t", FRAMING),
            ("6.1", " chun\u{212a}ed", FRAMING),
            ("6.1", " \u{a0}chunked", FRAMING),
            ("6.1", " \u{b}chunked", FRAMING),
            ("6.1", " chunked\u{c}", FRAMING),
            ("6.1", " chunked\0", FRAMING),
            ("6.1", " chunked\r\nTransfer-Encoding: chunked", FRAMING),
            ("6.1", " chunked\r\nTransfer-Encoding: identity", FRAMING),
            ("6.1", " identity\r\nTransfer-Encoding: chunked", FRAMING),
            ("6.1", " gzip\r\nTransfer-Encoding: chunked", FRAMING),
            ("6.1", " chunked\r\nTransfer-Encoding:", FRAMING),
            ("6.1", "\r\nTransfer-Encoding: chunked", FRAMING),
            ("5.2", "\r\n chunked", FRAMING),
            ("5.2", " x\r\n\tchunked", FRAMING),
        ],
    )
    .collect();
    let old = |value: &str| {
        format!("POST /v2/organizations HTTP/1.0\r\nHost: localhost\r\n{value}\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    };
    rows.extend(family(
        "transfer-encoding",
        old,
        &[
            ("6.1", "Transfer-Encoding: chunked", FRAMING),
            ("6.1", "Transfer-Encoding: identity", FRAMING),
            ("6.1", "Transfer-Encoding: chunked\r\nConnection: keep-alive", FRAMING),
            ("6.1", "Content-Length: 5\r\nTransfer-Encoding: chunked", FRAMING),
            ("6.1", "Transfer-Encoding: chunked\r\nContent-Length: 5", FRAMING),
        ],
    ));
    rows
}

fn conflicts() -> Vec<Row> {
    let fields = |fields: &str| write(&format!("{fields}\r\n"), "5\r\nhello\r\n0\r\n\r\n");
    family(
        "length-and-coding",
        fields,
        &[
            ("6.3", "Content-Length: 15\r\nTransfer-Encoding: chunked", FRAMING),
            ("6.3", "Transfer-Encoding: chunked\r\nContent-Length: 15", FRAMING),
            ("6.3", "Content-Length: 0\r\nTransfer-Encoding: chunked", FRAMING),
            ("6.3", "Transfer-Encoding: chunked\r\nContent-Length: 0", FRAMING),
            ("6.3", "content-length: 5\r\ntransfer-encoding: chunked", FRAMING),
            ("6.3", "TRANSFER-ENCODING: CHUNKED\r\nCONTENT-LENGTH: 5", FRAMING),
            ("6.3", "Transfer-Encoding:chunked\r\nContent-Length:5", FRAMING),
            ("6.3", "Transfer-Encoding:\tchunked\r\nContent-Length:\t5", FRAMING),
            ("6.3", "Transfer-Encoding: chunked\r\nX-Between: 1\r\nContent-Length: 5", FRAMING),
            ("6.3", "Transfer-Encoding: chunked\r\nContent-Length: x", FRAMING),
            ("6.3", "Transfer-Encoding: chunked\r\nContent-Length: -1", FRAMING),
            ("6.3", "Transfer-Encoding: chunked\r\nContent-Length:", FRAMING),
            ("6.3", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 6", FRAMING),
            ("6.3", "Content-Length: 5\r\nTransfer-Encoding: identity", FRAMING),
            ("6.3", "Transfer-Encoding: identity\r\nContent-Length: 5", FRAMING),
            ("6.3", "Content-Length: 5\r\nTransfer-Encoding: x, chunked", FRAMING),
            ("6.3", "Content-Length: 5\r\nTransfer-Encoding:", FRAMING),
            ("6.3", "Content-Length: 15\r\nTransfer-Encoding : chunked", FRAMING),
            ("6.3", "Content-Length: 15\r\nTransfer-Encoding\t: chunked", FRAMING),
            ("6.3", "Content-Length : 15\r\nTransfer-Encoding: chunked", FRAMING),
            ("6.3", "Content-Length: 15\r\n Transfer-Encoding: chunked", FRAMING),
            ("6.3", "Content-Length: 15\r\nX: y\rTransfer-Encoding: chunked", FRAMING),
            ("6.3", "Content-Length: 15\r\nX: y\nTransfer-Encoding: chunked", FRAMING),
            ("6.3", "Content-Length: 15\r\nTransfer-Encoding\0: chunked", FRAMING),
            ("6.3", "Content-Length: 15\r\n\u{b}Transfer-Encoding: chunked", FRAMING),
            ("6.3", "Content-Length: 15\r\n: \r\nTransfer-Encoding: chunked", FRAMING),
            ("6.3", "Connection: Content-Length\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", FRAMING),
        ],
    )
    .collect()
}

fn chunks() -> Vec<Row> {
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(20_000));
    let trailers = format!("5\r\nhello\r\n0\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("5\r\nhello\r\n0\r\n{}\r\n", "X: 1\r\n".repeat(2000));
    let large = [("7.1.1", long.as_str(), Cut), ("7.1.2", &trailers, Cut), ("7.1.2", &many, Cut)];
    let mut rows: Vec<Row> = family("chunk", chunked, &large).collect();
    rows.extend(family(
        "chunk",
        chunked,
        &[
            ("7.1", "5\r\nhello\r\n0\r\n\r\n", Served("hello")),
            ("7.1", "05\r\nhello\r\n000\r\n\r\n", Served("hello")),
            ("7.1", "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", Served("01234567890123456789")),
            ("7.1", "0\r\n\r\n", Served("")),
            ("7.1.1", "5;name=value\r\nhello\r\n0;x\r\n\r\n", Served("hello")),
            ("7.1.1", "5;name=\"a;b\"\r\nhello\r\n0\r\n\r\n", Served("hello")),
            ("7.1.2", "5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n", Served("hello")),
            ("7.1.2", "5\r\nhello\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: x\r\n\r\n", Served("hello")),
            ("7.1", "\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1", "x\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1", "-5\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1", "+5\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1", "0x5\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1", "5h\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1", "5_\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1", "5,5\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1", "5 5\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1", " 5\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1", "\t5\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1", "\u{ff15}\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1", "5\0\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1", "10000000000000005\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1", "FFFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1", "5\nhello\r\n0\r\n\r\n", Cut),
            ("7.1", "5\rhello\r\n0\r\n\r\n", Cut),
            ("7.1", "5\r\rhello\r\n0\r\n\r\n", Cut),
            ("7.1", "5\r\nhelloo\r\n0\r\n\r\n", Cut),
            ("7.1", "5\r\nhell\r\n0\r\n\r\n", Cut),
            ("7.1", "5\r\nhello0\r\n\r\n", Cut),
            ("7.1", "5\r\nhello\n0\r\n\r\n", Cut),
            ("7.1", "5\r\nhello\r0\r\n\r\n", Cut),
            ("7.1", "5\r\nhello\r\n\r\n0\r\n\r\n", Cut),
            ("7.1", "5\r\nhello\r\n0\n\r\n", Cut),
            ("7.1", "0\n\n", Cut),
            ("7.1", "0\r\n\n", Cut),
            ("7.1", "5 \r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1", "5\t\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1.1", "5 ;x\r\nhello\r\n0\r\n\r\n", Served("hello")),
            ("7.1.1", "5;\0\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1.1", "5;x=\u{7f}\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1.2", "5\r\nhello\r\n0\r\nX: 1\n\r\n", Cut),
            ("7.1.2", "5\r\nhello\r\n0\r\nX: 1\nY: 2\r\n\r\n", Cut),
            ("7.1.1", "5;x\nhello\r\n0\r\n\r\n", Cut),
            ("7.1.1", "5;x\rhello\r\n0\r\n\r\n", Cut),
            ("7.1.1", "5;x=\"\r\n\"\r\nhello\r\n0\r\n\r\n", Cut),
            ("7.1.2", "5\r\nhello\r\n0\r\nno field\r\n\r\n", Cut),
            ("7.1.2", "5\r\nhello\r\n0\r\nX : 1\r\n\r\n", Cut),
            ("7.1.2", "5\r\nhello\r\n0\r\n folded\r\n\r\n", Cut),
            ("7.1.2", "5\r\nhello\r\n0\r\nX: \0\r\n\r\n", Cut),
            ("7.1.2", "5\r\nhello\r\n0\r\nX: 1\rY: 2\r\n\r\n", Cut),
        ],
    ));
    rows
}

/// Whole requests where one reader sees a body and another one the next request.
fn smuggled() -> Vec<Row> {
    let hidden = "GET /v2/devices?smuggled=1 HTTP/1.1\r\nHost: localhost\r\nX: ";
    let ended = "GET /v2/devices?smuggled=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let after = |fields: &str, rest: String| write(fields, &rest);
    let rows = [
        after("Content-Length: 99\r\nTransfer-Encoding: chunked\r\n", format!("0\r\n\r\n{hidden}")),
        after("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", format!("43\r\n{hidden}\r\n0\r\n\r\n")),
        after("Content-Length: 6\r\nContent-Length: 5\r\n", format!("12345{ended}")),
        after("Content-Length: 99\r\nTransfer-Encoding: xchunked\r\n", format!("0\r\n\r\n{ended}")),
        after("Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n", format!("0\r\n\r\n{ended}")),
        after("Content-Length: 0\r\n Transfer-Encoding: chunked\r\n", format!("0\r\n\r\n{ended}")),
        after("Content-Length: 0\r\nTransfer-Encoding : chunked\r\n", format!("0\r\n\r\n{ended}")),
        after("X: x\nTransfer-Encoding: chunked\r\n", format!("0\r\n\r\n{ended}")),
        after("X: x\n\nGET /v2/devices?smuggled=1 HTTP/1.1\r\nHost: localhost\r\n", String::new()),
        after("X: x\n\r\nGET /v2/devices?smuggled=1 HTTP/1.1\r\nHost: localhost\r\n", String::new()),
        after("X: x\r\rGET /v2/devices?smuggled=1 HTTP/1.1\r\n", String::new()),
        after("Content-Length: 0x0\r\n", ended.to_owned()),
        after("Content-Length: +0\r\n", ended.to_owned()),
        after("Content-Length: \0\r\n", ended.to_owned()),
    ];
    let row = |bytes: String| Row { family: "smuggling", section: "11.2", bytes: bytes.into(), fate: FRAMING };
    let mut rows: Vec<Row> = rows.into_iter().map(row).collect();
    let body = "GET /v2/devices?smuggled=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let inside = format!("Content-Length: {}\r\n", body.len());
    for bytes in
        [write(&inside, body), of_fields(&inside) + body, chunked(&format!("{:X}\r\n{body}\r\n0\r\n\r\n", body.len()))]
    {
        rows.push(Row { family: "smuggling", section: "6.3", bytes: bytes.into(), fate: Served(body) });
    }
    rows
}

fn line_ends() -> Vec<Row> {
    let rows: &[(&str, &str, Fate)] = &[
        ("2.2", "\r\n\r\nGET /v2/organizations HTTP/1.1\r\nHost: localhost\r\n\r\n", Served("")),
        ("2.2", "GET /v2/organizations HTTP/1.1\nHost: localhost\r\n\r\n", BAD),
        ("2.2", "GET /v2/organizations HTTP/1.1\r\nHost: localhost\n\r\n", BAD),
        ("2.2", "GET /v2/organizations HTTP/1.1\r\nHost: localhost\r\n\n", BAD),
        ("2.2", "GET /v2/organizations HTTP/1.1\nHost: localhost\n\n", BAD),
        ("2.2", "\nGET /v2/organizations HTTP/1.1\r\nHost: localhost\r\n\r\n", BAD),
        ("2.2", "\r\n\nGET /v2/organizations HTTP/1.1\r\nHost: localhost\r\n\r\n", BAD),
        ("2.2", "GET /v2/organizations HTTP/1.1\r\nHost: localhost\nX: 1\r\n\r\n", BAD),
        ("2.2", "GET /v2/organizations HTTP/1.1\r\nX:\nHost: localhost\r\n\r\n", BAD),
        ("2.2", "GET /v2/organizations HTTP/1.1\rHost: localhost\r\n\r\n", BAD),
        ("2.2", "GET /v2/organizations HTTP/1.1\r\nHost: localhost\r\r\n\r\n", BAD),
        ("2.2", "GET /v2/organizations HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n", BAD),
        ("2.2", "GET /v2/organizations HTTP/1.1\r\nHost: localhost\r\nX\r: a\r\n\r\n", BAD),
        ("2.2", "GET /v2/organizations HTTP/1.1\r\nHost: localhost\r\n\r\r\n\r\n", BAD),
        ("2.2", "GET /v2/organizations HTTP/1.1\r\r\nHost: localhost\r\n\r\n", BAD),
        ("2.2", "GET /v2/organi\rzations HTTP/1.1\r\nHost: localhost\r\n\r\n", BAD),
        ("2.2", "GET /v2/organi\nzations HTTP/1.1\r\nHost: localhost\r\n\r\n", BAD),
        ("2.2", "GET\r\n/v2/organizations HTTP/1.1\r\nHost: localhost\r\n\r\n", BAD),
        ("2.2", "\rGET /v2/organizations HTTP/1.1\r\nHost: localhost\r\n\r\n", BAD),
        ("2.2", "GET /v2/organizations HTTP/1.1\r\n X: 1\r\nHost: localhost\r\n\r\n", BAD),
        ("2.2", "GET /v2/organizations HTTP/1.1\n\rHost: localhost\r\n\r\n", BAD),
    ];
    family("line-end", str::to_owned, rows).collect()
}

/// A control character in each part of a head.
fn controls() -> Vec<Row> {
    let mut rows = Vec::new();
    for control in ['\0', '\u{1}', '\u{7}', '\u{8}', '\u{b}', '\u{c}', '\u{1b}', '\u{7f}'] {
        for bytes in [
            format!("G{control}T /v2/organizations HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            format!("GET /v2/organi{control}zations HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            of_fields(&format!("X{control}: 1\r\n")),
            of_fields(&format!("X: a{control}b\r\n")),
        ] {
            rows.push(Row { family: "control", section: "RFC 9110 5.5", bytes: bytes.into(), fate: BAD });
        }
    }
    rows
}

fn fields() -> Vec<Row> {
    let line = |line: &str| of_fields(&format!("{line}\r\n"));
    let rows: &[(&str, &str, Fate)] = &[
        ("5.1", "X-Empty:", Served("")),
        ("5.1", "X-White:\t \t1\t ", Served("")),
        ("RFC 9110 5.6.2", "!#$%&'*+-.^_`|~: 1", Served("")),
        ("RFC 9110 5.5", "X: caf\u{e9}", Served("")),
        ("RFC 9110 7.6.1", "Connection: host, authorization, transfer-encoding", Served("")),
        ("5.1", "X : 1", BAD),
        ("5.1", "X\t: 1", BAD),
        ("5.1", ": 1", BAD),
        ("5.1", " : 1", BAD),
        ("5.1", "X", BAD),
        ("5.1", "X 1", BAD),
        ("5.1", "X=1", BAD),
        ("5.1", "X Y: 1", BAD),
        ("5.2", "X: 1\r\n 2", BAD),
        ("5.2", "X: 1\r\n\t2", BAD),
        ("5.2", "X: 1\r\n ", BAD),
        ("5.2", "X:\r\n 1", BAD),
        ("5.2", " X: 1", BAD),
        ("5.2", "\tX: 1", BAD),
        ("RFC 9110 5.6.2", "X(y): 1", BAD),
        ("RFC 9110 5.6.2", "X[y]: 1", BAD),
        ("RFC 9110 5.6.2", "X{y}: 1", BAD),
        ("RFC 9110 5.6.2", "X@y: 1", BAD),
        ("RFC 9110 5.6.2", "X/y: 1", BAD),
        ("RFC 9110 5.6.2", "X\\y: 1", BAD),
        ("RFC 9110 5.6.2", "X\"y\": 1", BAD),
        ("RFC 9110 5.6.2", "X,y: 1", BAD),
        ("RFC 9110 5.6.2", "X;y: 1", BAD),
        ("RFC 9110 5.6.2", "X<y>: 1", BAD),
        ("RFC 9110 5.6.2", "X?y: 1", BAD),
        ("RFC 9110 5.6.2", "X\u{e9}: 1", BAD),
    ];
    family("field", line, rows).collect()
}

fn hosts() -> Vec<Row> {
    let value = |value: &str| of_lines(&format!("Host:{value}\r\n"));
    let mut rows: Vec<Row> = family(
        "host",
        value,
        &[
            ("3.2", " localhost", Served("")),
            ("3.2", "\tLOCALHOST\t", Served("")),
            ("3.2", " [::1]", Served("")),
            ("3.2", "", BAD),
            ("3.2", " \t", BAD),
            ("3.2", " localhost\r\nHost: localhost", BAD),
            ("3.2", " localhost\r\nhost: evil.example", BAD),
            ("3.2", " localhost\r\nX: 1\r\nHOST:", BAD),
            ("3.2", " evil.example\r\nHost: localhost", BAD),
            ("3.2", " localhost evil.example", BAD),
            ("3.2", " localhost\tevil.example", BAD),
            ("3.2", " localhost, evil.example", BAD),
            ("3.2", " localhost,localhost", BAD),
            ("3.2", " evil.example@localhost", BAD),
            ("3.2", " localhost@evil.example", BAD),
            ("3.2", " localhost:80@evil.example", BAD),
            ("3.2", " localhost/", BAD),
            ("3.2", " /localhost", BAD),
            ("3.2", " localhost?x", BAD),
            ("3.2", " localhost#x", BAD),
            ("3.2", " localhost\\x", BAD),
            ("3.2", " localhost;x", BAD),
            ("3.2", " http://localhost", BAD),
            ("3.2", " //localhost", BAD),
            ("3.2", " %6cocalhost", BAD),
            ("3.2", " localhost%00", BAD),
            ("3.2", " localhost:http", BAD),
            ("3.2", " localhost:-1", BAD),
            ("3.2", " localhost:+80", BAD),
            ("3.2", " localhost:8 0", BAD),
            ("3.2", " localhost:80:80", BAD),
            ("3.2", " localhost:\u{661}", BAD),
            ("3.2", " :80", BAD),
            ("3.2", " ::1", BAD),
            ("3.2", " [::1", BAD),
            ("3.2", " ::1]", BAD),
            ("3.2", " []", BAD),
            ("3.2", " [::1]x", BAD),
            ("3.2", " [::1%25lo]", BAD),
            ("3.2", " [localhost]", BAD),
            ("3.2", " *", BAD),
            ("3.2", " \"localhost\"", BAD),
            ("3.2", " l\u{f6}calhost", BAD),
            ("3.2", " localhost\0", BAD),
            ("3.2", "\r\n localhost", BAD),
            ("3.2", " localhost\r\n .evil.example", BAD),
            ("RFC 9110 7.4", " evil.example", FOREIGN),
            ("RFC 9110 7.4", " localhost.", FOREIGN),
            ("RFC 9110 7.4", " localhost:", FOREIGN),
            ("RFC 9110 7.4", " localhost:99999", FOREIGN),
            ("RFC 9110 7.4", " localhost.evil.example", FOREIGN),
            ("RFC 9110 7.4", " 127.1", FOREIGN),
            ("RFC 9110 7.4", " 2130706433", FOREIGN),
            ("RFC 9110 7.4", " 0.0.0.0", FOREIGN),
            ("RFC 9110 7.4", " [::2]", FOREIGN),
        ],
    )
    .collect();
    let lines: &[(&str, &str, Fate)] = &[
        ("3.2", "", BAD),
        ("3.2", "X-Host: localhost\r\n", BAD),
        ("3.2", "Host : localhost\r\n", BAD),
        ("3.2", "Host localhost\r\n", BAD),
        ("3.2", " Host: localhost\r\n", BAD),
        ("3.2", "Host\0: localhost\r\n", BAD),
    ];
    rows.extend(family("host", of_lines, lines));
    let absolute: &[(&str, &str, Fate)] = &[
        ("3.2.2", "GET http://localhost/v2/organizations HTTP/1.1\r\n\r\n", BAD),
        ("3.2.2", "GET http://localhost/v2/organizations HTTP/1.1\r\nHost: a b\r\n\r\n", BAD),
        ("3.2.2", "GET http://localhost/v2/organizations HTTP/1.1\r\nHost: evil.example\r\n\r\n", FOREIGN),
        ("3.2.2", "GET http://localhost/v2/organizations HTTP/1.1\r\nHost: localhost\r\n\r\n", Served("")),
    ];
    rows.extend(family("host", str::to_owned, absolute));
    rows
}

fn versions() -> Vec<Row> {
    let version = |version: &str| of_line(&format!("GET /v2/organizations{version}"));
    let rows: &[(&str, &str, Fate)] = &[
        ("2.3", " HTTP/1.0", Served("")),
        ("2.3", " HTTP/9.9", VERSION),
        ("2.3", " HTTP/2.0", VERSION),
        ("2.3", " HTTP/3", VERSION),
        ("2.3", " HTTP/1.2", VERSION),
        ("2.3", " HTTP/0.9", VERSION),
        ("2.3", " HTTP/1", VERSION),
        ("2.3", " HTTP/1.", VERSION),
        ("2.3", " HTTP/.1", VERSION),
        ("2.3", " HTTP/1.1.1", VERSION),
        ("2.3", " HTTP/1.10", VERSION),
        ("2.3", " HTTP/01.1", VERSION),
        ("2.3", " HTTP/+1.1", VERSION),
        ("2.3", " HTTP/1,1", VERSION),
        ("2.3", " HTTP/ 1.1", VERSION),
        ("2.3", " HTTP 1.1", VERSION),
        ("2.3", " HTTP1.1", VERSION),
        ("2.3", " http/1.1", VERSION),
        ("2.3", " Http/1.1", VERSION),
        ("2.3", " HTPP/1.1", VERSION),
        ("2.3", " HTTPS/1.1", VERSION),
        ("2.3", " /1.1", VERSION),
        ("2.3", " HTTP/1.1 ", VERSION),
        ("2.3", " HTTP/1.1\t", VERSION),
        ("2.3", " HTTP/1.1x", VERSION),
        ("2.3", " HTTP/1.1 HTTP/1.1", VERSION),
        ("2.3", " HTTP/\u{661}.1", VERSION),
        ("2.3", "", VERSION),
        ("2.3", " ", VERSION),
    ];
    family("version", version, rows).collect()
}

fn request_lines() -> Vec<Row> {
    let rows: &[(&str, &str, Fate)] = &[
        ("3", "GET  /v2/organizations HTTP/1.1", BAD),
        ("3", "GET /v2/organizations  HTTP/1.1", BAD),
        ("3", "GET\t/v2/organizations HTTP/1.1", BAD),
        ("3", "GET /v2/organizations\tHTTP/1.1", BAD),
        ("3", " GET /v2/organizations HTTP/1.1", BAD),
        ("3", "\tGET /v2/organizations HTTP/1.1", BAD),
        ("3", "GET\u{b}/v2/organizations HTTP/1.1", BAD),
        ("3", "GET HTTP/1.1", BAD),
        ("3", "GET", BAD),
        ("3", "/v2/organizations HTTP/1.1", BAD),
        ("3", "GET /v2/organizations /v2/devices HTTP/1.1", BAD),
        ("3.1", "G(ET) /v2/organizations HTTP/1.1", BAD),
        ("3.1", "GET: /v2/organizations HTTP/1.1", BAD),
        ("3.1", "\"GET\" /v2/organizations HTTP/1.1", BAD),
        ("3.1", "G\u{cb}T /v2/organizations HTTP/1.1", BAD),
        ("3.1", "get /v2/organizations HTTP/1.1", METHOD),
        ("3.2", "GET v2/organizations HTTP/1.1", TARGET),
        ("3.2", "GET * HTTP/1.1", TARGET),
        ("3.2", "OPTIONS * HTTP/1.1", METHOD),
        ("3.2", "GET localhost HTTP/1.1", TARGET),
        ("3.2", "GET /v2/organizations# HTTP/1.1", BAD),
        ("3.2", "GET /v2/organizations#/v2/users HTTP/1.1", BAD),
        ("3.2", "GET /v2/organizations?x=#y HTTP/1.1", BAD),
        ("3.2", "GET /v2/organizations?q=caf\u{e9} HTTP/1.1", TARGET),
        ("3.2", "GET /v2/organiz\u{e4}tions HTTP/1.1", TARGET),
        ("3.2", "GET /v2/organizations?q=a b HTTP/1.1", BAD),
        ("3.2", "GET /v2/organizations?q=<a> HTTP/1.1", TARGET),
        ("3.2", "GET /v2/organizations?q=\"a\" HTTP/1.1", TARGET),
        ("3.2", "GET /v2/organizations\\..\\users HTTP/1.1", TARGET),
        ("3.2", "GET /v2/organizations/%zz HTTP/1.1", TARGET),
        ("3.2.2", "GET http://evil.example/v2/organizations HTTP/1.1", FOREIGN),
        ("3.2.2", "GET https://localhost/v2/organizations HTTP/1.1", FOREIGN),
        ("3.2.2", "GET ftp://localhost/v2/organizations HTTP/1.1", FOREIGN),
        ("3.2.2", "GET http://user@localhost/v2/organizations HTTP/1.1", BAD),
        ("3.2.2", "GET http:///v2/organizations HTTP/1.1", BAD),
        ("3.2.2", "GET http:/v2/organizations HTTP/1.1", BAD),
        ("3.2.2", "GET http://localhost:x/v2/organizations HTTP/1.1", BAD),
        ("3.2.2", "GET http://local host/v2/organizations HTTP/1.1", BAD),
        ("3.2.2", "GET ://localhost/v2/organizations HTTP/1.1", Refused(&[400, 421])),
        ("3.2.1", "GET ///v2/organizations HTTP/1.1", TARGET),
        ("3.2.1", "GET /v2/organizations?smuggled\0 HTTP/1.1", BAD),
    ];
    family("request-line", of_line, rows).collect()
}

fn methods() -> Vec<Row> {
    let mut rows: Vec<Row> = family(
        "method",
        of_line,
        &[
            ("RFC 9110 9.3.6", "CONNECT localhost:443 HTTP/1.1", Refused(&[400, 403, 405, 421, 501])),
            ("RFC 9110 9.3.6", "CONNECT localhost HTTP/1.1", METHOD),
            ("RFC 9110 9.3.6", "CONNECT /v2/organizations HTTP/1.1", METHOD),
            ("RFC 9110 9.3.6", "CONNECT http://localhost/v2/organizations HTTP/1.1", METHOD),
            ("RFC 9110 9.3.6", "CONNECT evil.example:443 HTTP/1.1", Refused(&[400, 403, 405, 421, 501])),
            ("RFC 9110 9.3.8", "TRACE /v2/organizations HTTP/1.1", METHOD),
            ("RFC 9110 9.3.8", "TRACE / HTTP/1.1", Refused(&[404, 405, 501])),
            ("RFC 9110 9.1", "TRACK /v2/organizations HTTP/1.1", METHOD),
            ("RFC 9110 9.1", "BREW /v2/organizations HTTP/1.1", METHOD),
            ("RFC 9110 9.1", "PROPFIND /v2/organizations HTTP/1.1", METHOD),
        ],
    )
    .collect();
    let preface: &[(&str, &str, Fate)] = &[
        ("RFC 9113 3.3", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0", Closed(&[0, 400, 505])),
        ("RFC 9113 3.3", "PRI * HTTP/2.0\r\n\r\n", Closed(&[0, 400, 505])),
        ("RFC 9113 3.3", "PRI * HTTP/1.1\r\nHost: localhost\r\n\r\n", METHOD),
        ("RFC 8446 4.1.2", "\u{16}\u{3}\u{1}\0\u{5}\u{1}\0\0\u{1}\u{3}\r\n\r\n", BAD),
    ];
    rows.extend(family("method", str::to_owned, preface));
    // A server may ignore Upgrade (RFC 9110 section 7.8), and clients of some languages send h2c with everything: they
    // are served as if they had not asked, and nothing of the question goes up.
    let upgrades: &[(&str, &str, Fate)] = &[
        (
            "RFC 9110 7.8",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            Served(""),
        ),
        ("RFC 9110 7.8", "Connection: Upgrade\r\nUpgrade: h2c\r\n", Served("")),
        ("RFC 9110 7.8", "Upgrade: h2c\r\n", Served("")),
        ("RFC 9110 7.8", "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n", Served("")),
        (
            "RFC 6455 4.1",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
            Served(""),
        ),
    ];
    rows.extend(family("upgrade", of_fields, upgrades));
    rows
}

fn sizes() -> Vec<Row> {
    const MIB: usize = 1 << 20;
    let line = |target: String| of_line(&format!("GET {target} HTTP/1.1"));
    let fits = "/v2/organizations?q=";
    let rows = [
        ("3", line(format!("{fits}{}", "x".repeat(8000))), Served("")),
        ("3", line(format!("{fits}{}", "x".repeat(60_000))), Served("")),
        ("5.4", of_fields(&"X: 1\r\n".repeat(99)), Served("")),
        ("5.4", of_fields(&format!("X: {}\r\n", "x".repeat(60_000))), Served("")),
        ("3", line(format!("{fits}{}", "x".repeat(66_000))), LARGE),
        ("3", line(format!("{fits}{}", "x".repeat(MIB))), LARGE),
        ("3", line(format!("/{}", "v2/".repeat(MIB / 3))), LARGE),
        ("3", of_line(&format!("{} /v2/organizations HTTP/1.1", "G".repeat(MIB))), LARGE),
        ("3", of_line(&format!("GET /v2/organizations {}", "H".repeat(MIB))), LARGE),
        ("3", "x".repeat(MIB), LARGE),
        ("5.4", of_fields(&format!("X: {}\r\n", "x".repeat(66_000))), LARGE),
        ("5.4", of_fields(&format!("X: {}\r\n", "x".repeat(MIB))), LARGE),
        ("5.4", of_fields(&format!("{}: x\r\n", "X".repeat(MIB))), LARGE),
        ("5.4", of_fields(&format!("X:{}x\r\n", " ".repeat(MIB))), LARGE),
        ("5.4", of_fields(&format!("X: {}\r\n", "x".repeat(1000)).repeat(1000)), LARGE),
        ("5.4", of_fields(&"X: 1\r\n".repeat(100)), LARGE),
        ("5.4", of_fields(&"X: 1\r\n".repeat(20_000)), LARGE),
        ("5.4", of_fields(&"Host: localhost\r\n".repeat(20_000)), LARGE),
        ("2.2", "\r\n".repeat(MIB / 2), LARGE),
    ];
    let row = |(section, bytes, fate): (&'static str, String, Fate)| Row {
        family: "size",
        section,
        bytes: bytes.into(),
        fate,
    };
    rows.into_iter().map(row).collect()
}

fn truncated() -> Vec<Row> {
    let rows: &[(&str, &str, Fate)] = &[
        ("8", "Content-Length: 10\r\n\r\nhello", Truncated),
        ("8", "Content-Length: 10\r\n\r\n", Truncated),
        ("8", "Content-Length: 10\r\nExpect: 100-continue\r\n\r\nhello", Truncated),
        ("8", "Content-Length: 18446744073709551600\r\n\r\nhello", Truncated),
        ("8", "Transfer-Encoding: chunked\r\n\r\n", Truncated),
        ("8", "Transfer-Encoding: chunked\r\n\r\n5", Truncated),
        ("8", "Transfer-Encoding: chunked\r\n\r\n5\r\nhel", Truncated),
        ("8", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello", Truncated),
        ("8", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", Truncated),
        ("8", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0", Truncated),
        ("8", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", Truncated),
        ("8", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n", Truncated),
        ("8", "Content-Length: 5\r\n", Truncated),
        ("8", "Content-Le", Truncated),
    ];
    let cut = |rest: &str| format!("POST /v2/organizations HTTP/1.1\r\nHost: localhost\r\n{rest}");
    family("truncated", cut, rows).collect()
}

/// The 33 checks of h1spec (uNetworking/h1spec, October 2024), in its order; its `/` is an operation here.
fn h1spec() -> Vec<Row> {
    let whole = "GET /v2/organizations HTTP/1.1\r\nHost: localhost\r\n\r";
    let ends = [1, 4, 21, 22, 26, 30, 31, 32, 35, 37, 38, 47, 48, 49, 50];
    let parts = ends.iter().map(|end| whole[..*end].to_owned()).map(|part| ("3", part, Waits));
    let get = |lines: &str| of_lines(lines);
    let post = |lines: &str, rest: &str| format!("POST /v2/organizations HTTP/1.1\r\n{lines}\r\n{rest}");
    let whole = [
        ("3", "GET / \r\n\r\n".to_owned(), VERSION),
        ("RFC 9110 10.1.1", get("Host: example.com\r\nExpect: 100-continue\r\n"), Served("")),
        ("3", get("Host: example.com\r\n"), Served("")),
        ("5.1", get("hoSt:\texample.com\r\nempty:\r\n"), Served("")),
        ("5.1", get("Host: example.com\r\nX-Invalid[]: test\r\n"), BAD),
        ("3.2", get("Content-Length: 5\r\n"), BAD),
        ("3.2", get("Host: example.com\r\nHost: example.org\r\n"), BAD),
        ("6.3", get("Host: example.com\r\nContent-Length: -123456789123456789123456789\r\n"), FRAMING),
        ("6.3", get("Host: example.com\r\nContent-Length: -1234\r\n"), FRAMING),
        ("6.3", get("Host: example.com\r\nContent-Length: abc\r\n"), FRAMING),
        ("5.1", get("Host: example.com\r\nX-Empty-Header: \r\n"), Served("")),
        ("RFC 9110 5.5", get("Host: example.com\r\nX-Bad-Control-Char: test\u{7}\r\n"), BAD),
        ("2.3", "GET / HTTP/9.9\r\nHost: example.com\r\n\r\n".to_owned(), VERSION),
        ("3", "Extra lineGET / HTTP/1.1\r\nHost: example.com\r\n\r\n".to_owned(), BAD),
        ("2.2", get("Host: example.com\r\n\rSome-Header: Test\r\n"), BAD),
        ("6.3", post("Host: example.com\r\nContent-Length: 5\r\n", "hello"), Served("hello")),
        (
            "7.1",
            post("Host: example.com\r\nTransfer-Encoding: chunked\r\n", "c\r\nHellO world1\r\n0\r\n\r\n"),
            Served("HellO world1"),
        ),
        (
            "6.3",
            post(
                "Host: example.com\r\ncontent-LengtH: 5\r\nTransFer-Encoding: chunked\r\n",
                "c\r\nHellO world1\r\n0\r\n\r\n",
            ),
            FRAMING,
        ),
    ];
    let row = |(section, bytes, fate): (&'static str, String, Fate)| Row {
        family: "h1spec",
        section,
        bytes: bytes.into(),
        fate,
    };
    parts.chain(whole).map(row).collect()
}
