//! What servers may read in a query, found by regular expressions: the measure of the real guard of queries.

use regex::bytes::Regex;

/// A name or value that a rule asks for, and every spelling that some server takes for it.
pub(crate) struct Word {
    text: String,
    alike: Regex,
}

impl Word {
    pub(crate) fn new(text: &str) -> Self {
        let letters: String = text.chars().map(letter).collect();
        // Blanks around it are trimmed; brackets hold the index of a list; NUL ends a string in C.
        let alike = format!(r"(?s-u)\A[\x00-\x20+]*{letters}[\x00-\x20+]*(?:\z|[\x00\[].*)");
        Self { text: text.to_owned(), alike: Regex::new(&alike).expect("an expression") }
    }

    /// Whether some server takes `raw` for the word.
    pub(crate) fn maybe(&self, raw: &str) -> bool {
        let once = decode(raw.as_bytes());
        let twice = decode(&once);
        let thrice = decode(&twice);
        [raw.as_bytes(), &once, &twice, &thrice].into_iter().any(|octets| self.alike.is_match(octets))
    }

    /// Whether every server does: after the one decoding that all of them do, and whatever they think of `+`.
    pub(crate) fn surely(&self, raw: &str) -> bool {
        !raw.contains('+') && decode(raw.as_bytes()) == self.text.as_bytes()
    }
}

/// A letter in any case; beyond ASCII, those that Java takes for an ASCII one.
fn letter(letter: char) -> String {
    match letter {
        'i' | 'I' | '\u{130}' | '\u{131}' => r"(?:[iI]|\xc4[\xb0\xb1])".to_owned(),
        's' | 'S' | '\u{17f}' => r"(?:[sS]|\xc5\xbf)".to_owned(),
        'k' | 'K' | '\u{212a}' => r"(?:[kK]|\xe2\x84\xaa)".to_owned(),
        other if other.is_ascii_alphabetic() => {
            format!("[{}{}]", other.to_ascii_lowercase(), other.to_ascii_uppercase())
        }
        other => other.to_string().bytes().map(|octet| format!(r"\x{octet:02x}")).collect(),
    }
}

/// One decoding, as lenient as any server's: what is no encoding stays.
pub(crate) fn decode(octets: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = octets;
    while let [first, after @ ..] = rest {
        let hex = |octet: u8| char::from(octet).to_digit(16).map(|digit| digit as u8);
        match rest {
            [b'%', high, low, after @ ..] if hex(*high).is_some() && hex(*low).is_some() => {
                decoded.push(hex(*high).unwrap() * 16 + hex(*low).unwrap());
                rest = after;
            }
            _ => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

/// Names and values, as some servers split a query and as the others do.
fn pieces(query: &str) -> Vec<(&str, Option<&str>)> {
    let both = query.split('&').chain(query.split(['&', ';']));
    both.map(|piece| piece.split_once('=').map_or((piece, None), |(name, value)| (name, Some(value)))).collect()
}

/// Whether all servers find the name, and find it with this value only.
pub(crate) fn surely(query: &str, name: &Word, value: Option<&Word>) -> bool {
    let mut named = pieces(query);
    named.retain(|(own, _)| name.maybe(own));
    let agrees = |given: Option<&str>| value.is_none_or(|value| given.is_some_and(|given| value.surely(given)));
    !named.is_empty() && named.into_iter().all(|(own, given)| name.surely(own) && agrees(given))
}

/// Whether some server finds the name, and finds it with this value.
pub(crate) fn maybe(query: &str, name: &Word, value: Option<&Word>) -> bool {
    let agrees = |given: Option<&str>| value.is_none_or(|value| value.maybe(given.unwrap_or_default()));
    pieces(query).into_iter().any(|(own, given)| name.maybe(own) && agrees(given))
}

/// Whether some server may be asked for the values of secure fields; `secure` is the name of that parameter.
pub(crate) fn asks(query: &str, secure: &Word) -> bool {
    pieces(query)
        .into_iter()
        .any(|(own, given)| secure.maybe(own) && given.is_none_or(|given| given.to_lowercase() != "false"))
}
