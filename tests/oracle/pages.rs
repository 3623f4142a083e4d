//! A page of a list, filtered a second time and plainly: read whole, looked at from outside, row by row. The measure of
//! what the filter of the fence lets pass.

#![allow(clippy::wildcard_enum_match_arm, reason = "of the kinds of JSON values, one or two matter in each place")]

use std::ops::Range;

use ninjaone_proxy::proxy::fence::rows::{PageEnd, PageFilter, PageLimits, RowsCheck};
use ninjaone_proxy::proxy::fence::{EntityId, Inside};
use ninjaone_proxy::proxy::policy::catalog::{EntityKind, RowKey};

/// Some organizations, devices and other things.
pub(crate) struct Few;

impl Inside for Few {
    fn contains(&self, kind: EntityKind, EntityId(id): EntityId) -> bool {
        match kind {
            EntityKind::Organization => id == 5 || id == 7,
            EntityKind::Device => (50..80).contains(&id),
            EntityKind::Alert | EntityKind::EndUserUid => id >> 124 == 0xa,
            EntityKind::Location
            | EntityKind::EndUser
            | EntityKind::Contact
            | EntityKind::Ticket
            | EntityKind::Document
            | EntityKind::Checklist
            | EntityKind::Article => (20..30).contains(&id),
        }
    }
}

/// Where the rows are, and whose they are: some of the kinds that the catalog has.
pub(crate) fn checks() -> Vec<RowsCheck> {
    let check = |at: &str, key: Option<(EntityKind, &str)>| RowsCheck {
        at: at.to_owned(),
        key: key.map(|(kind, field)| RowKey { kind, field: field.to_owned() }),
    };
    vec![
        check("", Some((EntityKind::Organization, "organizationId"))),
        check("results", Some((EntityKind::Device, "deviceId"))),
        check("", Some((EntityKind::Device, "id"))),
        check("", Some((EntityKind::Device, ""))),
        check("results", None),
        check("", Some((EntityKind::Alert, "uid"))),
        check("", Some((EntityKind::EndUser, "ownerId"))),
        check("devices", Some((EntityKind::Organization, "clientId"))),
    ]
}

/// Gives the document to the filter in pieces that end at the cuts, and fails where it says anything else than the plain
/// reading does. Returns what it says; `None` if the document is none.
pub(crate) fn hold(document: &[u8], check: &RowsCheck, limits: PageLimits, cuts: &[usize]) -> Option<PageEnd> {
    let mut written = Vec::new();
    let filtered = filter(document, check, limits, cuts, &mut written);
    let shown = String::from_utf8_lossy(document);
    match (plainly(document, check, limits), &filtered) {
        (None, None) => {}
        (Some(plain), Some(end)) => plain.compare(end, &written, &shown),
        (plain, filtered) => panic!("plainly {plain:?}, but {filtered:?}: {check:?} {shown}"),
    }
    // What is written before an error has passed, too.
    let frame = [b"[", written.strip_prefix(b",").unwrap_or(&written), b"]"].concat();
    let array = RowsCheck { at: String::new(), key: check.key.clone() };
    let again = plainly(&frame, &array, PageLimits { max_rows: None, rows_before: 0, ..limits });
    let again = again.unwrap_or_else(|| panic!("not rows are written: {shown}"));
    assert_eq!(again.kept.len(), again.rows.len(), "{shown}");
    filtered
}

fn filter(
    document: &[u8],
    check: &RowsCheck,
    limits: PageLimits,
    cuts: &[usize],
    written: &mut Vec<u8>,
) -> Option<PageEnd> {
    let mut filter = PageFilter::new(check.clone(), limits);
    let mut from = 0;
    for cut in cuts.iter().copied().chain([document.len()]) {
        let cut = cut.clamp(from, document.len());
        filter.push(&document[from..cut], &Few, written).ok()?;
        from = cut;
    }
    filter.finish().ok()
}

/// What a plain reading finds in a page.
#[derive(Debug)]
struct Plain {
    rows: Vec<Row>,
    /// The texts of the rows that are written.
    kept: Vec<String>,
    last_kept_id: Option<u64>,
    withheld: usize,
    is_full: bool,
    has_comma: bool,
    cursor: Option<(String, Option<f64>)>,
}

