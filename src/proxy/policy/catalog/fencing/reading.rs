//! Reading `fencing.tsv`: one line, and the words in its columns.

use super::{AnswerCheck, EntityKind, FenceRules, Fencing, Paging, Presence, RequestCheck, RowKey};

/// The operation of a line, and how it is kept inside a fence.
pub(super) fn parse_line(line: &str) -> Result<(&str, Fencing), &'static str> {
    let mut columns = line.split('\t');
    let mut column = || columns.next().filter(|text| !text.is_empty()).ok_or("fewer than 4 columns");
    let (operation, request, answer, reason) = (column()?, column()?, column()?, column()?.to_owned());
    let rules = match request {
        "closed" if answer == "-" => None,
        "closed" => return Err("what is closed has no answer"),
        _ => Some(FenceRules { request: parse_request(request)?, answer: parse_answer(answer)? }),
    };
    Ok((operation, Fencing { rules, reason }))
}

fn parse_request(text: &str) -> Result<Vec<RequestCheck>, &'static str> {
    if text == "-" {
        return Ok(Vec::new());
    }
    text.split(',').map(parse_check).collect()
}

fn parse_check(text: &str) -> Result<RequestCheck, &'static str> {
    let parts: Vec<_> = text.split(':').collect();
    Ok(match *parts.as_slice() {
        ["df"] => RequestCheck::DeviceFilter,
        ["path", kind, parameter] => {
            RequestCheck::Path { kind: EntityKind::parse(kind)?, parameter: parameter.to_owned() }
        }
        ["absent", pointer] => RequestCheck::BodyWithout { pointer: pointer.to_owned() },
        ["path-entity", word, id] => RequestCheck::PathEntity { word: word.to_owned(), id: id.to_owned() },
        ["query", kind, name, presence] => RequestCheck::Query {
            kind: EntityKind::parse(kind)?,
            name: name.to_owned(),
            presence: Presence::parse(presence)?,
        },
        ["body", kind, pointer, presence] => RequestCheck::Body {
            kind: EntityKind::parse(kind)?,
            pointer: pointer.to_owned(),
            presence: Some(Presence::parse(presence)?)
                .filter(|presence| *presence != Presence::Added)
                .ok_or("nothing is added to a body")?,
        },
        _ => return Err("unknown check of a request"),
    })
}

impl Presence {
    fn parse(word: &str) -> Result<Self, &'static str> {
        match word {
            "required" => Ok(Self::Required),
            "optional" => Ok(Self::Optional),
            "added" => Ok(Self::Added),
            _ => Err("required, optional or added"),
        }
    }
}

impl RowKey {
    fn parse(kind: &str, field: &str) -> Result<Self, &'static str> {
        Ok(Self { kind: EntityKind::parse(kind)?, field: field.to_owned() })
    }
}

fn parse_answer(text: &str) -> Result<AnswerCheck, &'static str> {
    let (text, paging) = match text.split_once('+') {
        None => (text, None),
        Some((text, "after")) => (text, Some(Paging::After)),
        Some((text, "cursor")) => (text, Some(Paging::Cursor)),
        Some((text, "older")) => (text, Some(Paging::Older)),
        Some(_) => return Err("unknown paging"),
    };
    let (text, at) = text.split_once('@').unwrap_or((text, ""));
    let parts: Vec<_> = text.split(':').collect();
    let at = at.to_owned();
    Ok(match *parts.as_slice() {
        ["empty"] => AnswerCheck::Empty,
        ["opaque"] => AnswerCheck::Opaque,
        ["object"] => AnswerCheck::Object { key: None },
        ["object", kind, field] => AnswerCheck::Object { key: Some(RowKey::parse(kind, field)?) },
        ["rows"] => AnswerCheck::Rows { at, key: None, paging },
        ["rows", kind, field] => AnswerCheck::Rows { at, key: Some(RowKey::parse(kind, field)?), paging },
        _ => return Err("unknown check of an answer"),
    })
}
