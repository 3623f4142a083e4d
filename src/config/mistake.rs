//! A configuration mistake: where it is, what it is, and what to write instead.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::key_position::{key_at, span_of};

/// One mistake, in one place.
#[derive(Debug)]
pub struct ConfigMistake {
    file: PathBuf,
    place: Option<TextPosition>,
    message: String,
}

#[derive(Debug)]
struct TextPosition {
    line: usize,
    column: usize,
    key: String,
}

impl ConfigMistake {
    /// A mistake at these bytes of `text`.
    pub(super) fn at(file: &Path, text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), place: place(text, span.start), message: message.into() }
    }

    /// A mistake about a key that is perhaps not there: at its table then, or at the first of the other keys that is.
    pub(super) fn about(file: &Path, text: &str, key: &[&str], others: &[&[&str]], message: impl Into<String>) -> Self {
        let spans = [key].into_iter().chain(others.iter().copied()).find_map(|key| span_of(text, key));
        let (name, message) = (key.join("."), message.into());
        match spans.and_then(|span| place(text, span.start)) {
            Some(place) => Self { file: file.to_owned(), place: Some(TextPosition { key: name, ..place }), message },
            None => Self::of_file(file, format!("{name}: {message}")),
        }
    }

    /// Key and message alone, of a text that is in no file.
    pub(super) fn without_line(&self) -> String {
        self.place.as_ref().map_or_else(String::new, |place| format!("{}: ", place.key)) + &self.message
    }

    /// A mistake that has no place: the file is missing, or a key is.
    pub(super) fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), place: None, message: message.into() }
    }
}

impl fmt::Display for ConfigMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(TextPosition { line, column, key }) = &self.place {
            write!(f, ":{line}:{column}: {key}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ConfigMistake {}

/// Line and column (in characters, from 1) and the key with its table. Never the value: it may be a secret.
fn place(text: &str, offset: usize) -> Option<TextPosition> {
    let before = text.get(..offset).filter(|_| !text.is_empty())?;
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before.get(line_start..)?.chars().count() + 1;
    let key = key_at(text, offset).unwrap_or_else(|| key(text, line_start));
    Some(TextPosition { line, column, key })
}

/// The dotted key of the line in a text that is not TOML; for a list over many lines that of the nearest line above.
fn key(text: &str, line_start: usize) -> String {
    let through = text.get(line_start..).and_then(|rest| rest.find('\n')).map_or(text.len(), |end| line_start + end);
    let lines: Vec<&str> = text.get(..through).unwrap_or_default().lines().map(str::trim).collect();
    let is_table = |line: &&&str| line.starts_with('[') && line.ends_with(']') && !line.contains(['"', ',']);
    let open = |lines: &[&str]| {
        let text: String = lines.concat();
        text.matches('[').count() > text.matches(']').count()
    };
    let own = lines.iter().enumerate().rev().find(|(_, line)| own_key(line).is_some()).and_then(|(at, line)| {
        let here = at + 1 == lines.len();
        lines.get(at..lines.len().saturating_sub(1)).filter(|between| here || open(between)).and(own_key(line))
    });
    let table = lines.iter().rev().find(is_table).map(|line| line.trim_matches(['[', ']']));
    let last_is_table = lines.last().is_some_and(|line| is_table(&line));
    match (table, own) {
        (Some(table), _) if last_is_table => table.to_owned(),
        (Some(table), Some(own)) => format!("{table}.{own}"),
        (Some(name), None) | (None, Some(name)) => name.to_owned(),
        (None, None) => "file".to_owned(),
    }
}

fn own_key(line: &str) -> Option<&str> {
    line.split_once('=').map(|(key, _)| key.trim()).filter(|key| is_key(key))
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistake_names_file_line_column_and_key_but_no_value() {
        let text = "[instances.main]\nhost = \"eu\"\nclient-secret = \"hunter2\"\n";
        let offset = text.find("\"hunter2").expect("there");
        let mistake = ConfigMistake::at(Path::new("c.toml"), text, offset..offset + 9, "refused");
        assert_eq!(mistake.to_string(), "c.toml:3:17: instances.main.client-secret: refused");
    }

    #[test]
    fn mistake_in_a_list_over_many_lines_names_the_list() {
        let text = "[listeners.local]\nallow = [\n  \"GET /v2/a\",\n  \"GOT /v2/b\",\n]\n";
        let offset = text.find("\"GOT").expect("there");
        let mistake = ConfigMistake::at(Path::new("c.toml"), text, offset..offset + 1, "refused");
        assert_eq!(mistake.to_string(), "c.toml:4:3: listeners.local.allow: refused");
    }
}
