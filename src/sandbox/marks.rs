//! Marks by which what belongs to an organization is recognized, in whatever an answer says: text ends in ` ~oN~`, a URL
//! has `~oN~` in its path, numbers lie above N * 10^13, and UUIDs begin with `5eed`.

use super::fleet::{IdList, InventedThing, ORGANIZATIONS};
use super::homes::Fleet;

/// Numbers of an organization are its id times this, and more.
const RANGE: u64 = 10_000_000_000_000;
/// What a marked UUID begins with.
const SEED: &str = "5eed";

/// Shapes of what belongs to nobody: people and things of the whole tenant.
const NOBODYS: [&str; 43] = [
    "AssetRelationType",
    "AttachmentMetadataPublicApiDTO",
    "AttributeFormContentCommonItemPublicApiDTO",
    "AttributePublicApiDTO",
    "AttributeValueUpdatedByInfo",
    "AutomationScript",
    "BillingProduct",
    "ChecklistTemplatePublicApiDTO",
    "ChecklistUserResponseDTO",
    "Code",
    "CreateNodeRoleRequest",
    "CredentialReference",
    "CustomFieldPolicyConditionResponse",
    "CustomTabPublicApiDTO",
    "DeviceScriptingOptions",
    "DocumentTemplatePublicApiDTO",
    "GetItamTagsResponse",
    "Group",
    "ItamTagDTO",
    "ItamTagPublicApiDTO",
    "LicenseSummary",
    "NodeRole",
    "NodeRolePolicyAssignment",
    "NodeRoleSummary",
    "NotificationChannel",
    "Policy",
    "PublicScanGroup",
    "PublisherDTO",
    "RoleMember",
    "ScheduledTask",
    "Script",
    "ScriptCategory",
    "SoftwareProduct",
    "TabSummary",
    "TicketFormPublicApiDTO",
    "TicketMetadata",
    "TicketStatusPublicApiDTO",
    "TicketingAttributePublicApiDTO",
    "TicketingBoardPublicApiDTO",
    "UpdateNodeRoleRequest",
    "UserRole",
    "VendorDTO",
    "WindowsEventPolicyConditionResponse",
];

/// Whether what this shape shows belongs to an organization.
pub(super) fn is_owned(shape: &str, subject: &InventedThing<'_>) -> bool {
    !matches!(subject.kind, IdList::Technician | IdList::Policy | IdList::Role)
        && !matches!(IdList::of(shape), IdList::Technician)
        && !NOBODYS.contains(&shape)
}

/// Marked text; a URL keeps its query.
pub(super) fn text(text: &str, organization: u32) -> String {
    if !text.starts_with("https://") {
        return format!("{text} ~o{organization}~");
    }
    let (path, query) = text.split_at(text.find('?').unwrap_or(text.len()));
    format!("{path}/~o{organization}~{query}")
}

/// A marked number.
pub(super) fn number(number: u64, organization: u32) -> u64 {
    u64::from(organization) * RANGE + number % RANGE
}

/// A marked number with a fraction.
pub(super) fn fraction(number: f64, organization: u32) -> f64 {
    f64::from(organization) * RANGE as f64 + number
}

/// A marked UUID: its first eight digits tell the thing that it belongs to.
pub(super) fn uid(uid: &str, subject: &InventedThing<'_>) -> String {
    let (kind, id) = match subject.kind {
        IdList::Organization => ('a', subject.organization),
        IdList::Location | IdList::EndUser => ('b', subject.location),
        IdList::Device
        | IdList::Technician
        | IdList::User
        | IdList::Policy
        | IdList::Role
        | IdList::Activity
        | IdList::Part
        | IdList::Row => ('d', subject.device),
    };
    format!("{SEED}{kind}{:03x}{}", id & 0xfff, uid.get(8..).unwrap_or_default())
}

/// The organizations that the marks in a text name, ascending: the ones that things were made in, if they moved.
pub fn marked_organizations(text: &str) -> Vec<u32> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '~';
    let words = text.split(|c| !is_part(c)).filter(|word| word.len() >= 4);
    let mut found: Vec<_> = words.flat_map(|word| [of_text(word), of_number(word), of_uid(word)]).flatten().collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn of_text(word: &str) -> Option<u32> {
    let (_, rest) = word.split_once("~o")?;
    rest.split_once('~')?.0.parse().ok()
}

fn of_number(word: &str) -> Option<u32> {
    let number: u64 = word.parse().ok()?;
    let organization = u32::try_from(number / RANGE).ok()?;
    (1..=ORGANIZATIONS).contains(&organization).then_some(organization)
}

fn of_uid(word: &str) -> Option<u32> {
    static FLEET: Fleet = Fleet::new();
    let at = word.to_ascii_lowercase().find(SEED)?;
    let kind = match word.get(at + 4..at + 5)? {
        "a" | "A" => IdList::Organization,
        "b" | "B" => IdList::Location,
        "d" | "D" => IdList::Device,
        _ => return None,
    };
    let id = u32::from_str_radix(word.get(at + 5..at + 8)?, 16).ok()?;
    Some(FLEET.thing(kind, id).organization)
}

#[cfg(test)]
mod tests {
    use super::*;

    static FLEET: Fleet = Fleet::new();

    #[test]
    fn marks_are_found_in_whatever_they_are_in() {
        let device = FLEET.thing(IdList::Device, 8);
        assert_eq!(device.organization, 4);
        for marked in [
            text("Tallow & Sons", 4),
            text("https://files.example.com/7?signature=1", 4),
            format!("{{\"n\":{}}}", number(17, 4)),
            format!("[{}]", fraction(1.5, 4)),
            format!("\"{}\"", uid(&super::super::fleet::uid("device", 8), &device)),
            format!("<b>\\\"{}\\n", text("x", 4)),
        ] {
            assert_eq!(marked_organizations(&marked), [4], "{marked}");
        }
        assert_eq!(
            marked_organizations("{\"id\":4,\"time\":1755000000.123,\"date\":1750000000000}"),
            Vec::<u32>::new()
        );
        assert_eq!(marked_organizations(&format!("{} {}", text("a", 3), text("b", 1))), [1, 3]);
    }

    #[test]
    fn a_marked_uuid_is_a_uuid() {
        let marked = uid(&super::super::fleet::uid("user", 101), &FLEET.thing(IdList::EndUser, 101));
        assert!(crate::proxy::fence::EntityId::parse(&marked).is_some(), "{marked}");
    }
}
