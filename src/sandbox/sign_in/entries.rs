//! A bounded table of what has a random name and a time: sign-ins that are open, codes, refresh tokens.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// The table.
pub(super) struct Entries<T> {
    map: HashMap<String, PendingEntry<T>>,
    limit: usize,
    added: u64,
}

/// One entry. It stays after its use, so that a second use is noticed.
pub(super) struct PendingEntry<T> {
    pub(super) value: T,
    pub(super) used: bool,
    expires: Instant,
    number: u64,
}

impl<T> PendingEntry<T> {
    pub(super) fn has_expired(&self) -> bool {
        self.expires <= Instant::now()
    }
}

impl<T> Entries<T> {
    pub(super) fn new(limit: usize) -> Self {
        Self { map: HashMap::new(), limit, added: 0 }
    }

    /// Adds an entry. Where room is needed, what has expired goes, else the oldest, used ones first.
    pub(super) fn add(&mut self, name: String, value: T, lifetime: Duration) {
        if self.map.len() >= self.limit {
            self.map.retain(|_, entry| !entry.has_expired());
            let first = self.map.iter().min_by_key(|(_, entry)| (!entry.used, entry.number));
            if let Some(name) = first.map(|(name, _)| name.clone()).filter(|_| self.map.len() >= self.limit) {
                self.map.remove(&name);
            }
        }
        self.added += 1;
        let entry = PendingEntry { value, used: false, expires: Instant::now() + lifetime, number: self.added };
        self.map.insert(name, entry);
    }

    /// The entry of this name, even if it has expired or was used.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut PendingEntry<T>> {
        self.map.get_mut(name)
    }

    pub(super) fn mark_used(&mut self, name: &str) {
        if let Some(entry) = self.map.get_mut(name) {
            entry.used = true;
        }
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<PendingEntry<T>> {
        self.map.remove(name)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.map.retain(|_, entry| keep(&entry.value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn entries_make_room_of_the_expired_then_the_used_then_the_oldest() {
        let mut entries = Entries::new(3);
        let add = |entries: &mut Entries<()>, name: &str, seconds| {
            entries.add(name.to_owned(), (), Duration::from_secs(seconds));
            let mut names: Vec<_> = entries.map.keys().cloned().collect();
            names.sort();
            names.concat()
        };
        add(&mut entries, "a", 9);
        add(&mut entries, "b", 9);
        assert_eq!(add(&mut entries, "c", 5), "abc");
        entries.mark_used("b");
        assert_eq!(add(&mut entries, "d", 9), "acd");
        assert_eq!(add(&mut entries, "e", 9), "cde");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(entries.get_mut("c").expect("is there").has_expired());
        assert!(!entries.get_mut("d").expect("is there").has_expired());
        assert_eq!(add(&mut entries, "f", 9), "def");
    }
}
