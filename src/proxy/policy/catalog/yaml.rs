//! A YAML text as a tree of words, lists and mappings: every scalar is a string, and aliases cannot make it grow.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScanError};
use serde_json::map::Entry;
use serde_json::{Map, Value};

/// How deep lists and mappings may be nested, as in JSON.
const MAX_DEPTH: usize = 128;

/// What anchors and aliases may copy, in bytes: a few lines could fill any memory.
const MAX_COPIED: usize = MAX_COPIED_MIB << 20;
const MAX_COPIED_MIB: usize = 64;

/// What a node costs in addition to its text, in bytes, about.
const NODE: usize = 64;

/// Why a text is not a tree; lines count from 1.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// It is not YAML.
    #[error(transparent)]
    Syntax(#[from] ScanError),
    /// Lists in lists in lists.
    #[error("line {0}: it is nested deeper than {MAX_DEPTH} levels")]
    Deep(usize),
    /// A list or a mapping as key.
    #[error("line {0}: a key is not a word")]
    Key(usize),
    /// A mapping with two values for a key.
    #[error("line {0}: the key {1:?} is in one mapping twice")]
    Twice(usize, String),
    /// An alias within its own anchor.
    #[error("line {0}: an alias is inside what it means")]
    Alias(usize),
    /// An anchor bomb.
    #[error("line {0}: aliases copy more than {MAX_COPIED_MIB} MiB")]
    Copied(usize),
}

/// The first document of a YAML text; `Null` if there is none.
pub(super) fn parse(text: &str) -> Result<Value, YamlError> {
    let mut tree = YamlTree::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event?;
        tree.line = span.start.line();
        if let Some(root) = tree.take(event)? {
            return Ok(root);
        }
    }
    Ok(Value::Null)
}

/// What was read so far. Lists and mappings are open from their start to their end.
#[derive(Default)]
struct YamlTree {
    line: usize,
    open: Vec<OpenNode>,
    anchors: HashMap<usize, (Value, usize)>,
    copied: usize,
}

/// A list or mapping that goes on.
struct OpenNode {
    content: NodeContent,
    anchor: usize,
    weight: usize,
}

enum NodeContent {
    List(Vec<Value>),
    Mapping(Map<String, Value>, Option<String>),
}

impl YamlTree {
    /// Takes the next event; returns the root once it is whole.
    fn take(&mut self, event: Event<'_>) -> Result<Option<Value>, YamlError> {
        match event {
            Event::SequenceStart(anchor, _) => self.open(anchor, NodeContent::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.open(anchor, NodeContent::Mapping(Map::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Scalar(text, _, anchor, _) => {
                let weight = NODE + text.len();
                self.put(Value::String(text.into_owned()), weight, anchor)
            }
            Event::Alias(anchor) => {
                let weight = self.anchors.get(&anchor).ok_or(YamlError::Alias(self.line))?.1;
                self.pay(weight)?;
                let (value, _) = self.anchors.get(&anchor).cloned().ok_or(YamlError::Alias(self.line))?;
                self.put(value, weight, 0)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(None)
            }
        }
    }

    fn open(&mut self, anchor: usize, content: NodeContent) -> Result<Option<Value>, YamlError> {
        if self.open.len() == MAX_DEPTH {
            return Err(YamlError::Deep(self.line));
        }
        self.open.push(OpenNode { content, anchor, weight: NODE });
        Ok(None)
    }

    fn close(&mut self) -> Result<Option<Value>, YamlError> {
        let Some(OpenNode { content, anchor, weight }) = self.open.pop() else { return Ok(None) };
        let value = match content {
            NodeContent::List(values) => Value::Array(values),
            NodeContent::Mapping(members, _) => Value::Object(members),
        };
        self.put(value, weight, anchor)
    }

    /// Puts a whole value where it belongs. An anchor's number is 0 if there is none.
    fn put(&mut self, value: Value, weight: usize, anchor: usize) -> Result<Option<Value>, YamlError> {
        if anchor != 0 {
            self.pay(weight)?;
            self.anchors.insert(anchor, (value.clone(), weight));
        }
        let line = self.line;
        let Some(OpenNode { content, weight: total, .. }) = self.open.last_mut() else { return Ok(Some(value)) };
        *total += weight;
        match content {
            NodeContent::List(values) => values.push(value),
            NodeContent::Mapping(members, key) => match (key.take(), value) {
                (None, Value::String(word)) => *key = Some(word),
                (None, Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                    return Err(YamlError::Key(line));
                }
                (Some(word), value) => match members.entry(word) {
                    Entry::Vacant(place) => drop(place.insert(value)),
                    Entry::Occupied(place) => return Err(YamlError::Twice(line, place.key().clone())),
                },
            },
        }
        Ok(None)
    }

    fn pay(&mut self, weight: usize) -> Result<(), YamlError> {
        self.copied = self.copied.saturating_add(weight);
        if self.copied > MAX_COPIED { Err(YamlError::Copied(self.line)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_is_a_tree_of_words() {
        let text = "a: &x [no, 1.10, \"~\"]\n'b':\n  c: >-\n    two\n    lines\n  d: *x\n---\nsecond\n";
        let words = json!(["no", "1.10", "~"]);
        assert_eq!(parse(text).expect("good"), json!({ "a": words, "b": { "c": "two lines", "d": words } }));
        assert_eq!(parse("# nothing\n").expect("good"), Value::Null);
    }

    #[test]
    fn yaml_that_would_grow_or_mean_two_things_is_refused_with_its_line() {
        let nest = |open: &str, close: &str| format!("{}{}", open.repeat(200), close.repeat(200));
        let mut bomb = format!("a0: &a0 {}\n", "x".repeat(1000));
        for i in 1..20 {
            let last = format!("*a{}, ", i - 1).repeat(9);
            bomb += &format!("a{i}: &a{i} [{last}]\n");
        }
        for (text, said) in [
            (nest("[", "]"), "line 1: it is nested deeper"),
            (nest("{a: ", "}"), "line 1: it is nested deeper"),
            ("a: 1\nb: 2\na: 3\n".to_owned(), "line 3: the key \"a\" is in one mapping twice"),
            ("? [a]\n: b\n".to_owned(), "line 1: a key is not a word"),
            ("a: &x [*x]\n".to_owned(), "line 1: an alias is inside what it means"),
            (bomb, ": aliases copy more than 64 MiB"),
            ("a: [b\n".to_owned(), "line"),
        ] {
            let error = parse(&text).expect_err("bad").to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
