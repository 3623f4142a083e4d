//! An entry of `allow`: a rule as a text, or a table with the conditions of one.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use toml::Spanned;

use crate::proxy::policy::body::BodyPattern;

/// An entry of `allow`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AllowEntry {
    /// `"GET /v2/devices"`.
    Text(String),
    /// `{ rule = "GET /v2/devices", expires = "2026-12-31T18:00:00Z" }`.
    Table(Box<AllowSection>),
}

/// A rule with conditions, all of which must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AllowSection {
    /// What it matches, as in a text.
    pub rule: Spanned<String>,
    /// What the body must have: JSON Pointers (RFC 6901), each with what is wanted there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Spanned<BTreeMap<String, BodyPattern>>>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Spanned<Moment>>,
    /// How many requests it opens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<Spanned<u32>>,
    /// Whether a person must approve each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<Spanned<bool>>,
    /// Why it is there, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A time, written as a text or as TOML has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment(pub String);

impl AllowEntry {
    /// What it matches, as written.
    pub fn rule(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Table(section) => section.rule.get_ref(),
        }
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = AllowEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rule such as \"GET /v2/devices\", or a table with rule and its conditions")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<AllowEntry, E> {
        Ok(AllowEntry::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AllowEntry, A::Error> {
        let section = AllowSection::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(AllowEntry::Table(Box::new(section)))
    }
}

impl<'de> Deserialize<'de> for AllowEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct MomentVisitor;

impl<'de> Visitor<'de> for MomentVisitor {
    type Value = Moment;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time such as \"2026-12-31T18:00:00Z\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Moment, E> {
        Ok(Moment(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Moment, A::Error> {
        let written = toml::value::Datetime::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Moment(written.to_string()))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MomentVisitor)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
