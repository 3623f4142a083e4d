//! Sets of field names, asked about each field of each head: nearly every answer is no, and one look tells it.

use super::alias;

/// A set of names in lower case.
pub(super) struct FieldNames {
    names: &'static [&'static [&'static str]],
    /// How names begin of which every one is in the set.
    beginnings: &'static [&'static str],
    /// By first letter, a bit for each length that a name of the set may have.
    lengths: [u64; 26],
}

/// The bit for names of this length, and of all that are longer than there are bits.
const fn place(length: usize) -> usize {
    if length < 63 { length } else { 63 }
}

const fn letter(byte: u8) -> usize {
    byte.wrapping_sub(b'a') as usize
}

impl FieldNames {
    #[expect(
        clippy::indexing_slicing,
        reason = "while it is compiled: a name that begins with no letter does not compile"
    )]
    pub(super) const fn new(names: &'static [&'static [&'static str]], beginnings: &'static [&'static str]) -> Self {
        let mut lengths = [0; 26];
        let mut group = 0;
        while group < names.len() {
            let mut name = 0;
            while name < names[group].len() {
                let text = names[group][name].as_bytes();
                lengths[letter(text[0])] |= 1 << place(text.len());
                name += 1;
            }
            group += 1;
        }
        let mut beginning = 0;
        while beginning < beginnings.len() {
            let text = beginnings[beginning].as_bytes();
            lengths[letter(text[0])] |= u64::MAX << place(text.len());
            beginning += 1;
        }
        Self { names, beginnings, lengths }
    }

    /// Whether this name, in lower case, or one that a program may take it for, is in the set.
    pub(super) fn has_alias_of(&self, name: &str) -> bool {
        (self.may_have(name) || alias::may_frame(name)) && alias::ask(name, |name| self.looked_up(name))
    }

    /// A name and its alias are of one length, and begin with the same letter; what begins with none is in no set.
    fn may_have(&self, name: &str) -> bool {
        let first = name.as_bytes().first().copied().unwrap_or_default();
        self.lengths.get(letter(first)).is_some_and(|lengths| lengths >> place(name.len()) & 1 == 1)
    }

    fn looked_up(&self, name: &str) -> bool {
        self.names.iter().any(|names| names.contains(&name))
            || self.beginnings.iter().any(|beginning| name.starts_with(beginning))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONG: &str = "a-name-that-is-longer-than-there-are-bits-in-a-number-of-64-bits-is";
    static SET: FieldNames = FieldNames::new(&[&["te", "x-api-key", LONG], &["via"]], &["proxy-", "x-forwarded-"]);

    proptest! {
        #[test]
        fn the_first_look_says_no_to_no_name_of_the_set(
            name in "(te|via|x[_-]api[.-]key|proxy[_-]?|x[~-]forwarded-|content[_-]|[a-z_~0-9-]{0,3})[a-z_-]{0,3}\
                |[a-z]{60,70}|x_forwarded-[a-z]{45,60}",
        ) {
            prop_assert_eq!(SET.has_alias_of(&name), alias::ask(&name, |name| SET.looked_up(name)));
        }
    }

    #[test]
    fn names_and_beginnings_are_in_the_set_and_others_are_not() {
        for name in ["te", "via", "x-api-key", LONG, "proxy-", "proxy-x", &format!("x-forwarded-{}", "a".repeat(90))] {
            assert!(SET.has_alias_of(name), "{name}");
        }
        for name in ["", "t", "tea", "x-api-kez", "proxy", "x-forwarded", "_via", &LONG.replace("bits", "bytes")] {
            assert!(!SET.has_alias_of(name), "{name}");
        }
    }
}
