//! A string of JSON, as RFC 8259 section 7 has it.

use super::UnreadableBody;
use super::reader::Reader;

/// Reads a string with both its quotes.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<String, UnreadableBody> {
    reader.next()?;
    let mut string = String::new();
    loop {
        string.push_str(reader.take_while(|byte| byte >= b' ' && byte != b'"' && byte != b'\\'));
        let at = reader.place();
        match reader.next()? {
            b'"' => return Ok(string),
            b'\\' => string.push(escaped(reader, at)?),
            _ => return Err(UnreadableBody::ControlCharacter { at }),
        }
    }
}

/// The character behind an escape that begins `at`.
fn escaped(reader: &mut Reader<'_>, at: usize) -> Result<char, UnreadableBody> {
    Ok(match reader.next()? {
        letter @ (b'"' | b'\\' | b'/') => char::from(letter),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => unicode(reader, at)?,
        _ => return Err(UnreadableBody::Escape { at }),
    })
}

fn unicode(reader: &mut Reader<'_>, at: usize) -> Result<char, UnreadableBody> {
    let high = hex(reader, at)?;
    match high {
        // What ends a string in C, and what PostgreSQL does not store.
        0 => Err(UnreadableBody::Nul { at }),
        0xd800..0xdc00 => {
            for wanted in [b'\\', b'u'] {
                if reader.next()? != wanted {
                    return Err(UnreadableBody::LoneSurrogate { at });
                }
            }
            let low = hex(reader, at)?;
            if !(0xdc00..0xe000).contains(&low) {
                return Err(UnreadableBody::LoneSurrogate { at });
            }
            let scalar = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            char::from_u32(scalar).ok_or(UnreadableBody::LoneSurrogate { at })
        }
        _ => char::from_u32(high).ok_or(UnreadableBody::LoneSurrogate { at }),
    }
}

/// Four digits.
fn hex(reader: &mut Reader<'_>, at: usize) -> Result<u32, UnreadableBody> {
    let mut number = 0;
    for _ in 0..4 {
        let digit = char::from(reader.next()?).to_digit(16).ok_or(UnreadableBody::Escape { at })?;
        number = number * 16 + digit;
    }
    Ok(number)
}
