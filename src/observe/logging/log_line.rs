//! The lines of one worker, written here and handed to the log's thread many at a time: a request waits for no lock, no
//! system call and no other thread.

mod field_name;

use std::cell::{Cell, RefCell};
use std::fmt::{self, Display};
use std::io::Write;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime as Stamp};

use crate::base::{hex, plain};

pub use field_name::FieldName;
pub(crate) use field_name::field;

/// How long a line may wait for others.
const WAIT: Duration = Duration::from_millis(50);
/// How much is collected at most, in bytes, roughly: each piece wakes the log's thread. A reader who stops holds up as
/// many pieces as there may be lines, 16 MB in all.
const PIECE: usize = 16 * 1024;
/// Room for the line that goes beyond it.
const LONGEST_LINE: usize = 1024;
/// The bytes of a time to the second: `2026-11-22T09:10:32`.
const SECOND: usize = 19;

/// How lines look: as those of the rest of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Text { colour: bool },
    Json,
}

/// What a worker needs to write lines.
#[derive(Debug, Clone)]
pub(super) struct LogOutput {
    pub(super) writer: NonBlocking,
    pub(super) style: Style,
}

/// The lines of one worker for one target.
#[derive(Debug)]
pub struct LineWriter {
    paper: LogOutput,
    /// What is the same in each line: after the time, and at the end.
    level: String,
    end: String,
    collected: RefCell<Vec<u8>>,
    /// The last second that was written, and how.
    second: Cell<(u64, [u8; SECOND])>,
    begun: Notify,
}

impl LineWriter {
    pub(super) fn new(paper: LogOutput, target: &'static str) -> Self {
        let (level, end) = match paper.style {
            Style::Text { colour: true } => {
                (format!("Z\x1b[0m \x1b[32m INFO\x1b[0m \x1b[2m{target}\x1b[0m\x1b[2m:\x1b[0m "), "\n".to_owned())
            }
            Style::Text { colour: false } => (format!("Z  INFO {target}: "), "\n".to_owned()),
            Style::Json => {
                ("Z\",\"level\":\"INFO\",\"message\":\"".to_owned(), format!(",\"target\":\"{target}\"}}\n"))
            }
        };
        let second = Cell::new((0, *b"1970-01-01T00:00:00"));
        Self {
            paper,
            level,
            end,
            collected: RefCell::new(Vec::with_capacity(PIECE + LONGEST_LINE)),
            second,
            begun: Notify::new(),
        }
    }

    /// Writes a line with this message, and what `fields` adds to it.
    pub fn write(&self, message: &str, fields: impl FnOnce(&mut LogLine<'_>)) {
        let mut collected = self.collected.borrow_mut();
        let first = collected.is_empty();
        let mut line = LogLine { bytes: &mut collected, style: self.paper.style };
        line.begin(self.stamp(SystemTime::now()), &self.level, message);
        fields(&mut line);
        line.put(&self.end);
        if collected.len() >= PIECE {
            self.hand_over(&mut collected);
        } else if first {
            self.begun.notify_one();
        }
    }

    /// Hands lines over that have waited long enough, for ever.
    pub async fn flow(self: Rc<Self>) {
        loop {
            self.begun.notified().await;
            tokio::time::sleep(WAIT).await;
            self.hand_over(&mut self.collected.borrow_mut());
        }
    }

    /// A reader who is slow loses lines, and holds nobody up.
    fn hand_over(&self, collected: &mut Vec<u8>) {
        if !collected.is_empty() {
            let _ = self.paper.writer.clone().write_all(collected);
            collected.clear();
        }
    }

    /// The time to the second, and the microseconds.
    fn stamp(&self, now: SystemTime) -> ([u8; SECOND], u32) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (known, second) = self.second.get();
        if known == since.as_secs() {
            return (second, since.subsec_micros());
        }
        self.look_up(since.as_secs()).unwrap_or((second, since.subsec_micros()))
    }

