//! Whatever a body holds: what an approver is shown of JSON is JSON that says the same, but for what is masked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ninjaone_proxy::tools::admin::approvals::shown_body::{BodyForm, ShownBody, masked_fields};
use serde_json::Value;

/// All that is not masked, in order.
fn leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.values().for_each(|value| leaves(value, found)),
        Value::Array(values) => values.iter().for_each(|value| leaves(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => found.push(value.to_string()),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let shown = ShownBody::of(bytes, None);
    assert_eq!(shown.form == BodyForm::Empty, bytes.is_empty());
    if let Ok(text) = std::str::from_utf8(bytes) {
        let (fields, masked) = masked_fields(text);
        assert!(masked > 0 || fields == text);
    }
    // Deeper JSON than this its reader does not read.
    let (Ok(value), BodyForm::Json) = (serde_json::from_slice::<Value>(bytes), shown.form) else { return };
    let again: Value = serde_json::from_str(&shown.text).expect("JSON");
    if shown.masked == 0 {
        assert_eq!(value, again);
    } else {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        leaves(&value, &mut before);
        leaves(&again, &mut after);
        assert!(after.iter().filter(|leaf| !before.contains(leaf)).all(|leaf| leaf == "\"***\""));
    }
});
