//! What the parsers say of a mistake, in words that tell what to write instead.

use std::ops::Range;

use super::nearest;

/// A message of the TOML parser or of serde about this place of the text.
pub(super) fn plain(message: &str, text: &str, span: &Range<usize>) -> String {
    let message = message.trim_end();
    // Of what may be a secret nothing is repeated.
    let line = line_around(text, span.start);
    let open = !["secret", "password", "key", "proxy", "notify"].iter().any(|word| line.contains(word));
    let raw = text.get(span.clone()).filter(|raw| open && !raw.contains('\n')).unwrap_or_default().trim();
    unknown(message)
        .or_else(|| wrong_type(message, line, raw))
        .or_else(|| syntax(message, text, span, raw))
        .unwrap_or_else(|| message.to_owned())
}

/// An unknown key or word, with the nearest known one.
fn unknown(message: &str) -> Option<String> {
    let (what, key) = [("unknown field", "key"), ("unknown variant", "value")]
        .into_iter()
        .find(|(what, _)| message.starts_with(what))?;
    let mut quoted = message.strip_prefix(what)?.split('`').skip(1).step_by(2);
    let wrong = quoted.next()?;
    let known: Vec<&str> = quoted.collect();
    Some(format!("unknown {key} {wrong:?}: valid are {}{}", known.join(", "), nearest(wrong, known.iter().copied())))
}

/// `invalid type: FOUND, expected WANTED` of serde, and its kin.
fn wrong_type(message: &str, line: &str, raw: &str) -> Option<String> {
    if let Some(key) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return Some(format!("the key {key} is missing in this table"));
    }
    let (found, wanted) = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))?
        .split_once(", expected ")?;
    let bare = raw.trim_matches(['"', '\'']);
    let write = |what: &str, example: String| Some(format!("{raw} is not {what}: write {example}"));
    match wanted {
        "a sequence" if bare.parse::<u32>().is_ok() => write("a list", format!("[{bare}]")),
        "a sequence" if !raw.is_empty() => write("a list", list(line, raw, bare)),
        "a string" | "path string" if !raw.is_empty() && !raw.starts_with(['[', '{']) => {
            write("text, which needs quotation marks", format!("\"{bare}\""))
        }
        _ if wanted.starts_with("{ env") => Some(format!("{} cannot be used here: give it as {wanted}", kind(found))),
        "a sequence" if line.contains("command") => {
            Some("a command is a list of words: write { command = [\"PROGRAM\", \"ARGUMENT\"] }".to_owned())
        }
        _ if raw.is_empty() => Some(format!("this is {}, but {wanted} is needed", kind(found))),
        "a boolean" => {
            let yes = ["true", "yes", "on", "1"].contains(&bare.to_ascii_lowercase().as_str());
            let no = ["false", "no", "off", "0"].contains(&bare.to_ascii_lowercase().as_str());
            let example = if yes {
                "true"
            } else if no {
                "false"
            } else {
                "true or false"
            };
            write("true or false", format!("{example}, without quotation marks"))
        }
        "a nonzero u16" => number(raw, bare, "a whole number from 1 to 65535", u16::MAX.into(), 1),
        "a nonzero u32" => number(raw, bare, "a whole number from 1 to 4294967295", u32::MAX.into(), 1),
        "u32" => number(raw, bare, "a whole number from 0 to 4294967295", u32::MAX.into(), 0),
        "i64" if line.contains("organizations") => Some(match bare.parse::<u64>() {
            Ok(_) => format!("{raw} is text, not the number of an organization: write {bare}, without quotation marks"),
            Err(_) => format!(
                "{raw} is not the number of an organization: write its id, such as organizations = [5]; it is in the address of the organization's page in NinjaOne, and without the line there is no fence"
            ),
        }),
        "f64" => match bare.parse::<f64>() {
            Ok(_) => write("a number", format!("{bare}, without quotation marks")),
            Err(_) => write("a number", "one such as 0.5 or 10".to_owned()),
        },
        "struct QuotaSection" => Some(format!(
            "a quota is a table, not {}: write {{ requests = \"600/min\" }}, with writes and critical if you like",
            kind(found)
        )),
        "struct InstanceSection" => table(found, "[instances.main]"),
        "struct ListenerSection" => table(found, "[listeners.local]"),
        "struct CallerSection" => table(found, "[listeners.local.callers.NAME]"),
        _ if wanted.starts_with("struct ") || wanted == "a map" => {
            Some(format!("a table is needed here, not {}", kind(found)))
        }
        _ => None,
    }
}

/// A list for a text, with the key before it. A comma is between words, but for a rule between its methods.
fn list(line: &str, raw: &str, bare: &str) -> String {
    let before = line.split_once(raw).map(|(before, _)| before.trim_end()).and_then(|before| before.strip_suffix('='));
    let key = before.and_then(|before| before.split([' ', '{', ',', '.']).rfind(|word| !word.is_empty()));
    let key = key.map_or_else(String::new, |key| format!("{key} = "));
    if raw == bare || bare.contains('/') {
        return format!("{key}[{raw}]");
    }
    let words = bare.split(',').map(str::trim).filter(|word| !word.is_empty()).map(|word| format!("{word:?}"));
    format!("{key}[{}]", words.collect::<Vec<_>>().join(", "))
}

