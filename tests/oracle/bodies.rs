//! All that some reader of JSON could find at a place of a body: the measure of the real conditions.
//!
//! One reader that takes nearly anything, and says where the text is not JSON: there other readers may find anything.

use std::iter::Peekable;
use std::str::Chars;

use regex::Regex;

/// What a condition wants, in words of its own.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// One of these literals, as they are written in JSON.
    Literals(Vec<&'static str>),
    Present,
    Absent,
    Prefix(&'static str),
}

/// What a reader finds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Nothing,
    /// Whatever its library makes of it.
    Anything,
    Value(Value),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// A number or word, as written.
    Word(String),
    Text(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

/// A body, as the lenient reader takes it.
pub(crate) struct Reading {
    pub(crate) root: Value,
    /// Whether it is JSON by the letter, so that all readers find this.
    pub(crate) is_clean: bool,
}

/// Every way to take the bytes; none if nobody finds a value in them.
pub(crate) fn readings(bytes: &[u8]) -> Vec<Reading> {
    let mut texts = vec![String::from_utf8_lossy(bytes).into_owned()];
    let is_utf8 = std::str::from_utf8(bytes).is_ok();
    // Servlets take a body without a charset for Latin-1.
    texts.push(bytes.iter().map(|byte| char::from(*byte)).collect());
    let wide =
        bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || bytes.iter().take(4).any(|b| *b == 0);
    if wide {
        for join in [u16::from_le_bytes, u16::from_be_bytes] {
            let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| join([pair[0], pair[1]])).collect();
            texts.push(String::from_utf16_lossy(&units));
        }
        for join in [u32::from_le_bytes, u32::from_be_bytes] {
            let letters = bytes.chunks_exact(4).map(|four| join([four[0], four[1], four[2], four[3]]));
            texts.push(letters.map(|letter| char::from_u32(letter).unwrap_or('?')).collect());
        }
    }
    let read = |text: String| {
        let mut reader = Lenient { rest: text.chars().peekable(), is_clean: is_utf8 && !wide, depth: 0 };
        let root = reader.value()?;
        reader.blanks();
        reader.is_clean &= reader.rest.peek().is_none();
        Some(Reading { root, is_clean: reader.is_clean })
    };
    texts.into_iter().filter_map(read).collect()
}

/// Whether every reader that takes the body finds what is wanted at the place.
pub(crate) fn surely(bytes: &[u8], pointer: &str, wanted: &Wanted) -> bool {
    let steps: Vec<&str> = pointer.split('/').skip(1).collect();
    let readings = readings(bytes);
    !readings.is_empty()
        && readings.iter().all(|reading| {
            reading.is_clean && {
                let mut seen = Vec::new();
                look(&reading.root, &steps, &mut seen);
                seen.iter().all(|seen| agrees(seen, wanted))
            }
        })
}

/// Whether a key occurs twice in one object, to some reader.
pub(crate) fn has_twins(value: &Value) -> bool {
    match value {
        Value::Word(_) | Value::Text(_) => false,
        Value::Array(elements) => elements.iter().any(has_twins),
        Value::Object(members) => {
            let mut folded: Vec<_> = members.iter().map(|(key, _)| fold(key)).collect();
            folded.sort();
            folded.windows(2).any(|pair| pair[0] == pair[1]) || members.iter().any(|(_, value)| has_twins(value))
        }
    }
}

/// As coarse as any reader, by expressions: each letter becomes the first of all that are the same without case.
fn fold(key: &str) -> String {
    thread_local!(static FOLDS: Vec<(Regex, &'static str)> = [
        ("[_-]|\u{307}", ""),
        ("(?i)[i\u{130}\u{131}]", "i"),
        ("(?i)ß", "ss"),
        ("(?i)[sſ]", "s"),
        ("(?i)[k\u{212a}]", "k"),
    ].map(|(from, to)| (Regex::new(from).expect("an expression"), to)).into());
    let plain = FOLDS
        .with(|folds| folds.iter().fold(key.to_owned(), |key, (from, to)| from.replace_all(&key, *to).into_owned()));
    // Of what is left, upper case tells all letters of a class; ς and σ are both Σ.
    plain.to_uppercase().to_lowercase().replace('ς', "σ")
}

/// All that readers find `steps` below a value, whether they take it as it is or make another of it.
fn look(value: &Value, steps: &[&str], seen: &mut Vec<Seen>) {
    let Some((step, rest)) = steps.split_first() else {
        seen.push(Seen::Value(value.clone()));
        return;
    };
    let is_index = step.bytes().all(|byte| byte.is_ascii_digit()) && !step.is_empty();
    match value {
        Value::Object(members) if !is_index => {
            let named: Vec<_> = members.iter().filter(|(key, _)| fold(key) == fold(step)).collect();
            if !named.iter().any(|(key, _)| key == step) {
                seen.push(Seen::Nothing);
                // Some readers take another key for it, and any of them once there is one.
                seen.extend(named.first().map(|_| Seen::Anything));
            }
            for (_, value) in named {
                look(value, rest, seen);
            }
        }
        Value::Array(elements) if is_index => match elements.get(step.parse::<usize>().unwrap_or(usize::MAX)) {
            Some(element) => look(element, rest, seen),
            None => seen.push(Seen::Nothing),
        },
        // Fields in their order, pairs, an array of one in place of what is in it, and the other way round; a value that
        // a constructor takes, or that is nothing.
        Value::Object(_) | Value::Array(_) | Value::Word(_) | Value::Text(_) => {
            seen.extend([Seen::Nothing, Seen::Anything]);
        }
    }
}

fn agrees(seen: &Seen, wanted: &Wanted) -> bool {
    match (seen, wanted) {
        (Seen::Nothing, Wanted::Absent) => true,
        (Seen::Anything | Seen::Nothing, _) | (Seen::Value(_), Wanted::Absent) => false,
        (Seen::Value(value), Wanted::Present) => !may_be_null(value),
        (Seen::Value(Value::Text(text)), Wanted::Prefix(prefix)) => text.starts_with(prefix),
        (Seen::Value(_), Wanted::Prefix(_)) => false,
        (Seen::Value(Value::Word(word)), Wanted::Literals(all)) => all.contains(&word.as_str()),
        (Seen::Value(Value::Text(text)), Wanted::Literals(all)) => {
            all.iter().any(|wanted| wanted.strip_prefix('"').and_then(|w| w.strip_suffix('"')) == Some(text))
        }
        (Seen::Value(Value::Array(_) | Value::Object(_)), Wanted::Literals(_)) => false,
    }
}

/// Whether some reader makes null of it.
fn may_be_null(value: &Value) -> bool {
    match value {
        Value::Word(word) => word == "null",
        Value::Text(text) => {
            let blank = |letter: &char| !letter.is_whitespace() && *letter > ' ';
            let letters: String = text.chars().filter(blank).collect();
            letters.is_empty() || letters == "null"
        }
        Value::Array(elements) => elements.is_empty() || (elements.len() == 1 && may_be_null(&elements[0])),
        Value::Object(_) => false,
    }
}

/// Takes nearly anything, and remembers whether it was JSON.
struct Lenient<'a> {
    rest: Peekable<Chars<'a>>,
    is_clean: bool,
    depth: usize,
}

