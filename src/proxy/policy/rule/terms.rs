//! What a rule of `allow` that is written as a table asks in addition to its match.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::SystemTime;

use ring::digest;

use super::super::body::BodyConditions;
use super::Rule;

/// What a rule asks in addition to its match; all of it must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Terms {
    /// What the body must have.
    pub body: Option<BodyConditions>,
    /// When the rule ends.
    pub expires: Option<Expiry>,
    /// How many requests it opens.
    pub max_uses: Option<NonZeroU32>,
    /// Whether a person must approve each request.
    pub approval: bool,
    /// Why the rule is there, for people.
    pub reason: Option<Arc<str>>,
}

/// A moment, and how it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// From then on the rule opens nothing.
    pub at: SystemTime,
    /// As it was written.
    pub text: Arc<str>,
}

impl Rule {
    /// This rule, written as a table with these terms.
    #[must_use]
    pub fn with_terms(self, terms: Terms) -> Self {
        Self { terms: Some(Arc::new(terms)), ..self }
    }

    /// What it asks in addition to its match, if it is written as a table. Such a rule alone decides about the requests
    /// that it matches.
    pub fn terms(&self) -> Option<&Arc<Terms>> {
        self.terms.as_ref()
    }

    /// The rule as it was written, with its conditions in words.
    pub fn label(&self) -> String {
        self.terms.as_ref().map_or_else(|| self.text.to_string(), |terms| format!("{} if {terms}", self.text))
    }
}

impl Terms {
    /// Whether the rule opens whatever it matches.
    pub fn is_free(&self) -> bool {
        self.body.is_none() && self.expires.is_none() && self.max_uses.is_none() && !self.approval
    }

    /// What the uses of a rule with these terms are counted under: another match, body or end is another rule.
    pub fn key(&self, rule: &str, owner: &str) -> String {
        let body = self.body.as_ref().map(ToString::to_string).unwrap_or_default();
        let expires = self.expires.as_ref().map_or("", |expiry| &expiry.text);
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [owner, rule, &body, expires] {
            // No part has a NUL.
            context.update(part.as_bytes());
            context.update(&[0]);
        }
        context.finish().as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// As people read it: `until 2026-12-31T18:00:00Z, 20 uses, approved by a person`.
impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = self.body.as_ref().map(|body| format!("the body has {body}"));
        let expires = self.expires.as_ref().map(|expiry| format!("until {}", expiry.text));
        let uses = self.max_uses.map(|max| if max.get() == 1 { "one use".to_owned() } else { format!("{max} uses") });
        let approval = self.approval.then(|| "a person approves".to_owned());
        let parts: Vec<_> = [body, expires, uses, approval].into_iter().flatten().collect();
        f.write_str(if parts.is_empty() { "no conditions" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}
