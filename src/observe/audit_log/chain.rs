//! The chain that ties each line to the one before it: the hash of a line, and where the chain ends.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A SHA-256, written as 64 lower case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; 32]);

impl Hash {
    /// What the first line names as the one before it.
    pub const NONE: Self = Self([0; 32]);

    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::finish(digest(&SHA256, bytes).as_ref())
    }

    pub(super) fn finish(digest: &[u8]) -> Self {
        Self(digest.try_into().unwrap_or_default())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Hash {
    type Err = BadChainHead;

    fn from_str(text: &str) -> Result<Self, BadChainHead> {
        let digit = |byte: &u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some((digit(high)? << 4) | digit(low)?)).collect();
        let bytes = bytes.filter(|_| rest.is_empty()).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(BadChainHead)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A place in the chain: the number of a line, from 1, and its hash. Written as `NUMBER:HASH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainHead {
    /// The number; 0 before the first line.
    pub seq: u64,
    /// The hash.
    pub hash: Hash,
}

/// Text that does not name a place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a head is the number of a line (from 1), a colon and 64 hexadecimal digits, as audit verify prints it")]
pub struct BadChainHead;

impl ChainHead {
    /// Before the first line.
    pub const NONE: Self = Self { seq: 0, hash: Hash::NONE };
}

impl fmt::Display for ChainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl FromStr for ChainHead {
    type Err = BadChainHead;

    fn from_str(text: &str) -> Result<Self, BadChainHead> {
        let (seq, hash) = text.split_once(':').ok_or(BadChainHead)?;
        let digits = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
        let seq = seq.parse().ok().filter(|_| digits).ok_or(BadChainHead)?;
        Ok(Self { seq, hash: hash.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_read_as_it_is_printed_and_in_no_other_way() {
        let head = ChainHead { seq: 42, hash: Hash::of(b"x") };
        assert_eq!(head.to_string().parse(), Ok(head));
        let text = head.to_string();
        for bad in [
            "".to_owned(),
            text.replace(':', ""),
            text.to_uppercase(),
            format!("+{text}"),
            format!("{text}0"),
            format!(" {text}"),
        ] {
            assert_eq!(bad.parse::<ChainHead>(), Err(BadChainHead), "{bad}");
        }
    }
}
