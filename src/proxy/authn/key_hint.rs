//! What is wrong with a key that is nobody's, as far as its form tells. The form says nothing of any caller: a person
//! who guesses learns from it only what they sent.

use super::key::{KEY_LENGTH, KEY_MARK, KeyHash};
use super::local_tokens::{PLACEHOLDER, TOKEN_MARK};

/// What to tell the sender of a key that is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyHint {
    /// Nothing: it has the form of a key.
    Unknown,
    /// It does not begin as the keys of this proxy do.
    Unmarked,
    /// It begins as a key of this proxy, and is longer or shorter.
    Length,
    /// A scheme, which belongs in `Authorization`, is before the key in `X-Api-Key`.
    SchemeInKey,
    /// It is the hash of a key, as in the configuration.
    Hash,
    /// A local token that this listener did not give since the proxy was started.
    UnknownToken,
    /// A local token whose hour is over.
    ExpiredToken,
    /// A local token whose caller was removed or changed.
    RevokedToken,
    /// The token that listeners without callers give.
    Placeholder,
    /// Quotation marks are around it.
    Quoted,
    /// There is nothing.
    Empty,
    /// `Authorization` without a scheme.
    NoScheme,
    /// Another scheme than Bearer and Basic, or Basic that cannot be read.
    OtherScheme,
    /// Several in one field name.
    Several,
    /// The key is right, and the name with it is not its caller's. Only who has the key learns so.
    OtherName,
}

impl KeyHint {
    /// Looks at the form of a key.
    pub(super) fn of(key: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(key) else { return Self::Unmarked };
        match text {
            "" => Self::Empty,
            PLACEHOLDER => Self::Placeholder,
            _ if text.starts_with(['"', '\'']) => Self::Quoted,
            _ if text.starts_with(TOKEN_MARK) => Self::UnknownToken,
            _ if is_hash(text) => Self::Hash,
            _ if has_scheme(text) => Self::SchemeInKey,
            _ if !text.starts_with(KEY_MARK) => Self::Unmarked,
            _ if text.len() != KEY_LENGTH => Self::Length,
            _ => Self::Unknown,
        }
    }

    /// Looks at an `Authorization` of one word.
    pub(super) fn without_scheme(value: &[u8]) -> Self {
        if value.eq_ignore_ascii_case(b"Bearer") || value.eq_ignore_ascii_case(b"Basic") {
            return Self::Empty;
        }
        match Self::of(value) {
            hint @ (Self::Hash | Self::Empty) => hint,
            Self::UnknownToken | Self::ExpiredToken | Self::RevokedToken => Self::NoScheme,
            Self::Unknown | Self::Placeholder | Self::Quoted | Self::NoScheme => Self::NoScheme,
            Self::Unmarked | Self::Length | Self::SchemeInKey => Self::NoScheme,
            Self::OtherScheme | Self::Several | Self::OtherName => Self::NoScheme,
        }
    }

    /// The name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "key-unknown",
            Self::Unmarked => "not-made-by-key-new",
            Self::Length => "key-length",
            Self::SchemeInKey => "scheme-in-key",
            Self::Hash => "hash-of-key",
            Self::UnknownToken => "token-unknown",
            Self::ExpiredToken => "token-expired",
            Self::RevokedToken => "token-revoked",
            Self::Placeholder => "token-placeholder",
            Self::Quoted => "key-quoted",
            Self::Empty => "key-empty",
            Self::NoScheme => "scheme-missing",
            Self::OtherScheme => "scheme-unknown",
            Self::Several => "several-keys",
            Self::OtherName => "other-name",
        }
    }

    /// What to do about it. Of a token it is the same whatever is wrong with it, which only the log tells.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Unknown => {
                "It has the form of a key, but no caller has it. Compare it with the one that \"ninjaone-proxy key new NAME\" showed; if it is lost, make another with that command."
            }
            Self::Unmarked => {
                "Keys made by \"ninjaone-proxy key new NAME\" begin with npk_, and this does not: check that it is the key of a caller, and not another secret."
            }
            Self::Length => {
                "It begins like a key but does not have the length of one, 47 characters: copy the whole key, without anything before or after it."
            }
            Self::SchemeInKey => {
                "X-Api-Key takes the key alone: send \"X-Api-Key: KEY\", or \"Authorization: Bearer KEY\"."
            }
            Self::Hash => {
                "What was sent is the hash of a key, as the configuration has it: send the key itself, which \"ninjaone-proxy key new NAME\" showed once and which begins with npk_."
            }
            Self::UnknownToken | Self::ExpiredToken | Self::RevokedToken => {
                "What was sent is a token of this proxy that is no longer valid: its hour is over, the proxy was restarted, or its caller was changed. Fetch another from /ws/oauth/token."
            }
            Self::Placeholder => {
                "What was sent is the placeholder that listeners without callers give: send a caller's key, or fetch a token with the caller's name and key as client id and secret."
            }
            Self::Quoted => "What was sent begins with a quotation mark: send the key without quotation marks.",
            Self::Empty => {
                "The key is empty: the variable or file that it comes from may be. Send it as \"Authorization: Bearer KEY\" or \"X-Api-Key: KEY\"."
            }
            Self::NoScheme => {
                "Authorization has no scheme before the key: send \"Authorization: Bearer KEY\", or \"X-Api-Key: KEY\"."
            }
            Self::OtherScheme => {
                "Authorization is not Bearer with a key, or Basic with the key as password: send \"Authorization: Bearer KEY\", or \"X-Api-Key: KEY\"."
            }
            Self::Several => "There are several keys: send one Authorization field, or one X-Api-Key field.",
            Self::OtherName => {
                "The key is right, but the client id is not its caller's name (with Basic, the user name): send the name that the configuration has, or leave it empty."
            }
        }
    }
}

/// With or without the name of the algorithm before it, perhaps cut short.
fn is_hash(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.starts_with("sha256:") || KeyHash::parse(&format!("sha256:{text}")).is_ok()
}

fn has_scheme(text: &str) -> bool {
    let scheme = text.split_once(' ').map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("bearer" | "basic"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hint_tells_the_form_of_a_key_and_nothing_of_others() {
        let hash = KeyHash::of(b"key").to_string();
        for (key, hint) in [
            (hash.as_str(), KeyHint::Hash),
            (&hash.to_uppercase(), KeyHint::Hash),
            (&hash[..hash.len() - 1], KeyHint::Hash),
            (&hash["sha256:".len()..], KeyHint::Hash),
            ("npt_abc", KeyHint::UnknownToken),
            (PLACEHOLDER, KeyHint::Placeholder),
            ("\"npk_abc\"", KeyHint::Quoted),
            ("'npk_abc'", KeyHint::Quoted),
            ("", KeyHint::Empty),
            ("npk_abc", KeyHint::Length),
            ("Bearer", KeyHint::Unmarked),
            ("Bearer npk_abc", KeyHint::SchemeInKey),
            ("abc", KeyHint::Unmarked),
            (&format!("npk_{}", "x".repeat(43)), KeyHint::Unknown),
        ] {
            assert_eq!(KeyHint::of(key.as_bytes()), hint, "{key}");
        }
        assert_eq!(KeyHint::of(b"\xff\xfe"), KeyHint::Unmarked);
    }
}
