//! The filter of one page of a list, which comes in pieces.

use serde::de::IgnoredAny;

use super::cursor::Cursor;
use super::error::{RowError, Unreadable};
use super::judge::{self, Verdict};
use super::scan::{MAX_DEPTH, Scan, TooDeep};
use super::{PageEnd, PageLimits, RowsCheck, count, is_blank};
use crate::proxy::fence::Inside;

/// Takes one page of NinjaOne's, in pieces of any size, and writes the rows that are inside.
///
/// It writes no brackets: one frame spans several pages, and is its owner's. After an error the page is over: what has
/// been written is whole rows, and nothing may follow.
#[derive(Debug)]
pub struct PageFilter {
    check: RowsCheck,
    limits: PageLimits,
    place: Place,
    /// The value at hand: where it begins, how far it has been scanned, and what earlier pieces had of it.
    start: u64,
    scan: Scan,
    held: Vec<u8>,
    /// How many bytes have been read.
    bytes: u64,
    /// The member at hand.
    member: Member,
    has_rows: bool,
    has_cursor: bool,
    end: PageEnd,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The bracket or brace that opens the answer.
    Start,
    /// A member's name, or the end of an object that has none.
    FirstName,
    Name,
    Colon,
    Member,
    AfterMember,
    /// The bracket that opens the array of the rows.
    Rows,
    /// A row, or the end of an array that has none.
    FirstRow,
    Row,
    AfterRow,
    /// Blanks.
    End,
    /// The rest of a value.
    In(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Name,
    Member,
    Row,
}

/// What a member of the answer is to the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Rows,
    Cursor,
    Other,
}

impl PageFilter {
    /// A filter of one page.
    pub fn new(check: RowsCheck, limits: PageLimits) -> Self {
        Self {
            check,
            limits,
            place: Place::Start,
            start: 0,
            scan: Scan::default(),
            held: Vec::new(),
            bytes: 0,
            member: Member::Other,
            has_rows: false,
            has_cursor: false,
            end: PageEnd { is_full: limits.max_rows == Some(0), ..PageEnd::default() },
        }
    }

    /// Takes the next piece of the page, and appends the rows that end in it and are inside.
    pub fn push(&mut self, chunk: &[u8], inside: &impl Inside, out: &mut Vec<u8>) -> Result<(), RowError> {
        let mut rest = chunk;
        while let Some(byte) = rest.first() {
            let length = if let Place::In(value) = self.place {
                self.read(value, rest, inside, out)?
            } else {
                self.place = self.next_place(self.place, *byte)?;
                usize::from(!matches!(self.place, Place::In(_)))
            };
            self.bytes += count(length);
            rest = rest.get(length..).unwrap_or_default();
        }
        Ok(())
    }

    /// Says what the page was. An error if it is not at its end.
    pub fn finish(self) -> Result<PageEnd, RowError> {
        if self.place != Place::End {
            return Err(RowError::Incomplete { bytes: self.bytes });
        }
        if self.has_rows { Ok(self.end) } else { Err(RowError::NoRows) }
    }

    /// What comes after this byte between two values; or the value that begins with it.
    fn next_place(&mut self, place: Place, byte: u8) -> Result<Place, RowError> {
        if is_blank(byte) {
            return Ok(place);
        }
        let is_array = self.check.at.is_empty();
        Ok(match (place, byte) {
            (Place::Start, b'[') if is_array => {
                self.has_rows = true;
                Place::FirstRow
            }
            (Place::Start, b'{') if !is_array => Place::FirstName,
            (Place::FirstName | Place::Name, b'"') => self.begin(Value::Name),
            (Place::Colon, b':') if self.member == Member::Rows => Place::Rows,
            (Place::Colon, b':') => Place::Member,
            (Place::Member, _) if begins_value(byte) => self.begin(Value::Member),
            (Place::AfterMember, b',') => Place::Name,
            (Place::FirstName | Place::AfterMember, b'}') => Place::End,
            (Place::Rows, b'[') => Place::FirstRow,
            (Place::FirstRow | Place::Row, _) if begins_value(byte) => self.begin(Value::Row),
            (Place::AfterRow, b',') => Place::Row,
            (Place::FirstRow | Place::AfterRow, b']') if is_array => Place::End,
            (Place::FirstRow | Place::AfterRow, b']') => Place::AfterMember,
            (Place::End, _) => return Err(RowError::TrailingData { at: self.bytes + 1 }),
            (place, _) => return Err(RowError::Unexpected { at: self.bytes + 1, wanted: place.wanted(is_array) }),
        })
    }

