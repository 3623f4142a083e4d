//! Changes keys of a table in a configuration file, and nothing else: comments and order stay.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::Config;
use super::mistake::ConfigMistake;

/// Why a configuration file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The built-in defaults are in no file.
    #[error("there is no configuration file to write to: name one with --config FILE, before the command")]
    NoFile,
    /// The table is written inline or with dotted keys, which cannot be added to line by line.
    #[error(
        "[{0}] is written in a form that cannot be changed safely: write it as a table of its own, or paste the keys yourself"
    )]
    Form(String),
    /// Somebody else wrote to the file.
    #[error("{0} has changed since it was read: run the command again")]
    Changed(PathBuf),
    /// With the new keys the configuration is refused.
    #[error("with these keys the configuration would be refused, so nothing was written: {}", .0.without_line())]
    Refused(#[from] ConfigMistake),
    /// The file system refuses.
    #[error("cannot replace {0}")]
    File(PathBuf, #[source] io::Error),
}

impl Config {
    /// This configuration with keys of a table set; checked, and not written yet.
    pub(crate) fn with_keys(&self, table: &[&str], keys: &[(&str, String)]) -> Result<Self, EditError> {
        let text = set(&self.text, table, keys).ok_or_else(|| EditError::Form(table.join(".")))?;
        Ok(Self::parse(&self.path, text)?)
    }

    /// Puts this configuration in the place of the `read` one, in one step.
    pub(crate) fn replace(&self, read: &Self) -> Result<(), EditError> {
        self.listeners()?;
        let path = read.path().ok_or(EditError::NoFile)?;
        if Self::load(Some(path)).map_or(true, |now| now.text != read.text) {
            return Err(EditError::Changed(path.to_owned()));
        }
        replace(path, &self.text).map_err(|error| EditError::File(path.to_owned(), error))
    }
}

/// Writes another file in the same folder, with the same permissions, and renames it. A link stays one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let next = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&next)?;
        file.set_permissions(fs::metadata(&path)?.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&next, &path)
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&next);
    }
    written
}

/// The text with these keys of a table, each with its value in TOML; `None` where the result would say anything else.
fn set(text: &str, table: &[&str], keys: &[(&str, String)]) -> Option<String> {
    let parsed = DeTable::parse(text).ok()?;
    let own = find(parsed.get_ref(), table);
    let place = |key: &str| {
        let (_, value) = own?.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(value.span())
    };
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    let mut added = String::new();
    for (key, value) in keys {
        match place(key) {
            Some(span) => edits.push((span, value.clone())),
            None => added += &format!("{key} = {value}\n"),
        }
    }
    if !added.is_empty() {
        edits.push(match header(text, table).map(|header| end_of_keys(text, header, own)) {
            Some(end) => (end..end, if text.get(..end)?.ends_with('\n') { added } else { format!("\n{added}") }),
            None => {
                let gap = if text.is_empty() || text.ends_with('\n') { "\n" } else { "\n\n" };
                (text.len()..text.len(), format!("{gap}[{}]\n{added}", table.join(".")))
            }
        });
    }
    edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    let mut edited = text.to_owned();
    for (span, value) in edits {
        edited.replace_range(span, &value);
    }
    let mut wanted: Table = text.parse().ok()?;
    let mut here = &mut wanted;
    for name in table {
        here = here.entry(*name).or_insert_with(|| Value::Table(Table::new())).as_table_mut()?;
    }
    for (key, value) in keys {
        let value = format!("value = {value}").parse::<Table>().ok()?.remove("value")?;
        here.insert((*key).to_owned(), value);
    }
    (edited.parse::<Table>().ok()? == wanted).then_some(edited)
}

fn find<'a, 'b>(mut here: &'a DeTable<'b>, table: &[&str]) -> Option<&'a DeTable<'b>> {
    for name in table {
        let (_, value) = here.iter().find(|(own, _)| own.get_ref() == name)?;
        let DeValue::Table(next) = value.get_ref() else { return None };
        here = next;
    }
    Some(here)
}

