//! Where the keys of a configuration are in its text.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// The dotted name of the innermost key whose own text or value is at this offset; `None` where there is none, or where
/// the text is not TOML.
pub(super) fn key_at(text: &str, offset: usize) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let (mut path, mut best) = (Vec::new(), None);
    search(table.get_ref(), offset, &mut path, &mut best);
    best
}

fn search(table: &DeTable<'_>, offset: usize, path: &mut Vec<String>, best: &mut Option<String>) {
    for (key, value) in table {
        path.push(shown(key.get_ref()));
        let around = |span: Range<usize>| span.contains(&offset);
        let deeper = best.as_ref().is_none_or(|best| best.matches('.').count() + 1 < path.len());
        if deeper && (around(key.span()) || around(value.span())) {
            *best = Some(path.join("."));
        }
        if let DeValue::Table(inner) = value.get_ref() {
            search(inner, offset, path, best);
        }
        path.pop();
    }
}

/// A part of a dotted name, as TOML has it.
fn shown(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if bare { key.to_owned() } else { format!("{key:?}") }
}

/// The place of the last key of this path, or of the nearest table around it that is in the text.
pub(super) fn span_of(text: &str, path: &[&str]) -> Option<Range<usize>> {
    let table = DeTable::parse(text).ok()?;
    let (mut inside, mut span) = (table.get_ref(), None);
    for name in path {
        let Some((key, value)) = inside.iter().find(|(key, _)| key.get_ref() == name) else { break };
        span = Some(key.span());
        let DeValue::Table(inner) = value.get_ref() else { break };
        inside = inner;
    }
    span
}

/// Strings whose escapes were hardly meant, such as the tab and the line break in `"C:\temp\new.pem"`: places in the text.
pub(super) fn control_characters(text: &str) -> Option<Range<usize>> {
    let table = DeTable::parse(text).ok()?;
    escapes(table.get_ref(), text)
}

fn escapes(table: &DeTable<'_>, text: &str) -> Option<Range<usize>> {
    table.values().find_map(|value| match value.get_ref() {
        DeValue::Table(inner) => escapes(inner, text),
        DeValue::String(string) => {
            let raw = text.get(value.span())?;
            let meant = raw.starts_with("\"\"\"") || !raw.contains('\\');
            (!meant && string.chars().any(char::is_control)).then(|| value.span())
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) => {
            None
        }
    })
}

/// Entries of lists of texts and numbers that are in the list already; the words of a command may be.
pub(super) fn repeated(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    if let Ok(table) = DeTable::parse(text) {
        search_lists(table.get_ref(), text, &mut found);
    }
    found
}

fn search_lists(table: &DeTable<'_>, text: &str, found: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        match value.get_ref() {
            DeValue::Table(inner) => search_lists(inner, text, found),
            DeValue::Array(entries) if key.get_ref() != "command" => {
                let mut seen = std::collections::BTreeSet::new();
                for entry in entries.iter() {
                    let raw = text.get(entry.span()).unwrap_or_default();
                    let plain = raw.trim_matches(['"', '\'']);
                    if !raw.starts_with(['{', '[']) && !seen.insert(plain) {
                        found.push(entry.span());
                    }
                }
            }
            DeValue::Array(_)
            | DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "catalog-file = 'a'\n[listeners.local]\naddress = \"x\"\nallow = [\n  \"GET /v2/x\",\n]\n[listeners.local.callers.\"a b\"]\nkey = \"k\"\ntls = { key = 'c:\\t' }\n";

    #[test]
    fn a_key_is_found_around_its_value() {
        let at = |word: &str| key_at(TEXT, TEXT.find(word).expect("in the text"));
        assert_eq!(at("catalog").as_deref(), Some("catalog-file"));
        assert_eq!(at("local]").as_deref(), Some("listeners.local"));
        assert_eq!(at("GET").as_deref(), Some("listeners.local.allow"));
        assert_eq!(at("\"k\"").as_deref(), Some("listeners.local.callers.\"a b\".key"));
        assert_eq!(at("'c:").as_deref(), Some("listeners.local.callers.\"a b\".tls.key"));
        assert_eq!(key_at("[x", 1), None);
    }

    #[test]
    fn a_key_that_is_not_there_has_the_place_of_its_table() {
        let at = |path: &[&str]| span_of(TEXT, path).map(|span| &TEXT[span]);
        assert_eq!(at(&["listeners", "local", "address"]), Some("address"));
        assert_eq!(at(&["listeners", "local", "instance"]), Some("local"));
        assert_eq!(at(&["instances", "main"]), None);
    }

    #[test]
    fn a_tab_in_a_path_is_an_escape_that_was_not_meant() {
        let found = |text: &str| control_characters(text).map(|span| text[span].to_owned());
        assert_eq!(found("a = 1\n[b]\nc = \"C:\\temp\"").as_deref(), Some("\"C:\\temp\""));
        for fine in ["c = 'C:\\temp'", "c = \"C:\\\\temp\"", "c = \"\"\"a\nb\"\"\"", "c = \"\\u00e9\"", TEXT] {
            assert_eq!(found(fine), None, "{fine}");
        }
    }

    #[test]
    fn an_entry_of_a_list_is_found_the_second_time() {
        let text = "a = ['x', \"y\", \"x\"]\n[b]\nuids = [1, 2, 1]\nc = { command = ['x', 'x'] }";
        let found: Vec<_> = repeated(text).into_iter().map(|span| &text[span]).collect();
        assert_eq!(found, ["\"x\"", "1"]);
    }
}
