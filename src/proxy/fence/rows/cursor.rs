//! The cursor of an answer: all of its frame that is kept.

use serde::Deserialize;
use serde_json::{Number, Value};

/// Where the list goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    /// What the next request names: 1 to 256 visible characters of ASCII, none of which JSON escapes.
    pub name: String,
    /// How many rows came before.
    pub offset: Option<u64>,
    /// When NinjaOne forgets it, in epoch seconds.
    pub expires: Option<Number>,
}

/// As NinjaOne writes it.
#[derive(Deserialize)]
struct Written {
    name: Option<String>,
    offset: Option<Value>,
    expires: Option<Value>,
}

impl Cursor {
    /// Reads the member `cursor`: `Ok(None)` if it names nothing.
    pub(super) fn read(value: &str) -> Result<Option<Self>, UnreadableCursor> {
        if value == "null" {
            return Ok(None);
        }
        // serde would also take an array, by its order.
        let object = Some(value).filter(|value| value.starts_with('{')).ok_or(UnreadableCursor)?;
        let written: Written = serde_json::from_str(object).map_err(|_| UnreadableCursor)?;
        let expires = written.expires.and_then(|value| value.as_number().cloned());
        let offset = written.offset.as_ref().and_then(Value::as_u64);
        match written.name {
            None => Ok(None),
            Some(name) if is_usable(&name) => Ok(Some(Self { name, offset, expires })),
            Some(_) => Err(UnreadableCursor),
        }
    }
}

/// It has no name that can be used.
#[derive(Debug)]
pub(super) struct UnreadableCursor;

fn is_usable(name: &str) -> bool {
    let is_visible = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    (1..=256).contains(&name.len()) && name.bytes().all(is_visible)
}
