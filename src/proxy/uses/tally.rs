//! How many uses of a rule were taken where: counts that only grow, so that the larger one is right.

use std::collections::BTreeMap;

/// The uses of a rule by the folders that they were taken in. Merged by the larger count each, in any order and any number
/// of times, it is the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally(BTreeMap<String, u64>);

impl Tally {
    /// All of them.
    pub(super) fn sum(&self) -> u64 {
        self.0.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Those of one place.
    pub(super) fn of(&self, place: &str) -> u64 {
        self.0.get(place).copied().unwrap_or_default()
    }

    /// At least so many were taken there.
    pub(super) fn raise(&mut self, place: &str, count: u64) {
        if count > self.of(place) {
            self.0.insert(place.to_owned(), count);
        }
    }

    /// What another one knows.
    pub(super) fn merge(&mut self, other: impl IntoIterator<Item = (String, u64)>) {
        other.into_iter().for_each(|(place, count)| self.raise(&place, count));
    }

    /// The places with their counts.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(place, count)| (place.as_str(), *count))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// What the script in `shared_uses.rs` does.
    fn take(store: &mut Tally, known: &Tally, own: &str, max: u64) -> bool {
        store.merge(known.0.clone());
        if store.sum() >= max {
            return false;
        }
        store.raise(own, store.of(own) + 1);
        true
    }

    fn tally() -> impl Strategy<Value = Tally> {
        prop::collection::btree_map("[a-c]", 0..5u64, 0..4).prop_map(Tally)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn tallies_merge_to_the_same_in_any_order_and_never_lose_a_use(a in tally(), b in tally(), c in tally()) {
            let merged = |order: [&Tally; 4]| {
                let mut sum = Tally::default();
                order.into_iter().for_each(|next| sum.merge(next.0.clone()));
                sum.0.retain(|_, count| *count > 0);
                sum
            };
            let all = merged([&a, &b, &c, &a]);
            prop_assert_eq!(&all, &merged([&c, &b, &b, &a]));
            for one in [&a, &b, &c] {
                prop_assert!(one.iter().all(|(place, count)| all.of(place) >= count));
            }
        }

        /// A store that is emptied or goes back to what it was, processes that are killed before they send, and begin again
        /// with what their folder has; after each loss of the store all publish before anybody takes. The oracle counts
        /// what was sent.
        #[test]
        fn no_more_uses_are_taken_than_there_are_whatever_is_lost(
            max in 1..12u64,
            events in prop::collection::vec((0..3usize, 0..8u8), 1..80),
        ) {
            let names = ["a", "b", "c"];
            let (mut store, mut older) = (Tally::default(), Tally::default());
            let mut folders = [0u64; 3];
            let mut known = [Tally::default(), Tally::default(), Tally::default()];
            let (mut sent, mut taken) = (0u64, BTreeSet::new());
            for (number, (process, event)) in events.into_iter().enumerate() {
                let own = names[process];
                match event {
                    0 => {
                        // Killed; its folder stays.
                        known[process] = Tally::default();
                        known[process].raise(own, folders[process]);
                    }
                    1 => store = Tally::default(),
                    2 => store = older.clone(),
                    3 => older = store.clone(),
                    _ => {
                        if take(&mut store, &known[process], own, max) {
                            // The answer is lost in some cases: nothing is sent then.
                            if event == 4 {
                                continue;
                            }
                            known[process].merge(store.0.clone());
                            folders[process] = folders[process].max(store.of(own));
                            sent += 1;
                            taken.insert(number);
                        }
                    }
                }
                if event < 3 {
                    known.iter().for_each(|known| store.merge(known.0.clone()));
                }
            }
            prop_assert!(sent <= max, "{sent} of {max} were sent, by the events {taken:?}");
        }
    }
}
