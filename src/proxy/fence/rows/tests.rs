//! What becomes of rows and pages.

use super::*;
use crate::proxy::fence::EntityId;
use crate::proxy::policy::catalog::EntityKind;

/// Organizations 5 and 7, the devices from 50 to 79, and other things.
struct Few;

impl Inside for Few {
    fn contains(&self, kind: EntityKind, EntityId(id): EntityId) -> bool {
        match kind {
            EntityKind::Organization => matches!(id, 5 | 7),
            EntityKind::Device => (50..80).contains(&id),
            EntityKind::EndUserUid | EntityKind::Alert => id >> 124 == 0xa,
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

const LIMITS: PageLimits = PageLimits { row_bytes: 1 << 20, max_rows: None, rows_before: 0 };

fn key(kind: EntityKind, field: &str) -> RowKey {
    RowKey { kind, field: field.to_owned() }
}

fn check(at: &str, key: Option<RowKey>) -> RowsCheck {
    RowsCheck { at: at.to_owned(), key }
}

fn by_organization() -> RowsCheck {
    check("", Some(key(EntityKind::Organization, "organizationId")))
}

fn report() -> RowsCheck {
    check("results", Some(key(EntityKind::Device, "deviceId")))
}

fn filter<P: AsRef<[u8]>>(
    check: RowsCheck,
    limits: PageLimits,
    pieces: impl IntoIterator<Item = P>,
) -> Result<(String, PageEnd), RowError> {
    let mut filter = PageFilter::new(check, limits);
    let mut out = Vec::new();
    for piece in pieces {
        filter.push(piece.as_ref(), &Few, &mut out)?;
    }
    Ok((String::from_utf8(out).expect("UTF-8"), filter.finish()?))
}

fn whole(check: RowsCheck, page: impl AsRef<[u8]>) -> Result<(String, PageEnd), RowError> {
    filter(check, LIMITS, [page])
}

/// What becomes of one row: kept, outside, or unreadable and why.
fn fate(key: Option<RowKey>, row: &str) -> String {
    let (written, end) = whole(check("", key), format!("[{row}]")).expect(row);
    match (end.kept, end.outside, end.first_unreadable) {
        (1, 0, None) => {
            assert_eq!(written, row);
            "kept".to_owned()
        }
        (0, 1, None) => "outside".to_owned(),
        (0, 0, Some(unreadable)) => unreadable.to_string(),
        (kept, outside, unreadable) => panic!("{row}: {kept} {outside} {unreadable:?}"),
    }
}

#[test]
fn rows_outside_are_dropped() {
    let page = r#"[{"id":1,"organizationId":5}, {"id":2,"organizationId":6},{"id":3,"organizationId":7 }]"#;
    let (written, end) = whole(by_organization(), page).expect("a page");
    assert_eq!(written, r#"{"id":1,"organizationId":5},{"id":3,"organizationId":7 }"#);
    assert_eq!((end.seen, end.kept, end.outside, end.unreadable), (3, 2, 1, 0));
    assert_eq!((end.last_id, end.last_kept_id, end.cursor), (Some(3), Some(3), None));
}

#[test]
fn a_row_passes_byte_for_byte() {
    let row = "{ \"name\" : \"\\u00e4 \u{e4}\\/\" ,\n\"organizationId\":5,\t\"size\":1.50E+2 }";
    let (written, _) = whole(by_organization(), format!(" [\r\n{row} ] ")).expect("a page");
    assert_eq!(written, row);
}

#[test]
fn a_row_without_a_readable_key_is_dropped() {
    for (row, outcome) in [
        (r#"{"organizationId":5}"#, "kept"),
        (r#"{"organization\u0049d":5}"#, "kept"),
        (r#"{"organizationId":6}"#, "outside"),
        (r#"{"organization\u0049d":6}"#, "outside"),
        (r#"{"organizationId":9007199254740991}"#, "outside"),
        ("{}", "\"organizationId\" is missing"),
        (r#"{"OrganizationId":5}"#, "\"organizationId\" is missing"),
        (r#"{"organizationId ":5}"#, "\"organizationId\" is missing"),
        (r#"{"data":{"organizationId":5}}"#, "\"organizationId\" is missing"),
        (r#"["organizationId",5]"#, "\"organizationId\" is missing"),
        ("5", "\"organizationId\" is missing"),
        (r#"{"organizationId":null}"#, "\"organizationId\" is not an id"),
        (r#"{"organizationId":"5"}"#, "\"organizationId\" is not an id"),
        (r#"{"organizationId":5.0}"#, "\"organizationId\" is not an id"),
        (r#"{"organizationId":5e0}"#, "\"organizationId\" is not an id"),
        (r#"{"organizationId":-5}"#, "\"organizationId\" is not an id"),
        (r#"{"organizationId":0}"#, "\"organizationId\" is not an id"),
        (r#"{"organizationId":-0}"#, "\"organizationId\" is not an id"),
        (r#"{"organizationId":9007199254740992}"#, "\"organizationId\" is not an id"),
        (r#"{"organizationId":18446744073709551621}"#, "\"organizationId\" is not an id"),
        (r#"{"organizationId":true}"#, "\"organizationId\" is not an id"),
        (r#"{"organizationId":[5]}"#, "\"organizationId\" is not an id"),
        (r#"{"organizationId":{"id":5}}"#, "\"organizationId\" is not an id"),
        (r#"{"organizationId":5,"organizationId":5}"#, "\"organizationId\" is in one object twice"),
        (r#"{"organizationId":5,"organization\u0049d":5}"#, "\"organizationId\" is in one object twice"),
        (r#"{"organizationId":5,"organizationId":6}"#, "outside"),
        (r#"{"organizationId":6,"organizationId":5}"#, "outside"),
    ] {
        assert_eq!(fate(by_organization().key, row), outcome, "{row}");
    }
}

#[test]
fn a_reference_outside_at_any_depth_drops_the_row() {
    for (member, outcome) in [
        (r#""organizationId":7"#, "kept"),
        (r#""organizationId":null"#, "kept"),
        (r#""deviceId":49"#, "outside"),
        (r#""a":[{"b":{"c":[[{"nodeId":80}]]}}]"#, "outside"),
        (r#""a":[{"b":{"c":[[{"nodeId":79}]]}}]"#, "kept"),
        (r#""a":{"node\u0049d":80}"#, "outside"),
        (r#""a":{"clientId":"5"}"#, "\"clientId\" is not an id"),
        (r#""a":{"clientId":5.0}"#, "\"clientId\" is not an id"),
        (r#""a":{"orgId":{"id":5}}"#, "\"orgId\" is not an id"),
        (r#""a":{"clientId":5,"clientId":5}"#, "\"clientId\" is in one object twice"),
        (r#""a":{"clientId":null,"clientId":5}"#, "\"clientId\" is in one object twice"),
        (r#""a":[{"clientId":5},{"clientId":5}]"#, "kept"),
        (r#""parentDeviceId":80,"licenseeOrganizationId":"x""#, "outside"),
        (r#""deviceIds":[50,79]"#, "kept"),
        (r#""deviceIds":[],"nodeIds":null,"organizationIds":[null]"#, "kept"),
        (r#""deviceIds":[50,80]"#, "outside"),
        (r#""assignedDeviceIds":[50,"51"]"#, "\"assignedDeviceIds\" is not an id"),
        (r#""accessibleDeviceIds":"50""#, "\"accessibleDeviceIds\" is not an id"),
        (r#""organizationIds":[[5]]"#, "\"organizationIds\" is not an id"),
        (r#""clientIds":[{"id":5}]"#, "\"clientIds\" is not an id"),
        (r#""Device_Id":80,"deviceid":80,"device":null"#, "kept"),
        (r#""note":"\"deviceId\":80""#, "kept"),
    ] {
        assert_eq!(fate(None, &format!("{{{member}}}")), outcome, "{member}");
    }
}

#[test]
fn a_thing_in_a_row_is_judged_by_its_id() {
    for (member, outcome) in [
        (r#""organization":{"id":5,"name":"a"}"#, "kept"),
        (r#""organization":{"name":"a","id":6}"#, "outside"),
        (r#""references":{"organization":{"id":6}}"#, "outside"),
        (r#""device":{"id":50,"references":{"organization":{"id":6}}}"#, "outside"),
        (r#""device":{"id":50,"organizationId":7}"#, "kept"),
        (r#""device":{"id":80}"#, "outside"),
        (r#""device":{"id":"50"}"#, "\"id\" in a thing"),
        (r#""device":{"id":null}"#, "\"id\" in a thing"),
        (r#""device":{"systemName":"a"}"#, "\"id\" in a thing"),
        (r#""device":{"id":50,"id":50}"#, "\"id\" is in one object twice"),
        (r#""device":"LAPTOP-1""#, "kept"),
        (r#""device":"80""#, "\"device\" is not an id"),
        (r#""device":80"#, "outside"),
        (r#""client":true"#, "\"client\" is not an id"),
        (r#""devices":[{"id":50},79,null,[{"id":51}]]"#, "kept"),
        (r#""devices":[{"id":50},[{"id":80}]]"#, "outside"),
        (r#""nodes":[80]"#, "outside"),
        (r#""location":{"id":80}"#, "kept"),
    ] {
        let outcome = outcome.replace("\"id\" in a thing", "an organization or a device has no id");
        assert_eq!(fate(None, &format!("{{{member}}}")), outcome, "{member}");
    }
}

#[test]
fn an_id_is_judged_by_the_word_next_to_it() {
    for (row, outcome) in [
        (r#"{"entityId":50,"entityType":"NODE"}"#, "kept"),
        (r#"{"entityType":"NODE","entityId":80}"#, "outside"),
        (r#"{"entityType":"N\u004fDE","entityId":80}"#, "outside"),
        (r#"{"entityId":5,"scope":"ORGANIZATION"}"#, "kept"),
        (r#"{"entityId":6,"scope":"ORGANIZATION"}"#, "outside"),
        (r#"{"entityId":20,"scope":"LOCATION"}"#, "kept"),
        (r#"{"entityId":30,"scope":"END_USER"}"#, "outside"),
        (r#"{"entityId":30,"entityType":"NODE_ROLE"}"#, "kept"),
        (r#"{"entityId":"x","entityType":"NODE_ROLE"}"#, "kept"),
        (r#"{"entityId":80,"type":"NODE"}"#, "outside"),
        (r#"{"entityId":50,"type":"ENTITY","entityType":"NODE"}"#, "kept"),
        (r#"{"entityIds":[50,80],"type":"NODE"}"#, "outside"),
        (r#"{"type":"NODE","entityIds":[50,null,51]}"#, "kept"),
        (r#"{"type":"NODE","entityIds":[50,"51"]}"#, "\"entityIds\" is not an id"),
        (r#"{"entityId":"50","entityType":"NODE"}"#, "\"entityId\" is not an id"),
        (r#"{"entityId":50}"#, "no word next to \"entityId\" says what it names"),
        (r#"{"entityId":50,"entityType":"node"}"#, "no word next to \"entityId\" says what it names"),
        (r#"{"entityId":50,"entityType":5}"#, "no word next to \"entityId\" says what it names"),
        (r#"{"entityId":null}"#, "kept"),
        (r#"{"entityType":"NODE"}"#, "kept"),
        (r#"{"entityType":"NODE","relEntityType":"NODE","entityId":50,"relEntityId":80}"#, "outside"),
        (r#"{"relEntityType":"TECHNICIAN","relEntityId":80}"#, "kept"),
        (
            r#"{"sourceEntityType":"NODE","sourceEntityId":50,"targetEntityType":"CLIENT","targetEntityId":6}"#,
            "outside",
        ),
        (r#"{"licenseeId":80}"#, "kept"),
        (r#"{"licenseeId":80,"licenseeType":"DEVICE"}"#, "outside"),
        (r#"{"id":80,"type":"DEVICE"}"#, "outside"),
        (r#"{"type":"ORGANIZATION","id":5}"#, "kept"),
        (r#"{"id":80,"type":"LOCATION"}"#, "kept"),
        (r#"{"id":80,"type":"AGENT"}"#, "kept"),
    ] {
        assert_eq!(fate(None, row), outcome, "{row}");
    }
}

#[test]
fn a_row_can_be_the_id_or_have_a_uuid_for_one() {
    let device = || Some(key(EntityKind::Device, ""));
    for (row, outcome) in
        [("50", "kept"), ("80", "outside"), ("\"50\"", "a row is not an id"), ("{\"id\":50}", "a row is not an id")]
    {
        assert_eq!(fate(device(), row), outcome, "{row}");
    }
    assert_eq!(whole(check("", device()), "[50,80,51 ]").expect("a page").0, "50,51");
    for (row, outcome) in [
        (r#"{"uid":"a0000000-0000-4000-8000-000000000001"}"#, "kept"),
        (r#"{"uid":"A0000000-0000-4000-8000-000000000001"}"#, "kept"),
        (r#"{"uid":"b0000000-0000-4000-8000-000000000001"}"#, "outside"),
        (r#"{"uid":"a000000000004000-8000-000000000001"}"#, "\"uid\" is not an id"),
        (r#"{"uid":"50"}"#, "\"uid\" is not an id"),
        (r#"{"uid":50}"#, "\"uid\" is not an id"),
        (
            r#"{"uid":"a0000000-0000-4000-8000-000000000001","uid":"a0000000-0000-4000-8000-000000000001"}"#,
            "\"uid\" is in one object twice",
        ),
    ] {
        assert_eq!(fate(Some(key(EntityKind::Alert, "uid")), row), outcome, "{row}");
    }
}

#[test]
fn of_the_frame_only_the_cursor_is_kept() {
    let page = r#"{"total":900,"cursor":{"name":"c-1","offset":200,"count":900,"expires":1700000000.5},
        "results":[{"deviceId":50},{"deviceId":80}],"more":{"deviceId":80}}"#;
    let (written, end) = whole(report(), page).expect("a page");
    assert_eq!(written, r#"{"deviceId":50}"#);
    let cursor = end.cursor.expect("a cursor");
    assert_eq!((cursor.name.as_str(), cursor.expires.map(|n| n.to_string())), ("c-1", Some("1700000000.5".to_owned())));
    let (_, end) = whole(report(), r#"{"re\u0073ults":[],"cursor":null}"#).expect("a page");
    assert_eq!(end, PageEnd::default());
}

#[test]
fn a_cursor_that_cannot_be_named_again_is_an_error() {
    let long = format!("\"{}\"", "c".repeat(257));
    for name in ["\"a b\"", "\"\"", "5", "\"a\\\"b\"", "\"\\u00e4\"", "\"a\\n\"", long.as_str(), "\"c\",\"name\":\"c\""]
    {
        let page = format!(r#"{{"results":[],"cursor":{{"name":{name}}}}}"#);
        assert_eq!(whole(report(), page), Err(RowError::Cursor { at: 24 }), "{name}");
    }
    let twice = r#"{"results":[],"cursor":{"name":"c"},"cursor":{"name":"c"}}"#;
    assert_eq!(whole(report(), twice), Err(RowError::Cursor { at: 37 }));
}

#[test]
fn what_is_not_such_a_page_is_an_error() {
    let utf_16: Vec<u8> = "[]".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [b"\xff\xfe".as_slice(), &utf_16].concat();
    for page in [
        b"".as_slice(),
        b" \n",
        b"\xef\xbb\xbf[]",
        &utf_16,
        &marked,
        b"<!doctype html><html>[]</html>",
        b"null",
        b"{}",
        b"5",
        b"\"[]\"",
        b"[] []",
        b"[],",
        b"[]\0",
        b"[]]",
        b"[,]",
        b"[{\"organizationId\":5},]",
        b"[{\"organizationId\":5} {\"organizationId\":5}]",
        b"[{\"organizationId\":5}}",
        b"[{\"organizationId\":05}]",
        b"[{\"organizationId\":5,}]",
        b"[{organizationId:5}]",
        b"[{'organizationId':5}]",
        b"[{\"organizationId\":5]]",
        b"[{\"organizationId\":6,\"a\":\"\xc0\xaf\"}]",
        b"[{\"organizationId\":6,\"a\":\"\xed\xa0\x80\"}]",
        b"[{\"organizationId\":6,\"a\":\"\n\"}]",
        b"[{\"organizationId\":6,\"a\":\"\\x\"}]",
        b"[{\"organizationId\":6,\"a\":tru}]",
        b"[{\"organizationId\":6}/**/]",
        b"[nul]",
        b"[5\"\"]",
    ] {
        let error = whole(by_organization(), page).expect_err(&String::from_utf8_lossy(page)).to_string();
        assert!(!error.contains("html") && !error.contains("organizationId"), "{error}");
    }
    for page in [
        "[]",
        "{}",
        r#"{"results":null}"#,
        r#"{"results":{}}"#,
        r#"{"Results":[]}"#,
        r#"{"results":[],"results":[]}"#,
        r#"{"results":[],"re\u0073ults":[]}"#,
        r#"{"results":[],}"#,
        r#"{"results":[] "a":1}"#,
        r#"{"results" []}"#,
        r#"{"a":01,"results":[]}"#,
        r#"{"a":,"results":[]}"#,
        r#"{results:[]}"#,
        r#"{"results":[]}x"#,
        r#"{"results":[]"#,
    ] {
        assert!(whole(report(), page).is_err(), "{page}");
    }
}

#[test]
fn what_is_dropped_of_the_frame_must_be_utf_8_too() {
    let page = b"{\"a\":\"\xc0\xaf\",\"results\":[]}";
    assert_eq!(whole(report(), page), Err(RowError::Malformed { at: 6 }));
    assert_eq!(whole(report(), b"{\"\xff\":1,\"results\":[]}"), Err(RowError::Malformed { at: 2 }));
}

#[test]
fn every_field_of_the_table_is_looked_at() {
    let mut looked = 0;
    for field in crate::proxy::policy::references::ReferenceField::all() {
        use crate::proxy::policy::references::FieldRole;
        let (inside, outside) = match field.role {
            FieldRole::Id(EntityKind::Organization) => ("5", "6"),
            FieldRole::Id(_) => ("50", "80"),
            FieldRole::Ids(EntityKind::Organization) => ("[5]", "[5,6]"),
            FieldRole::Ids(_) => ("[50]", "[50,80]"),
            FieldRole::Thing(EntityKind::Organization) => ("{\"id\":5}", "{\"id\":6}"),
            FieldRole::Thing(_) => ("{\"id\":50}", "{\"id\":80}"),
            FieldRole::PairId(_) | FieldRole::Word(_) => continue,
        };
        assert_eq!(fate(None, &format!("{{\"{}\":{inside}}}", field.name)), "kept", "{}", field.name);
        assert_eq!(fate(None, &format!("{{\"{}\":{outside}}}", field.name)), "outside", "{}", field.name);
        looked += 1;
    }
    assert!(looked >= 31, "{looked}");
}

#[test]
fn an_error_says_what_and_where() {
    for (page, error) in [
        ("<html>", "the array of the rows must be at byte 1"),
        ("[{}, ]", "a row must be at byte 6"),
        ("[{} {}]", "a comma or a closing bracket must be at byte 5"),
        ("[{},\n{\"a\":tru}]", "the value that begins at byte 6 is not JSON in UTF-8"),
        ("[]x", "it goes on after the JSON value, at byte 3"),
        ("[{", "it ends after 2 bytes, before the JSON value is complete"),
        ("", "it ends after 0 bytes, before the JSON value is complete"),
    ] {
        let found = whole(check("", None), page).expect_err(page).to_string();
        assert_eq!(found, error);
    }
    assert_eq!(whole(report(), "{}"), Err(RowError::NoRows));
    assert_eq!(whole(report(), r#"{"results":[],"results":[]}"#), Err(RowError::RowsTwice { at: 15 }));
}

#[test]
fn a_page_that_is_cut_anywhere_is_an_error() {
    let page = br#"{"a":[1],"results":[{"deviceId":50,"b":"\u00e4"},{"deviceId":80}],"cursor":{"name":"c"}}"#;
    whole(report(), page).expect("a page");
    for end in 0..page.len() {
        assert_eq!(whole(report(), &page[..end]), Err(RowError::Incomplete { bytes: end as u64 }));
    }
}

#[test]
fn it_does_not_matter_where_the_pieces_of_a_page_end() {
    let page = " {\"a\":[1,{}], \"results\" : [ {\"deviceId\":50,\"b\":\"\\\"]}\\\\\u{e4}\u{1f600}\"} ,-1.5e3, {\"deviceId\":80},[null]],\
                \"cursor\":{\"name\":\"c\"}}";
    let expected = whole(report(), page).expect("a page");
    assert_eq!((expected.1.seen, expected.1.kept, expected.1.outside, expected.1.unreadable), (4, 1, 1, 2));
    let bytes = page.as_bytes();
    assert_eq!(filter(report(), LIMITS, bytes.chunks(1)), Ok(expected.clone()));
    for first in 0..bytes.len() {
        for second in [first, (first + 3).min(bytes.len()), bytes.len()] {
            let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
            assert_eq!(filter(report(), LIMITS, pieces), Ok(expected.clone()), "{first} {second}");
        }
    }
}

#[test]
fn more_rows_than_a_page_may_have_are_read_and_not_written() {
    let page = r#"[{"id":1,"organizationId":5},{"id":2,"organizationId":6},{"id":3,"organizationId":5},{"id":4,"organizationId":7}]"#;
    let limits = |max_rows, rows_before| PageLimits { max_rows: Some(max_rows), rows_before, ..LIMITS };
    let (written, end) = filter(by_organization(), limits(2, 9), [page]).expect("a page");
    assert_eq!(written, r#",{"id":1,"organizationId":5},{"id":3,"organizationId":5}"#);
    assert_eq!((end.seen, end.kept, end.withheld, end.outside, end.is_full), (4, 2, 1, 1, true));
    assert_eq!((end.last_id, end.last_kept_id), (Some(4), Some(3)));
    let (written, end) = filter(by_organization(), limits(0, 0), [page]).expect("a page");
    assert_eq!((written.as_str(), end.kept, end.withheld, end.is_full), ("", 0, 3, true));
    let (_, end) = filter(by_organization(), limits(4, 0), [page]).expect("a page");
    assert_eq!((end.kept, end.withheld, end.is_full), (3, 0, false));
}

#[test]
fn the_last_id_is_that_of_the_last_row_and_of_no_other() {
    for (page, last) in [
        (r#"[{"id":1,"organizationId":5},{"id":2,"organizationId":6}]"#, Some(2)),
        (r#"[{"id":1,"organizationId":5},{"id":"2","organizationId":5}]"#, None),
        (r#"[{"id":1,"organizationId":5},{"organizationId":5,"a":{"id":9}}]"#, None),
        (r#"[{"id":1,"organizationId":5},7]"#, None),
        ("[]", None),
    ] {
        assert_eq!(whole(by_organization(), page).expect(page).1.last_id, last, "{page}");
    }
    let ids = check("", Some(key(EntityKind::Device, "")));
    assert_eq!(whole(ids, "[50,80]").expect("a page").1.last_id, Some(80));
}

#[test]
fn the_first_row_that_cannot_be_read_is_told_without_its_value() {
    let page = r#"[{"organizationId":5,"clientId":"secret"},{"id":2},{"organizationId":6,"clientId":"secret"}]"#;
    let (_, end) = whole(by_organization(), page).expect("a page");
    assert_eq!((end.unreadable, end.outside), (2, 1));
    assert_eq!(end.first_unreadable.map(|first| first.to_string()), Some("\"clientId\" is not an id".to_owned()));
}

#[test]
fn a_row_that_is_longer_than_the_limit_breaks_the_answer_off() {
    let limits = PageLimits { row_bytes: 1000, ..LIMITS };
    let row = |length: usize| format!("{{\"deviceId\":50,\"a\":\"{}\"}}", "x".repeat(length - 22));
    assert_eq!(row(1000).len(), 1000);
    for size in [7, 1 << 20] {
        let page = |row: String| format!("{{\"results\":[{{\"deviceId\":51}},{row}]}}");
        let (written, _) = filter(report(), limits, page(row(1000)).as_bytes().chunks(size)).expect("a page");
        assert_eq!(written.len(), 15 + 1 + 1000);
        let error = filter(report(), limits, page(row(1001)).as_bytes().chunks(size)).expect_err("too long");
        assert_eq!(error, RowError::TooLarge { at: 29, limit: 1000 });
        let other = format!("{{\"a\":{},\"results\":[]}}", row(1001));
        let error = filter(report(), limits, other.as_bytes().chunks(size)).expect_err("too long");
        assert_eq!(error, RowError::TooLarge { at: 6, limit: 1000 });
        let name = format!("{{\"{}\":1,\"results\":[]}}", "a".repeat(999));
        assert!(filter(report(), limits, name.as_bytes().chunks(size)).is_err());
    }
}

#[test]
fn ten_megabytes_of_a_row_take_the_memory_of_the_limit() {
    let mut filter = PageFilter::new(report(), LIMITS);
    let mut out = Vec::new();
    filter.push(b"{\"results\":[{\"deviceId\":50,\"a\":\"", &Few, &mut out).expect("the beginning of a row");
    let piece = [b'x'; 16 << 10];
    let mut pushed = 0;
    let error = loop {
        match filter.push(&piece, &Few, &mut out) {
            Ok(()) => pushed += piece.len(),
            Err(error) => break error,
        }
        assert!(pushed < 10 << 20);
    };
    assert_eq!(error, RowError::TooLarge { at: 13, limit: LIMITS.row_bytes });
    assert!(pushed <= LIMITS.row_bytes && out.is_empty());
}

#[test]
fn a_row_is_nested_64_levels_deep_at_most() {
    let row = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(whole(check("", None), format!("[{}]", row(64))).is_ok());
    let too_deep = RowError::TooDeep { at: 2, limit: 64 };
    assert_eq!(whole(check("", None), format!("[{}]", row(65))), Err(too_deep.clone()));
    assert_eq!(whole(check("", None), format!("[{}", "[".repeat(100_000))), Err(too_deep));
    assert!(whole(report(), format!("{{\"a\":{},\"results\":[]}}", row(65))).is_err());
    let mixed = "[{\"a\":".repeat(32) + &"}]".repeat(32);
    assert!(whole(check("", None), format!("[{mixed}]")).is_err(), "a member without a value");
}

#[test]
fn many_rows_are_filtered_one_by_one() {
    let mut filter = PageFilter::new(by_organization(), LIMITS);
    let mut out = Vec::new();
    let mut written = 0;
    filter.push(b"[", &Few, &mut out).expect("a page");
    for number in 0..100_000 {
        let separator = if number == 0 { "" } else { "," };
        let row = format!("{separator}{{\"id\":{number},\"organizationId\":{}}}", 5 + number % 2);
        filter.push(row.as_bytes(), &Few, &mut out).expect("a row");
        written += out.len();
        out.clear();
    }
    filter.push(b"]", &Few, &mut out).expect("the end");
    let end = filter.finish().expect("a page");
    assert_eq!((end.seen, end.kept, end.outside, end.last_id), (100_000, 50_000, 50_000, Some(99_999)));
    assert!(written > 50_000 * 20);
}

#[test]
fn a_row_takes_no_memory_of_its_own() {
    let mut filter = PageFilter::new(report(), LIMITS);
    let mut out = Vec::with_capacity(1 << 20);
    filter.push(b"{\"results\":[", &Few, &mut out).expect("a page");
    let rows: String = report_rows(1000).map(|row| row.replace("\\\"", "")).collect();
    // The first row fills what is made once: the table of fields.
    let (first, rest) = rows.split_at(1 + rows.find("},{").expect("two rows"));
    filter.push(first.as_bytes(), &Few, &mut out).expect("a row");
    let taken = allocation_counter::measure(|| filter.push(rest.as_bytes(), &Few, &mut out).expect("rows"));
    assert_eq!(taken.count_total, 0);
    // In pieces, one row is held.
    let taken = allocation_counter::measure(|| {
        for piece in rest.as_bytes().chunks(1000) {
            filter.push(piece, &Few, &mut out).expect("rows");
        }
    });
    assert!(taken.bytes_max < 2000, "{taken:?}");
}

#[test]
fn a_single_value_passes_if_all_of_it_is_inside() {
    let by_key = key(EntityKind::Organization, "organizationId");
    for (value, key, passes) in [
        (r#"{"id":1,"organizationId":5}"#, Some(&by_key), true),
        (" \n{\"organizationId\":5}\t", Some(&by_key), true),
        (r#"{"id":1,"organizationId":6}"#, Some(&by_key), false),
        (r#"{"id":1}"#, Some(&by_key), false),
        (r#"{"id":1}"#, None, true),
        (r#"{"a":{"deviceId":80}}"#, None, false),
        (r#"[{"deviceId":50},[{"deviceId":80}]]"#, None, false),
        (r#"[{"deviceId":50},[{"deviceId":79}]]"#, None, true),
        (r#"[{"organizationId":5}]"#, Some(&by_key), false),
        ("\"a text\"", None, true),
        ("null", None, true),
        ("50", Some(&key(EntityKind::Device, "")), true),
        ("80", Some(&key(EntityKind::Device, "")), false),
    ] {
        assert_eq!(judge_object(value.as_bytes(), key, &Few), Ok(passes), "{value}");
    }
}

#[test]
fn what_is_not_one_value_is_an_error() {
    for value in
        ["", "  ", "{", "{}{}", "{} x", "{\"a\":01}", "\u{feff}{}", "<html>", "\u{c}{}", "{\"a\":1,}", "\"", "[1"]
    {
        assert!(judge_object(value.as_bytes(), None, &Few).is_err(), "{value:?}");
    }
    assert_eq!(judge_object(b"", None, &Few), Err(RowError::Incomplete { bytes: 0 }));
    assert_eq!(judge_object(b" {\"a\":\"\xff\"}", None, &Few), Err(RowError::Malformed { at: 2 }));
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    assert_eq!(judge_object(deep.as_bytes(), None, &Few), Err(RowError::TooDeep { at: 1, limit: 64 }));
}

/// Rows of a report, 300 bytes each on average, as often as wanted; every fifth is inside.
fn report_rows(rows: usize) -> impl Iterator<Item = String> {
    (0..rows).map(|number| {
        let device = if number % 5 == 0 { 50 + number % 30 } else { 100 + number % 900 };
        let separator = if number == 0 { "" } else { "," };
        format!(
            "{separator}{{\"id\":{number},\"deviceId\":{device},\"nodeClass\":\"WINDOWS_WORKSTATION\",\"systemName\":\
             \"sb-device-{device:03}\",\"dnsName\":\"sb-device-{device:03}.corp.example.com\",\"timestamp\":1760000000.5,\
             \"offline\":false,\"publisher\":\"Example Software Incorporated\",\"version\":\"12.4.{number}\",\"tags\":\
             [\"a\",\"b\"],\"os\":{{\"name\":\"Windows 11 \\\"Pro\\\"\",\"needsReboot\":false,\"build\":26100}}}}"
        )
    })
}

#[test]
#[ignore = "a measurement: cargo test --release --lib rows::tests::a_report_of -- --ignored --nocapture"]
fn a_report_of_a_million_rows_is_filtered_at_this_speed() {
    const CHUNK: usize = 16 << 10;
    let part: String = report_rows(20_000).collect();
    let repeated = || (0..50).flat_map(|number| [if number == 0 { "" } else { "," }, &part]);
    let megabytes = repeated().map(str::len).sum::<usize>() as f64 / 1e6;
    // Time on the processor: others may run on the machine.
    let clock = || {
        let spent = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
        spent.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).map_or(f64::NAN, |ns: f64| ns / 1e9)
    };
    let speed = |start: f64| megabytes / (clock() - start);

    let start = clock();
    let mut filter = PageFilter::new(report(), LIMITS);
    let (mut out, mut written, mut widest) = (Vec::new(), 0, 0);
    filter.push(b"{\"results\":[", &Few, &mut out).expect("a page");
    for chunk in repeated().flat_map(|piece| piece.as_bytes().chunks(CHUNK)) {
        filter.push(chunk, &Few, &mut out).expect("rows");
        written += out.len();
        widest = widest.max(out.capacity());
        out.clear();
    }
    filter.push(b"]}", &Few, &mut out).expect("the end");
    let end = filter.finish().expect("a page");
    let filtered = speed(start);
    assert_eq!((end.seen, end.kept), (1_000_000, 200_000));

    let start = clock();
    let (mut scan, mut rows) = (Scan::default(), 0);
    for chunk in repeated().flat_map(|piece| piece.as_bytes().chunks(CHUNK)) {
        let mut rest = chunk;
        while let Some(end) = scan.advance(rest).expect("not deep") {
            rest = &rest[end..];
            // A comma between two rows is a scalar of its own here.
            rows += 1;
            scan = Scan::default();
            rest = rest.strip_prefix(b",").unwrap_or(rest);
        }
    }
    println!("{megabytes:.0} MB: filtered {filtered:.0} MB/s, scanned {:.0} MB/s ({rows} values)", speed(start));
    let memory = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = memory.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    println!("written {written} bytes, {widest} at once at most; {peak}, of which the rows to repeat {}", part.len());
}
