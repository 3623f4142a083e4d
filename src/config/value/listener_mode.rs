//! The key `mode` of a listener, and the permissions of its Unix socket.

use serde::de::Deserializer;
use serde::{Deserialize, Serialize, Serializer};

use super::parsed;

/// Permissions of a file, such as `"0660"`; at most `"0777"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions(pub u32);

/// A listener's mode: what becomes of what the rules close; or, for short, the permissions of its Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerMode {
    /// It is refused.
    Enforce,
    /// It is let through, within the scopes, and noted.
    Observe,
    /// The same as [`ListenerMode::Enforce`], on a socket with these permissions.
    Permissions(Permissions),
}

fn parse_mode(text: &str) -> Option<ListenerMode> {
    match text {
        "enforce" => Some(ListenerMode::Enforce),
        "observe" => Some(ListenerMode::Observe),
        _ => parse_permissions(text).map(ListenerMode::Permissions),
    }
}

fn parse_permissions(text: &str) -> Option<Permissions> {
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| octal)?;
    (mode <= 0o777).then_some(Permissions(mode))
}

impl<'de> Deserialize<'de> for ListenerMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bad = |text: &str| {
            format!(
                "{text:?} is not a mode: valid modes are enforce, observe, or the permissions of a Unix socket, octal digits such as \"0660\", at most \"0777\""
            )
        };
        parsed(deserializer, |text| parse_mode(text).ok_or_else(|| bad(text)))
    }
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bad = |text: &str| {
            format!("{text:?} is not a set of permissions: write octal digits, such as \"0660\", at most \"0777\"")
        };
        parsed(deserializer, |text| parse_permissions(text).ok_or_else(|| bad(text)))
    }
}

impl Serialize for ListenerMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Enforce => serializer.serialize_str("enforce"),
            Self::Observe => serializer.serialize_str("observe"),
            Self::Permissions(permissions) => permissions.serialize(serializer),
        }
    }
}

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_is_a_word_or_three_or_four_octal_digits() {
        let permissions = |mode| Some(ListenerMode::Permissions(Permissions(mode)));
        assert_eq!((parse_mode("0660"), parse_mode("600")), (permissions(0o660), permissions(0o600)));
        assert_eq!(parse_mode("observe"), Some(ListenerMode::Observe));
        for bad in ["", "66", "0680", "1777", "07777", "+660", "rw"] {
            assert_eq!(parse_mode(bad), None, "{bad}");
        }
    }
}
