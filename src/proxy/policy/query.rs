//! The query of a request, as any server may read it: what is surely in it, and what may be.
//!
//! Servers differ in how they split, decode and compare the names of parameters, and in which of two equal ones counts.
//! So a rule that opens something asks what every reading says, and one that closes something what any reading says.
//! A query is split at `&`, or at `&` and `;`, or is decoded before it is split.
//! The query itself is sent as it came.

mod values;

pub use values::AmbiguousQuery;

/// The parameter that asks a report for the values of secure custom fields.
pub const SECURE: &str = "showSecureValues";

/// The parameters that name a place in a report. Its state may lie at the server.
const CURSORS: [&str; 2] = ["cursor", "cursorName"];

/// The text after `?`, without a copy; empty if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// The query of a request target.
    pub fn new(text: Option<&'a str>) -> Self {
        Self(text.unwrap_or_default())
    }

    /// Whether every reading finds the parameter, and, if a value is given, each time with this value.
    pub fn has(self, name: &str, value: Option<&str>) -> bool {
        let finds = |separators: &[char]| {
            let mut found = false;
            for (own, given) in self.0.split(separators).map(pair).filter(|(own, _)| may_spell(own, name)) {
                let equal = |value| given.is_some_and(|given| spells(given, value));
                if !spells(own, name) || !value.is_none_or(equal) {
                    return false;
                }
                found = true;
            }
            found
        };
        finds(NARROW) && (!self.0.contains(';') || finds(WIDE)) && !self.hidden().any(|(own, _)| may_spell(own, name))
    }

    /// Whether some reading finds the parameter, and, if a value is given, once with this value.
    pub fn may_have(self, name: &str, value: Option<&str>) -> bool {
        let mut named = self.pieces().filter(|(own, _)| may_spell(own, name));
        named.any(|(_, given)| value.is_none_or(|value| may_mean(given.unwrap_or_default(), value)))
    }

    /// Whether some reading asks for the values of secure fields: anything but `false` may mean yes to a server.
    pub fn asks_for_secure_values(self) -> bool {
        if !self.has_name_of(SECURE.len()) && !self.hides_separators() {
            return false;
        }
        let mut named = self.pieces().filter(|(own, _)| may_spell(own, SECURE));
        named.any(|(_, given)| !given.is_some_and(|given| given.eq_ignore_ascii_case("false")))
    }

    /// Whether some reading finds a cursor, which the server may move on with each read.
    pub fn may_move_cursor(self) -> bool {
        CURSORS.iter().any(|name| self.may_have(name, None))
    }

    /// Whether some name has as many bytes as written: one with fewer spells no ASCII word of this length, however it
    /// is read. This decides nearly every query.
    fn has_name_of(self, length: usize) -> bool {
        let mut missing = length;
        self.0.bytes().any(|byte| {
            missing = match byte {
                b'&' | b';' => length,
                // No value is so long.
                b'=' => usize::MAX,
                _ => missing - 1,
            };
            missing == 0
        })
    }

    /// Names and values as written, of all ways to split.
    fn pieces(self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let wide = self.0.contains(';').then(|| self.0.split(WIDE));
        self.0.split(NARROW).chain(wide.into_iter().flatten()).map(pair).chain(self.hidden())
    }

    /// What a server that decodes a query before it splits it finds beyond the others.
    fn hidden(self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        encoded(self.0, is_separator).map(move |(_, end)| {
            let rest = self.0.get(end..).unwrap_or_default();
            let next = encoded(rest, is_separator).map(|(start, _)| start).next();
            let end = rest.find(WIDE).into_iter().chain(next).min().unwrap_or(rest.len());
            let piece = rest.get(..end).unwrap_or_default();
            let plain = piece.find('=').map(|start| (start, start + 1));
            match encoded(piece, |digits| digits == b"3d").next().into_iter().chain(plain).min() {
                Some((start, end)) => (piece.get(..start).unwrap_or_default(), piece.get(end..)),
                None => (piece, None),
            }
        })
    }

    /// Whether it has an encoded `&` or `;`.
    fn hides_separators(self) -> bool {
        encoded(self.0, is_separator).next().is_some()
    }
}

/// Where all servers split a query, and where some do.
const NARROW: &[char] = &['&'];
const WIDE: &[char] = &['&', ';'];

/// A name, and a value if there is one.
fn pair(piece: &str) -> (&str, Option<&str>) {
    piece.split_once('=').map_or((piece, None), |(name, value)| (name, Some(value)))
}

/// Whether these digits, in lower case, stand for `&` or `;`.
fn is_separator(digits: &[u8]) -> bool {
    matches!(digits, b"26" | b"3b")
}

/// Where wanted characters are encoded, once or more: `%26`, `%2526`.
fn encoded(text: &str, is_wanted: fn(&[u8]) -> bool) -> impl Iterator<Item = (usize, usize)> + '_ {
    text.match_indices('%').filter_map(move |(start, _)| {
        let mut rest = text.get(start + 1..)?;
        while let Some(after) = rest.strip_prefix("25") {
            rest = after;
        }
        let digits = rest.as_bytes().first_chunk::<2>()?.map(|digit| digit.to_ascii_lowercase());
        is_wanted(&digits).then(|| (start, text.len() - rest.len() + 2))
    })
}