fn number(raw: &str, bare: &str, range: &str, max: i64, min: i64) -> Option<String> {
    let quoted = bare != raw && bare.parse::<i64>().is_ok_and(|number| (min..=max).contains(&number));
    let example = if quoted { format!("{bare}, without quotation marks") } else { range.to_owned() };
    Some(if quoted {
        format!("{raw} is text, not a number: write {example}")
    } else {
        format!("{raw} is not in the range: write {range}")
    })
}

fn table(found: &str, header: &str) -> Option<String> {
    Some(format!(
        "a table with a name is needed here, not {}: write the keys below a line such as {header}",
        kind(found)
    ))
}

/// The kind of a value alone, as serde names it.
fn kind(found: &str) -> &str {
    match found.split([' ', '`']).next().unwrap_or_default() {
        "string" => "text",
        "sequence" => "a list",
        "integer" | "floating" => "a number",
        "boolean" => "true or false",
        _ => "another kind of value",
    }
}

/// What the TOML parser stumbles over.
fn syntax(message: &str, text: &str, span: &Range<usize>, raw: &str) -> Option<String> {
    if message.starts_with("too few unicode value digits")
        || message.starts_with("missing escaped value")
        || message.starts_with("invalid escape")
    {
        return Some(escape(line_around(text, span.start)));
    }
    // The last backslash of a path takes the quotation mark with it, and the text goes on to the next one.
    if is_unclosed_table(message) && line_around(text, span.start).contains("\\\"") {
        return Some(escape(line_around(text, span.start)));
    }
    if unclosed(message).is_some() {
        return Some("the text that begins here has no closing quotation mark".to_owned());
    }
    Some(match message {
        "duplicate key" => {
            "it is in this file already, further up: leave one of the two out, or put both together".to_owned()
        }
        "key with no value, expected `=`" => {
            "a key without a value: write KEY = VALUE, begin the line with # if it is a note, or remove it".to_owned()
        }
        _ if message.starts_with("string values must be quoted") && raw.is_empty() => {
            "text needs quotation marks".to_owned()
        }
        _ if message.starts_with("string values must be quoted") => {
            format!("text needs quotation marks: write {raw:?}")
        }
        _ => return None,
    })
}

/// The quotation marks of a text that has no end, if the parser complains of one.
fn unclosed(message: &str) -> Option<&'static str> {
    match message {
        "invalid basic string, expected `\"`" => Some("\""),
        "invalid literal string, expected `'`" => Some("'"),
        _ if message.starts_with("invalid multi-line basic string") => Some("\"\"\""),
        _ if message.starts_with("invalid multi-line literal string") => Some("'''"),
        _ => None,
    }
}

/// Whether an inline table or a list does not end or go on where it should.
fn is_unclosed_table(message: &str) -> bool {
    ["unclosed inline table", "unclosed array", "missing comma between"].iter().any(|begin| message.starts_with(begin))
}

/// Where a mistake is: a text without an end is one from its beginning, and the parser names the place where it gives up.
pub(super) fn place(message: &str, text: &str, span: Range<usize>) -> Range<usize> {
    let begin = unclosed(message.trim_end()).and_then(|marks| text.get(..span.start)?.rfind(marks));
    begin.map_or(span, |begin| begin..begin + 1)
}

/// A backslash in quotation marks, most often that of a path of Windows.
fn escape(line: &str) -> String {
    let value = line.split_once('"').and_then(|(_, rest)| rest.rsplit_once('"')).map(|(value, _)| value);
    let path = value.filter(|value| {
        let drive = value.get(1..).is_some_and(|rest| rest.starts_with(":\\"))
            && value.starts_with(|c: char| c.is_ascii_alphabetic());
        (drive || value.starts_with("\\\\")) && !value.contains(['\'', '"'])
    });
    let example = path.map_or_else(
        || "'C:\\folder\\file'".to_owned(),
        |path| match path.starts_with('\\') {
            true => format!("'{path}'"),
            false => format!("'{}'", path.replace("\\\\", "\\")),
        },
    );
    format!("a backslash in double quotation marks begins an escape: write the path in single ones, {example}")
}

/// What is wrong with a path whose escapes were taken for tabs and line breaks.
pub(super) fn control_characters(text: &str, span: &Range<usize>) -> String {
    escape(text.get(span.clone()).unwrap_or_default())
}

fn line_around(text: &str, offset: usize) -> &str {
    let (before, after) = text.split_at_checked(offset).unwrap_or((text, ""));
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let end = after.find('\n').map_or(text.len(), |at| offset + at);
    text.get(start..end).unwrap_or_default()
}