#[derive(Debug)]
struct Row {
    verdict: Verdict,
    id: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Verdict {
    outside: bool,
    unreadable: bool,
    /// Which of two fields of one name is looked at is nobody's business: the row is dropped.
    twice: bool,
}

impl Plain {
    fn compare(&self, end: &PageEnd, written: &[u8], shown: &str) {
        let comma = if self.has_comma && !self.kept.is_empty() { "," } else { "" };
        assert_eq!(String::from_utf8_lossy(written), format!("{comma}{}", self.kept.join(",")), "{shown}");
        let count = |matches: fn(&Verdict) -> bool| self.rows.iter().filter(|row| matches(&row.verdict)).count() as u64;
        assert_eq!(end.seen, self.rows.len() as u64, "{shown}");
        assert_eq!((end.kept, end.withheld), (self.kept.len() as u64, self.withheld as u64), "{shown}");
        assert_eq!(end.outside + end.unreadable, count(|v| v.outside || v.unreadable || v.twice), "{shown}");
        if count(|verdict| verdict.twice) == 0 {
            assert_eq!(end.outside, count(|verdict| verdict.outside), "{shown}");
        }
        assert_eq!(end.first_unreadable.is_some(), end.unreadable > 0, "{shown}");
        assert_eq!(end.last_id, self.rows.last().and_then(|row| row.id), "{shown}");
        assert_eq!((end.last_kept_id, end.is_full), (self.last_kept_id, self.is_full), "{shown}");
        let cursor = end.cursor.as_ref();
        let cursor = cursor.map(|cursor| (cursor.name.clone(), cursor.expires.as_ref().and_then(|n| n.as_f64())));
        assert_eq!(cursor, self.cursor, "{shown}");
    }
}

/// Filters a page; `None` if it is not one.
fn plainly(document: &[u8], check: &RowsCheck, limits: PageLimits) -> Option<Plain> {
    let text = std::str::from_utf8(document).ok()?;
    let root = Reader { text, at: 0, depth: 0 }.document()?;
    let (rows, cursor) = if check.at.is_empty() { (root.array()?, None) } else { frame(&root, check, limits)? };
    let limit = limits.max_rows.map_or(usize::MAX, |most| most as usize);
    let mut plain = Plain {
        rows: Vec::new(),
        kept: Vec::new(),
        last_kept_id: None,
        withheld: 0,
        is_full: limit == 0,
        has_comma: limits.rows_before > 0,
        cursor,
    };
    for row in rows {
        if row.is_unfit() || row.depth() > 64 || row.span.len() > limits.row_bytes {
            return None;
        }
        let (verdict, id) = judge(row, check.key.as_ref());
        if verdict != Verdict::default() {
        } else if plain.kept.len() == limit {
            plain.withheld += 1;
        } else {
            plain.kept.push(text[row.span.clone()].to_owned());
            plain.last_kept_id = id;
            plain.is_full = plain.kept.len() == limit;
        }
        plain.rows.push(Row { verdict, id });
    }
    Some(plain)
}

type Frame<'a> = (&'a [Node], Option<(String, Option<f64>)>);

fn frame<'a>(root: &'a Node, check: &RowsCheck, limits: PageLimits) -> Option<Frame<'a>> {
    let members = root.object()?;
    for (name, value) in members {
        if name.lone || name.span.len() > limits.row_bytes {
            return None;
        }
        if name.text != check.at && (value.depth() > 64 || value.span.len() > limits.row_bytes) {
            return None;
        }
    }
    let named = |name: &str| members.iter().filter(|(own, _)| own.text == name).collect::<Vec<_>>();
    let [(_, rows)] = named(&check.at)[..] else { return None };
    let cursor = match named("cursor")[..] {
        [] => None,
        [(_, value)] => cursor(value)?,
        _ => return None,
    };
    Some((rows.array()?, cursor))
}

/// The name and the end of a cursor, if it has a name; `None` if it cannot be used.
#[allow(clippy::option_option, reason = "none at all, and one that cannot be used")]
fn cursor(value: &Node) -> Option<Option<(String, Option<f64>)>> {
    if matches!(value.value, Value::Null) {
        return Some(None);
    }
    let members = value.object()?;
    let named = |name: &str| members.iter().filter(|(own, _)| own.text == name).collect::<Vec<_>>();
    let (names, ends) = (named("name"), named("expires"));
    if members.iter().any(|(name, _)| name.lone) || names.len() > 1 || ends.len() > 1 {
        return None;
    }
    let expires = match ends.first() {
        Some((_, end)) if end.is_unfit() => return None,
        Some((_, Node { value: Value::Number(number), .. })) => number.parse().ok(),
        _ => None,
    };
    match names.first().map(|(_, name)| &name.value) {
        None | Some(Value::Null) => Some(None),
        Some(Value::Text(name)) => {
            let usable = name.text.chars().all(|c| ('!'..='~').contains(&c) && c != '"' && c != '\\');
            let usable = usable && !name.lone && !name.text.is_empty() && name.text.len() <= 256;
            usable.then(|| Some((name.text.clone(), expires)))
        }
        Some(_) => None,
    }
}

