//! Keys that some reader takes for the same.
//!
//! Java compares names without case in several ways: `String.toLowerCase` of the locale or of none,
//! `String.equalsIgnoreCase`, `String.CASE_INSENSITIVE_ORDER`. This is coarser than each of them: two keys that any of
//! them takes for equal are alike here. In a Turkish locale I is ı, and i is İ; so all four are one letter, and the dot
//! that Java sets apart (`i̇`) is no letter. fastjson, and readers with several naming strategies (`run_as`, `runAs`),
//! see no `_` and no `-`. Held against Java 17 for every character and the locales `tr`, `az`, `lt`, `el` and `de`, none of its
//! classes is split. No reader of JSON normalizes Unicode, trims keys or drops invisible characters, so nor does this.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_alike_in_every_case_that_java_knows() {
        for (one, other) in [
            ("runAs", "RUNAS"),
            ("runAs", "run_as"),
            ("runAs", "Run-As"),
            ("id", "\u{130}D"),
            ("id", "\u{131}d"),
            ("id", "i\u{307}d"),
            ("k", "\u{212a}"),
            ("s", "\u{17f}"),
            ("\u{e5}", "\u{212b}"),
            ("\u{3c3}", "\u{3c2}"),
            ("\u{b5}", "\u{39c}"),
            ("stra\u{df}e", "STRASSE"),
            ("\u{10428}", "\u{10400}"),
            ("", "_"),
        ] {
            assert!(are_alike(one, other) && are_alike(other, one), "{one:?} {other:?}");
        }
        for (one, other) in
            [("id", "ids"), ("id", "id "), ("a.b", "ab"), ("\u{e4}", "a"), ("\u{ff49}d", "id"), ("", "a")]
        {
            assert!(!are_alike(one, other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn one_letter_is_like_every_letter_that_regular_expressions_take_for_it_without_case() {
        let mut checked = 0;
        for letter in ('\u{21}'..='\u{24f}').chain('\u{370}'..='\u{58f}').filter(|letter| letter.is_alphabetic()) {
            let class = regex::Regex::new(&format!("^(?i:{letter})$")).expect("an expression");
            let others = ('\u{21}'..='\u{24f}').chain('\u{370}'..='\u{58f}').chain('\u{1e00}'..='\u{2126}');
            for other in others.map(String::from).filter(|other| class.is_match(other)) {
                assert!(are_alike(&letter.to_string(), &other), "{letter} {other}");
                checked += 1;
            }
        }
        assert!(checked > 1500, "{checked}");
    }
}
