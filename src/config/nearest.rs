//! The word that was meant.

/// `; did you mean "..."?` for the most similar of `known`, if one is similar at all.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // A beginning of a word is as near as can be: cert, for certificate.
    let distance = |name: &str| match word.len() >= 3 && name.starts_with(word) {
        true => 1,
        false => strsim::damerau_levenshtein(word, name),
    };
    match known.into_iter().map(|name| (distance(name), name)).min() {
        Some((distance, name)) if distance <= 1 + name.len() / 3 => format!("; did you mean {name:?}?"),
        _ => String::new(),
    }
}
