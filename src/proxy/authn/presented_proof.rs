//! What a request presents as proof of who sent it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, PROXY_AUTHORIZATION};
use zeroize::Zeroizing;

use super::key_hint::KeyHint;
use crate::net::fields::{self, FieldLines};

static X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a request presents as proof.
#[derive(Debug)]
pub(super) enum PresentedProof {
    /// Nothing.
    Nothing,
    /// One key or local token, and the name of its caller if Basic has one.
    Key { key: Zeroizing<Vec<u8>>, name: Option<String> },
    /// Something that cannot be read, or several things: what is wrong with it.
    Unreadable(KeyHint),
}

impl PresentedProof {
    /// What is presented by `X-Api-Key`, or else by `Authorization`.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        match (fields::only(headers, &X_API_KEY), fields::only(headers, &AUTHORIZATION)) {
            (FieldLines::One(key), _) => Self::key(key.as_bytes()),
            (FieldLines::None, FieldLines::One(value)) => Self::of_authorization(value.as_bytes()),
            (FieldLines::None, FieldLines::None) => Self::Nothing,
            (FieldLines::Many, _) | (FieldLines::None, FieldLines::Many) => Self::Unreadable(KeyHint::Several),
        }
    }

    /// What is presented to a proxy, by `Proxy-Authorization`.
    pub(super) fn to_proxy(headers: &HeaderMap) -> Self {
        match fields::only(headers, &PROXY_AUTHORIZATION) {
            FieldLines::None => Self::Nothing,
            FieldLines::One(value) => Self::of_authorization(value.as_bytes()),
            FieldLines::Many => Self::Unreadable(KeyHint::Several),
        }
    }

    fn of_authorization(value: &[u8]) -> Self {
        let Some(space) = value.iter().position(|&byte| byte == b' ') else {
            return Self::Unreadable(KeyHint::without_scheme(value));
        };
        let (scheme, rest) = value.split_at(space);
        let rest = rest.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"Bearer") {
            return Self::key(rest);
        }
        let basic = scheme.eq_ignore_ascii_case(b"Basic").then(|| of_basic(rest)).flatten();
        basic.unwrap_or(Self::Unreadable(KeyHint::OtherScheme))
    }

    fn key(key: &[u8]) -> Self {
        Self::Key { key: Zeroizing::new(key.trim_ascii().to_vec()), name: None }
    }
}

/// The password of HTTP Basic, and the user name if there is one.
fn of_basic(encoded: &[u8]) -> Option<PresentedProof> {
    let pair = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let colon = pair.iter().position(|&byte| byte == b':')?;
    let (name, password) = pair.split_at(colon);
    let key = Zeroizing::new(password.get(1..)?.to_vec());
    let name = (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned());
    Some(PresentedProof::Key { key, name })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn presented(lines: &[(HeaderName, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        match PresentedProof::read(&headers) {
            PresentedProof::Key { key, name } => {
                let key = String::from_utf8(key.to_vec()).expect("text");
                Some(name.map_or(key.clone(), |name| format!("{name}: {key}")))
            }
            PresentedProof::Nothing => Some("nothing".to_owned()),
            PresentedProof::Unreadable(_) => None,
        }
    }

    #[test]
    fn roster_reads_a_key_from_bearer_basic_or_x_api_key() {
        let basic = format!("basic {}", STANDARD.encode("anybody:a:b"));
        let said = |name: HeaderName, value: &str| presented(&[(name, value)]);
        assert_eq!(said(AUTHORIZATION, "Bearer one").as_deref(), Some("one"));
        assert_eq!(said(AUTHORIZATION, "bearer   one ").as_deref(), Some("one"));
        assert_eq!(said(AUTHORIZATION, &basic).as_deref(), Some("anybody: a:b"));
        let nameless = format!("Basic {}", STANDARD.encode(":a"));
        assert_eq!(said(AUTHORIZATION, &nameless).as_deref(), Some("a"));
        assert_eq!(said(X_API_KEY.clone(), "one").as_deref(), Some("one"));
        assert_eq!(presented(&[(X_API_KEY.clone(), "one"), (AUTHORIZATION, "Bearer two")]).as_deref(), Some("one"));
        assert_eq!(presented(&[]).as_deref(), Some("nothing"));
        for bad in ["one", "Digest x", "Basic !!", "Basic ", &format!("Basic {}", STANDARD.encode("no colon"))] {
            assert_eq!(said(AUTHORIZATION, bad), None, "{bad}");
        }
        assert_eq!(presented(&[(AUTHORIZATION, "Bearer one"), (AUTHORIZATION, "Bearer one")]), None);
        assert_eq!(presented(&[(X_API_KEY.clone(), "one"), (X_API_KEY.clone(), "two")]), None);
    }
}
