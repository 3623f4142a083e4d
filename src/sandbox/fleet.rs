//! The invented fleet: what exists and who belongs to whom, computed from numbers and never stored.

use super::homes::Fleet;

/// Organizations have the ids 1 to 4.
pub(super) const ORGANIZATIONS: u32 = 4;
/// Locations have the ids 1 to 10, dealt out to the organizations in turn.
pub(super) const LOCATIONS: u32 = 10;
/// Devices have the ids 1 to 60, dealt out to the locations in turn.
pub(super) const DEVICES: u32 = 60;
/// Technicians have the ids 1 to 6.
pub(super) const TECHNICIANS: u32 = 6;
/// End users have the ids 101 to 124.
pub(super) const FIRST_END_USER: u32 = 101;
const END_USERS: u32 = 24;
/// Everything else that is listed (tickets, documents, ...) has the ids 1 to 24.
pub(super) const ROWS: u32 = 24;
/// Activities have the ids 1 to 600.
pub(super) const ACTIVITIES: u32 = 600;

/// What a device is; its place among [`CLASSES`] plus 1 is the id of its role and of its policy.
pub(super) const CLASSES: [DeviceClass; 5] = [
    DeviceClass { word: "WINDOWS_WORKSTATION", name: "Windows workstation", system: "Windows 11 Professional Edition" },
    DeviceClass { word: "WINDOWS_SERVER", name: "Windows server", system: "Windows Server 2025 Standard Edition" },
    DeviceClass { word: "MAC", name: "Mac", system: "macOS 15" },
    DeviceClass { word: "LINUX_SERVER", name: "Linux server", system: "Debian GNU/Linux 13" },
    DeviceClass { word: "NMS_SWITCH", name: "Switch", system: "" },
];

/// A kind of device.
pub(super) struct DeviceClass {
    /// NinjaOne's word.
    pub(super) word: &'static str,
    pub(super) name: &'static str,
    /// The operating system.
    pub(super) system: &'static str,
}

/// The class of each of ten devices, as a place among [`CLASSES`].
const CLASS_OF_TEN: [usize; 10] = [0, 0, 0, 0, 0, 1, 1, 2, 3, 4];

/// Which list a shape's `id` belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdList {
    Organization,
    Location,
    Device,
    Technician,
    EndUser,
    /// Technicians and end users in one list.
    User,
    Policy,
    Role,
    Activity,
    /// A part of a device that has no list of its own, such as a disk.
    Part,
    Row,
}

impl IdList {
    /// The kind of thing that a shape describes.
    pub(super) fn of(shape: &str) -> Self {
        match shape {
            "Organization" | "OrganizationDetailed" => Self::Organization,
            "Location" | "LocationWithOrganizationRef" | "LocationBackupUsageSummary" => Self::Location,
            "Device" | "AgentDevice" | "NMSTarget" | "NodeWithDetailedReferences" | "DeviceSearchMatch" => Self::Device,
            "Technician"
            | "UserBasicInfo"
            | "ChecklistUserResponseDTO"
            | "ArchiveUserInfo"
            | "RoleMember"
            | "TechniciansTaggedMetadataDTO" => Self::Technician,
            "EndUser" => Self::EndUser,
            "User" => Self::User,
            "Policy" => Self::Policy,
            "NodeRole" | "NodeRoleSummary" => Self::Role,
            "Activity" => Self::Activity,
            "Application" | "DiskDrive" | "NetworkInterface" | "OSPatch" | "Processor" | "SoftwarePatch" | "Volume"
            | "WindowsService" | "LoggedOnUser" | "Geolocation" => Self::Part,
            _ => Self::Row,
        }
    }

    /// What NinjaOne calls people of this kind; empty for all else.
    pub(super) fn user_type(self) -> &'static str {
        match self {
            Self::EndUser => "END_USER",
            Self::Technician => "TECHNICIAN",
            Self::Organization
            | Self::Location
            | Self::Device
            | Self::User
            | Self::Policy
            | Self::Role
            | Self::Activity
            | Self::Part
            | Self::Row => "",
        }
    }

    /// All ids of this kind, ascending.
    pub(super) fn ids(self) -> impl Iterator<Item = u32> {
        let (plain, end_users) = match self {
            Self::Organization => (ORGANIZATIONS, 0),
            Self::Location => (LOCATIONS, 0),
            Self::Device => (DEVICES, 0),
            Self::Technician => (TECHNICIANS, 0),
            Self::EndUser => (0, END_USERS),
            Self::User => (TECHNICIANS, END_USERS),
            Self::Policy | Self::Role => (5, 0),
            Self::Activity => (ACTIVITIES, 0),
            Self::Part | Self::Row => (ROWS, 0),
        };
        (1..=plain).chain(FIRST_END_USER..FIRST_END_USER + end_users)
    }
}

/// One invented thing, and the device, location and organization that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InventedThing<'a> {
    pub(super) kind: IdList,
    pub(super) id: u32,
    pub(super) device: u32,
    pub(super) location: u32,
    pub(super) organization: u32,
    pub(super) fleet: &'a Fleet,
}

