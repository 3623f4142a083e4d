//! The sealing keys: what is stored is sealed with them, and local tokens are signed.
//!
//! All replicas have the same. Of several, the first seals, and each opens, so that a key can be replaced without a pause.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::{hkdf, hmac};
use zeroize::Zeroizing;

use crate::base::secret::Secret;

/// The least length of a key, in bytes.
pub const MIN_LENGTH: usize = 32;
/// The form of what is sealed.
const FORMAT: u8 = 1;
/// The bytes by which a key is told from others: not secret.
const ID: usize = 4;
/// What is before the sealed bytes.
const HEAD: usize = 1 + ID + NONCE_LEN;

/// Keys, of which the first seals.
#[derive(Debug)]
pub struct SealingKeys(Vec<SealingKey>);

struct SealingKey {
    id: [u8; ID],
    sealing: LessSafeKey,
    source: hkdf::Prk,
}

/// Without the key.
impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SealingKey").field(&hex(&self.id)).finish()
    }
}

/// Why no key can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSealingKey {
    /// It can be guessed.
    #[error(
        "the sealing key has {0} characters, and needs at least {MIN_LENGTH}: \"openssl rand -base64 32\" prints one"
    )]
    Short(usize),
    /// The system's cryptography says no.
    #[error("the sealing key cannot be used")]
    Unusable,
}

/// Why something is not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSealed {
    /// It was not sealed by a ninjaone-proxy.
    #[error("it is not sealed")]
    Foreign,
    /// It was sealed with a key that is not among ours: which one.
    #[error("it is sealed with another key ({0})")]
    OtherKey(String),
    /// It was changed, or is that of another entry.
    #[error("it was changed, or moved from another entry")]
    Changed,
}

impl SealingKeys {
    /// Those made of these texts; `None` without any.
    pub fn new(texts: &[Secret]) -> Result<Option<Self>, BadSealingKey> {
        let keys = texts.iter().map(|text| SealingKey::new(&text.expose())).collect::<Result<Vec<_>, _>>()?;
        Ok((!keys.is_empty()).then_some(Self(keys)))
    }

    /// The ids of the keys, the sealing one first: they tell keys apart, and nothing else.
    pub fn ids(&self) -> Vec<String> {
        self.0.iter().map(|key| hex(&key.id)).collect()
    }

    /// Keys for signatures of this purpose: the first signs, each verifies.
    pub fn mac_keys(&self, purpose: &str) -> Vec<hmac::Key> {
        let derived = self.0.iter().map(|key| derive(&key.source, &[b"mac", purpose.as_bytes()]));
        derived.filter_map(|bytes| Some(hmac::Key::new(hmac::HMAC_SHA256, bytes.ok()?.as_slice()))).collect()
    }

    /// Seals the value of an entry. Fails only if the system gives no randomness.
    pub fn seal(&self, entry: &str, plain: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let key = self.0.first().ok_or(Unspecified)?;
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| Unspecified)?;
        let mut sealed = Vec::with_capacity(HEAD + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(plain);
        let tag = key.sealing.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(entry.as_bytes()),
            &mut sealed,
        )?;
        sealed.extend_from_slice(tag.as_ref());
        let mut whole = Vec::with_capacity(HEAD + sealed.len());
        whole.push(FORMAT);
        whole.extend_from_slice(&key.id);
        whole.extend_from_slice(&nonce);
        whole.extend_from_slice(&sealed);
        Ok(whole)
    }

    /// Opens the value of an entry.
    pub fn open(&self, entry: &str, whole: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotSealed> {
        let (format, rest) = whole.split_first().ok_or(NotSealed::Foreign)?;
        let (id, rest) = rest.split_first_chunk::<ID>().ok_or(NotSealed::Foreign)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(NotSealed::Foreign)?;
        if *format != FORMAT || sealed.len() < AES_256_GCM.tag_len() {
            return Err(NotSealed::Foreign);
        }
        let mut keys = self.0.iter().filter(|key| key.id == *id).peekable();
        if keys.peek().is_none() {
            return Err(NotSealed::OtherKey(hex(id)));
        }
        // Two keys may have the same id, once in four billion.
        let opened = keys.find_map(|key| {
            let mut bytes = Zeroizing::new(sealed.to_vec());
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let length = key.sealing.open_in_place(nonce, Aad::from(entry.as_bytes()), &mut bytes).ok()?.len();
            bytes.truncate(length);
            Some(bytes)
        });
        opened.ok_or(NotSealed::Changed)
    }
}

