//! Keys that some reader takes for the same.
//!
//! Java compares names without case in several ways: `String.toLowerCase` of the locale or of none,
//! `String.equalsIgnoreCase`, `String.CASE_INSENSITIVE_ORDER`. This is coarser than each of them: two keys that any of
//! them takes for equal are alike here. In a Turkish locale I is ı, and i is İ; so all four are one letter, and the dot
//! that Java sets apart (`i̇`) is no letter. fastjson, and readers with several naming strategies (`run_as`, `runAs`),
//! see no `_` and no `-`. No reader of JSON normalizes Unicode, trims keys or drops invisible characters, so nor does this.

/// Whether some reader takes two keys for the same.
pub(super) fn are_alike(one: &str, other: &str) -> bool {
    one == other || folded(one).eq(folded(other))
}

/// What alike keys have in common.
pub(super) fn folded(key: &str) -> impl Iterator<Item = char> + '_ {
    // Only down, up and down again is the same for all letters of a class, such as σ, ς and Σ, or s, ſ and S.
    let same = key.chars().flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    same.filter(|letter| !matches!(letter, '_' | '-' | '\u{307}'))
}
