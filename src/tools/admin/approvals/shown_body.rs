//! A body as an approver reads it: JSON in its own order and spelling, one value a line, with the values of secret
//! fields masked.

use http::header::HeaderValue;
use serde::de::IgnoredAny;

/// What takes the place of a value.
const MASK: &str = "***";
/// The last words of the names of fields whose values are not shown, in lower case and without punctuation.
const SECRET: [&str; 15] = [
    "password",
    "passwords",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "secrets",
    "token",
    "tokens",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "credentials",
    "authorization",
];
/// No line begins with more than this many levels of indentation.
const MAX_INDENT: usize = 24;
/// A body that would be larger than this with one value a line is shown as it is, in bytes.
const MAX_PRETTY: usize = 4 << 20;
/// How much is shown of what is not text, in bytes.
const HEAD: usize = 512;

/// A body as an approver reads it.
#[derive(Debug, PartialEq, Eq)]
pub struct ShownBody {
    /// The text.
    pub text: String,
    /// What kind of text.
    pub form: BodyForm,
    /// How many values are masked.
    pub masked: usize,
}

/// How a body is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyForm {
    /// There is none.
    Empty,
    /// JSON, one value a line.
    Json,
    /// A form, one field a line.
    Form,
    /// Text as it is, in which nothing is masked.
    Text,
    /// The first bytes, in hexadecimal digits.
    Hex,
}

impl BodyForm {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Json => "json",
            Self::Form => "form",
            Self::Text => "text",
            Self::Hex => "hex",
        }
    }
}

impl ShownBody {
    /// Of a body with this `Content-Type`.
    pub fn of(body: &[u8], content_type: Option<&HeaderValue>) -> Self {
        if body.is_empty() {
            return Self { text: String::new(), form: BodyForm::Empty, masked: 0 };
        }
        let Ok(text) = std::str::from_utf8(body) else {
            return Self { text: hex_head(body), form: BodyForm::Hex, masked: 0 };
        };
        if serde_json::from_str::<IgnoredAny>(text).is_ok() {
            let (text, masked) = Printer::new(text, true).print().unwrap_or_else(|| {
                let whole = Printer::new(text, false).print();
                whole.unwrap_or_default()
            });
            return Self { text, form: BodyForm::Json, masked };
        }
        let kind = content_type.map(HeaderValue::as_bytes).unwrap_or_default();
        if kind.to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded") {
            let (text, masked) = masked_fields(text);
            return Self { text: text.replace('&', "\n&"), form: BodyForm::Form, masked };
        }
        Self { text: text.to_owned(), form: BodyForm::Text, masked: 0 }
    }
}

/// A query or a form as it came, with the values of secret fields masked, and how many those are.
pub fn masked_fields(text: &str) -> (String, usize) {
    let mut masked = 0;
    let fields = text.split('&').map(|field| {
        let Some((name, _)) = field.split_once('=') else { return field.to_owned() };
        let decoded = form_urlencoded::parse(name.as_bytes()).next();
        if decoded.is_some_and(|(decoded, _)| is_secret(&decoded)) {
            masked += 1;
            return format!("{name}={MASK}");
        }
        field.to_owned()
    });
    (fields.collect::<Vec<_>>().join("&"), masked)
}

/// Whether the value of a field of this name is not shown.
fn is_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    SECRET.iter().any(|word| plain.ends_with(word))
}

/// Prints JSON that is right, without reading it into values: every number and string stays as it is spelled, and no
/// key is lost.
struct Printer<'a> {
    rest: &'a str,
    pretty: bool,
    out: String,
    depth: usize,
    /// Where values are keyed, from the outside to the inside.
    objects: Vec<bool>,
    /// The depth of the value that is being masked.
    hidden: Option<usize>,
    /// The next string is a key.
    key: bool,
    masked: usize,
}