/// Whether `raw`, decoded once, is `word`, to a server that takes `+` for a space and to one that does not.
fn spells(raw: &str, word: &str) -> bool {
    if raw.contains(['%', '+']) { !raw.contains('+') && Decoded(raw.bytes()).eq(word.bytes()) } else { raw == word }
}

/// Whether some server takes `raw` for `word`: decoded up to three times, in any case, with blanks or an index around.
fn may_spell(raw: &str, word: &str) -> bool {
    // The common case, a plain parameter of another length, is known by its length alone; of a letter beyond ASCII, one
    // with fewer bytes may be another case.
    if raw.len() < word.len() && word.is_ascii() {
        return false;
    }
    let once = Decoded(raw.bytes());
    resembles(raw.bytes(), word)
        || (raw.contains('%')
            && (resembles(once.clone(), word)
                || resembles(Decoded(once.clone()), word)
                || resembles(Decoded(Decoded(once)), word)))
}

/// Whether some server takes `raw` for the value `word`. A number may be written in many ways, and be in a list.
fn may_mean(raw: &str, word: &str) -> bool {
    let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    may_spell(raw, word) || (is_number && may_hold(raw, word.as_bytes()))
}

fn may_hold(raw: &str, number: &[u8]) -> bool {
    let once = Decoded(raw.bytes());
    holds(raw.bytes(), number)
        || (raw.contains('%')
            && (holds(once.clone(), number)
                || holds(Decoded(once.clone()), number)
                || holds(Decoded(Decoded(once)), number)))
}

/// Whether some run of digits is this number, whatever its zeros; or all may be digits of another script.
fn holds(bytes: impl Iterator<Item = u8> + Clone, number: &[u8]) -> bool {
    let zeros = number.iter().take_while(|digit| **digit == b'0').count();
    let number = number.get(zeros..).unwrap_or_default();
    let is_foreign = |byte: u8| byte >= 0x80;
    if bytes.clone().any(is_foreign) && bytes.clone().all(|byte| is_foreign(byte) || !byte.is_ascii_alphabetic()) {
        return true;
    }
    // What of the number is still to come in the present run.
    let mut rest: Option<Option<&[u8]>> = None;
    for byte in bytes.chain([b' ']) {
        if !byte.is_ascii_digit() {
            if rest == Some(Some(&[])) {
                return true;
            }
            rest = None;
            continue;
        }
        let wanted = rest.unwrap_or(Some(number));
        rest = Some(match wanted.and_then(<[u8]>::split_first) {
            Some((first, after)) if *first == byte => Some(after),
            // Leading zeros.
            _ if byte == b'0' && wanted == Some(number) => wanted,
            _ => None,
        });
    }
    false
}

fn resembles(bytes: impl Iterator<Item = u8> + Clone, word: &str) -> bool {
    let is_blank = |byte: &u8| *byte <= b' ' || *byte == b'+';
    let mut own = Folded(bytes.skip_while(is_blank));
    // Other letters beyond ASCII are compared as they are.
    if !Folded(word.bytes()).all(|letter| own.next() == Some(letter)) {
        return false;
    }
    // NUL ends a string in C; an index in brackets names an element of a list.
    matches!(own.find(|byte| *byte == 0 || !is_blank(byte)), None | Some(0 | b'['))
}

/// Percent-decoding as lenient as any server's: what is not an encoding stays.
#[derive(Clone)]
struct Decoded<I>(I);

impl<I: Iterator<Item = u8> + Clone> Iterator for Decoded<I> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let byte = self.0.next()?;
        if byte != b'%' {
            return Some(byte);
        }
        let mut ahead = self.0.clone();
        let mut digit = || ahead.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Some(byte) };
        self.0 = ahead;
        u8::try_from(high * 16 + low).ok()
    }
}

/// Lower case as Java's `equalsIgnoreCase` knows it: four letters beyond ASCII are equal to an ASCII one.
#[derive(Clone)]
struct Folded<I>(I);

