//! The fields of a head, found by a walk: most of those that are asked for are not there, a head has few, and to compare
//! a few names takes less than to hash one.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Whether a field is there.
pub fn has(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.keys().any(|key| key == name)
}

/// All lines of a field, in order.
pub fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a HeaderValue> + use<'a> {
    has(headers, name).then(|| headers.get_all(name)).into_iter().flatten()
}

/// The lines of a field that may be there once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldLines<'a> {
    /// None.
    None,
    /// One.
    One(&'a HeaderValue),
    /// More than one.
    Many,
}

/// The lines of a field that may be there once.
pub fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> FieldLines<'a> {
    if !has(headers, name) {
        return FieldLines::None;
    }
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => FieldLines::None,
        (Some(line), None) => FieldLines::One(line),
        (Some(_), Some(_)) => FieldLines::Many,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 5] = ["host", "via", "x-api-key", "traceparent", "content-length"];

    proptest! {
        #[test]
        fn a_walk_finds_what_the_map_finds(written in prop::collection::vec((0..NAMES.len(), 0..4_u8), 0..12)) {
            let mut headers = HeaderMap::new();
            for (name, value) in &written {
                headers.append(HeaderName::from_static(NAMES[*name]), HeaderValue::from(u16::from(*value)));
            }
            for name in NAMES.map(HeaderName::from_static) {
                let expected: Vec<&HeaderValue> = headers.get_all(&name).iter().collect();
                prop_assert_eq!(has(&headers, &name), !expected.is_empty());
                prop_assert_eq!(&lines(&headers, &name).collect::<Vec<_>>(), &expected);
                let only_expected = match *expected {
                    [] => FieldLines::None,
                    [line] => FieldLines::One(line),
                    [..] => FieldLines::Many,
                };
                prop_assert_eq!(only(&headers, &name), only_expected);
            }
        }
    }
}
