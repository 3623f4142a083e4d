//! The id of an approval: 128 random bits, which nobody guesses.

use std::fmt;
use std::str::FromStr;

use http::Uri;

use crate::proxy::authn::APPROVALS_PATH;

/// The digits of an id.
const DIGITS: usize = 32;

/// The id of an approval, written as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApprovalId(u128);

/// A text is not the id of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the id of an approval, which has 32 hexadecimal digits: \"ninjaone-proxy approvals list\" shows those that there are"
)]
pub struct BadApprovalId;

impl ApprovalId {
    /// A new id. Fails if the system gives no randomness.
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(u128::from_be_bytes(bytes)))
    }

    /// The id in a target below [`APPROVALS_PATH`].
    pub fn of_status(uri: &Uri) -> Option<Self> {
        uri.path().strip_prefix(APPROVALS_PATH)?.parse().ok()
    }

    /// The path at which the caller asks for its state.
    pub fn status_path(self) -> String {
        format!("{APPROVALS_PATH}{self}")
    }
}

impl fmt::Display for ApprovalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for ApprovalId {
    type Err = BadApprovalId;

    /// One spelling only: lower case.
    fn from_str(text: &str) -> Result<Self, BadApprovalId> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != DIGITS || !text.bytes().all(is_digit) {
            return Err(BadApprovalId);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| BadApprovalId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_in_no_other_spelling() {
        let id = ApprovalId::new().expect("randomness");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(ApprovalId::of_status(&id.status_path().parse().expect("a target")), Some(id));
        assert_ne!(id, ApprovalId::new().expect("randomness"));
        let text = "0123456789abcdef0123456789abcdef";
        assert!(text.parse::<ApprovalId>().is_ok());
        for bad in [
            "",
            &text[1..],
            &format!("{text}0"),
            &text.to_uppercase(),
            &text.replace('0', "+"),
            &text.replace('0', " "),
        ] {
            assert_eq!(bad.parse::<ApprovalId>(), Err(BadApprovalId), "{bad}");
        }
    }
}
