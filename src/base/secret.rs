//! A secret: a string that can be sent, and has no other way out.

pub mod command;
pub mod source;

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What is kept for long: a client secret, a password, a key. (Access tokens live in header values that are marked as
/// sensitive, since each is sent thousands of times.) It has no `Display`, no `Serialize` and no `Deref`. Its memory is overwritten
/// when it is dropped, and masked until then, so that no search through a dump of the memory finds it as it is sent.
#[derive(Clone)]
pub struct Secret {
    masked: Zeroizing<Vec<u8>>,
    mask: Zeroizing<Vec<u8>>,
}

impl Secret {
    /// Takes the string over.
    pub fn new(text: String) -> Self {
        let text = Zeroizing::new(text);
        // Not encryption: who can read all of the memory finds the mask too.
        let mask = Zeroizing::new(text.bytes().map(|_| fastrand::u8(..)).collect::<Vec<u8>>());
        Self { masked: Zeroizing::new(xor(text.as_bytes(), &mask)), mask }
    }

    /// The text itself, for as long as the value lives: for the one line of code that sends it.
    pub fn expose(&self) -> Zeroizing<String> {
        // It was text when it was masked, so it always is.
        Zeroizing::new(String::from_utf8(xor(&self.masked, &self.mask)).unwrap_or_default())
    }

    /// Whether this is the same text as that of `other`. Takes the same time for all texts of a length.
    pub fn is_same(&self, other: &Self) -> bool {
        let (own, other) = (self.expose(), other.expose());
        own.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

/// Forbids the system to write this process's memory to a file, and debuggers of its user to look at it.
#[cfg(target_os = "linux")]
pub fn forbid_dumps() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Forbids the system to write this process's memory to a file.
#[cfg(all(unix, not(target_os = "linux")))]
pub fn forbid_dumps() -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    Ok(setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
}

/// Windows writes no memory to a file unless it is set up to do so.
#[cfg(not(unix))]
pub fn forbid_dumps() -> std::io::Result<()> {
    Ok(())
}

fn xor(text: &[u8], mask: &[u8]) -> Vec<u8> {
    text.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_not_printed() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(***) Secret(***)");
    }

    #[test]
    fn secret_is_masked_at_rest_and_exposed_as_it_was() {
        let text = "hunter2 \u{fc}\u{df}".repeat(20);
        let secret = Secret::new(text.clone());
        assert_eq!(*secret.expose(), text);
        assert_ne!(secret.masked.as_slice(), text.as_bytes());
        assert!(secret.is_same(&Secret::new(text.clone())) && !secret.is_same(&Secret::new(text + "x")));
        assert!(Secret::new(String::new()).expose().is_empty());
    }
}
