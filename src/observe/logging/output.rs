//! The way of the log's lines to where they are written: plain, whatever a field holds.

use std::borrow::Cow;
use std::io::{self, Write};

use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::fmt::MakeWriter;

use crate::base::plain;

/// What starts a color of ours, and ends it.
const ESCAPE: &str = "\u{1b}";

/// Writes each line as plain text, in color perhaps. A line comes in one piece.
#[derive(Debug, Clone)]
pub(super) struct PlainWriter {
    pub(super) writer: NonBlocking,
    pub(super) color: bool,
}

impl Write for PlainWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |text| (text, "\n"));
        let plain = if self.color { colored(text) } else { plain::line(text) };
        self.writer.write_all(&[plain.as_bytes(), end.as_bytes()].concat())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl<'a> MakeWriter<'a> for PlainWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Plain but for colors, which are the formatter's: it escapes what others write to look like one.
fn colored(text: &str) -> Cow<'_, str> {
    let mut pieces = text.split(ESCAPE);
    let mut plain = plain::line(pieces.next().unwrap_or_default()).into_owned();
    for piece in pieces {
        let end = piece.find(|c: char| !matches!(c, '[' | ';' | '0'..='9'));
        let color = end.filter(|end| *end > 0 && piece.get(*end..).is_some_and(|rest| rest.starts_with('m')));
        plain.push_str(if color.is_some() { ESCAPE } else { "\\u001b" });
        plain.push_str(&plain::line(piece));
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use tracing_appender::non_blocking::NonBlockingBuilder;
    use tracing_subscriber::fmt;
    use tracing_subscriber::prelude::*;

    use super::super::sheet::Sheet;
    use super::*;
    use crate::base::plain::is_plain;

    #[test]
    fn log_has_one_plain_line_for_an_event_whatever_its_fields_hold() {
        let nasty: String = ('\0'..='\u{ffff}').chain('\u{e0000}'..='\u{e0fff}').collect();
        for (json, color) in [(false, false), (false, true), (true, false)] {
            let sheet = Sheet::default();
            let (writer, _guard) = NonBlockingBuilder::default().finish(sheet.clone());
            let layer = fmt::layer().with_writer(PlainWriter { writer, color }).with_ansi(color);
            let layer = if json { layer.json().flatten_event(true).boxed() } else { layer.boxed() };
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
                tracing::info!(shown = %nasty, quoted = nasty, error = ?nasty, "{nasty}");
            });
            let text = sheet.line();
            let line = text.strip_suffix('\n').expect("a line");
            if json {
                let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
                assert_eq!((&value["shown"], &value["quoted"]), (&nasty.clone().into(), &nasty.clone().into()));
            }
            let odd: Vec<char> = line.chars().filter(|c| !(is_plain(*c) || color && *c == '\u{1b}')).collect();
            assert!(odd.is_empty(), "{odd:?} json {json}, color {color}");
            let escapes = line.split('\u{1b}').skip(1);
            assert!(escapes.into_iter().all(|rest| rest.starts_with('[') && rest[..5.min(rest.len())].contains('m')));
        }
    }
}