impl<'a> Printer<'a> {
    fn new(text: &'a str, pretty: bool) -> Self {
        let (out, objects) = (String::with_capacity(text.len() + text.len() / 2), Vec::new());
        Self { rest: text, pretty, out, depth: 0, objects, hidden: None, key: false, masked: 0 }
    }

    /// The text, and how many values are masked; `None` if it becomes too large.
    fn print(mut self) -> Option<(String, usize)> {
        while let Some(first) = self.rest.trim_start_matches([' ', '\t', '\n', '\r']).chars().next() {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
            match first {
                '{' | '[' => self.open(first),
                '}' | ']' => self.close(first),
                ',' => {
                    self.take(1);
                    self.key = self.objects.last() == Some(&true);
                    self.put(",");
                    self.line();
                }
                ':' => {
                    self.take(1);
                    self.put(if self.pretty { ": " } else { ":" });
                }
                _ => self.scalar(),
            }
            if self.pretty && self.out.len() > MAX_PRETTY {
                return None;
            }
        }
        Some((self.out, self.masked))
    }

    fn open(&mut self, bracket: char) {
        let token = self.take(1);
        let empty = self.rest.trim_start_matches([' ', '\t', '\n', '\r']).starts_with(['}', ']']);
        self.put(token);
        self.depth += 1;
        self.objects.push(bracket == '{');
        self.key = bracket == '{';
        if !empty {
            self.line();
        }
    }

    fn close(&mut self, bracket: char) {
        self.take(1);
        self.depth = self.depth.saturating_sub(1);
        self.objects.pop();
        self.key = false;
        if !self.out.ends_with(['{', '[']) {
            self.line();
        }
        self.put(if bracket == '}' { "}" } else { "]" });
        self.shown();
    }

    /// A string, a number or a word.
    fn scalar(&mut self) {
        let end = match self.rest.strip_prefix('"') {
            Some(inside) => string_end(inside) + 1,
            None => self.rest.find([',', ':', '}', ']', ' ', '\t', '\n', '\r']).unwrap_or(self.rest.len()),
        };
        let token = self.take(end.max(1));
        self.put(token);
        if !std::mem::take(&mut self.key) {
            return self.shown();
        }
        if self.hidden.is_none() && serde_json::from_str::<String>(token).map_or(true, |name| is_secret(&name)) {
            self.take_colon();
            self.put(if self.pretty { ": " } else { ":" });
            self.put("\"");
            self.put(MASK);
            self.put("\"");
            self.hidden = Some(self.depth);
            self.masked += 1;
        }
    }

    /// A value has ended; if it was the one that is masked, what follows is shown.
    fn shown(&mut self) {
        if self.hidden == Some(self.depth) {
            self.hidden = None;
        }
    }

    fn take_colon(&mut self) {
        let after = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.rest = after.strip_prefix(':').unwrap_or(after);
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (token, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = rest;
        token
    }

    fn put(&mut self, text: &str) {
        if self.hidden.is_none() {
            self.out.push_str(text);
        }
    }

    fn line(&mut self) {
        if self.pretty && self.hidden.is_none() {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n("  ", self.depth.min(MAX_INDENT)));
        }
    }
}

/// The bytes of a string without its first quotation mark, to the end of its last.
fn string_end(inside: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    inside.len()
}