    /// The time as the rest of the log shows it, and what it shows in this second.
    fn look_up(&self, now: u64) -> Option<([u8; SECOND], u32)> {
        let mut text = String::new();
        Stamp.format_time(&mut Writer::new(&mut text)).ok()?;
        let second = *text.as_bytes().first_chunk()?;
        let micros = text.get(SECOND + 1..SECOND + 7)?.parse().ok()?;
        // It is the next second by now, perhaps.
        if SystemTime::now().duration_since(UNIX_EPOCH).is_ok_and(|since| since.as_secs() == now) {
            self.second.set((now, second));
        }
        Some((second, micros))
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        let mut collected = self.collected.take();
        self.hand_over(&mut collected);
    }
}

/// A line being written.
pub struct LogLine<'a> {
    bytes: &'a mut Vec<u8>,
    style: Style,
}

impl LogLine<'_> {
    fn put(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn begin(&mut self, (second, micros): ([u8; SECOND], u32), level: &str, message: &str) {
        self.put(match self.style {
            Style::Text { colour: true } => "\x1b[2m",
            Style::Text { colour: false } => "",
            Style::Json => "{\"timestamp\":\"",
        });
        self.bytes.extend_from_slice(&second);
        let ([a, b, c], [d, e, f]) = (three(micros / 1000), three(micros % 1000));
        self.bytes.extend_from_slice(&[b'.', a, b, c, d, e, f]);
        self.put(level);
        self.put(message);
        self.quote_json();
    }

    fn name(&mut self, name: &FieldName) {
        self.put(name.of(self.style));
    }

    /// JSON wants quotes where text does not.
    fn quote_json(&mut self) {
        if self.style == Style::Json {
            self.bytes.push(b'"');
        }
    }

    fn digits(&mut self, number: impl itoa::Integer) {
        self.put(itoa::Buffer::new().format(number));
    }

    /// A text, in quotes.
    pub fn text(&mut self, name: &FieldName, value: &str) {
        if plain::is_quotable(value) {
            return self.quoted(name, value);
        }
        let quoted = match self.style {
            Style::Text { .. } => format!("{value:?}"),
            // A text can always be written as JSON.
            Style::Json => serde_json::to_string(value).unwrap_or_default(),
        };
        self.name(name);
        self.put(&plain::line(&quoted));
    }

    /// A code of ours, in quotes: nothing in it is written otherwise.
    pub fn code(&mut self, name: &FieldName, value: &'static str) {
        debug_assert!(plain::is_quotable(value), "{value:?}");
        self.quoted(name, value);
    }

    fn quoted(&mut self, name: &FieldName, value: &str) {
        self.name(name);
        self.bytes.push(b'"');
        self.put(value);
        self.bytes.push(b'"');
    }

    /// A word: nothing in it needs quotes.
    pub fn word(&mut self, name: &FieldName, value: &str) {
        self.shown(name, |line| line.put(value));
    }

    /// What shows as words.
    pub fn display(&mut self, name: &FieldName, value: impl Display) {
        self.shown(name, |line| line.put(&plain::line(&value.to_string())));
    }

    fn shown(&mut self, name: &FieldName, put: impl FnOnce(&mut Self)) {
        self.name(name);
        self.quote_json();
        put(self);
        self.quote_json();
    }

    /// A 64-bit number as 16 hexadecimal digits.
    pub fn id(&mut self, name: &FieldName, value: u64) {
        self.shown(name, |line| line.bytes.extend_from_slice(&hex::digits(value)));
    }

    /// A 128-bit number as 32 hexadecimal digits.
    pub fn long_id(&mut self, name: &FieldName, value: u128) {
        self.shown(name, |line| line.bytes.extend_from_slice(&hex::long_digits(value)));
    }

    /// An address with its port.
    pub fn address(&mut self, name: &FieldName, value: SocketAddr) {
        let SocketAddr::V4(address) = value else { return self.display(name, value) };
        self.shown(name, |line| {
            for (byte, after) in address.ip().octets().into_iter().zip(*b"...:") {
                let [hundreds, tens, ones] = three(byte.into());
                if byte >= 100 {
                    line.bytes.push(hundreds);
                }
                if byte >= 10 {
                    line.bytes.push(tens);
                }
                line.bytes.extend_from_slice(&[ones, after]);
            }
            line.digits(address.port());
        });
    }

    /// A number.
    pub fn number(&mut self, name: &FieldName, value: u64) {
        self.name(name);
        self.digits(value);
    }

    /// Yes or no.
    pub fn flag(&mut self, name: &FieldName, value: bool) {
        self.name(name);
        self.put(if value { "true" } else { "false" });
    }

    /// A time in milliseconds, to the microsecond.
    pub fn millis(&mut self, name: &FieldName, value: Duration) {
        let micros = value.subsec_micros();
        self.name(name);
        self.digits(value.as_secs().saturating_mul(1000).saturating_add(u64::from(micros / 1000)));
        let [a, b, c] = three(micros % 1000);
        self.bytes.extend_from_slice(&[b'.', a, b, c]);
    }
}

