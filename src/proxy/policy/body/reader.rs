//! A reader of JSON that takes RFC 8259 by its letter and sees every key: what it accepts has one reading.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{Node, UnreadableBody, alike, string};

/// How deep objects and arrays may be in one another. Every reader goes this deep.
pub(super) const MAX_DEPTH: usize = 64;

/// The largest integer that is exact in a double.
pub(super) const MAX_INTEGER: i64 = (1 << 53) - 1;

/// The body as text.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, UnreadableBody> {
    // Before UTF-8: a mark of UTF-16 is not valid there, and its NUL tells more.
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(UnreadableBody::Nul { at: at + 1 });
    }
    if [&b"\xef\xbb\xbf"[..], b"\xfe\xff", b"\xff\xfe"].iter().any(|mark| bytes.starts_with(mark)) {
        return Err(UnreadableBody::ByteOrderMark);
    }
    std::str::from_utf8(bytes).map_err(|error| UnreadableBody::NotUtf8 { at: error.valid_up_to() + 1 })
}

/// The one value that is the text.
pub(super) fn read(text: &str) -> Result<Node, UnreadableBody> {
    let mut reader = Reader { text, at: 0 };
    reader.skip_blanks();
    if reader.peek().is_none() {
        return Err(UnreadableBody::Empty);
    }
    let root = reader.value(0)?;
    reader.skip_blanks();
    match reader.peek() {
        None => Ok(root),
        Some(b'/' | b'#') => Err(UnreadableBody::Comment { at: reader.place() }),
        Some(_) => Err(UnreadableBody::TrailingData { at: reader.place() }),
    }
}

/// What is read, and how far.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte, which is read by that.
    pub(super) fn next(&mut self) -> Result<u8, UnreadableBody> {
        let byte = self.peek().ok_or(UnreadableBody::Incomplete)?;
        self.at += 1;
        Ok(byte)
    }

    /// Where it is, for messages: from 1.
    pub(super) fn place(&self) -> usize {
        self.at + 1
    }

    /// As many bytes as are wanted, which are read by that.
    pub(super) fn take_while(&mut self, is_wanted: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.bytes().position(|byte| !is_wanted(byte)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// RFC 8259 section 2: these four, where org.json takes every control character.
    fn skip_blanks(&mut self) {
        self.take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    /// Something that JSON does not have here.
    fn unexpected(&self, wanted: &'static str) -> UnreadableBody {
        let at = self.place();
        match self.peek() {
            None => UnreadableBody::Incomplete,
            Some(b'/' | b'#') => UnreadableBody::Comment { at },
            Some(_) => UnreadableBody::Syntax { at, wanted },
        }
    }

    /// A value, in so many objects and arrays.
    fn value(&mut self, depth: usize) -> Result<Node, UnreadableBody> {
        let at = self.place();
        match self.peek() {
            Some(b'{' | b'[') if depth == MAX_DEPTH => Err(UnreadableBody::TooDeep { at, limit: MAX_DEPTH }),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => string::read(self).map(Node::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'+' | b'.' | b'N' | b'I') => Err(UnreadableBody::Number { at }),
            Some(b'a'..=b'z') => match self.take_while(|byte| byte.is_ascii_alphanumeric()) {
                "null" => Ok(Node::Null),
                "true" => Ok(Node::Boolean(true)),
                "false" => Ok(Node::Boolean(false)),
                _ => Err(UnreadableBody::Syntax { at, wanted: "a value" }),
            },
            _ => Err(self.unexpected("a value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node, UnreadableBody> {
        let mut members: Vec<(String, Node)> = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut more = self.open(b'}')?;
        while more {
            let at = self.place();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a key in double quotes"));
            }
            let key = string::read(self)?;
            match seen.entry(alike::folded(&key).collect()) {
                Entry::Vacant(free) => free.insert(members.len()),
                Entry::Occupied(taken) => {
                    let first = members.get(*taken.get()).map_or("", |(first, _)| first);
                    return Err(repeated(first, &key, at));
                }
            };
            self.skip_blanks();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("a colon"));
            }
            self.at += 1;
            self.skip_blanks();
            let value = self.value(depth)?;
            members.push((key, value));
            more = self.goes_on(b'}', "a comma or a closing brace")?;
        }
        Ok(Node::Object(members))
    }

    fn array(&mut self, depth: usize) -> Result<Node, UnreadableBody> {
        let mut elements = Vec::new();
        let mut more = self.open(b']')?;
        while more {
            elements.push(self.value(depth)?);
            more = self.goes_on(b']', "a comma or a closing bracket")?;
        }
        Ok(Node::Array(elements))
    }

    /// Reads the opening brace or bracket; whether anything is inside.
    fn open(&mut self, close: u8) -> Result<bool, UnreadableBody> {
        self.at += 1;
        self.skip_blanks();
        let is_empty = self.peek() == Some(close);
        self.at += usize::from(is_empty);
        Ok(!is_empty)
    }

    /// Reads what is between two members, or the end of them; whether there is one more.
    fn goes_on(&mut self, close: u8, wanted: &'static str) -> Result<bool, UnreadableBody> {
        self.skip_blanks();
        match self.peek() {
            Some(b',') => {
                let comma = self.place();
                self.at += 1;
                self.skip_blanks();
                match self.peek() {
                    Some(b'}' | b']' | b',') => Err(UnreadableBody::TrailingComma { at: comma }),
                    _ => Ok(true),
                }
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(self.unexpected(wanted)),
        }
    }

    /// RFC 8259 section 6.
    fn number(&mut self) -> Result<Node, UnreadableBody> {
        let malformed = UnreadableBody::Number { at: self.place() };
        let token = self.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_'));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (mantissa, exponent) = token.split_once(['e', 'E']).map_or((token, None), |(m, e)| (m, Some(e)));
        let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
        let natural = whole.strip_prefix('-').unwrap_or(whole);
        let exponent = exponent.map(|text| text.strip_prefix(['+', '-']).unwrap_or(text));
        let is_valid = digits(natural)
            && (natural == "0" || !natural.starts_with('0'))
            && fraction.is_none_or(digits)
            && exponent.is_none_or(digits);
        if !is_valid {
            return Err(malformed);
        }
        // "-0" is an integer to some readers and a fraction to others; `token` has no fraction if it parses.
        let integer = token.parse().ok().filter(|number: &i64| number.abs() <= MAX_INTEGER && token != "-0");
        Ok(integer.map_or(Node::Number, Node::Integer))
    }
}

fn repeated(first: &str, second: &str, at: usize) -> UnreadableBody {
    if first == second {
        UnreadableBody::KeyTwice { key: shown(first), at }
    } else {
        UnreadableBody::KeysAlike { first: shown(first), second: shown(second), at }
    }
}

/// A key of the body for a message: on one line, and not too long.
fn shown(key: &str) -> String {
    const LONGEST: usize = 60;
    let mut letters = key.chars();
    let start: String = letters.by_ref().take(LONGEST).collect();
    let more = if letters.next().is_some() { "..." } else { "" };
    format!("{start:?}{more}")
}