fn hex_head(body: &[u8]) -> String {
    let line = |bytes: &[u8]| {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x} ")).collect();
        let text: String =
            bytes.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' }).collect();
        format!("{digits:<48} {text}\n")
    };
    let shown: String = body.chunks(16).take(HEAD / 16).map(line).collect();
    match body.len().checked_sub(HEAD) {
        Some(more @ 1..) => format!("{shown}and {more} more bytes\n"),
        Some(0) | None => shown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn shown(body: &str) -> ShownBody {
        ShownBody::of(body.as_bytes(), None)
    }

    #[test]
    fn json_keeps_its_order_its_spelling_and_every_key() {
        let body = "{ \"z\":1.0,\"a\" : [ 1e0, {} , [],\"\\u0069d\"],\"z\":2 , \"n\":{\"x\":null} }";
        let text = "{\n  \"z\": 1.0,\n  \"a\": [\n    1e0,\n    {},\n    [],\n    \"\\u0069d\"\n  ],\n  \"z\": 2,\n  \"n\": {\n    \"x\": null\n  }\n}";
        assert_eq!(shown(body), ShownBody { text: text.to_owned(), form: BodyForm::Json, masked: 0 });
        for scalar in ["12", "\"a, {b}: [c] \\\" d\"", "true", " null "] {
            assert_eq!(shown(scalar).text, scalar.trim());
        }
    }

    #[test]
    fn values_of_secret_fields_are_masked_at_any_depth_and_in_any_spelling() {
        let body = r#"{"id":12,"clientSecret":"hunter2","a":[{"API-Key":{"deep":["hunter2",{"x":"hunter2"}]},"after":1}],"p\u0061ssword":"hunter2","token":[],"tokenType":"Bearer"}"#;
        let ShownBody { text, masked, .. } = shown(body);
        assert!(!text.contains("hunter2") && masked == 4, "{text}");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["id"], 12);
        assert_eq!(value["a"][0]["after"], 1);
        assert_eq!((&value["a"][0]["API-Key"], &value["token"]), (&"***".into(), &"***".into()));
        assert_eq!(value["tokenType"], "Bearer");
        let (query, masked) = masked_fields("a=1&access_token=hunter2&pass%77ord=hunter2&b&x=hunter");
        assert_eq!((&*query, masked), ("a=1&access_token=***&pass%77ord=***&b&x=hunter", 2));
    }

    #[test]
    fn what_is_not_json_is_text_a_form_or_the_first_bytes() {
        assert_eq!(shown("{\"a\":1,}").form, BodyForm::Text);
        assert_eq!(shown("{} {}"), ShownBody { text: "{} {}".to_owned(), form: BodyForm::Text, masked: 0 });
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let body = ShownBody::of(b"a=1&password=hunter2", Some(&form));
        assert_eq!(body, ShownBody { text: "a=1\n&password=***".to_owned(), form: BodyForm::Form, masked: 1 });
        let bytes = ShownBody::of(&[&[0xff, 0, b'a'][..], &[7; 600]].concat(), None);
        assert!(bytes.form == BodyForm::Hex && bytes.text.starts_with("ff 00 61 07 "), "{}", bytes.text);
        assert!(bytes.text.ends_with("and 91 more bytes\n"), "{}", bytes.text);
        assert_eq!(shown("").form, BodyForm::Empty);
    }

    #[test]
    fn a_body_that_would_become_huge_is_shown_as_it_is() {
        let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(shown(&deep).text, deep);
        let wide = format!("{}{}{}", "[".repeat(60), "1,".repeat(400_000) + "1", "]".repeat(60));
        assert_eq!(shown(&wide).text, wide);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((prop_oneof![".{0,5}", Just("token".to_owned())], inner), 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// The oracle reads the values and masks them there.
    fn masked(value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let field = |(name, value): (&String, &Value)| {
                    (name.clone(), if is_secret(name) { MASK.into() } else { masked(value) })
                };
                Value::Object(fields.iter().map(field).collect())
            }
            Value::Array(values) => values.iter().map(masked).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_says_the_same_but_for_what_is_masked(value in json(), spaced in any::<bool>()) {
            let text = if spaced { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let text = text.expect("JSON");
            let shown = shown(&text);
            prop_assert_eq!(serde_json::from_str::<Value>(&shown.text).expect("JSON"), masked(&value));
            let plain = Printer::new(&text, false).print().expect("it is not large").0;
            prop_assert_eq!(serde_json::from_str::<Value>(&plain).expect("JSON"), masked(&value));
        }
    }
}