impl SealingKey {
    fn new(text: &str) -> Result<Self, BadSealingKey> {
        let length = text.len();
        if length < MIN_LENGTH {
            return Err(BadSealingKey::Short(length));
        }
        let source = hkdf::Salt::new(hkdf::HKDF_SHA256, b"ninjaone-proxy sealing").extract(text.as_bytes());
        let bytes = derive(&source, &[b"seal"]).map_err(|_| BadSealingKey::Unusable)?;
        let sealing = UnboundKey::new(&AES_256_GCM, bytes.as_slice()).map_err(|_| BadSealingKey::Unusable)?;
        let named = derive(&source, &[b"id"]).map_err(|_| BadSealingKey::Unusable)?;
        let id = named.first_chunk().copied().ok_or(BadSealingKey::Unusable)?;
        Ok(Self { id, sealing: LessSafeKey::new(sealing), source })
    }
}

fn derive(source: &hkdf::Prk, purpose: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>, Unspecified> {
    let mut bytes = Zeroizing::new([0; 32]);
    source.expand(purpose, hkdf::HKDF_SHA256)?.fill(bytes.as_mut_slice())?;
    Ok(bytes)
}

/// In hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(texts: &[&str]) -> SealingKeys {
        let texts: Vec<_> = texts.iter().map(|text| Secret::new((*text).to_owned())).collect();
        SealingKeys::new(&texts).expect("keys").expect("some")
    }

    const OLD: &str = "an old sealing key that nobody guesses";
    const NEW: &str = "a new sealing key that nobody guesses either";

    #[test]
    fn sealed_values_open_with_each_key_of_the_list_and_nowhere_else() {
        let (old, both, new) = (keys(&[OLD]), keys(&[OLD, NEW]), keys(&[NEW, OLD]));
        for sealing in [&old, &both, &new] {
            let sealed = sealing.seal("entry", b"a token").expect("randomness");
            assert!(!sealed.windows(7).any(|window| window == b"a token"));
            for opening in [&both, &new] {
                assert_eq!(opening.open("entry", &sealed).expect("ours").as_slice(), b"a token");
            }
            assert_eq!(new.open("another entry", &sealed), Err(NotSealed::Changed));
        }
        let sealed = new.seal("entry", b"").expect("randomness");
        assert_eq!(old.open("entry", &sealed), Err(NotSealed::OtherKey(new.ids()[0].clone())));
        assert_eq!((both.ids()[1].clone(), old.ids().len()), (new.ids()[0].clone(), 1));
    }

    #[test]
    fn sealed_values_that_differ_in_one_bit_are_not_opened() {
        let keys = keys(&[OLD]);
        let sealed = keys.seal("entry", b"a token").expect("randomness");
        for place in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[place / 8] ^= 1 << (place % 8);
            assert!(keys.open("entry", &changed).is_err(), "bit {place}");
        }
        for length in 0..sealed.len() {
            assert!(keys.open("entry", &sealed[..length]).is_err(), "{length} bytes");
        }
        assert_ne!(sealed, keys.seal("entry", b"a token").expect("randomness"), "no two are alike");
    }

    #[test]
    fn signatures_differ_by_purpose_and_key() {
        let (old, both) = (keys(&[OLD]), keys(&[NEW, OLD]));
        let signed = hmac::sign(&old.mac_keys("a")[0], b"text");
        let verifies = |keys: &SealingKeys, purpose| {
            keys.mac_keys(purpose).iter().any(|key| hmac::verify(key, b"text", signed.as_ref()).is_ok())
        };
        assert!(verifies(&old, "a") && verifies(&both, "a") && !verifies(&both, "b") && !verifies(&keys(&[NEW]), "a"));
    }

    #[test]
    fn short_keys_are_refused_and_none_are_printed() {
        let short = SealingKeys::new(&[Secret::new("x".repeat(MIN_LENGTH - 1))]);
        assert_eq!(short.map(drop), Err(BadSealingKey::Short(31)));
        assert!(SealingKeys::new(&[]).expect("nothing").is_none());
        assert!(!format!("{:?}", keys(&[OLD])).contains("guess"));
    }
}
