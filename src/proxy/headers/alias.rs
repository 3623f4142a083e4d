//! Field names that CGI, WSGI and FastCGI programs take for one: `X-Forwarded-For` and `X_Forwarded_For` are both
//! `HTTP_X_FORWARDED_FOR` to them (RFC 3875 section 4.1.18), and some replace every other character too.

/// The longest name that is compared as a whole; of a longer one, its beginning.
const LONGEST: usize = 64;

/// How fields begin that tell length, type or coding of a body: one in addition to the real one would be somebody's.
const FRAMING: &str = "content-";

/// Whether a name may be such an addition.
pub(super) fn may_frame(name: &str) -> bool {
    name.starts_with('c') && name.len() >= FRAMING.len() && has_alias(name)
}

/// Asks about a name with hyphens in place of all that is neither letter nor digit. Nearly every name is asked about as
/// it is.
pub(super) fn ask(name: &str, question: impl Fn(&str) -> bool) -> bool {
    if !has_alias(name) {
        return question(name);
    }
    let mut room = [b'-'; LONGEST];
    let bytes = room.iter_mut().zip(name.bytes()).map(|(place, byte)| {
        *place = if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
    });
    let length = bytes.count();
    let hyphenated = room.get(..length).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default();
    question(hyphenated) || hyphenated.starts_with(FRAMING)
}

/// Whether a byte is a letter, a digit or a hyphen.
#[expect(clippy::indexing_slicing, reason = "while it is compiled, and every byte has a place")]
static PLAIN: [bool; 256] = {
    let (mut plain, mut byte) = ([false; 256], 0_u8);
    loop {
        plain[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'-';
        if byte == u8::MAX {
            break plain;
        }
        byte += 1;
    }
};

/// Whether a name has a character other than letters, digits and hyphens.
pub(super) fn has_alias(name: &str) -> bool {
    name.bytes().any(|byte| !PLAIN.get(usize::from(byte)).copied().unwrap_or_default())
}

/// Whether both names are one to such a program.
pub(super) fn are_alike(one: &str, other: &str) -> bool {
    let same = |(one, other): (u8, u8)| {
        one.eq_ignore_ascii_case(&other) || !(one.is_ascii_alphanumeric() || other.is_ascii_alphanumeric())
    };
    one.len() == other.len() && one.bytes().zip(other.bytes()).all(same)
}
