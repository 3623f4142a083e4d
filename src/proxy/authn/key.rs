//! The keys of callers, and what the configuration has of them.

use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What every key begins with, so that one is recognized where it must not be.
pub(super) const KEY_MARK: &str = "npk_";
/// The random bytes of a key.
const KEY_BYTES: usize = 32;
/// The length of a key: the mark, and its bytes in base64.
pub(super) const KEY_LENGTH: usize = KEY_MARK.len() + (KEY_BYTES * 4).div_ceil(3);
/// Keys that are tried before others.
const GUESSED: [&str; 24] = [
    "", "12345678", "123456", "1234", "abc123", "admin", "api-key", "apikey", "changeme", "default", "dummy",
    "example", "key", "letmein", "ninjaone", "none", "null", "npk_", "password", "qwerty", "root", "secret", "test",
    "token",
];
/// The SHA-256 of a key: what the configuration holds. It cannot be turned back, a key has 256 random bits.
#[derive(Clone, Copy, Eq)]
pub struct KeyHash([u8; SHA256_OUTPUT_LEN]);

/// A key that was just made.
pub struct NewKey(Zeroizing<String>);

/// Why a text is not the hash of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a key hash: \"ninjaone-proxy key new NAME\" makes a key and the line for this file, which begins with sha256:"
)]
pub struct BadKeyHash;

impl KeyHash {
    /// The hash of a key, or of a certificate in DER.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(hash)
    }

    /// Whether it is that of one of the first keys that somebody tries for a caller of this name.
    pub fn is_guessed(self, name: &str) -> bool {
        static GUESSED_HASHES: LazyLock<HashSet<KeyHash>> =
            LazyLock::new(|| GUESSED.into_iter().flat_map(KeyHash::spellings).collect());
        GUESSED_HASHES.contains(&self) || Self::spellings(&name.to_ascii_lowercase()).contains(&self)
    }

    /// Of a word as people send it. A hash of a line has the line feed in it.
    fn spellings(word: &str) -> [Self; 3] {
        [word, &word.to_uppercase(), &format!("{word}\n")].map(|text| Self::of(text.as_bytes()))
    }

    /// Compares in constant time.
    pub fn is_same(self, other: Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    pub(super) fn bytes(self) -> [u8; SHA256_OUTPUT_LEN] {
        self.0
    }

    /// The hash that was made elsewhere: a certificate's fingerprint.
    pub fn of_fingerprint(fingerprint: [u8; SHA256_OUTPUT_LEN]) -> Self {
        Self(fingerprint)
    }

    /// Reads `sha256:` and 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, BadKeyHash> {
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 2 * SHA256_OUTPUT_LEN);
        let digits = digits.ok_or(BadKeyHash)?.as_bytes();
        let mut hash = [0; SHA256_OUTPUT_LEN];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| BadKeyHash)?;
            if pair.starts_with('+') {
                return Err(BadKeyHash);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| BadKeyHash)?;
        }
        Ok(Self(hash))
    }
}

/// In constant time, as [`KeyHash::is_same`].
impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(*other)
    }
}

impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl NewKey {
    /// Makes a key. Fails if the system gives no randomness.
    pub fn make() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(bytes.as_mut_slice())?;
        let mut key = Zeroizing::new(String::with_capacity(64));
        key.push_str(KEY_MARK);
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut key);
        Ok(Self(key))
    }

    /// The key itself: for the one line that shows it to the person who asked for it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the configuration needs to know of it.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roster_key_hash_is_read_as_it_is_printed() {
        let hash = KeyHash::of(b"one");
        assert_eq!(KeyHash::parse(&hash.to_string()), Ok(hash));
        let short = hash.to_string().replace("sha256:", "sha256:0");
        for bad in
            ["", "one", "sha256:", "sha256:12", &hash.to_string()[7..], &short, &format!("sha256:{}", "+1".repeat(32))]
        {
            assert_eq!(KeyHash::parse(bad), Err(BadKeyHash), "{bad}");
        }
    }

    #[test]
    fn roster_knows_the_hashes_of_keys_that_are_tried_first() {
        for key in ["", "password", "PASSWORD", "changeme", "changeme\n", "reports", "REPORTS"] {
            assert!(KeyHash::of(key.as_bytes()).is_guessed("Reports"), "{key:?}");
        }
        let made = NewKey::make().expect("a key").hash();
        assert!(!made.is_guessed("reports") && !KeyHash::of(b"reports-key").is_guessed("reports"));
    }

    #[test]
    fn roster_new_keys_differ_and_fit_their_hash() {
        let (one, other) = (NewKey::make().expect("a key"), NewKey::make().expect("a key"));
        assert!(one.expose().starts_with(KEY_MARK) && one.expose().len() == 4 + 43 && one.expose() != other.expose());
        assert_eq!(one.hash(), KeyHash::of(one.expose().as_bytes()));
    }
}
