use super::*;
use crate::proxy::fence::EntityId;
use crate::proxy::policy::catalog::EntityKind;

/// Organizations 5 and 7, and the devices 50 to 79.
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
            | EntityKind::Article => id < 100,
        }
    }
}

const LIMITS: PageLimits = PageLimits { row_bytes: 1 << 20, max_rows: None, rows_before: 0 };

fn key(kind: EntityKind, field: &str) -> RowKey {
    RowKey { kind, field: field.to_owned() }
}

fn by_organization() -> RowsCheck {
    RowsCheck { at: String::new(), key: Some(key(EntityKind::Organization, "organizationId")) }
}

fn filter(check: RowsCheck, limits: PageLimits, pieces: &[&[u8]]) -> Result<(String, PageEnd), RowError> {
    let mut filter = PageFilter::new(check, limits);
    let mut out = Vec::new();
    for piece in pieces {
        filter.push(piece, &Few, &mut out)?;
    }
    Ok((String::from_utf8(out).expect("UTF-8"), filter.finish()?))
}

#[test]
fn rows_outside_are_dropped() {
    let page = br#"[{"id":1,"organizationId":5}, {"id":2,"organizationId":6},{"id":3,"organizationId":7 }]"#;
    let (written, end) = filter(by_organization(), LIMITS, &[page]).expect("a page");
    assert_eq!(written, r#"{"id":1,"organizationId":5},{"id":3,"organizationId":7 }"#);
    assert_eq!((end.seen, end.kept, end.outside, end.unreadable), (3, 2, 1, 0));
    assert_eq!((end.last_id, end.last_kept_id, end.cursor), (Some(3), Some(3), None));
}
