//! Whose something is: the public rule of the fleet, for tests that know no more than an id.

use super::fleet::{IdList, InventedThing, uid};
use super::homes::Fleet;
use super::marks;
use crate::proxy::policy::catalog::EntityKind;

/// The organization that something belongs to at the start, before any device is moved; `None` if there is no such thing.
pub fn owner(kind: EntityKind, id: &str) -> Option<u32> {
    static FLEET: Fleet = Fleet::new();
    let list = match kind {
        EntityKind::Organization => IdList::Organization,
        EntityKind::Location => IdList::Location,
        EntityKind::Device => IdList::Device,
        EntityKind::EndUser => IdList::EndUser,
        EntityKind::Contact
        | EntityKind::Ticket
        | EntityKind::Document
        | EntityKind::Checklist
        | EntityKind::Article => IdList::Row,
        EntityKind::EndUserUid | EntityKind::Alert => return thing_of_uid(&FLEET, id).map(|thing| thing.organization),
    };
    FLEET.things(list).find(|thing| thing.id.to_string() == id).map(|thing| thing.organization)
}

/// The device, end user, or listed thing that has this UUID, marked or not.
pub(super) fn thing_of_uid<'a>(fleet: &'a Fleet, text: &str) -> Option<InventedThing<'a>> {
    if text.len() != 36 {
        return None;
    }
    let lists = [(IdList::Device, "device"), (IdList::EndUser, "user"), (IdList::Row, "uid")];
    let things = lists.into_iter().flat_map(|(list, purpose)| fleet.things(list).map(move |thing| (thing, purpose)));
    let mut matching = things.filter(|(thing, purpose)| {
        let own = uid(purpose, thing.id);
        text.eq_ignore_ascii_case(&own) || text.eq_ignore_ascii_case(&marks::uid(&own, thing))
    });
    matching.next().map(|(thing, _)| thing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_knows_each_kind_by_number_or_uuid() {
        assert_eq!(owner(EntityKind::Organization, "4"), Some(4));
        assert_eq!(owner(EntityKind::Device, "8"), Some(4));
        assert_eq!(owner(EntityKind::Ticket, "1"), Some(4));
        assert_eq!(owner(EntityKind::EndUserUid, &uid("user", 102)), Some(2));
        assert_eq!(owner(EntityKind::Alert, &uid("uid", 1)), Some(4));
        assert_eq!(owner(EntityKind::Device, "61"), None);
        assert_eq!(owner(EntityKind::Alert, "nonsense"), None);
    }
}