/// Judges a row by its key and by all that it names.
fn judge(row: &Node, key: Option<&RowKey>) -> (Verdict, Option<u64>) {
    let mut verdict = Verdict::default();
    look(row, &mut verdict);
    let own = |name: &str| match &row.value {
        Value::Object(members) => members.iter().filter(|(own, _)| own.text == name).map(|(_, value)| value).collect(),
        _ => Vec::new(),
    };
    let mut id = own("id").last().and_then(|value| value.number());
    if let Some(key) = key {
        let values = if key.field.is_empty() { vec![row] } else { own(&key.field) };
        if key.field.is_empty() {
            id = row.number();
        }
        let is_uuid = matches!(key.kind, EntityKind::Alert | EntityKind::EndUserUid);
        match values[..] {
            [value] => match if is_uuid { value.uuid() } else { value.id() } {
                Some(id) => verdict.outside |= !Few.contains(key.kind, EntityId(id)),
                None => verdict.unreadable = true,
            },
            [] => verdict.unreadable = true,
            [..] => verdict.twice = true,
        }
    }
    (verdict, id)
}

const ONE_ORGANIZATION: &str = "organizationId orgId clientId licenseeOrganizationId destinationOrganizationId \
     sourceOrganizationId targetOrganizationId parentOrganizationId";
const ONE_DEVICE: &str = "deviceId nodeId parentDeviceId parentNodeId sourceDeviceId targetDeviceId";
const ORGANIZATIONS: &str = "organizationIds orgIds clientIds";
const DEVICES: &str = "deviceIds nodeIds assignedDeviceIds accessibleDeviceIds";
const ORGANIZATION_ITSELF: &str = "organization organizations org client clients";
const DEVICE_ITSELF: &str = "device devices node nodes parentDevice";
const PAIRS: [(&str, &str); 7] = [
    ("entityId", "entityType scope type"),
    ("entityIds", "entityType type"),
    ("relEntityId", "relEntityType"),
    ("sourceEntityId", "sourceEntityType"),
    ("targetEntityId", "targetEntityType"),
    ("licenseeId", "licenseeType"),
    ("id", "type"),
];

fn has(names: &str, name: &str) -> bool {
    names.split_whitespace().any(|own| own == name)
}

/// Looks through a value for what it names.
fn look(node: &Node, verdict: &mut Verdict) {
    match &node.value {
        Value::Array(elements) => elements.iter().for_each(|element| look(element, verdict)),
        Value::Object(members) => {
            for (name, value) in members {
                look(value, verdict);
                member(&name.text, value, verdict);
                let is_listed =
                    [ONE_ORGANIZATION, ONE_DEVICE, ORGANIZATIONS, DEVICES, ORGANIZATION_ITSELF, DEVICE_ITSELF]
                        .iter()
                        .any(|names| has(names, &name.text))
                        || PAIRS.iter().any(|(id, words)| name.text == *id || has(words, &name.text));
                verdict.twice |= is_listed && members.iter().filter(|(own, _)| own.text == name.text).count() > 1;
            }
            PAIRS.iter().for_each(|(id, words)| pair(members, id, words, verdict));
        }
        _ => {}
    }
}

fn member(name: &str, value: &Node, verdict: &mut Verdict) {
    use EntityKind::{Device, Organization};
    let kind = if has(ONE_ORGANIZATION, name) || has(ORGANIZATIONS, name) || has(ORGANIZATION_ITSELF, name) {
        Organization
    } else {
        Device
    };
    if has(ORGANIZATION_ITSELF, name) || has(DEVICE_ITSELF, name) {
        thing(value, kind, verdict);
    } else if has(ORGANIZATIONS, name) || has(DEVICES, name) {
        match &value.value {
            Value::Array(elements) => elements.iter().for_each(|element| one(element, kind, verdict)),
            _ => one(value, kind, verdict),
        }
    } else if has(ONE_ORGANIZATION, name) || has(ONE_DEVICE, name) {
        one(value, kind, verdict);
    }
}

