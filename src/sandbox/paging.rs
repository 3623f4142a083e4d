//! Pages of lists: after the last id, by a cursor that carries all its state, or back in time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::fleet::Subject;
use super::query::Query;

/// NinjaOne's limit on rows of a report page.
const MAX_ROWS: usize = 10_000;

/// The subjects after the id `after`, at most `pageSize` of them; all of them without these parameters.
pub(super) fn after(subjects: Vec<Subject>, query: &Query, parameter: &str) -> Vec<Subject> {
    let last = query.number(parameter).unwrap_or(0);
    let rest = subjects.into_iter().filter(|subject| u64::from(subject.id) > last);
    rest.take(size(query).unwrap_or(MAX_ROWS)).collect()
}

/// Activities between `newerThan` and `olderThan`, the newest first.
pub(super) fn back_in_time(mut subjects: Vec<Subject>, query: &Query) -> Vec<Subject> {
    let older = query.number("olderThan").unwrap_or(u64::MAX);
    let newer = query.number("newerThan").unwrap_or(0);
    subjects.retain(|subject| u64::from(subject.id) < older && u64::from(subject.id) > newer);
    if query.get("newerThan").is_none() || query.get("olderThan").is_some() {
        subjects.reverse();
    }
    subjects.truncate(size(query).unwrap_or(200).min(1000));
    subjects
}

fn size(query: &Query) -> Option<usize> {
    query.number("pageSize").map(|size| (size as usize).clamp(1, MAX_ROWS))
}

/// A page of a report. Its name holds where the next page starts and what the first request asked for, so
/// that a reader may send the name alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    offset: usize,
    size: usize,
    /// The `df` of the first request.
    pub(super) filter: String,
}

impl Cursor {
    /// The page that the query asks for; `None` for a cursor that this sandbox did not write.
    pub(super) fn of(query: &Query) -> Option<Self> {
        let filter = query.get("df").unwrap_or_default().to_owned();
        let cursor = match query.get("cursor").filter(|name| !name.is_empty()) {
            Some(name) => Self::parse(name)?,
            None => Self { offset: 0, size: MAX_ROWS, filter },
        };
        Some(Self { size: size(query).unwrap_or(cursor.size), ..cursor })
    }

    fn parse(name: &str) -> Option<Self> {
        let state = String::from_utf8(URL_SAFE_NO_PAD.decode(name).ok()?).ok()?;
        let mut parts = state.splitn(3, ' ');
        let mut number = || parts.next()?.parse().ok();
        let (offset, size) = (number()?, number()?);
        Some(Self { offset, size, filter: parts.next()?.to_owned() })
    }

    fn name(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{} {} {}", self.offset, self.size, self.filter))
    }

    /// The page of `rows`, and the cursor object beside it. The page after the last one is empty and its
    /// cursor has no name, so that readers that stop on either end.
    pub(super) fn cut(self, rows: Vec<Subject>, now: u64) -> (Vec<Subject>, Value) {
        let page: Vec<_> = rows.into_iter().skip(self.offset).take(self.size).collect();
        let expires = (now + 600) as f64;
        if page.is_empty() {
            return (page, json!({ "offset": self.offset, "count": 0, "expires": expires }));
        }
        let next = Self { offset: self.offset + page.len(), filter: self.filter, ..self };
        let cursor = json!({ "name": next.name(), "offset": self.offset, "count": page.len(), "expires": expires });
        (page, cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::fleet::Kind;

    fn activities() -> Vec<Subject> {
        Kind::Activity.ids().map(|id| Subject::new(Kind::Activity, id)).collect()
    }

    fn ids(subjects: &[Subject]) -> Vec<u32> {
        subjects.iter().map(|subject| subject.id).collect()
    }

    #[test]
    fn cursor_walks_all_rows_once_by_its_name_alone() {
        let mut query = Query::parse("pageSize=7&df=org%3D1");
        let mut seen = Vec::new();
        loop {
            let cursor = Cursor::of(&query).expect("own cursor");
            assert_eq!(cursor.filter, "org=1");
            let (page, state) = cursor.cut(activities(), 0);
            seen.extend(ids(&page));
            let Some(name) = state.get("name").and_then(Value::as_str) else { break };
            query = Query::parse(&format!("cursor={name}"));
        }
        assert_eq!(seen, ids(&activities()));
    }

    #[test]
    fn cursor_of_another_server_is_refused() {
        assert_eq!(Cursor::of(&Query::parse("cursor=nonsense")), None);
    }

    #[test]
    fn activities_come_newest_first_and_go_back_in_time() {
        let first = back_in_time(activities(), &Query::parse("pageSize=3"));
        assert_eq!(ids(&first), [600, 599, 598]);
        let second = back_in_time(activities(), &Query::parse("pageSize=3&olderThan=598"));
        assert_eq!(ids(&second), [597, 596, 595]);
        assert_eq!(ids(&back_in_time(activities(), &Query::parse("newerThan=598"))), [599, 600]);
    }
}
