//! The lines of one worker, written here and handed to the log's thread many at a time: a request waits for no lock, no
//! system call and no other thread.

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

use crate::base::plain;

/// How long a line may wait for others.
const WAIT: Duration = Duration::from_millis(50);
/// How much is collected at most, in bytes, roughly.
const PIECE: usize = 8 * 1024;
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
    target: &'static str,
    collected: RefCell<Vec<u8>>,
    /// The last second that was written, and how.
    second: Cell<(u64, [u8; SECOND])>,
    begun: Notify,
}

impl LineWriter {
    pub(super) fn new(paper: LogOutput, target: &'static str) -> Self {
        let second = Cell::new((0, *b"1970-01-01T00:00:00"));
        Self { paper, target, collected: RefCell::new(Vec::with_capacity(PIECE)), second, begun: Notify::new() }
    }

    /// Writes a line with this message, and what `fields` adds to it.
    pub fn write(&self, message: &str, fields: impl FnOnce(&mut LogLine<'_>)) {
        let mut collected = self.collected.borrow_mut();
        let first = collected.is_empty();
        let mut line = LogLine { bytes: &mut collected, style: self.paper.style };
        line.begin(self.stamp(SystemTime::now()), self.target, message);
        fields(&mut line);
        line.end(self.target);
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

    fn begin(&mut self, (second, micros): ([u8; SECOND], u32), target: &str, message: &str) {
        let [before, after] = match self.style {
            Style::Text { colour: true } => ["\x1b[2m", "Z\x1b[0m \x1b[32m INFO\x1b[0m \x1b[2m"],
            Style::Text { colour: false } => ["", "Z  INFO "],
            Style::Json => ["{\"timestamp\":\"", "Z\",\"level\":\"INFO\",\"message\":\""],
        };
        self.put(before);
        self.bytes.extend_from_slice(&second);
        self.put(".");
        self.padded(micros, 100_000);
        self.put(after);
        match self.style {
            Style::Text { colour } => {
                self.put(target);
                self.put(if colour { "\x1b[0m\x1b[2m:\x1b[0m " } else { ": " });
                self.put(message);
            }
            Style::Json => {
                self.put(message);
                self.put("\"");
            }
        }
    }

    fn end(&mut self, target: &str) {
        if self.style == Style::Json {
            self.text("target", target);
            self.put("}");
        }
        self.put("\n");
    }

    fn name(&mut self, name: &str) {
        let [before, after] = match self.style {
            Style::Text { colour: true } => [" \x1b[3m", "\x1b[0m\x1b[2m=\x1b[0m"],
            Style::Text { colour: false } => [" ", "="],
            Style::Json => [",\"", "\":"],
        };
        self.put(before);
        self.put(name);
        self.put(after);
    }

    /// A number with as many digits as `unit`, which is that of the first one.
    fn padded(&mut self, number: u32, mut unit: u32) {
        while unit > 0 {
            self.bytes.push(b'0' + (number / unit % 10) as u8);
            unit /= 10;
        }
    }

    fn digits(&mut self, number: impl itoa::Integer) {
        self.put(itoa::Buffer::new().format(number));
    }

    /// A text, in quotes.
    pub fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        let plain = value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
        if plain {
            self.put("\"");
            self.put(value);
            return self.put("\"");
        }
        let quoted = match self.style {
            Style::Text { .. } => format!("{value:?}"),
            // A text can always be written as JSON.
            Style::Json => serde_json::to_string(value).unwrap_or_default(),
        };
        self.put(&plain::line(&quoted));
    }

    /// A word: nothing in it needs quotes.
    pub fn word(&mut self, name: &str, value: &str) {
        self.shown(name, |line| line.put(value));
    }

    /// What shows as words.
    pub fn display(&mut self, name: &str, value: impl Display) {
        self.shown(name, |line| line.put(&plain::line(&value.to_string())));
    }

    /// JSON wants quotes where text does not.
    fn shown(&mut self, name: &str, put: impl FnOnce(&mut Self)) {
        self.name(name);
        let quote = if self.style == Style::Json { "\"" } else { "" };
        self.put(quote);
        put(self);
        self.put(quote);
    }

    /// A 64-bit number as 16 hexadecimal digits.
    pub fn id(&mut self, name: &str, value: u64) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |place: u32| DIGITS.get((value >> (60 - 4 * place) & 15) as usize).copied().unwrap_or(b'0');
        self.shown(name, |line| line.bytes.extend((0..16).map(digit)));
    }

    /// An address with its port.
    pub fn address(&mut self, name: &str, value: SocketAddr) {
        let SocketAddr::V4(address) = value else { return self.display(name, value) };
        self.shown(name, |line| {
            for (byte, after) in address.ip().octets().into_iter().zip([".", ".", ".", ":"]) {
                line.digits(byte);
                line.put(after);
            }
            line.digits(address.port());
        });
    }

    /// A number.
    pub fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        self.digits(value);
    }

    /// Yes or no.
    pub fn flag(&mut self, name: &str, value: bool) {
        self.name(name);
        self.put(if value { "true" } else { "false" });
    }

    /// A time in milliseconds, to the microsecond.
    pub fn millis(&mut self, name: &str, value: Duration) {
        self.name(name);
        self.digits(u64::try_from(value.as_millis()).unwrap_or(u64::MAX));
        self.put(".");
        self.padded(value.subsec_micros() % 1000, 100);
    }
}

impl fmt::Debug for LogLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("style", &self.style).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_appender::non_blocking::NonBlockingBuilder;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// What was written.
    #[derive(Clone, Default)]
    struct Sheet(Arc<Mutex<Vec<u8>>>);

    impl Write for Sheet {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Sheet {
        fn read(&self) -> String {
            String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text")
        }
    }

    /// A line of ours, and one of the library's with the same fields, without their times.
    fn both(style: Style) -> [String; 2] {
        let (own, other) = (Sheet::default(), Sheet::default());
        let (writer, guard) = NonBlockingBuilder::default().finish(own.clone());
        let lines = LineWriter::new(LogOutput { writer, style }, "access");
        let address = SocketAddr::from(([127, 0, 0, 1], 44_612));
        lines.write("request", |line| {
            line.id("id", 0x0d6a_bb00_0000_0001);
            line.text("listener", "local");
            line.address("peer", address);
            line.word("method", "GET");
            line.text("caller", "say \"hé\"\n");
            line.number("status", 200);
            line.flag("complete", true);
        });
        drop(lines);
        drop(guard);
        let sheet = other.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || sheet.clone());
        let layer: Box<dyn tracing_subscriber::Layer<_> + Send + Sync> = match style {
            Style::Text { colour } => Box::new(layer.with_ansi(colour)),
            Style::Json => Box::new(layer.json().flatten_event(true)),
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(target: "access", id = %"0d6abb0000000001", listener = "local", peer = %address,
                method = %"GET", caller = "say \"hé\"\n", status = 200, complete = true, "request");
        });
        [own, other].map(|sheet| without_time(&sheet.read()))
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

    #[test]
    fn line_shows_milliseconds_to_the_microsecond() {
        for (micros, shown) in [(0, " ms=0.000"), (7, " ms=0.007"), (1_234, " ms=1.234"), (60_000_001, " ms=60000.001")]
        {
            let mut bytes = Vec::new();
            let mut line = LogLine { bytes: &mut bytes, style: Style::Text { colour: false } };
            line.millis("ms", Duration::from_micros(micros));
            assert_eq!(String::from_utf8_lossy(&bytes), shown);
        }
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
