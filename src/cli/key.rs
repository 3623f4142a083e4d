//! `key`: makes keys for callers; the configuration holds their hashes only.

use anyhow::{Context, bail};

use crate::guard::roster::NewKey;

/// A new key, and the lines of the configuration that make it good.
pub(super) fn new(name: &str, listener: &str) -> anyhow::Result<String> {
    for name in [name, listener] {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
            bail!("{name:?} is no name: use letters, digits, - and _");
        }
    }
    let key = NewKey::make().context("the system gives no randomness for a key")?;
    Ok(format!(
        "# The key of {name}. It is shown only here: give it to the caller, and keep it as a password is kept.\n\
         #   {}\n\
         # For the configuration, which does not hold the key itself:\n\
         [listeners.{listener}.callers.{name}]\n\
         key = \"{}\"\n",
        key.expose(),
        key.hash()
    ))
}
