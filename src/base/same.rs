//! Whether parts that may be missing are the same.

/// Whether both are there and `same` says yes, or both are missing.
pub fn both_or_neither<T>(own: Option<&T>, other: Option<&T>, same: impl FnOnce(&T, &T) -> bool) -> bool {
    match (own, other) {
        (Some(own), Some(other)) => same(own, other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}
