//! The words of an enumeration: in the order of their document, and found at once however many there are.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::Deref;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

use super::super::path::MAX_WORD;
use super::super::spelling::{folded, lowered};

/// Words that a parameter may be, each once. A copy shares them.
#[derive(Debug, Clone)]
pub struct Words(Arc<Sets>);

#[derive(Debug)]
struct Sets {
    listed: Vec<String>,
    exact: HashSet<Box<str>, FxBuildHasher>,
    lowered: HashSet<Box<str>, FxBuildHasher>,
}

impl Words {
    /// Whether `word` is one of them, letter by letter.
    pub fn has(&self, word: &str) -> bool {
        self.0.exact.contains(word)
    }

    /// Whether `word` is one of them but for its case.
    pub(in super::super) fn has_in_another_case(&self, word: &str) -> bool {
        let mut room = [0; MAX_WORD];
        let lowered = folded(word, &mut room).and_then(|length| str::from_utf8(room.get(..length)?).ok());
        lowered.is_some_and(|word| self.0.lowered.contains(word))
    }
}

impl FromIterator<String> for Words {
    fn from_iter<I: IntoIterator<Item = String>>(words: I) -> Self {
        let mut exact = HashSet::default();
        let listed: Vec<String> = words.into_iter().filter(|word| exact.insert(word.as_str().into())).collect();
        let lowered = listed.iter().map(|word| lowered(word).into()).collect();
        Self(Arc::new(Sets { listed, exact, lowered }))
    }
}

impl Deref for Words {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0.listed
    }
}

impl PartialEq for Words {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.listed == other.0.listed
    }
}

impl Eq for Words {}

impl PartialOrd for Words {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Words {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.listed.cmp(&other.0.listed) }
    }
}
