//! Where devices are: each where the rule of the fleet puts it, but for those that a test moved or added.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fleet::{DEVICES, IdList, InventedThing, LOCATIONS, ORGANIZATIONS, organization_of};
use super::query::QueryParameters;
use super::refusal::SandboxRefusal;

/// The devices that are not where the rule puts them, with their locations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fleet(BTreeMap<u32, u32>);

/// More devices than this are not added.
const MAX_DEVICE: u32 = 10_000;

impl Fleet {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The thing of this kind and id.
    pub(super) fn thing(&self, kind: IdList, id: u32) -> InventedThing<'_> {
        InventedThing::new(self, kind, id)
    }

    /// All ids of this kind, ascending.
    pub(super) fn ids(&self, kind: IdList) -> impl Iterator<Item = u32> {
        let added = self.0.keys().copied().filter(move |id| kind == IdList::Device && *id > DEVICES);
        kind.ids().chain(added)
    }

    /// All things of this kind, by their ids.
    pub(super) fn things(&self, kind: IdList) -> impl Iterator<Item = InventedThing<'_>> {
        self.ids(kind).map(move |id| self.thing(kind, id))
    }

    /// The location of a device.
    pub(super) fn location_of(&self, device: u32) -> u32 {
        self.0.get(&device).copied().unwrap_or(1 + (device + LOCATIONS - 1) % LOCATIONS)
    }
}

/// The fleet, which a test can change.
#[derive(Debug, Default)]
pub(super) struct ChangingFleet(Mutex<Arc<Fleet>>);

impl ChangingFleet {
    /// The fleet as it is now.
    pub(super) fn now(&self) -> Arc<Fleet> {
        Arc::clone(&self.lock())
    }

    /// Takes an order (`device`, `organization`, `location`): from now on the device is there. A device that does not exist
    /// yet is added. Without `location` it is the first one of the organization.
    pub(super) fn move_device(&self, query: &QueryParameters) -> Result<(), SandboxRefusal> {
        let number = |name| query.number(name).and_then(|number| u32::try_from(number).ok());
        let device = number("device").filter(|id| (1..=MAX_DEVICE).contains(id)).ok_or(SandboxRefusal::BadRequest)?;
        let organization = number("organization").filter(|id| (1..=ORGANIZATIONS).contains(id));
        let organization = organization.ok_or(SandboxRefusal::BadRequest)?;
        // The first location of each organization has the number of the organization.
        let location = number("location").unwrap_or(organization);
        if !(1..=LOCATIONS).contains(&location) || organization_of(location) != organization {
            return Err(SandboxRefusal::BadRequest);
        }
        Arc::make_mut(&mut self.lock()).0.insert(device, location);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Fleet>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(order: &str) -> Result<Arc<Fleet>, SandboxRefusal> {
        let fleet = ChangingFleet::default();
        fleet.move_device(&QueryParameters::parse(order)).map(|()| fleet.now())
    }

    #[test]
    fn a_moved_device_belongs_to_its_new_organization_and_so_does_its_owner() {
        let fleet = moved("device=7&organization=2&location=6").expect("an order");
        let device = fleet.thing(IdList::Device, 7);
        assert_eq!((device.location, device.organization), (6, 2));
        assert_eq!(fleet.thing(IdList::EndUser, device.owner()).organization, 2);
        assert_eq!(fleet.thing(IdList::Device, 8).location, Fleet::new().thing(IdList::Device, 8).location);
        assert_eq!(fleet.things(IdList::Activity).find(|one| one.device == 7).map(|one| one.organization), Some(2));
    }

    #[test]
    fn a_device_that_does_not_exist_yet_is_added() {
        let fleet = moved("device=99&organization=3").expect("an order");
        assert_eq!(fleet.ids(IdList::Device).count(), 61);
        assert_eq!(fleet.thing(IdList::Device, 99).organization, 3);
        assert_eq!(fleet.ids(IdList::Row).count(), Fleet::new().ids(IdList::Row).count());
    }

    #[test]
    fn an_order_to_nowhere_is_refused() {
        for order in
            ["", "device=7", "device=0&organization=1", "device=7&organization=5", "device=7&organization=2&location=3"]
        {
            assert_eq!(moved(order).err(), Some(SandboxRefusal::BadRequest), "{order}");
        }
    }
}
