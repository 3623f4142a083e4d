//! The id that NinjaOne gives each request: its support finds the request by it.

use http::header::{HeaderMap, HeaderName};

use crate::net::fields::{self, FieldLines};

static NAME: HeaderName = HeaderName::from_static("x-nj-request-id");
/// In bytes; a longer one is none.
const LONGEST: usize = 64;

/// NinjaOne's id of a request: at most 64 visible characters of ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SupportId {
    bytes: [u8; LONGEST],
    length: u8,
}

impl SupportId {
    /// As an answer tells it; `None` also for anything else, or more than one.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let FieldLines::One(only) = fields::only(headers, &NAME) else { return None };
        let only = only.as_bytes();
        let visible = only.iter().all(u8::is_ascii_graphic);
        let mut bytes = [0; LONGEST];
        bytes.get_mut(..only.len()).filter(|_| visible && !only.is_empty())?.copy_from_slice(only);
        Some(Self { bytes, length: u8::try_from(only.len()).ok()? })
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        self.bytes.get(..usize::from(self.length)).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&[u8]]) -> Option<String> {
        let value = |line: &&[u8]| Some((NAME.clone(), HeaderValue::from_bytes(line).ok()?));
        let headers: HeaderMap = lines.iter().filter_map(value).collect();
        SupportId::of(&headers).map(|id| id.as_str().to_owned())
    }

    #[test]
    fn support_id_is_one_short_word_of_visible_characters() {
        let longest = "x".repeat(LONGEST);
        for good in ["0", "sandbox-00000001", "7f0d6b5e-1c3a-4d55-9a56-9c8e1f2a3b4c", "\"=\\{}", &longest] {
            assert_eq!(read(&[good.as_bytes()]).as_deref(), Some(good));
        }
        let longer = "x".repeat(LONGEST + 1);
        for bad in ["", "two words", "tab\tbed", "h\u{e9}", &longer] {
            assert_eq!(read(&[bad.as_bytes()]), None, "{bad:?}");
        }
        assert_eq!(read(&[b"1", b"1"]), None);
        assert_eq!(read(&[]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn support_id_of_anything_shows_as_it_came_or_not_at_all(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(shown) = read(&[&bytes]) {
                prop_assert_eq!(shown.as_bytes(), &bytes[..]);
                prop_assert!(shown.len() <= LONGEST && shown.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
