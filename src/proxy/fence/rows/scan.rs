//! Where a value of JSON ends: strings, escapes and depth, and nothing else of it. What it is, serde_json says.
//!
//! Not by a streaming parser of the registry. Those that take chunks (actson) give events with copies of all strings and
//! cannot give the bytes of a row as they came, and those that could (struson, serde_json's own stream) pull from a
//! reader, which an answer that comes in pieces is not.

/// How deep objects and arrays may be in one another. serde_json's own limit is 128.
pub(super) const MAX_DEPTH: u32 = 64;

/// A value that has been scanned up to some byte.
#[derive(Debug, Default)]
pub(super) struct Scan {
    state: State,
    depth: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    /// A number or a word.
    Scalar,
    /// In an object or array, and in no string.
    Between,
    InString,
    /// Behind a backslash.
    Escaped,
}

/// It is nested too deep.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooDeep;

impl Scan {
    /// Scans on; how many of these bytes belong to the value if it ends among them.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, TooDeep> {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let skipped = match self.state {
                State::Start | State::Escaped => Some(0),
                State::Scalar => rest.iter().position(|byte| is_end(*byte)),
                State::Between => rest.iter().position(|byte| is_mark(*byte)),
                State::InString => rest.iter().position(|byte| matches!(byte, b'"' | b'\\')),
            };
            let Some((skipped, byte)) = skipped.and_then(|skipped| Some((skipped, *rest.get(skipped)?))) else {
                return Ok(None);
            };
            at += skipped;
            if self.state == State::Scalar {
                return Ok(Some(at));
            }
            at += 1;
            if self.step(byte)? {
                return Ok(Some(at));
            }
        }
    }

    /// Goes over one byte; whether the value ends with it.
    fn step(&mut self, byte: u8) -> Result<bool, TooDeep> {
        self.state = match (self.state, byte) {
            (State::Start | State::Between, b'"') | (State::Escaped, _) => State::InString,
            (State::InString, b'\\') => State::Escaped,
            (State::Start | State::Between, b'{' | b'[') if self.depth == MAX_DEPTH => return Err(TooDeep),
            (State::Start | State::Between, b'{' | b'[') => {
                self.depth += 1;
                State::Between
            }
            (State::Between, b'}' | b']') => {
                self.depth -= 1;
                State::Between
            }
            (State::Between, _) | (State::InString, b'"') => State::Between,
            (State::Start | State::Scalar, _) => State::Scalar,
            (State::InString, _) => State::InString,
        };
        Ok(self.state == State::Between && self.depth == 0)
    }
}

/// Whether a number or a word ends before it.
fn is_end(byte: u8) -> bool {
    matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r')
}

/// Whether it is a quote, a brace or a bracket.
fn is_mark(byte: u8) -> bool {
    byte == b'"' || matches!(byte | 0x20, b'{' | b'}')
}
