//! Pages under a fence: plain clients that read to the end get each row inside once, and nothing else.

use ninjaone_proxy::sandbox::marked_organizations;
use serde_json::Value;

use super::{Asker, Stand};

/// When a client takes a list to be at its end.
#[derive(Debug, Clone, Copy)]
enum End {
    EmptyPage,
    ShortPage,
    /// Or a place in the report that is not behind the last one.
    SameOffset,
}

/// How a client goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    After,
    Cursor,
    Older,
}

/// Lists with their ways, and the field of the rows.
const LISTS: [(&str, Way, &str); 12] = [
    ("/v2/devices", Way::After, ""),
    ("/v2/devices-detailed", Way::After, ""),
    ("/v2/organizations", Way::After, ""),
    ("/v2/organizations-detailed", Way::After, ""),
    ("/v2/locations", Way::After, ""),
    ("/v2/organization/3/devices", Way::After, ""),
    ("/v2/queries/device-health", Way::Cursor, "/results"),
    ("/v2/queries/software", Way::Cursor, "/results"),
    ("/v2/queries/operating-systems", Way::Cursor, "/results"),
    ("/v2/backup/jobs", Way::Cursor, "/results"),
    ("/v2/activities", Way::Older, "/activities"),
    ("/v2/device/5/activities", Way::Older, "/activities"),
];

/// Reads a list to its end. Each page has at most `size` rows.
fn read(stand: &Stand, asker: Asker, (list, way, at): (&str, Way, &str), size: usize, end: End) -> Vec<Value> {
    let mut rows: Vec<Value> = Vec::new();
    let (mut next, mut offset) = (String::new(), -1);
    for _ in 0..2000 {
        let target = match (way, next.as_str()) {
            (_, "") => format!("{list}?pageSize={size}"),
            (Way::After, next) => format!("{list}?pageSize={size}&after={next}"),
            (Way::Cursor, next) => format!("{list}?pageSize={size}&cursor={next}"),
            (Way::Older, next) => format!("{list}?pageSize={size}&olderThan={next}"),
        };
        let reply = stand.get(asker, &target);
        assert_eq!(reply.status, 200, "{target}: {reply:?}");
        let answer = reply.json();
        let page =
            answer.pointer(at).and_then(Value::as_array).cloned().unwrap_or_else(|| panic!("{target}: {answer}"));
        // Where the place is kept at NinjaOne, a page that was filled up ends with a page of NinjaOne's.
        let most = if way == Way::Cursor { 2 * size - 1 } else { size };
        assert!(page.len() <= most, "{target} has {} rows", page.len());
        let is_end = match end {
            End::EmptyPage => page.is_empty(),
            End::SameOffset if way == Way::Cursor => {
                let last = std::mem::replace(&mut offset, answer["cursor"]["offset"].as_i64().unwrap_or(0));
                page.is_empty() || offset <= last
            }
            End::SameOffset => page.is_empty(),
            End::ShortPage => page.len() < size,
        };
        next = match way {
            Way::Cursor => answer["cursor"]["name"].as_str().unwrap_or_default().to_owned(),
            Way::After | Way::Older => page.last().map(|row| row["id"].to_string()).unwrap_or_default(),
        };
        if !(is_end && matches!(end, End::SameOffset)) {
            rows.extend(page);
        }
        if is_end {
            return rows;
        }
    }
    panic!("{list} does not end");
}

/// The same without the times that go on.
fn comparable(rows: Vec<Value>) -> Vec<String> {
    rows.into_iter().map(|row| row.to_string()).collect()
}

fn check(stand: &Stand, leak: &str) {
    stand.leak(&format!("mode=marks{leak}"));
    for list in LISTS {
        let open = read(stand, Asker::Open, list, 1000, End::EmptyPage);
        let inside = |row: &Value| {
            let marked = marked_organizations(&row.to_string());
            !marked.is_empty() && marked.iter().all(|organization| super::INSIDE.contains(organization))
        };
        let own: Vec<_> = open.into_iter().filter(inside).collect();
        assert!(!own.is_empty(), "{list:?}");
        let own = comparable(own);
        for size in [1, 7, 50, 1000] {
            for end in [End::EmptyPage, End::ShortPage, End::SameOffset] {
                // A page of one row of hundreds takes long, and says no more than others.
                if size == 1 && own.len() > 50 {
                    continue;
                }
                let seen = comparable(read(stand, Asker::Wide, list, size, end));
                assert_eq!(seen.len(), own.len(), "{leak} {list:?} by {size} to {end:?}");
                assert!(seen == own, "{leak} {list:?} by {size} to {end:?}");
            }
        }
    }
}

#[test]
fn pages_have_each_row_inside_once() {
    check(&Stand::new(), "");
}

#[test]
fn pages_have_each_row_inside_once_though_filters_are_ignored() {
    check(&Stand::new(), ",ignore");
}

#[test]
fn pages_have_each_row_inside_once_though_others_are_mixed_in() {
    check(&Stand::new(), ",mix");
}

#[test]
fn pages_have_each_row_once_that_names_nothing_outside() {
    check(&Stand::new(), ",ignore,nested");
}