/// Where the line of a table's last key ends, or its `header` if it has none. Tables of their own are not its keys.
fn end_of_keys(text: &str, header: usize, own: Option<&DeTable<'_>>) -> usize {
    let is_inline = |span: &Range<usize>| text.get(span.clone()).is_some_and(|written| written.starts_with('{'));
    let spans = own.into_iter().flat_map(|own| own.iter()).filter_map(|(_, value)| {
        let span = value.span();
        (!matches!(value.get_ref(), DeValue::Table(_)) || is_inline(&span)).then_some(span)
    });
    let line_end = |at: usize| text.get(at..).and_then(|rest| rest.find('\n')).map_or(text.len(), |line| at + line + 1);
    spans.map(|span| line_end(span.end)).fold(header, usize::max)
}

/// Where the line ends that opens a table.
fn header(text: &str, table: &[&str]) -> Option<usize> {
    let mut end = 0;
    text.split_inclusive('\n').find_map(|line| {
        end += line.len();
        let plain = line.trim();
        let opens = plain.starts_with('[') && !plain.starts_with("[[");
        let parsed = DeTable::parse(plain).ok().filter(|_| opens)?;
        find(parsed.get_ref(), table).filter(|own| own.is_empty()).map(|_| end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: &str = "[\n    \"GET /v2/devices\",  # devices-read, low\n]";

    fn edited(text: &str) -> Option<String> {
        set(text, &["listeners", "local"], &[("groups", "[\"none\"]".to_owned()), ("allow", ALLOW.to_owned())])
    }

    #[test]
    fn edit_replaces_and_adds_keys_and_keeps_comments_and_order() {
        let text = "# mine\n[listeners.local] # the tool\naddress = \"127.0.0.1:1\" # here\nallow = [\n  # old\n  \"GET /v2/users\",\n] # rules\n\n[log]\nlevel = \"warn\"\n";
        let wanted = format!(
            "# mine\n[listeners.local] # the tool\naddress = \"127.0.0.1:1\" # here\nallow = {ALLOW} # rules\ngroups = [\"none\"]\n\n[log]\nlevel = \"warn\"\n"
        );
        assert_eq!(edited(text), Some(wanted));
    }

    #[test]
    fn edit_adds_keys_after_the_last_of_the_table() {
        for (before, after) in [
            ("[listeners.local]\ntls = { a = 1 } # x", ""),
            ("[listeners.local]\naddress = \"\"\"\n[log]\n\"\"\"\n", "\n[listeners.local.callers.a]\nuids = [1]\n"),
            (
                "[listeners.local.callers.a]\nuids = [1]\n[listeners.local]\nmode = \"observe\"\n",
                "# about the log\n[log]\n",
            ),
        ] {
            let gap = if before.ends_with('\n') { "" } else { "\n" };
            let wanted = format!("{before}{gap}groups = [\"none\"]\nallow = {ALLOW}\n{after}");
            assert_eq!(edited(&format!("{before}{after}")), Some(wanted));
        }
    }

    #[test]
    fn edit_makes_a_table_that_is_not_there() {
        for text in ["", "[log]\nlevel = \"warn\"", "[listeners.local.callers.a]\nkey = \"x\"\n", "[listeners.local]"] {
            let edited = edited(text).expect(text);
            assert!(
                edited.starts_with(text) && edited.contains("[listeners.local]\ngroups = [\"none\"]\n"),
                "{edited}"
            );
        }
    }

    #[test]
    fn edit_of_a_form_that_cannot_be_added_to_changes_nothing() {
        for text in [
            "listeners.local = { groups = [] }",
            "listeners = { local = { names = [] } }",
            "x = \"\"\"\n[listeners.local]\n\"\"\"\n",
        ] {
            let edited = edited(text);
            assert!(
                edited.as_ref().is_none_or(|edited| edited.parse::<Table>().is_ok_and(|table| table.contains_key("x"))),
                "{edited:?}"
            );
        }
        assert_eq!(edited("not toml ="), None);
    }
}
