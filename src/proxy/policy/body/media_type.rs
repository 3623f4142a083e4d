//! What the headers must say of a body that is judged.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::UnreadableBody;

/// Whether they say: JSON, in UTF-8, as it is.
pub(super) fn check(headers: &HeaderMap) -> Result<(), UnreadableBody> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let value = types.next().ok_or(UnreadableBody::NoType)?;
    if types.next().is_some() {
        return Err(UnreadableBody::TypeRepeated);
    }
    check_type(value.to_str().map_err(|_| UnreadableBody::NotJson)?)?;
    let is_plain = |coding: &http::HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    headers.get_all(CONTENT_ENCODING).iter().all(is_plain).then_some(()).ok_or(UnreadableBody::Encoded)
}

fn check_type(value: &str) -> Result<(), UnreadableBody> {
    let (essence, mut rest) = value.split_once(';').map_or((value, None), |(essence, rest)| (essence, Some(rest)));
    if !is_json(essence.trim_matches(BLANKS)) {
        return Err(UnreadableBody::NotJson);
    }
    let mut has_charset = false;
    while let Some(parameters) = rest {
        let (parameter, after) =
            parameters.split_once(';').map_or((parameters, None), |(one, after)| (one, Some(after)));
        rest = after;
        let parameter = parameter.trim_matches(BLANKS);
        // RFC 9110 section 5.6.6 lets senders leave a parameter empty.
        if parameter.is_empty() {
            continue;
        }
        let (name, charset) = parameter.split_once('=').ok_or(UnreadableBody::Parameter)?;
        if !name.eq_ignore_ascii_case("charset") || std::mem::replace(&mut has_charset, true) {
            return Err(UnreadableBody::Parameter);
        }
        let unquoted = charset.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(charset);
        if !unquoted.eq_ignore_ascii_case("utf-8") {
            return Err(UnreadableBody::Charset);
        }
    }
    Ok(())
}

const BLANKS: [char; 2] = [' ', '\t'];

/// `application/json`, or a type with the suffix of RFC 6839 section 3.1.
fn is_json(essence: &str) -> bool {
    let Some((kind, subtype)) = essence.split_once('/') else { return false };
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let subtype = subtype.to_ascii_lowercase();
    let prefix = subtype.strip_suffix("+json");
    kind.eq_ignore_ascii_case("application")
        && subtype.bytes().all(is_token)
        && (subtype == "json" || prefix.is_some_and(|prefix| !prefix.is_empty()))
}
