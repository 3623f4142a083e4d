//! The body of a request as every reader of JSON reads it, and the conditions that a rule sets on it.
//!
//! NinjaOne reads JSON by a Java library. Which one, and how it is set, nobody outside knows: Jackson most likely, perhaps
//! Gson, org.json or JSON-B. So a body that two readers could read differently is not judged at all, and a condition is
//! met only if it is met in every reading. What is considered, and what becomes of it:
//!
//! | difference | here |
//! |---|---|
//! | encodings: Jackson detects UTF-16 and UTF-32 by itself, others take a BOM, a charset or Latin-1 | UTF-8 only, no BOM, no NUL, no other charset, no content coding |
//! | malformed UTF-8: some replace it, others refuse it | refused |
//! | duplicate keys: the last wins, the first wins, or an error | refused at any depth, escapes decoded |
//! | names in any case (Jackson: `ACCEPT_CASE_INSENSITIVE_PROPERTIES`), or without `_` and `-` (fastjson) | such keys are alike and refused as duplicates |
//! | comments, single quotes, bare words, trailing commas, `NaN`, `+1`, `01`, `.5`, `0x1`, other blanks, `\x` (Jackson `ALLOW_*`, lenient Gson, org.json) | refused |
//! | more than one document, or text after the first (Jackson ignores it unless told otherwise) | refused |
//! | lone surrogates, control characters in strings | refused |
//! | depth: Jackson takes 1000, org.json 512, Gson 255, older ones until the stack ends | 64 |
//! | numbers: `1.0`, `1e0`, `-0`, 2^53 and more become an integer, a rounded one, another class, or an error | accepted, and equal to nothing: see `Node::Number` |
//! | a value of another type (`"12"` and 12, 1 and true, `[12]` and 12, 12 and `[12]`, `""` and null) | never equal: see `conditions` |

mod alike;
mod conditions;
mod conflict;
mod media_type;
mod pattern;
mod pointer;
mod reader;
mod references;
mod string;
mod unreadable;

use http::HeaderMap;

pub use conditions::{BodyConditions, Found, UnmetCondition};
pub use conflict::BodyConditionError;
pub use pattern::{BodyPattern, PatternError, Scalar};
pub use pointer::PointerError;
pub use references::{BodyFenceError, count_at, named_at, references_of_body};
pub use unreadable::UnreadableBody;

/// A body that every reader reads alike.
#[derive(Debug)]
pub struct JsonBody {
    root: Node,
}

/// A value in it.
#[derive(Debug, PartialEq)]
enum Node {
    Null,
    Boolean(bool),
    /// Written in digits only, and exact in every type that a reader may choose: within 2^53 - 1.
    Integer(i64),
    /// Any other number. Readers make different values of it, so no condition on a value is met by it; elsewhere in the
    /// body it does no harm: all of them find its beginning and its end in the same places.
    Number,
    Text(String),
    Array(Vec<Node>),
    /// The keys in their order; no two are alike.
    Object(Vec<(String, Node)>),
}

impl JsonBody {
    /// Reads a whole body. The headers must say that it is what it is, since NinjaOne reads it as they say. How large it
    /// may be is the caller's business.
    pub fn read(headers: &HeaderMap, bytes: &[u8]) -> Result<Self, UnreadableBody> {
        media_type::check(headers)?;
        let text = reader::decode(bytes)?;
        reader::read(text).map(|root| Self { root })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn conditions(toml: &str) -> BodyConditions {
        let pairs: BTreeMap<String, BodyPattern> = toml::from_str(toml).expect("patterns");
        BodyConditions::new(pairs.into_iter().collect()).expect("conditions that can be met")
    }

    fn read(body: &str) -> Result<JsonBody, UnreadableBody> {
        let headers = [(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"))];
        JsonBody::read(&headers.into_iter().collect(), body.as_bytes())
    }

    #[test]
    fn a_body_is_judged_by_all_conditions_of_a_rule() {
        let rule = conditions("\"/id\" = [12, 13]\n\"/runAs\" = \"SYSTEM\"\n\"/uid\" = { present = false }");
        let judge = |body: &str| rule.judge(&read(body).expect("readable")).map_err(|unmet| unmet.to_string());
        assert_eq!(judge(r#"{"id": 13, "runAs": "SYSTEM", "parameters": "-a"}"#), Ok(()));
        let refused = [
            (r#"{"id": 14, "runAs": "SYSTEM"}"#, "the value at \"/id\" in the body must be one of [12, 13], and it is"),
            (r#"{"id": 12.0, "runAs": "SYSTEM"}"#, "it is a number that readers read differently"),
            (r#"{"id": 12, "runAs": "system"}"#, "the value at \"/runAs\" in the body must be \"SYSTEM\", and it is"),
            (r#"{"id": 12}"#, "and there is none"),
            (r#"{"id": 12, "runAs": "SYSTEM", "uid": null}"#, "the value at \"/uid\" in the body must be absent"),
            (r#"{"id": 12, "runAs": "SYSTEM", "UID": 1}"#, "the body has the key in another spelling"),
        ];
        for (body, message) in refused {
            let unmet = judge(body).expect_err(body);
            assert!(unmet.contains(message), "{body}: {unmet}");
        }
        let twice = read(r#"{"id": 12, "\u0069d": 13}"#).expect_err("a duplicate");
        assert!(matches!(twice, UnreadableBody::KeyTwice { .. }), "{twice}");
    }

    #[test]
    fn conditions_have_one_text_whatever_their_order() {
        let one = conditions("\"/runAs\" = \"SYSTEM\"\n\"/id\" = [13, 12]");
        let other = conditions("\"/id\" = [12, 13, 12]\n\"/runAs\" = [\"SYSTEM\"]");
        assert_eq!(one, other);
        assert_eq!(one.to_string(), "{ \"/id\" = [12, 13], \"/runAs\" = \"SYSTEM\" }");
    }

    #[test]
    fn a_refusal_shows_no_value_of_the_body_and_no_long_key() {
        let rule = conditions("\"/id\" = 12\n\"/password\" = { prefix = \"a\" }");
        let secret = read(r#"{"id": 12, "password": "hunter2"}"#).expect("readable");
        let unmet = rule.judge(&secret).expect_err("another text").to_string();
        assert!(unmet.contains("/password") && !unmet.contains("hunter2"), "{unmet}");
        let long = "k".repeat(5000);
        let twice = read(&format!("{{\"{long}\": 1, \"{long}\": 2}}")).expect_err("a duplicate").to_string();
        assert!(twice.len() < 200, "{twice}");
        let broken = read("{\"a\n\u{202e}b\": 1").expect_err("a control character").to_string();
        assert_eq!(broken, "the body has a control character in a string at byte 4: escape it");
        let alike = read("{\"\u{202e}a\": 1, \"\u{202e}A\": 2}").expect_err("alike").to_string();
        assert!(alike.contains("the keys \"\\u{202e}a\" and \"\\u{202e}A\""), "{alike}");
    }

    #[test]
    fn a_large_body_of_small_things_is_read_in_time_that_grows_with_it_only() {
        let keys: String = (0..20_000).map(|number| format!("\"k{number}\":[],")).collect();
        let body = read(&format!("{{{keys}\"id\":12}}")).expect("readable");
        assert_eq!(conditions("\"/id\" = 12").judge(&body), Ok(()));
        assert_eq!(conditions("\"/k7/0\" = { present = false }").judge(&body), Ok(()));
    }
}
