//! Pages of lists: after the last id, by a cursor, or back in time.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::fleet::InventedThing;
use super::query::QueryParameters;

/// NinjaOne's limit on rows of a report page.
const MAX_ROWS: usize = 10_000;

/// The subjects after the id `after`, at most `pageSize` of them; all of them without these parameters.
pub(super) fn after<'a>(
    subjects: Vec<InventedThing<'a>>,
    query: &QueryParameters,
    parameter: &str,
) -> Vec<InventedThing<'a>> {
    let last = query.number(parameter).unwrap_or(0);
    let rest = subjects.into_iter().filter(|subject| u64::from(subject.id) > last);
    rest.take(size(query).unwrap_or(MAX_ROWS)).collect()
}

/// Activities between `newerThan` and `olderThan`, the newest first.
pub(super) fn back_in_time<'a>(
    mut subjects: Vec<InventedThing<'a>>,
    query: &QueryParameters,
) -> Vec<InventedThing<'a>> {
    let older = query.number("olderThan").unwrap_or(u64::MAX);
    let newer = query.number("newerThan").unwrap_or(0);
    subjects.retain(|subject| u64::from(subject.id) < older && u64::from(subject.id) > newer);
    if query.get("newerThan").is_none() || query.get("olderThan").is_some() {
        subjects.reverse();
    }
    subjects.truncate(size(query).unwrap_or(200).min(1000));
    subjects
}

fn size(query: &QueryParameters) -> Option<usize> {
    query.number("pageSize").map(|size| (size as usize).clamp(1, MAX_ROWS))
}

/// How many cursors are kept; the oldest one gives way.
const MAX_CURSORS: usize = 256;
/// How long a cursor may be used, in seconds.
const LIFETIME: u64 = 600;

/// Where the readers of reports are. As at NinjaOne, the state lies here: a cursor keeps its name, and each read with it
/// moves it on. So a read that is repeated skips a page.
#[derive(Debug, Default)]
pub(super) struct Cursors(Mutex<VecDeque<Cursor>>);

#[derive(Debug, Clone)]
struct Cursor {
    name: String,
    offset: usize,
    size: usize,
    filter: String,
    expires: u64,
}

/// A page of a report that is to be given.
#[derive(Debug, Clone)]
pub(super) struct ReportPage {
    name: String,
    offset: usize,
    size: usize,
    expires: u64,
    /// The `df` of the first request.
    pub(super) filter: String,
}

impl Cursors {
    /// The page that the query asks for, at this time in seconds; `None` for a cursor that is not known, or not any more.
    pub(super) fn next(&self, query: &QueryParameters, now: u64) -> Option<ReportPage> {
        let mut cursors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cursors.retain(|cursor| cursor.expires > now);
        let mut cursor = match query.get("cursor").filter(|name| !name.is_empty()) {
            Some(name) => {
                let place = cursors.iter().position(|cursor| cursor.name == name)?;
                cursors.remove(place)?
            }
            None => Cursor {
                name: format!("{:032x}", fastrand::u128(..)),
                offset: 0,
                size: MAX_ROWS,
                filter: query.get("df").unwrap_or_default().to_owned(),
                expires: 0,
            },
        };
        cursor.size = size(query).unwrap_or(cursor.size);
        cursor.expires = now + LIFETIME;
        let Cursor { name, offset, size, filter, expires } = cursor.clone();
        cursor.offset = offset.saturating_add(size);
        if cursors.len() >= MAX_CURSORS {
            cursors.pop_front();
        }
        cursors.push_back(cursor);
        Some(ReportPage { name, offset, size, expires, filter })
    }
}

impl ReportPage {
    /// The page of `rows`, and its cursor object: its offset is that of the first row, or the end of all.
    pub(super) fn cut(self, rows: Vec<InventedThing<'_>>) -> (Vec<InventedThing<'_>>, Value) {
        let offset = self.offset.min(rows.len());
        let page: Vec<_> = rows.into_iter().skip(offset).take(self.size).collect();
        let cursor =
            json!({ "name": self.name, "offset": offset, "count": page.len(), "expires": self.expires as f64 });
        (page, cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::fleet::IdList;
    use crate::sandbox::homes::Fleet;

    static FLEET: Fleet = Fleet::new();

    fn activities() -> Vec<InventedThing<'static>> {
        FLEET.things(IdList::Activity).collect()
    }

    fn ids(subjects: &[InventedThing<'_>]) -> Vec<u32> {
        subjects.iter().map(|subject| subject.id).collect()
    }

    #[test]
    fn cursor_walks_all_rows_once_and_keeps_its_name_while_its_offset_advances() {
        let cursors = Cursors::default();
        let mut query = QueryParameters::parse("pageSize=7&df=org%3D1");
        let (mut seen, mut names) = (Vec::new(), Vec::new());
        loop {
            let page = cursors.next(&query, 0).expect("own cursor");
            assert_eq!(page.filter, "org=1");
            let (page, state) = page.cut(activities());
            assert_eq!(state["offset"], seen.len());
            names.push(state["name"].as_str().expect("a name").to_owned());
            query = QueryParameters::parse(&format!("cursor={}", names[0]));
            if page.is_empty() {
                break;
            }
            seen.extend(ids(&page));
        }
        assert_eq!(seen, ids(&activities()));
        names.dedup();
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn cursor_of_another_server_an_old_one_and_one_too_many_are_refused() {
        let cursors = Cursors::default();
        assert!(cursors.next(&QueryParameters::parse("cursor=nonsense"), 0).is_none());
        let first = cursors.next(&QueryParameters::parse(""), 0).expect("a page").name;
        let first = QueryParameters::parse(&format!("cursor={first}"));
        assert!(cursors.next(&first, LIFETIME - 1).is_some());
        assert!(cursors.next(&first, 2 * LIFETIME).is_none());
        let second = cursors.next(&QueryParameters::parse(""), 0).expect("a page").name;
        for _ in 0..MAX_CURSORS {
            cursors.next(&QueryParameters::parse(""), 0).expect("a page");
        }
        assert!(cursors.next(&QueryParameters::parse(&format!("cursor={second}")), 0).is_none());
        assert_eq!(cursors.0.lock().expect("a lock").len(), MAX_CURSORS);
    }

    #[test]
    fn activities_come_newest_first_and_go_back_in_time() {
        let first = back_in_time(activities(), &QueryParameters::parse("pageSize=3"));
        assert_eq!(ids(&first), [600, 599, 598]);
        let second = back_in_time(activities(), &QueryParameters::parse("pageSize=3&olderThan=598"));
        assert_eq!(ids(&second), [597, 596, 595]);
        assert_eq!(ids(&back_in_time(activities(), &QueryParameters::parse("newerThan=598"))), [599, 600]);
    }
}
