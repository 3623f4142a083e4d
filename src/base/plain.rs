//! Text of others' for logs and terminals: without a character that a terminal obeys, a reader takes for a line end, or
//! that changes how the text around it looks. Such a character is written as `\u` and four hexadecimal digits, twice
//! above U+FFFF, which is the form of JSON: what was plain JSON before says the same after.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a character shows as itself and does nothing else.
///
/// Not plain are the controls (C0 with line feed and tab, DEL, C1), line and paragraph separators, what has no width
/// (joiners, byte order marks, soft hyphens, tags), and what turns the direction of text.
pub fn is_plain(c: char) -> bool {
    !matches!(c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

/// Whether a text is of ASCII, and JSON and the standard library write it between quotes as it is.
pub fn is_quotable(text: &str) -> bool {
    /// So many bytes are looked at together: without a way out in between, that is a few instructions.
    const TOGETHER: usize = 16;
    let fits = |bytes: &[u8; TOGETHER]| {
        bytes.iter().fold(true, |fits, byte| {
            fits & (byte.wrapping_sub(b' ') <= b'~' - b' ') & (*byte != b'"') & (*byte != b'\\')
        })
    };
    let bytes = text.as_bytes();
    let (whole, _) = bytes.as_chunks();
    // The last ones are looked at twice in part.
    let Some(last) = bytes.last_chunk() else {
        let mut padded = [b' '; TOGETHER];
        if let Some(place) = padded.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
        }
        return fits(&padded);
    };
    whole.iter().fold(fits(last), |all, bytes| all & fits(bytes))
}

/// A text on one line.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_plain)
}

/// A text on many lines, with tabs, that we have made of pieces on one line each.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n' || c == '\t' || is_plain(c))
}

/// Adds a character, plain or written so.
pub fn push(c: char, text: &mut String) {
    if is_plain(c) {
        return text.push(c);
    }
    for unit in c.encode_utf16(&mut [0; 2]) {
        // Memory takes everything.
        let _ = write!(text, "\\u{unit:04x}");
    }
}

fn escaped(text: &str, keeps: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&keeps) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if keeps(c) { plain.push(c) } else { push(c, &mut plain) }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The measure is the standard library's: what it does not print as itself in quotes is for no terminal.
    #[test]
    fn plain_characters_are_those_that_are_printed() {
        for c in '\0'..=char::MAX {
            let control = c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c);
            assert!(!(control && is_plain(c)), "{:x}", u32::from(c));
            let printed = c.escape_debug().count() == 1 || matches!(c, '"' | '\'' | '\\');
            assert!(is_plain(c) || !printed, "{:x} has a shape", u32::from(c));
        }
    }

    #[test]
    fn plain_text_is_left_as_it_is_and_other_text_shows_what_was_in_it() {
        assert!(matches!(line("/v2/devices?ä=日本"), Cow::Borrowed(_)));
        assert_eq!(
            line("a\u{1b}[2Jb\nc\u{9b}d\u{202e}e\u{2028}f\u{e0041}"),
            "a\\u001b[2Jb\\u000ac\\u009bd\\u202ee\\u2028f\\udb40\\udc41"
        );
        assert_eq!(lines("a\tb\nc\r\n"), "a\tb\nc\\u000d\n");
    }

    #[test]
    fn text_is_quotable_only_without_what_is_written_otherwise_at_any_place() {
        for length in 1..50 {
            let text = "x".repeat(length);
            assert!(is_quotable(&text));
            for (place, odd) in
                (0..length).flat_map(|place| ['"', '\\', '\n', '\u{7f}', '\u{1f}'].map(|odd| (place, odd)))
            {
                let mut text = text.clone();
                text.replace_range(place..=place, odd.encode_utf8(&mut [0; 4]));
                assert!(!is_quotable(&text), "{text:?}");
            }
        }
        assert!(is_quotable("") && !is_quotable("\u{e9}"));
    }

    proptest! {
        #[test]
        fn quotable_text_is_quoted_as_it_is(text in prop_oneof![any::<String>(), "[ -~]{0,40}", "[ !#-\\[\\]-~]{0,70}"]) {
            let quoted = format!("\"{text}\"");
            let same = [format!("{text:?}"), serde_json::to_string(&text).expect("JSON")].iter().all(|it| *it == quoted);
            prop_assert_eq!(is_quotable(&text), same && text.is_ascii() && !text.contains('\u{7f}'));
        }

        #[test]
        fn plain_json_says_what_it_said_before(text: String) {
            let json = serde_json::to_string(&text).expect("JSON");
            let plain = line(&json);
            prop_assert!(plain.chars().all(is_plain));
            prop_assert_eq!(serde_json::from_str::<String>(&plain).expect("JSON"), text);
        }
    }
}
