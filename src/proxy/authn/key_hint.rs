//! What is wrong with a key that is nobody's, as far as its form tells. The form says nothing of any caller: whoever
//! guesses learns from it only what they sent.

use super::key::KeyHash;
use super::local_tokens::{PLACEHOLDER, TOKEN_MARK};

/// What to tell the sender of a key that is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyHint {
    /// Nothing: it may be any text.
    Unknown,
    /// It is the hash of a key, as in the configuration.
    Hash,
    /// A local token: its hour is over, the proxy was started again, or its caller was removed or changed.
    OldToken,
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
    /// The key is right, and the name beside it is not its caller's. Only who has the key learns so.
    OtherName,
}

impl KeyHint {
    /// Looks at the form of a key.
    pub(super) fn of(key: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(key) else { return Self::Unknown };
        match text {
            "" => Self::Empty,
            PLACEHOLDER => Self::Placeholder,
            _ if text.starts_with(['"', '\'']) => Self::Quoted,
            _ if text.starts_with(TOKEN_MARK) => Self::OldToken,
            _ if KeyHash::parse(&text.to_ascii_lowercase()).is_ok() => Self::Hash,
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
            Self::Unknown | Self::OldToken | Self::Placeholder | Self::Quoted | Self::NoScheme => Self::NoScheme,
            Self::OtherScheme | Self::Several | Self::OtherName => Self::NoScheme,
        }
    }

    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Unknown => {
                "Compare it with the one that \"ninjaone-proxy key new NAME\" showed; a lost key is replaced by that command. A token ends after an hour, and with the proxy: fetch another."
            }
            Self::Hash => {
                "What was sent is the hash of a key, which stands in the configuration: send the key itself, which \"ninjaone-proxy key new NAME\" showed once and which begins with npk_."
            }
            Self::OldToken => {
                "What was sent is a token of this proxy that is no longer good: its hour is over, the proxy was started again, or its caller was changed. Fetch another from /ws/oauth/token."
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
                "The key is right, but the client id is not its caller's name: send the name that stands in the configuration, or no client id."
            }
        }
    }
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
            (&hash[..hash.len() - 1], KeyHint::Unknown),
            ("npt_abc", KeyHint::OldToken),
            (PLACEHOLDER, KeyHint::Placeholder),
            ("\"npk_abc\"", KeyHint::Quoted),
            ("'npk_abc'", KeyHint::Quoted),
            ("", KeyHint::Empty),
            ("npk_abc", KeyHint::Unknown),
            ("Bearer", KeyHint::Unknown),
        ] {
            assert_eq!(KeyHint::of(key.as_bytes()), hint, "{key}");
        }
        assert_eq!(KeyHint::of(b"\xff\xfe"), KeyHint::Unknown);
    }
}