fn one(value: &Node, kind: EntityKind, verdict: &mut Verdict) {
    match value.id() {
        Some(id) => verdict.outside |= !Few.contains(kind, EntityId(id)),
        None => verdict.unreadable |= !matches!(value.value, Value::Null),
    }
}

fn thing(value: &Node, kind: EntityKind, verdict: &mut Verdict) {
    match &value.value {
        Value::Array(elements) => elements.iter().for_each(|element| thing(element, kind, verdict)),
        Value::Object(members) => match members.iter().rfind(|(name, _)| name.text == "id") {
            Some((_, id)) if !matches!(id.value, Value::Null) => one(id, kind, verdict),
            _ => verdict.unreadable = true,
        },
        Value::Text(text) => {
            let trimmed = text.text.trim();
            let digits = (1..20).contains(&trimmed.len()) && trimmed.chars().all(|c| c.is_ascii_digit());
            verdict.unreadable |= digits || uuid(trimmed).is_some();
        }
        _ => one(value, kind, verdict),
    }
}

fn pair(members: &[(Text, Node)], field: &str, words: &str, verdict: &mut Verdict) {
    let Some((_, value)) = members.iter().rfind(|(name, value)| name.text == field && !value.is_null()) else { return };
    let spoken = members.iter().filter(|(name, _)| has(words, &name.text)).filter_map(|(_, word)| match &word.value {
        Value::Text(word) => Some(word.text.as_str()),
        _ => None,
    });
    let spoken: Vec<_> = spoken.collect();
    let mut kinds: Vec<_> = spoken.iter().filter_map(|word| EntityKind::of_entity_type(word)).collect();
    if field == "id" {
        kinds.retain(|kind| matches!(kind, EntityKind::Organization | EntityKind::Device));
    }
    const NOBODYS: &str = "NODE_ROLE SYSTEM TECHNICIAN ATTACHMENT CREDENTIAL SOFTWARE_LICENSE POLICY VALUE";
    let is_bare = field == "id" || field == "licenseeId";
    verdict.unreadable |= !is_bare && kinds.is_empty() && !spoken.iter().any(|word| has(NOBODYS, word));
    let values: Vec<&Node> = match &value.value {
        Value::Array(elements) if field == "entityIds" => {
            elements.iter().filter(|element| !element.is_null()).collect()
        }
        _ => vec![value],
    };
    if values.iter().any(|value| value.id().is_none()) {
        verdict.unreadable |= !kinds.is_empty();
        return;
    }
    for kind in kinds {
        values.iter().for_each(|value| one(value, kind, verdict));
    }
}

/// A value, and where it is.
#[derive(Debug)]
struct Node {
    span: Range<usize>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Null,
    Boolean,
    Number(String),
    Text(Text),
    Array(Vec<Node>),
    Object(Vec<(Text, Node)>),
}

#[derive(Debug)]
struct Text {
    span: Range<usize>,
    text: String,
    /// Whether it has half of a surrogate pair, which serde_json reads only where it skips it.
    lone: bool,
}

impl Node {
    fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    fn array(&self) -> Option<&[Self]> {
        if let Value::Array(elements) = &self.value { Some(elements) } else { None }
    }

    fn object(&self) -> Option<&[(Text, Self)]> {
        if let Value::Object(members) = &self.value { Some(members) } else { None }
    }

    fn number(&self) -> Option<u64> {
        match &self.value {
            Value::Number(digits) if digits.chars().all(|c| c.is_ascii_digit()) => digits.parse().ok(),
            _ => None,
        }
    }

    fn id(&self) -> Option<u128> {
        self.number().filter(|number| *number > 0 && *number <= 9_007_199_254_740_991).map(u128::from)
    }

    fn uuid(&self) -> Option<u128> {
        if let Value::Text(text) = &self.value { uuid(&text.text) } else { None }
    }

    fn depth(&self) -> usize {
        match &self.value {
            Value::Array(elements) => 1 + elements.iter().map(Self::depth).max().unwrap_or_default(),
            Value::Object(members) => 1 + members.iter().map(|(_, value)| value.depth()).max().unwrap_or_default(),
            _ => 0,
        }
    }