impl Lenient<'_> {
    /// Blanks of every kind, and comments.
    fn blanks(&mut self) {
        while let Some(letter) = self.rest.peek().copied() {
            match letter {
                ' ' | '\t' | '\n' | '\r' => {}
                '#' => self.comment(&['\n', '\r']),
                '/' => self.comment(&['\n', '/']),
                '\0'..=' ' | '\u{feff}' | '\u{a0}' | '\u{85}' | '\u{2028}' => self.is_clean = false,
                _ => return,
            }
            self.rest.next();
        }
    }

    fn comment(&mut self, ends: &[char]) {
        self.is_clean = false;
        self.rest.next();
        while self.rest.peek().is_some_and(|letter| !ends.contains(letter)) {
            self.rest.next();
        }
    }

    fn value(&mut self) -> Option<Value> {
        self.blanks();
        match *self.rest.peek()? {
            '{' | '[' => self.container(),
            '"' | '\'' => Some(Value::Text(self.text())),
            _ => self.word().map(Value::Word),
        }
    }

    fn container(&mut self) -> Option<Value> {
        let is_object = self.rest.next() == Some('{');
        self.depth += 1;
        // Deeper than any that is judged.
        if self.depth > 64 {
            self.is_clean = false;
            self.rest = "".chars().peekable();
            return None;
        }
        let (mut members, mut elements) = (Vec::new(), Vec::new());
        let mut wants_more = false;
        loop {
            self.blanks();
            match self.rest.peek() {
                None => {
                    self.is_clean = false;
                    break;
                }
                Some(end @ ('}' | ']')) => {
                    self.is_clean &= !wants_more && (*end == '}') == is_object;
                    self.rest.next();
                    break;
                }
                Some(',' | ';') => {
                    // One too many, or in the wrong place.
                    self.is_clean = false;
                    self.rest.next();
                    continue;
                }
                Some(_) => {}
            }
            if is_object {
                let key = self.key()?;
                members.push((key, self.value()?));
            } else {
                elements.push(self.value()?);
            }
            self.blanks();
            wants_more = self.rest.peek() == Some(&',');
            if wants_more {
                self.rest.next();
            } else {
                self.is_clean &= matches!(self.rest.peek(), Some('}' | ']'));
            }
        }
        self.depth -= 1;
        Some(if is_object { Value::Object(members) } else { Value::Array(elements) })
    }

    fn key(&mut self) -> Option<String> {
        let key = match self.rest.peek()? {
            '"' | '\'' => self.text(),
            _ => {
                self.is_clean = false;
                self.word()?
            }
        };
        self.blanks();
        match self.rest.next()? {
            ':' => {}
            '=' => {
                self.is_clean = false;
                if self.rest.peek() == Some(&'>') {
                    self.rest.next();
                }
            }
            _ => return None,
        }
        Some(key)
    }

    fn word(&mut self) -> Option<String> {
        let mut word = String::new();
        while let Some(letter) = self.rest.peek().copied().filter(|letter| !",:;=]}[{\"'#/ \t\r\n".contains(*letter)) {
            word.push(letter);
            self.rest.next();
        }
        thread_local!(static JSON: Regex = Regex::new(
            r"\A(?:null|true|false|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\z"
        ).expect("an expression"));
        self.is_clean &= JSON.with(|json| json.is_match(&word));
        (!word.is_empty()).then_some(word)
    }

    fn text(&mut self) -> String {
        let quote = self.rest.next().unwrap_or_default();
        self.is_clean &= quote == '"';
        // In halves of surrogate pairs, as Java has them.
        let mut units: Vec<u16> = Vec::new();
        loop {
            let unit = match self.rest.next() {
                None => {
                    self.is_clean = false;
                    break;
                }
                Some(end) if end == quote => break,
                Some('\\') => self.escape(),
                Some(letter) => {
                    self.is_clean &= letter >= ' ';
                    units.extend_from_slice(letter.encode_utf16(&mut [0; 2]));
                    continue;
                }
            };
            units.push(unit);
        }
        self.is_clean &= String::from_utf16(&units).is_ok() && !units.contains(&0);
        String::from_utf16_lossy(&units)
    }

    fn escape(&mut self) -> u16 {
        let letter = self.rest.next().unwrap_or_default();
        let known = [('b', '\u{8}'), ('f', '\u{c}'), ('n', '\n'), ('r', '\r'), ('t', '\t')];
        if let Some((_, meant)) = known.iter().find(|(escape, _)| *escape == letter) {
            return *meant as u16;
        }
        if letter == 'u' {
            let digits: String = self.rest.by_ref().take(4).collect();
            let is_hex = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            self.is_clean &= is_hex;
            return u16::from_str_radix(&digits, 16).unwrap_or(0);
        }
        self.is_clean &= matches!(letter, '"' | '\\' | '/');
        u16::try_from(u32::from(letter)).unwrap_or(0)
    }
}
