//! Loop marks: a field that every request up carries, so that a proxy recognizes a request that comes back to it.
//!
//! RFC 9110 section 7.6.3 has `Via` for this, which a gateway must send. It is left out on purpose: nginx, which answers
//! for NinjaOne, does not compress answers to requests with `Via` (`gzip_proxied off` is its default), and answers of
//! several megabytes are common; and other proxies of this kind refuse what was passed on for nobody knows whom. A field
//! of ours has neither effect. `CDN-Loop` (RFC 8586) would be understood by content delivery networks only, some of
//! which block what another one has sent.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::net::fields;

/// A list of marks, separated by commas: one for each proxy that the request has passed.
pub static FIELD: HeaderName = HeaderName::from_static("ninjaone-proxy-loop");

/// The most marks of other proxies that are passed on; no sensible chain is longer.
const MAX_MARKS: usize = 8;
/// The longest mark of another proxy, in bytes.
const MAX_LENGTH: usize = 64;

/// The mark of this process. It is random, so that a restarted proxy is another one and nobody guesses it.
#[derive(Debug, Clone)]
pub struct LoopMark(HeaderValue);

/// Why a request must not go any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoopError {
    /// It has this proxy's own mark.
    #[error("the request came back to the proxy that sent it")]
    Own,
    /// It has as many marks as may be.
    #[error("the request has passed {MAX_MARKS} proxies of this kind")]
    TooMany,
}

impl LoopMark {
    /// A new mark. Fails if the system gives no randomness.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        let text = format!("{:032x}", u128::from_be_bytes(bytes));
        Ok(Self(HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unmarked"))))
    }

    /// The same mark in memory of its own: clones share a counter, which threads would pass to and fro.
    #[must_use]
    pub fn unshared(&self) -> Self {
        Self(HeaderValue::from_bytes(self.0.as_bytes()).unwrap_or_else(|_| self.0.clone()))
    }

    /// The value of [`FIELD`] in a request that begins here.
    pub fn value(&self) -> &HeaderValue {
        &self.0
    }

    /// Whether a request may go further: it has not been here, nor passed too many others.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), LoopError> {
        if !fields::has(headers, &FIELD) {
            return Ok(());
        }
        if marks(headers).any(|mark| mark == self.0.as_bytes()) {
            return Err(LoopError::Own);
        }
        if marks(headers).count() >= MAX_MARKS { Err(LoopError::TooMany) } else { Ok(()) }
    }

    /// Adds the mark to the head of a request on its way up. The marks of other proxies go with it: so two that lead to
    /// each other notice when a request comes round for the first time.
    pub fn stamp(&self, headers: &mut HeaderMap) {
        let own = || self.0.clone();
        let value = if fields::has(headers, &FIELD) { self.after(headers).unwrap_or_else(own) } else { own() };
        headers.insert(&FIELD, value);
    }

    fn after(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let all: Vec<&[u8]> = marks(headers).take(MAX_MARKS).chain([self.0.as_bytes()]).collect();
        HeaderValue::from_bytes(&all.join(&b", "[..])).ok()
    }
}

/// What may be a mark, in order, over all lines of the field; anything else is left out.
fn marks(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let is_mark = |mark: &&[u8]| {
        (1..=MAX_LENGTH).contains(&mark.len()) && mark.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    let lines = headers.get_all(&FIELD).into_iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii).filter(is_mark)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (FIELD.clone(), HeaderValue::from_str(line).expect("a value"))).collect()
    }

    fn stamped(mark: &LoopMark, lines: &[&str]) -> String {
        let mut headers = head(lines);
        mark.stamp(&mut headers);
        assert_eq!(headers.get_all(&FIELD).iter().count(), 1);
        headers[&FIELD].to_str().expect("text").to_owned()
    }

    #[test]
    fn a_request_without_a_mark_gets_the_mark_of_the_process() {
        let (mark, other) = (LoopMark::new().expect("randomness"), LoopMark::new().expect("randomness"));
        assert_eq!(stamped(&mark, &[]), mark.0.to_str().expect("text"));
        assert_eq!((mark.0.len(), mark.unshared().0), (32, mark.0.clone()));
        assert_ne!(mark.0, other.0);
        assert_eq!(mark.check(&head(&[])), Ok(()));
    }

    #[test]
    fn marks_of_other_proxies_are_passed_on_in_order_and_nothing_else_is() {
        let mark = LoopMark(HeaderValue::from_static("own"));
        assert_eq!(stamped(&mark, &["a, b", "", "c,,d"]), "a, b, c, d, own");
        let long = "x".repeat(MAX_LENGTH + 1);
        assert_eq!(stamped(&mark, &["two words, a\tb, \"q\", a=b", &long, "ok"]), "ok, own");
        assert_eq!(mark.check(&head(&["a, b", "c"])), Ok(()));
    }

    #[test]
    fn a_request_that_comes_back_is_recognized_wherever_its_mark_is() {
        let mark = LoopMark(HeaderValue::from_static("own"));
        for lines in [&["own"][..], &["a", "b, own"], &["a,own ,b"], &["1,2,3,4,5,6,7,8,9,own"]] {
            assert_eq!(mark.check(&head(lines)), Err(LoopError::Own), "{lines:?}");
        }
        for lines in [&["owner"][..], &["own own"], &["OWN"]] {
            assert_eq!(mark.check(&head(lines)), Ok(()), "{lines:?}");
        }
    }

    #[test]
    fn a_chain_of_proxies_has_an_end() {
        let mark = LoopMark(HeaderValue::from_static("own"));
        assert_eq!(mark.check(&head(&["1,2,3,4,5,6,7"])), Ok(()));
        assert_eq!(mark.check(&head(&["1,2,3,4", "5,6,7,8"])), Err(LoopError::TooMany));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever a caller sends: the request has the own mark then, so it is recognized when it comes back.
        #[test]
        fn whatever_comes_in_a_request_that_goes_up_is_recognized_when_it_comes_back(
            lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..4),
        ) {
            let mark = LoopMark::new().expect("randomness");
            let lines = lines.iter().filter_map(|line| Some((FIELD.clone(), HeaderValue::from_bytes(line).ok()?)));
            let mut headers: HeaderMap = lines.collect();
            let begins = mark.check(&headers);
            mark.stamp(&mut headers);
            prop_assert_eq!(mark.check(&headers), Err(LoopError::Own));
            let sent = headers[&FIELD].to_str().expect("text").to_owned();
            prop_assert!(sent.len() <= (MAX_MARKS + 1) * (MAX_LENGTH + 2), "{}", sent);
            if begins.is_ok() {
                prop_assert!(sent.split(", ").count() <= MAX_MARKS, "{}", sent);
            }
        }
    }
}
