//! What servers may read in a query, found by regular expressions: the measure of the real guard of queries.

use regex::bytes::Regex;

/// A name or value that a rule asks for, and every spelling that some server takes for it.
pub(crate) struct Word {
    text: String,
    alike: Regex,
    /// Where the word is a number: what may hold it.
    number: Option<Regex>,
}

impl Word {
    pub(crate) fn new(text: &str) -> Self {
        let letters: String = text.chars().map(letter).collect();
        // Blanks around it are trimmed; brackets hold the index of a list; NUL ends a string in C.
        let alike = format!(r"(?s-u)\A[\x00-\x20+]*{letters}[\x00-\x20+]*(?:\z|[\x00\[].*)");
        let digits = text;
        let number = (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| {
            let digits = match digits.trim_start_matches('0') {
                "" => "0+".to_owned(),
                significant => format!("0*{significant}"),
            };
            let foreign = r"\A[^A-Za-z]*[\x80-\xff][^A-Za-z]*\z";
            let number = format!(r"(?s-u)(?:\A|[^0-9]){digits}(?:[^0-9]|\z)|{foreign}");
            Regex::new(&number).expect("an expression")
        });
        Self { text: text.to_owned(), alike: Regex::new(&alike).expect("an expression"), number }
    }

    /// Whether some server takes `raw` for the word.
    pub(crate) fn maybe(&self, raw: &str) -> bool {
        decodings(raw).iter().any(|bytes| self.alike.is_match(bytes))
    }

    /// Whether some server takes the value `raw` for the word, or finds it there as a number.
    pub(crate) fn maybe_as_value(&self, raw: &str) -> bool {
        let holds = |bytes: &Vec<u8>| self.number.as_ref().is_some_and(|number| number.is_match(bytes));
        self.maybe(raw) || decodings(raw).iter().any(holds)
    }

    /// Whether every server does: after the one decoding that all of them do, and whatever they think of `+`.
    pub(crate) fn surely(&self, raw: &str) -> bool {
        !raw.contains('+') && decode(raw.as_bytes()) == self.text.as_bytes()
    }
}

/// An expression in any case of its letters, as Java's `equalsIgnoreCase` compares.
#[allow(dead_code, reason = "not every test compares paths")]
pub(crate) fn in_any_case(expression: &str) -> String {
    let letter = |letter: char| match letter {
        'i' | 'I' | '\u{130}' | '\u{131}' => "[i\u{130}\u{131}]".to_owned(),
        other => other.to_string(),
    };
    format!("(?i:{})", expression.chars().map(letter).collect::<String>())
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
        other => other.to_string().bytes().map(|byte| format!(r"\x{byte:02x}")).collect(),
    }
}

/// As written, and decoded once, twice and thrice.
fn decodings(raw: &str) -> [Vec<u8>; 4] {
    let once = decode(raw.as_bytes());
    let twice = decode(&once);
    let thrice = decode(&twice);
    [raw.as_bytes().to_vec(), once, twice, thrice]
}

/// One decoding, as lenient as any server's: what is not an encoding stays.
pub(crate) fn decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let hex = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
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

/// Names and values as every way of splitting finds them: at `&`, at `&` and `;`, and after a decoding.
struct Split<'a> {
    narrow: Vec<(&'a str, Option<&'a str>)>,
    wide: Vec<(&'a str, Option<&'a str>)>,
    /// Those that only a server finds that decodes first.
    hidden: Vec<(&'a str, Option<&'a str>)>,
}

fn pair(piece: &str) -> (&str, Option<&str>) {
    piece.split_once('=').map_or((piece, None), |(name, value)| (name, Some(value)))
}

fn split(query: &str) -> Split<'_> {
    thread_local!(static EXPRESSIONS: [regex::Regex; 2] = [
        regex::Regex::new("(?i)[&;]|%(?:25)*(?:26|3b)").expect("an expression"),
        regex::Regex::new("(?i)=|%(?:25)*3d").expect("an expression"),
    ]);
    EXPRESSIONS.with(|[separator, equals]| {
        let found: Vec<_> = separator.find_iter(query).take(if query.contains('%') { usize::MAX } else { 0 }).collect();
        let hidden = found.iter().enumerate().filter(|(_, found)| found.len() > 1).map(|(place, this)| {
            let end = found.get(place + 1).map_or(query.len(), regex::Match::start);
            let piece = &query[this.end()..end];
            let equals = equals.find(piece);
            equals.map_or((piece, None), |equals| (&piece[..equals.start()], Some(&piece[equals.end()..])))
        });
        Split {
            narrow: query.split('&').map(pair).collect(),
            wide: query.split(['&', ';']).map(pair).collect(),
            hidden: hidden.collect(),
        }
    })
}

impl<'a> Split<'a> {
    fn all(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        self.narrow.iter().chain(&self.wide).chain(&self.hidden).copied()
    }
}

/// Whether all servers find the name, and find it with this value only.
pub(crate) fn surely(query: &str, name: &Word, value: Option<&Word>) -> bool {
    let Split { narrow, wide, hidden } = split(query);
    let agrees = |given: Option<&str>| value.is_none_or(|value| given.is_some_and(|given| value.surely(given)));
    [narrow, wide].into_iter().all(|mut named| {
        named.retain(|(own, _)| name.maybe(own));
        !named.is_empty() && named.into_iter().all(|(own, given)| name.surely(own) && agrees(given))
    }) && !hidden.iter().any(|(own, _)| name.maybe(own))
}

/// Whether some server finds the name, and finds it with this value.
pub(crate) fn maybe(query: &str, name: &Word, value: Option<&Word>) -> bool {
    let agrees = |given: Option<&str>| value.is_none_or(|value| value.maybe_as_value(given.unwrap_or_default()));
    split(query).all().any(|(own, given)| name.maybe(own) && agrees(given))
}

/// Whether some server may be asked for the values of secure fields; `secure` is the name of that parameter.
pub(crate) fn asks(query: &str, secure: &Word) -> bool {
    split(query)
        .all()
        .any(|(own, given)| secure.maybe(own) && given.is_none_or(|given| given.to_lowercase() != "false"))
}