impl<'a> InventedThing<'a> {
    /// The thing of this kind and id.
    pub(super) fn new(fleet: &'a Fleet, kind: IdList, id: u32) -> Self {
        let location = match kind {
            IdList::Organization => id,
            IdList::Location => id,
            IdList::Device => return Self::on(fleet, kind, id, id),
            IdList::User if id < FIRST_END_USER => return Self::new(fleet, IdList::Technician, id),
            IdList::User => return Self::new(fleet, IdList::EndUser, id),
            IdList::EndUser => 1 + (id - FIRST_END_USER.min(id)) % LOCATIONS,
            IdList::Technician | IdList::Policy | IdList::Role | IdList::Activity | IdList::Part | IdList::Row => {
                return Self::on(fleet, kind, id, 1 + id.wrapping_mul(7) % DEVICES);
            }
        };
        Self { kind, id, device: location, location, organization: organization_of(location), fleet }
    }

    /// The `n`th part (from 0) of a device.
    pub(super) fn part(fleet: &'a Fleet, device: u32, n: u32) -> Self {
        Self::on(fleet, IdList::Part, device * 16 + n, device)
    }

    fn on(fleet: &'a Fleet, kind: IdList, id: u32, device: u32) -> Self {
        let location = fleet.location_of(device);
        Self { kind, id, device, location, organization: organization_of(location), fleet }
    }

    /// This thing seen as one of its aspects, or the other thing that `shape` names with it.
    pub(super) fn within(self, shape: &str) -> Self {
        match IdList::of(shape) {
            IdList::Organization => Self { kind: IdList::Organization, id: self.organization, ..self },
            IdList::Location => Self { kind: IdList::Location, id: self.location, ..self },
            IdList::Device => Self { kind: IdList::Device, id: self.device, ..self },
            IdList::Technician => Self { kind: IdList::Technician, id: 1 + self.id % TECHNICIANS, ..self },
            IdList::EndUser | IdList::User => Self { kind: IdList::EndUser, id: self.owner(), ..self },
            kind @ (IdList::Policy | IdList::Role) => Self { kind, id: self.role(), ..self },
            IdList::Activity | IdList::Part | IdList::Row if self.kind == IdList::Device => {
                Self::part(self.fleet, self.id, 0)
            }
            IdList::Activity | IdList::Part | IdList::Row => Self { kind: IdList::Row, ..self },
        }
    }

    /// The `n`th element (from 0) of a list inside this thing.
    pub(super) fn element(self, n: u32) -> Self {
        Self { id: self.id * 16 + n, kind: IdList::Part, ..self }
    }

    /// The place of the device's class among all; plus 1 it is the id of its role and of its policy.
    pub(super) fn class(&self) -> u32 {
        let n = (self.device * 7 + self.device / 10) % 10;
        CLASS_OF_TEN.get(n as usize).map_or(0, |class| *class as u32)
    }

    /// The class of the device, in NinjaOne's words.
    pub(super) fn class_name(&self) -> &'static str {
        CLASSES.get(self.class() as usize).map_or("", |class| class.word)
    }

    /// The id of the device's role, which is that of its policy too.
    pub(super) fn role(&self) -> u32 {
        self.class() + 1
    }

    /// The shape in which the device shows all that is known of it.
    pub(super) fn device_shape(&self) -> &'static str {
        if self.class_name().starts_with("NMS") { "NMSTarget" } else { "AgentDevice" }
    }

    /// Whether the device is out of reach: about every sixth is, in every organization.
    pub(super) fn offline(&self) -> bool {
        (self.device + self.device / 10).is_multiple_of(6)
    }

    /// The end user that the device is assigned to: one of the same location.
    pub(super) fn owner(&self) -> u32 {
        FIRST_END_USER + self.location - 1 + if self.location <= 4 && self.device.is_multiple_of(4) { 20 } else { 0 }
    }
}

/// The organization of a location.
pub(super) fn organization_of(location: u32) -> u32 {
    1 + (location + ORGANIZATIONS - 1) % ORGANIZATIONS
}
/// A UUID (version 8, RFC 9562) that depends on nothing but its arguments.
pub(super) fn uid(purpose: &str, id: u32) -> String {
    let (high, low) = (mix(purpose, id), mix(purpose, !id));
    format!(
        "{:08x}-{:04x}-8{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 48) & 0x3fff,
        low & 0xffff_ffff_ffff
    )
}

/// A number that looks random and always is the same for the same arguments (FNV-1a with a final mix).
pub(super) fn mix(purpose: &str, id: u32) -> u64 {
    let bytes = purpose.bytes().chain(id.to_le_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    static FLEET: Fleet = Fleet::new();

    #[test]
    fn fleet_puts_every_device_into_a_location_of_its_organization() {
        let mut visited = 0;
        for device in FLEET.things(IdList::Device) {
            let location = FLEET.thing(IdList::Location, device.location);
            assert_eq!(location.organization, device.organization);
            assert!((1..=ORGANIZATIONS).contains(&device.organization));
            assert!(IdList::EndUser.ids().any(|user| user == device.owner()));
            visited += 1;
        }
        assert_eq!(visited, 60);
    }

    #[test]
    fn fleet_has_every_class_and_some_devices_offline() {
        let devices = || FLEET.things(IdList::Device);
        for class in CLASSES {
            assert!(devices().any(|device| device.class_name() == class.word), "{}", class.word);
        }
        assert!((8..=12).contains(&devices().filter(InventedThing::offline).count()));
    }

    #[test]
    fn uid_is_a_uuid_and_differs_between_things() {
        let one = uid("device", 1);
        assert_eq!(one.len(), 36);
        assert_eq!(one.as_bytes().get(14), Some(&b'8'));
        assert_ne!(one, uid("device", 2));
        assert_ne!(one, uid("user", 1));
    }
}
