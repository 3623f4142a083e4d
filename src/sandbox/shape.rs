//! The fields of each answer: shapes.txt, read line by line.

use std::collections::HashMap;

use super::fleet::InventedThing;

const SHAPES: &str = include_str!("shapes.txt");
const WORDS: &str = include_str!("words.txt");

/// The lines of both data files by their first words; nothing is parsed before it is asked for.
pub(super) struct Shapes {
    lines: HashMap<&'static str, &'static str>,
    words: HashMap<&'static str, &'static str>,
}

/// What an operation answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outline<'a> {
    /// The status of success.
    pub(super) status: u16,
    /// The kind of the body; empty for an empty body.
    pub(super) kind: &'a str,
    /// How the list is paged; empty if it is not.
    pub(super) paging: &'a str,
}

impl Shapes {
    pub(super) fn built_in() -> Self {
        let lines = content(SHAPES).filter_map(|line| match line.split_once(' ')? {
            ("GET" | "POST" | "PUT" | "PATCH" | "DELETE", rest) => {
                let end = line.len() - rest.len() + rest.find(' ')?;
                Some((line.get(..end)?, line.get(end + 1..)?))
            }
            shape => Some(shape),
        });
        Self { lines: lines.collect(), words: content(WORDS).filter_map(|line| line.split_once(' ')).collect() }
    }

    /// What `METHOD TEMPLATE` answers; `None` if no line says it.
    pub(super) fn outline(&self, operation: &str) -> Option<Outline<'static>> {
        let mut columns = self.lines.get(operation)?.split(' ').map(|column| if column == "-" { "" } else { column });
        Some(Outline { status: columns.next()?.parse().ok()?, kind: columns.next()?, paging: columns.next()? })
    }

    /// The fields of a shape with their kinds, or the words of a named enumeration.
    pub(super) fn definition(&self, name: &str) -> Option<&'static str> {
        self.lines.get(name).copied()
    }

    /// The names of all object shapes.
    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.lines.iter().filter(|(_, rest)| rest.contains(':')).map(|(name, _)| *name)
    }

    /// The kind of the elements of a list field.
    pub(super) fn element(&self, shape: &str, field: &str) -> Option<&'static str> {
        let fields = self.definition(shape)?.split(' ').filter_map(|field| field.split_once(':'));
        let kind = fields.into_iter().find(|(name, _)| *name == field)?.1;
        kind.strip_prefix('[')?.strip_suffix(']')
    }

    /// One of the words for a field of a shape.
    pub(super) fn word(&self, shape: &str, field: &str, subject: &InventedThing<'_>) -> Option<String> {
        let words = self.words.get(format!("{shape}.{field}").as_str()).or_else(|| self.words.get(field))?;
        Some(choose(words, subject).replace("{n}", &subject.id.to_string()))
    }
}

fn content(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Always the same word of a list for the same thing; lists of one length go together, so that a status and
/// its number agree.
fn choose(words: &'static str, subject: &InventedThing<'_>) -> &'static str {
    let n = subject.id as usize % words.split('|').count();
    words.split('|').nth(n).unwrap_or(words)
}

/// A shape's name without the mark of a report's row: `DeviceVolume` shows the volume.
pub(super) fn aspect(shape: &str) -> &str {
    match shape.strip_prefix("Device") {
        None | Some("" | "HealthSummary" | "SearchMatch") => shape,
        Some("NetworkInterfaces") => "NetworkInterface",
        Some(aspect) => aspect,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_name_only_kinds_that_exist() {
        let shapes = Shapes::built_in();
        let mut visited = 0;
        for line in content(SHAPES) {
            for column in line.split(' ').skip(1).filter(|column| !column.starts_with('/')) {
                let kind = column.rsplit_once(':').map_or(column, |(_, kind)| kind).trim_matches(['[', ']']);
                if kind.chars().next().is_some_and(|c| c.is_ascii_uppercase()) && kind != "M" {
                    assert!(shapes.definition(kind).is_some(), "{kind}");
                    visited += 1;
                }
            }
        }
        assert!(visited > 400, "{visited}");
    }

    #[test]
    fn shapes_tell_status_kind_and_paging_of_an_operation() {
        let shapes = Shapes::built_in();
        let outline = Outline { status: 200, kind: "[Organization]", paging: "after" };
        assert_eq!(shapes.outline("GET /v2/organizations"), Some(outline));
        let outline = Outline { status: 204, kind: "", paging: "" };
        assert_eq!(shapes.outline("DELETE /v2/webhook"), Some(outline));
        assert_eq!(shapes.outline("GET /v2/nothing"), None);
    }
}