    fn begin(&mut self, value: Value) -> Place {
        self.start = self.bytes + 1;
        self.scan = Scan::default();
        Place::In(value)
    }

    /// Reads on in a value; how many of the bytes belong to it.
    fn read(&mut self, value: Value, rest: &[u8], inside: &impl Inside, out: &mut Vec<u8>) -> Result<usize, RowError> {
        let at = self.start;
        let end = self.scan.advance(rest).map_err(|TooDeep| RowError::TooDeep { at, limit: MAX_DEPTH })?;
        let part = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
        let limit = self.limits.row_bytes;
        if self.held.len() + part.len() > limit {
            return Err(RowError::TooLarge { at, limit });
        }
        if end.is_none() {
            self.held.extend_from_slice(part);
        } else if self.held.is_empty() {
            self.take(value, part, inside, out)?;
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(part);
            self.take(value, &held, inside, out)?;
            held.clear();
            self.held = held;
        }
        Ok(part.len())
    }

    /// Takes a whole value.
    fn take(&mut self, value: Value, bytes: &[u8], inside: &impl Inside, out: &mut Vec<u8>) -> Result<(), RowError> {
        self.place = match value {
            Value::Name => {
                self.member = self.member_of(bytes)?;
                Place::Colon
            }
            Value::Member => {
                self.take_member(bytes)?;
                Place::AfterMember
            }
            Value::Row => {
                self.take_row(bytes, inside, out)?;
                Place::AfterRow
            }
        };
        Ok(())
    }

    /// What a name says. Readers differ in which of two members of one name they take.
    fn member_of(&mut self, name: &[u8]) -> Result<Member, RowError> {
        let at = self.start;
        let name: String = serde_json::from_slice(name).map_err(|_| RowError::Malformed { at })?;
        if name == self.check.at {
            return match std::mem::replace(&mut self.has_rows, true) {
                false => Ok(Member::Rows),
                true => Err(RowError::RowsTwice { at }),
            };
        }
        if name != "cursor" {
            return Ok(Member::Other);
        }
        match std::mem::replace(&mut self.has_cursor, true) {
            false => Ok(Member::Cursor),
            true => Err(RowError::Cursor { at }),
        }
    }

    fn take_member(&mut self, value: &[u8]) -> Result<(), RowError> {
        let at = self.start;
        // First, since serde_json does not look at the UTF-8 of what it skips.
        let text = std::str::from_utf8(value).map_err(|_| RowError::Malformed { at })?;
        serde_json::from_str::<IgnoredAny>(text).map_err(|_| RowError::Malformed { at })?;
        if self.member == Member::Cursor {
            self.end.cursor = Cursor::read(text).map_err(|_| RowError::Cursor { at })?;
        }
        Ok(())
    }

    fn take_row(&mut self, row: &[u8], inside: &impl Inside, out: &mut Vec<u8>) -> Result<(), RowError> {
        let key = self.check.key.as_ref();
        let judgment = judge::judge(row, key, inside).ok_or(RowError::Malformed { at: self.start })?;
        let end = &mut self.end;
        end.seen += 1;
        end.last_id = judgment.id;
        match judgment.verdict {
            Verdict::Inside if end.is_full => end.withheld += 1,
            Verdict::Inside => {
                if self.limits.rows_before + end.kept > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(row);
                end.kept += 1;
                end.last_kept_id = judgment.id;
                end.is_full = self.limits.max_rows == Some(end.kept);
            }
            Verdict::Outside => end.outside += 1,
            Verdict::Unreadable(reason, field) => {
                end.unreadable += 1;
                let field = || field.or(key.map(|key| key.field.as_str())).unwrap_or_default().to_owned();
                end.first_unreadable.get_or_insert_with(|| Unreadable { reason, field: field() });
            }
        }
        Ok(())
    }
}

impl Place {
    /// What JSON or the catalog has here.
    fn wanted(self, is_array: bool) -> &'static str {
        match self {
            Self::Start if is_array => "the array of the rows",
            Self::Start => "an object with the rows",
            Self::FirstName => "a name in double quotes, or a closing brace,",
            Self::Name => "a name in double quotes",
            Self::Colon => "a colon",
            Self::AfterMember => "a comma or a closing brace",
            Self::Rows => "the array of the rows",
            Self::FirstRow => "a row, or a closing bracket,",
            Self::Row => "a row",
            Self::AfterRow => "a comma or a closing bracket",
            Self::Member | Self::In(_) => "a value",
            Self::End => "nothing",
        }
    }
}

/// Whether a value of JSON can begin with it.
fn begins_value(byte: u8) -> bool {
    matches!(byte, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')
}