impl<I: Iterator<Item = u8> + Clone> Iterator for Folded<I> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let byte = self.0.next()?;
        let mut ahead = self.0.clone();
        let letter = match byte {
            0xc4 => ahead.next().filter(|next| matches!(next, 0xb0 | 0xb1)).map(|_| b'i'),
            0xc5 => ahead.next().filter(|next| *next == 0xbf).map(|_| b's'),
            0xe2 => (ahead.next() == Some(0x84) && ahead.next() == Some(0xaa)).then_some(b'k'),
            _ => return Some(byte.to_ascii_lowercase()),
        };
        if letter.is_some() {
            self.0 = ahead;
        }
        letter.or(Some(byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(query: &str) -> bool {
        Query::new(Some(query)).asks_for_secure_values()
    }

    #[test]
    fn query_asks_for_secure_values_under_any_spelling() {
        for query in [
            "showSecureValues=true",
            "showSecureValues=TRUE",
            "showSecureValues=1",
            "showSecureValues=on",
            "showSecureValues=",
            "showSecureValues",
            "a=b&showSecureValues=yes&c=d",
            "showSecureValues=false&showSecureValues=true",
            "showSecureValues=true&showSecureValues=false",
            "SHOWSECUREVALUES=true",
            "showsecurevalues=true",
            "show%53ecureValues=true",
            "%73%68%6f%77%53%65%63%75%72%65%56%61%6c%75%65%73=true",
            "show%2553ecureValues=true",
            "show%252553ecureValues=true",
            "showSecureValues=%74rue",
            "showSecureValues=%66alse",
            "showSecureValues%20=true",
            "+showSecureValues=true",
            "showSecureValues%00=true",
            "showSecureValues[]=true",
            "showSecureValues%5B0%5D=true",
            "a=b;showSecureValues=true",
            "showSecureValues=false;x=true",
            "show%C5%BFecureValues=true",
            "%c5%bfhowSecureValues=true",
            "a=%26showSecureValues%3Dtrue",
            "a=%2526showSecureValues=true",
            "a%3bshowSecureValues",
        ] {
            assert!(asks(query), "{query}");
        }
    }

    #[test]
    fn query_does_not_ask_for_secure_values_by_other_names_or_a_plain_no() {
        for query in [
            "",
            "pageSize=50&after=10",
            "showSecureValues=false",
            "showSecureValues=False&a=b",
            "df=showSecureValues%3Dtrue",
            "xshowSecureValues=true",
            "showSecureValue=true",
            "showSecureValuesX=true",
        ] {
            assert!(!asks(query), "{query}");
        }
    }

    #[test]
    fn query_may_move_a_cursor_under_any_spelling() {
        for query in [
            "cursor=a",
            "cursor=",
            "cursor",
            "pageSize=5&cursor=a&cursor=b",
            "a=b;cursor=c",
            "%63ursor=a",
            "%2563ursor=a",
            "CURSOR=a",
            "cursor%5B%5D=a",
            "+cursor=a",
            "cur%C5%BFor=a",
            "cursorName=2",
            "a=%26cursor=b",
        ] {
            assert!(Query::new(Some(query)).may_move_cursor(), "{query}");
        }
        for query in ["", "after=5", "cursors=a", "df=cursor%3Da", "precursor=a", "a=cursor"] {
            assert!(!Query::new(Some(query)).may_move_cursor(), "{query}");
        }
    }

    #[test]
    fn query_has_what_every_reading_finds() {
        let has = |query, name, value| Query::new(Some(query)).has(name, value);
        assert!(has("a=1", "a", Some("1")));
        assert!(has("b&a=1&a=1", "a", Some("1")));
        assert!(has("a=%31", "a", Some("1")));
        assert!(has("a", "a", None));
        for query in ["", "b=1", "a=1&a=2", "A=1", "a=1&A=1", "a=1;b=2", "a", "a=1+", "a=%2531", "%61[]=1"] {
            assert!(!has(query, "a", Some("1")), "{query}");
        }
        // Found by some servers only: at ; or at &, or after a decoding.
        for query in ["x;a=1", "b=1000;a=1", "a=1;b", "x;a=1&b", "x=%26a=1", "a=1&x=%26a%3D2", "a=1&x=%253ba", "a=01"] {
            assert!(!has(query, "a", Some("1")), "{query}");
        }
        for query in ["x;y&a=1", "a=1&x=%26b%3D2", "a=1&df=b%26%26c", "=&a=1", "a=1&", "&&a=1"] {
            assert!(has(query, "a", Some("1")), "{query}");
        }
        assert!(has("df=a%26%26b", "df", Some("a&&b")));
    }

    #[test]
    fn query_may_have_what_any_reading_finds() {
        let may = |query, name, value| Query::new(Some(query)).may_have(name, value);
        assert!(may("\u{131}\u{17f}k=K\u{131}z", "\u{131}\u{17f}k", Some("K\u{131}z")), "a word is alike itself");
        assert!(may("isk=kiz", "\u{131}\u{17f}k", Some("K\u{131}z")), "in another case, shorter");
        for query in ["a%20[]=1", "a%20%00x=1", "a=1%20%00x"] {
            assert!(may(query, "a", Some("1")), "{query}");
        }
        for query in ["a=1", "a=2&a=1", "A=1", "b=2;a=1", "%61=1", "%2561=%31", "a=%2531", "a=+1"] {
            assert!(may(query, "a", Some("1")), "{query}");
        }
        for query in ["a=01", "a=0001", "a=%2B1", "a=%2D1", "a=1.0", "a=5,1", "a=%D9%A1", "a=%2530%2531", "x=%26a%3D1"]
        {
            assert!(may(query, "a", Some("1")), "{query}");
        }
        for query in ["", "b=1", "a=2", "a", "aa=1", "a=11", "a=10", "a=21", "a=x%C3%BC", "x=%26b=1"] {
            assert!(!may(query, "a", Some("1")), "{query}");
        }
        assert!(may("a=00", "a", Some("0")) && may("a=7", "a", Some("007")) && !may("a=10", "a", Some("0")));
    }
}
