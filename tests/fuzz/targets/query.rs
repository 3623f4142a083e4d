//! Whatever the query: what is surely in it may be in it, and the guard reads it as regular expressions do.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ninjaone_proxy::proxy::policy::query::{Query, SECURE};

#[path = "../../oracle/queries.rs"]
mod queries;

use queries::Word;

fuzz_target!(|text: &str| {
    thread_local!(static WORDS: Vec<(&'static str, Word)> = words());
    let query = Query::new(Some(text));
    WORDS.with(|words| {
        assert_eq!(query.asks_for_secure_values(), queries::asks(text, &words[0].1));
        for (name, name_word) in words {
            let values = words.iter().map(|(value, word)| (Some(*value), Some(word)));
            for (value, value_word) in values.chain([(None, None)]) {
                let (has, may_have) = (query.has(name, value), query.may_have(name, value));
                assert!(may_have || !has, "{name} {value:?}");
                assert_eq!(has, queries::surely(text, name_word, value_word), "{name} {value:?} surely");
                assert_eq!(may_have, queries::maybe(text, name_word, value_word), "{name} {value:?} maybe");
            }
        }
    });
});

/// The name of the guarded parameter first, then what is hard to read.
fn words() -> Vec<(&'static str, Word)> {
    [SECURE, "a", "k\u{131}s", "a b", "x[0]", "7"].map(|word| (word, Word::new(word))).into()
}