/// Three digits.
fn three(number: u32) -> [u8; 3] {
    [number / 100, number / 10 % 10, number % 10].map(|digit| b'0' + digit as u8)
}

impl fmt::Debug for LogLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("style", &self.style).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracing_appender::non_blocking::NonBlockingBuilder;
    use tracing_subscriber::layer::SubscriberExt;

    use super::super::sheet::Sheet;
    use super::*;

    /// A line of ours, and one of the library's with the same fields, without their times.
    fn both(style: Style) -> [String; 2] {
        let (own, other) = (Sheet::default(), Sheet::default());
        let (writer, _guard) = NonBlockingBuilder::default().finish(own.clone());
        let lines = LineWriter::new(LogOutput { writer, style }, "access");
        let address = SocketAddr::from(([127, 0, 0, 1], 44_612));
        lines.write("request", |line| {
            line.id(field!("id"), 0x0d6a_bb00_0000_0001);
            line.long_id(field!("trace"), 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
            line.text(field!("listener"), "local");
            line.address(field!("peer"), address);
            line.word(field!("method"), "GET");
            line.text(field!("caller"), "say \"hé\"\n");
            line.number(field!("status"), 200);
            line.flag(field!("complete"), true);
        });
        drop(lines);
        let sheet = other.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || sheet.clone());
        let layer: Box<dyn tracing_subscriber::Layer<_> + Send + Sync> = match style {
            Style::Text { colour } => Box::new(layer.with_ansi(colour)),
            Style::Json => Box::new(layer.json().flatten_event(true)),
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(target: "access", id = %"0d6abb0000000001", trace = %"0af7651916cd43dd8448eb211c80319c",
                listener = "local", peer = %address, method = %"GET", caller = "say \"hé\"\n", status = 200,
                complete = true, "request");
        });
        [own, other].map(|sheet| without_time(&sheet.line()))
    }

    fn without_time(line: &str) -> String {
        let year = line.find("20").expect("a time");
        let (before, rest) = line.split_at(year);
        let (time, after) = rest.split_at("2026-11-22T09:10:32.947950Z".len());
        assert!(time.as_bytes()[19] == b'.' && time.ends_with('Z') && time[20..26].parse::<u32>().is_ok(), "{time}");
        format!("{before}{after}")
    }

    #[test]
    fn line_looks_as_the_library_writes_it() {
        for style in [Style::Text { colour: false }, Style::Text { colour: true }, Style::Json] {
            let [own, other] = both(style);
            assert_eq!(own, other);
        }
    }

    /// What a line may hold.
    #[derive(Debug, Clone)]
    enum Field {
        Text(String),
        Id(u64),
        Address(SocketAddr),
        Number(u64),
        Flag(bool),
        Millis(Duration),
    }

    impl Field {
        fn write(&self, line: &mut LogLine<'_>) {
            let name = field!("x");
            match self {
                Self::Text(text) => line.text(name, text),
                Self::Id(id) => line.id(name, *id),
                Self::Address(address) => line.address(name, *address),
                Self::Number(number) => line.number(name, *number),
                Self::Flag(flag) => line.flag(name, *flag),
                Self::Millis(time) => line.millis(name, *time),
            }
        }

        /// The same, made of pieces without a thought of speed.
        fn simple(&self, style: Style) -> String {
            let value = match self {
                Self::Text(text) => plain::line(&match style {
                    Style::Text { .. } => format!("{text:?}"),
                    Style::Json => serde_json::to_string(text).expect("JSON"),
                })
                .into_owned(),
                Self::Id(id) => format!("{id:016x}"),
                Self::Address(address) => address.to_string(),
                Self::Number(number) => number.to_string(),
                Self::Flag(flag) => flag.to_string(),
                Self::Millis(time) => format!("{}.{:03}", time.as_millis(), time.subsec_micros() % 1000),
            };
            match (style, self) {
                (Style::Text { colour: false }, _) => format!(" x={value}"),
                (Style::Text { colour: true }, _) => format!(" \x1b[3mx\x1b[0m\x1b[2m=\x1b[0m{value}"),
                (Style::Json, Self::Id(_) | Self::Address(_)) => format!(",\"x\":\"{value}\""),
                (Style::Json, _) => format!(",\"x\":{value}"),
            }
        }
    }

    /// Texts of all lengths about that of what is looked at together, most of them simple but for one character.
    fn texts() -> impl Strategy<Value = String> {
        let almost = ("[ -~]{0,40}", any::<char>(), "[a-z]{0,40}").prop_map(|(a, b, c)| format!("{a}{b}{c}"));
        prop_oneof![any::<String>(), "[ -~]{0,40}", "[ !#-\\[\\]-~]{0,70}", almost]
    }

    fn fields() -> impl Strategy<Value = Field> {
        prop_oneof![
            texts().prop_map(Field::Text),
            any::<u64>().prop_map(Field::Id),
            any::<SocketAddr>().prop_map(Field::Address),
            any::<u64>().prop_map(Field::Number),
            any::<bool>().prop_map(Field::Flag),
            (0..10_000_000_000_u64, 0..1_000_000_000_u32)
                .prop_map(|(secs, nanos)| Field::Millis(Duration::new(secs, nanos))),
            (0..100_000_000_000_u64).prop_map(|nanos| Field::Millis(Duration::from_nanos(nanos))),
        ]
    }

    proptest! {
        #[test]
        fn fields_look_as_a_simple_writer_makes_them(fields in prop::collection::vec(fields(), 0..8)) {
            for style in [Style::Text { colour: false }, Style::Text { colour: true }, Style::Json] {
                let mut bytes = Vec::new();
                let mut line = LogLine { bytes: &mut bytes, style };
                fields.iter().for_each(|field| field.write(&mut line));
                let simple: String = fields.iter().map(|field| field.simple(style)).collect();
                prop_assert_eq!(String::from_utf8(bytes).expect("text"), simple);
            }
        }
    }

    #[test]
    fn line_shows_milliseconds_to_the_microsecond() {
        for (micros, shown) in [(0, " ms=0.000"), (7, " ms=0.007"), (1_234, " ms=1.234"), (60_000_001, " ms=60000.001")]
        {
            let mut bytes = Vec::new();
            let mut line = LogLine { bytes: &mut bytes, style: Style::Text { colour: false } };
            line.millis(field!("ms"), Duration::from_micros(micros));
            assert_eq!(String::from_utf8_lossy(&bytes), shown);
        }
        let mut bytes = Vec::new();
        let mut line = LogLine { bytes: &mut bytes, style: Style::Json };
        line.millis(field!("ms"), Duration::MAX);
        assert_eq!(String::from_utf8_lossy(&bytes), ",\"ms\":18446744073709551615.999");
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_handed_over_when_they_have_waited_or_are_many() {
        let sheet = Sheet::default();
        let (writer, _guard) = NonBlockingBuilder::default().finish(sheet.clone());
        let lines = Rc::new(LineWriter::new(LogOutput { writer, style: Style::Json }, "access"));
        let local = tokio::task::LocalSet::new();
        local.spawn_local(Rc::clone(&lines).flow());
        local
            .run_until(async {
                lines.write("one", |_| {});
                tokio::time::sleep(WAIT / 2).await;
                assert!(!lines.collected.borrow().is_empty());
                tokio::time::sleep(WAIT).await;
                assert!(lines.collected.borrow().is_empty());
                while lines.collected.borrow().len() < PIECE / 2 {
                    lines.write("more", |_| {});
                }
                lines.write(&"x".repeat(PIECE), |_| {});
                assert!(lines.collected.borrow().is_empty());
            })
            .await;
    }
}
