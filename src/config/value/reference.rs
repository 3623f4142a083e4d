//! Where a credential is read from: references, and the keys that take one.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::net::dial::proxy::HttpProxy;

/// Where a credential is read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reference {
    /// An environment variable.
    Env(String),
    /// A file; a line break at its end does not count.
    File(PathBuf),
    /// A systemd credential.
    Credential(String),
    /// Program and arguments of a command that prints it.
    Command(Vec<String>),
}

/// The client id: not a secret, so it may be in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ClientId {
    /// As it is.
    Plain(String),
    /// By reference.
    Reference(Reference),
}

/// The client secret: never in the file itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ClientSecret(pub Reference);

/// Where the sealing keys are read from, the sealing one first: one reference, or a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SealingKeyFiles(pub Vec<Reference>);

/// The HTTP proxy on the way to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyChoice {
    /// `"none"`: also if the environment names one.
    None,
    /// A URL, which may hold a password.
    Url(SecretText),
    /// Where the URL is read from.
    Reference(Reference),
}

/// Where notices go: a URL that is a secret, since whoever knows it can post there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifyAddress {
    /// As it is.
    Url(SecretText),
    /// Where it is read from.
    Reference(Reference),
}

/// A text of the file that may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(pub String);

/// It is not printed.
impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The keys of a reference.
const REFERENCES: [&str; 4] = ["env", "file", "credential", "command"];

/// A string, if one is accepted, or a table with one of [`REFERENCES`].
struct ReferenceVisitor;

impl<'de> Visitor<'de> for ReferenceVisitor {
    type Value = ClientId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ env = \"VARIABLE\" }, { file = \"PATH\" }, { credential = \"NAME\" } or { command = [\"PROGRAM\", \"ARGUMENT\"] }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ClientId, E> {
        Ok(ClientId::Plain(text.to_owned()))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<ClientId, M::Error> {
        let mut reference = None;
        while let Some(key) = map.next_key::<String>()? {
            if reference.is_some() {
                return Err(de::Error::custom("give only one of env, file, credential and command"));
            }
            reference = Some(match key.as_str() {
                "env" => Reference::Env(map.next_value()?),
                "file" => Reference::File(map.next_value()?),
                "credential" => Reference::Credential(map.next_value()?),
                "command" => Reference::Command(words(map.next_value()?)?),
                other => return Err(de::Error::unknown_field(other, &REFERENCES)),
            });
        }
        reference.map(ClientId::Reference).ok_or_else(|| de::Error::custom("give env, file, credential or command"))
    }
}

fn words<E: de::Error>(words: Vec<String>) -> Result<Vec<String>, E> {
    let named = words.first().is_some_and(|program| !program.is_empty());
    named.then_some(words).ok_or_else(|| E::custom("a command begins with the name of a program"))
}

impl<'de> Deserialize<'de> for ClientId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReferenceVisitor)
    }
}

impl<'de> Deserialize<'de> for ClientSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(ReferenceVisitor)? {
            ClientId::Reference(reference) => Ok(Self(reference)),
            ClientId::Plain(_) => Err(de::Error::custom(
                "a secret must not be in this file: give it as { env = \"VARIABLE\" }, { file = \"PATH\" }, { credential = \"NAME\" } or { command = [\"PROGRAM\", \"ARGUMENT\"] }, and regenerate one that was here",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for SealingKeyFiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SealingKeysVisitor)
    }
}

/// A reference, or a list of some.
struct SealingKeysVisitor;

impl<'de> Visitor<'de> for SealingKeysVisitor {
    type Value = SealingKeyFiles;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ file = \"PATH\" }, or a list of such references, the key that seals first")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<SealingKeyFiles, M::Error> {
        let ClientSecret(reference) = ClientSecret::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(SealingKeyFiles(vec![reference]))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<SealingKeyFiles, S::Error> {
        let mut references = Vec::new();
        while let Some(ClientSecret(reference)) = list.next_element()? {
            references.push(reference);
        }
        if references.is_empty() {
            return Err(de::Error::custom("an empty list has no key: give one, or leave key out"));
        }
        Ok(SealingKeyFiles(references))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<SealingKeyFiles, E> {
        Err(E::custom(
            "a key must not be in this file: give it as { file = \"PATH\" }, and make a new one if it was here",
        ))
    }
}

impl<'de> Deserialize<'de> for ProxyChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(ReferenceVisitor)? {
            ClientId::Reference(reference) => Ok(Self::Reference(reference)),
            ClientId::Plain(text) if text == "none" => Ok(Self::None),
            ClientId::Plain(text) => match HttpProxy::parse(&text) {
                Ok(_) => Ok(Self::Url(SecretText(text))),
                Err(error) => Err(de::Error::custom(error)),
            },
        }
    }
}

impl<'de> Deserialize<'de> for NotifyAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match deserializer.deserialize_any(ReferenceVisitor)? {
            ClientId::Reference(reference) => Self::Reference(reference),
            ClientId::Plain(text) => Self::Url(SecretText(text)),
        })
    }
}

impl Serialize for NotifyAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Url(_) => serializer.serialize_str("***"),
            Self::Reference(reference) => reference.serialize(serializer),
        }
    }
}

/// Without credentials.
impl Serialize for ProxyChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::Url(SecretText(text)) => match HttpProxy::parse(text) {
                Ok(proxy) => serializer.collect_str(&proxy),
                Err(_) => serializer.serialize_str("***"),
            },
            Self::Reference(reference) => reference.serialize(serializer),
        }
    }
}
