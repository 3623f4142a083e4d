//! Values as they are written in the file; what is not valid says what would be.

mod address;
mod listener_mode;
mod reference;

use std::fmt;

use serde::de::{self, Deserializer, Visitor};

pub(super) use address::parse_tcp_place;
pub use address::{Address, AdminAddress, InstanceAddress, ProbeAddress};
pub use listener_mode::{ListenerMode, Permissions};
pub use reference::{ClientId, ClientSecret, NotifyAddress, ProxyChoice, Reference, SealingKeyFiles, SecretText};

/// A string as `parse` takes it.
pub(super) fn parsed<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(TextVisitor(parse))
}

/// A text; a number is one without its quotation marks.
struct TextVisitor<F>(F);

impl<T, F: FnOnce(&str) -> Result<T, String>> Visitor<'_> for TextVisitor<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        match (self.0)(&number.to_string()) {
            Ok(_) => Err(E::invalid_type(de::Unexpected::Signed(number), &"a string")),
            Err(error) => Err(E::custom(error)),
        }
    }
}
