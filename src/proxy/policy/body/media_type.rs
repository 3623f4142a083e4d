//! What the headers must say of a body that is judged.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::UnreadableBody;
use crate::net::fields::{self, FieldLines};

/// Whether they say: JSON, in UTF-8, as it is.
pub(super) fn check(headers: &HeaderMap) -> Result<(), UnreadableBody> {
    let value = match fields::only(headers, &CONTENT_TYPE) {
        FieldLines::None => return Err(UnreadableBody::NoType),
        FieldLines::One(value) => value,
        FieldLines::Many => return Err(UnreadableBody::TypeRepeated),
    };
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check_lines(lines: &[(&'static str, &'static [u8])]) -> Result<(), UnreadableBody> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value).expect("a value"));
        }
        check(&headers)
    }

    #[test]
    fn one_type_that_is_json_in_utf_8_is_accepted() {
        for value in [
            "application/json",
            "Application/JSON",
            "application/json;",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "application/json ;\tcharset=\"utf-8\" ;",
            "application/merge-patch+json",
            "application/vnd.api+JSON; charset=utf-8",
        ] {
            assert_eq!(check_lines(&[("content-type", value.as_bytes())]), Ok(()), "{value}");
        }
    }

    #[test]
    fn every_other_type_is_refused_and_the_reason_told() {
        use UnreadableBody::{Charset, NotJson, Parameter};
        let rows: [(&[u8], UnreadableBody); 22] = [
            (b"", NotJson),
            (b"json", NotJson),
            (b"text/json", NotJson),
            (b"text/plain", NotJson),
            (b"application/jsonp", NotJson),
            (b"application/json5", NotJson),
            (b"application/x-json", NotJson),
            (b"application/+json", NotJson),
            (b"application/json+xml", NotJson),
            (b"application/json-seq", NotJson),
            (b"application/json, text/plain", NotJson),
            (b"application/json,application/json", NotJson),
            (b"application /json", NotJson),
            (b"application/x y+json", NotJson),
            (b"application/json\xa0", NotJson),
            (b"application/x-www-form-urlencoded", NotJson),
            (b"multipart/form-data; boundary=a", NotJson),
            (b"application/json; charset=utf-16", Charset),
            (b"application/json; charset=utf8", Charset),
            (b"application/json; charset=iso-8859-1", Charset),
            (b"application/json; charset=utf-8; charset=utf-8", Parameter),
            (b"application/json; x=1", Parameter),
        ];
        for (value, wanted) in rows {
            assert_eq!(check_lines(&[("content-type", value)]), Err(wanted), "{}", value.escape_ascii());
        }
        assert_eq!(check_lines(&[]), Err(UnreadableBody::NoType));
        let twice: [(&str, &[u8]); 2] = [("content-type", b"application/json"); 2];
        assert_eq!(check_lines(&twice), Err(UnreadableBody::TypeRepeated));
    }

    #[test]
    fn a_body_in_another_coding_is_refused() {
        let with = |codings: &[&'static str]| {
            let codings = codings.iter().map(|coding| ("content-encoding", coding.as_bytes()));
            let lines: Vec<_> = [("content-type", &b"application/json"[..])].into_iter().chain(codings).collect();
            check_lines(&lines)
        };
        assert_eq!(with(&["identity"]), Ok(()));
        assert_eq!(with(&["Identity", "identity"]), Ok(()));
        for codings in [&["gzip"][..], &["identity", "gzip"], &["identity, gzip"], &["br"], &[""], &["x"]] {
            assert_eq!(with(codings), Err(UnreadableBody::Encoded), "{codings:?}");
        }
    }
}
