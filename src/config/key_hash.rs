//! The hashes of keys, as the configuration has them.

use toml::Spanned;

use super::Config;
use super::mistake::ConfigMistake;
use crate::proxy::authn::key::KeyHash;

impl Config {
    /// The hash of a key, or the fingerprint of a certificate.
    pub(super) fn key_hash(&self, text: &Spanned<String>) -> Result<KeyHash, ConfigMistake> {
        KeyHash::parse(text.get_ref()).map_err(|error| {
            // Anything else may be the key itself.
            let shown = text.get_ref().starts_with("sha256:").then(|| format!("{:?}", text.get_ref()));
            self.mistake(text, format!("{} is {error}", shown.as_deref().unwrap_or("this")))
        })
    }
}