    /// Whether serde_json does not read it, though it is JSON.
    fn is_unfit(&self) -> bool {
        match &self.value {
            Value::Null | Value::Boolean => false,
            Value::Number(number) => number.parse().is_ok_and(f64::is_infinite),
            Value::Text(text) => text.lone,
            Value::Array(elements) => elements.iter().any(Self::is_unfit),
            Value::Object(members) => members.iter().any(|(name, value)| name.lone || value.is_unfit()),
        }
    }
}

fn uuid(text: &str) -> Option<u128> {
    let parts: Vec<_> = text.split('-').collect();
    let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
    let is_hex = text.chars().all(|c| c == '-' || c.is_ascii_hexdigit());
    (is_hex && lengths == [8, 4, 4, 4, 12]).then(|| u128::from_str_radix(&parts.concat(), 16).ok())?
}

/// RFC 8259, by its grammar.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn document(mut self) -> Option<Node> {
        let root = self.value()?;
        self.blanks();
        (self.at == self.text.len()).then_some(root)
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let is_there = self.peek() == Some(wanted);
        self.at += if is_there { wanted.len_utf8() } else { 0 };
        is_there
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Option<Node> {
        self.blanks();
        let from = self.at;
        // A row is deeper than it may be long before that, and the stack is not endless.
        self.depth += 1;
        if self.depth > 200 {
            return None;
        }
        let value = match self.peek()? {
            '{' => Value::Object(self.members()?),
            '[' => Value::Array(self.elements()?),
            '"' => Value::Text(self.string()?),
            '-' | '0'..='9' => Value::Number(self.digits()?),
            _ => self.word()?,
        };
        self.depth -= 1;
        Some(Node { span: from..self.at, value })
    }

    fn word(&mut self) -> Option<Value> {
        for (word, value) in [("null", Value::Null), ("true", Value::Boolean), ("false", Value::Boolean)] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Some(value);
            }
        }
        None
    }

    fn elements(&mut self) -> Option<Vec<Node>> {
        self.eat('[');
        self.blanks();
        let mut elements = Vec::new();
        if self.eat(']') {
            return Some(elements);
        }
        loop {
            elements.push(self.value()?);
            self.blanks();
            if self.eat(']') {
                return Some(elements);
            }
            self.eat(',').then_some(())?;
        }
    }

    fn members(&mut self) -> Option<Vec<(Text, Node)>> {
        self.eat('{');
        self.blanks();
        let mut members = Vec::new();
        if self.eat('}') {
            return Some(members);
        }
        loop {
            self.blanks();
            let name = self.string()?;
            self.blanks();
            self.eat(':').then_some(())?;
            members.push((name, self.value()?));
            self.blanks();
            if self.eat('}') {
                return Some(members);
            }
            self.eat(',').then_some(())?;
        }
    }

    fn digits(&mut self) -> Option<String> {
        let from = self.at;
        let run = |reader: &mut Self| {
            let from = reader.at;
            while matches!(reader.peek(), Some('0'..='9')) {
                reader.at += 1;
            }
            (reader.at > from).then_some(())
        };
        self.eat('-');
        if !self.eat('0') {
            run(self)?;
        }
        if self.eat('.') {
            run(self)?;
        }
        if self.eat('e') || self.eat('E') {
            let _ = self.eat('+') || self.eat('-');
            run(self)?;
        }
        Some(self.text[from..self.at].to_owned())
    }

    fn string(&mut self) -> Option<Text> {
        let from = self.at;
        self.eat('"').then_some(())?;
        let mut units: Vec<u16> = Vec::new();
        loop {
            match self.next()? {
                '"' => break,
                '\\' => units.push(self.escape()?),
                control if control < ' ' => return None,
                other => units.extend_from_slice(other.encode_utf16(&mut [0; 2])),
            }
        }
        let text = String::from_utf16(&units);
        let lone = text.is_err();
        Some(Text { span: from..self.at, text: text.unwrap_or_else(|_| String::from_utf16_lossy(&units)), lone })
    }

    fn escape(&mut self) -> Option<u16> {
        Some(match self.next()? {
            same @ ('"' | '\\' | '/') => same as u16,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'u' => {
                let digits = self.text.get(self.at..self.at + 4)?;
                self.at += 4;
                digits.chars().all(|c| c.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())??
            }
            _ => return None,
        })
    }
}
