//! Fields of invented things that must agree: names, and what one answer repeats of another.

use serde_json::{Value, json};

use super::fleet::{CLASSES, DeviceClass, IdList, InventedThing, ORGANIZATIONS, uid};

const ORGANIZATION_NAMES: [&str; 4] = ["Harbour Clinic", "Northfield Bakery", "Riverside School", "Tallow & Sons"];
const PLACES: [&str; 5] = ["Head office", "Warehouse", "Branch east", "Branch west", "Annex"];
const FIRST_NAMES: [&str; 8] = ["Ada", "Bruno", "Chiara", "Dmitri", "Esther", "Farid", "Greta", "Hugo"];
const LAST_NAMES: [&str; 9] =
    ["Ashdown", "Brandt", "Castell", "Dunmore", "Eklund", "Fairley", "Gadd", "Holloway", "Imber"];
/// The time of the oldest activity, in epoch seconds; one follows every ten minutes.
const FIRST_ACTIVITY: u32 = 1_760_000_000;

impl InventedThing<'_> {
    /// What is certain about a field of this thing; `None` if it is free to be invented.
    pub(super) fn fact(&self, shape: &str, field: &str) -> Option<Value> {
        match self.kind {
            IdList::Organization => self.organization_fact(field),
            IdList::Location => self.location_fact(field),
            IdList::Device => self.device_fact(field),
            IdList::Technician => self.person_fact(field),
            IdList::EndUser => self.person_fact(field).or_else(|| self.end_user_fact(field)),
            IdList::Policy | IdList::Role => self.class_fact(field),
            IdList::Activity if field == "activityTime" => Some(json!(f64::from(FIRST_ACTIVITY + self.id * 600) + 0.5)),
            IdList::User | IdList::Activity | IdList::Part | IdList::Row => self.aspect_fact(shape, field),
        }
        .or_else(|| self.place(field))
    }

    /// What an aspect of a device repeats of the device.
    fn aspect_fact(&self, shape: &str, field: &str) -> Option<Value> {
        Some(match (shape, field) {
            ("ComputerSystem", "name") | ("NetworkInterface" | "NetworkInterfaces", "dnsHostName") => {
                json!(device_name(self.device))
            }
            ("LoggedOnUser", "userName") => json!(format!("EXAMPLE\\{}", user_name(self.owner()))),
            ("NodeRolePolicyAssignment", "nodeRoleId" | "policyId") => json!(self.id),
            ("OperatingSystem", "name") => json!(CLASSES.get(self.class() as usize).map(|class| class.system)),
            ("DeviceHealthSummary", "alertCount" | "activeJobCount") => {
                json!(self.fleet.things(IdList::Row).filter(|row| row.device == self.device).count())
            }
            ("Group", "deviceCount") => {
                json!(self.fleet.ids(IdList::Device).filter(|id| id % 3 == self.id % 3).count())
            }
            ("DeviceHealthSummary", "offline") => json!(self.offline()),
            (
                "ClientDocumentWithAttributeValuesPublicApiDTO"
                | "ClientDocumentWithUpdatedAttributeValuesPublicApiDTO",
                "documentId",
            ) => json!(self.id),
            // Its type is the first of the types that it can have.
            ("RelatedItemPublicApiDTO", "entityId") => json!(self.organization),
            _ => return None,
        })
    }

    /// The fields that say where anything belongs.
    fn place(&self, field: &str) -> Option<Value> {
        Some(match field {
            "id" => json!(self.id),
            "uid" => json!(uid("uid", self.id)),
            "deviceId" | "nodeId" | "licenseeId" | "sourceEntityId" | "entityId" => json!(self.device),
            "locationId" => json!(self.location),
            "nodeRoleId" | "policyId" | "rolePolicyId" => json!(self.role()),
            "organizationId" | "clientId" | "licenseeOrganizationId" | "relEntityId" | "targetEntityId" => {
                json!(self.organization)
            }
            "organizationName" | "clientName" | "licenseeOrganizationName" => {
                json!(organization_name(self.organization))
            }
            "locationName" => json!(location_name(self.location)),
            "licenseeName" => json!(device_name(self.device)),
            _ => return None,
        })
    }

    fn organization_fact(&self, field: &str) -> Option<Value> {
        Some(match field {
            "name" => json!(organization_name(self.id)),
            "description" => json!("An invented customer"),
            "nodeApprovalMode" => json!("AUTOMATIC"),
            _ => return None,
        })
    }

    fn location_fact(&self, field: &str) -> Option<Value> {
        (field == "name").then(|| json!(location_name(self.id)))
    }

    fn device_fact(&self, field: &str) -> Option<Value> {
        let name = device_name(self.id);
        Some(match field {
            "uid" => json!(uid("device", self.id)),
            "assignedOwnerUid" => json!(uid("user", self.owner())),
            "nodeClass" => json!(self.class_name()),
            "nodeRoleId" | "policyId" | "rolePolicyId" => json!(self.role()),
            "offline" => json!(self.offline()),
            "approvalStatus" => json!("APPROVED"),
            "displayName" | "systemName" | "matchAttrValue" => json!(name),
            "matchAttr" => json!("displayName"),
            "netbiosName" => json!(name.to_ascii_uppercase()),
            "dnsName" => json!(format!("{name}.corp.example.com")),
            "deviceType" => json!(self.device_shape()),
            "lastLoggedInUser" => json!(format!("EXAMPLE\\{}", user_name(self.owner()))),
            _ => return None,
        })
    }

    fn person_fact(&self, field: &str) -> Option<Value> {
        let (first, last) = person(self.id);
        let end_user = self.kind == IdList::EndUser;
        Some(match field {
            "uid" => json!(uid("user", self.id)),
            "firstName" => json!(first),
            "lastName" => json!(last),
            "name" | "displayName" => json!(format!("{first} {last}")),
            "email" => json!(format!("{}@example.com", user_name(self.id))),
            "enabled" | "mfaConfigured" => json!(true),
            "administrator" => json!(!end_user && self.id == 1),
            "userType" => json!(self.kind.user_type()),
            "invitationStatus" => json!("REGISTERED"),
            "organizationId" if end_user => json!(self.organization),
            _ => return None,
        })
    }

    fn end_user_fact(&self, field: &str) -> Option<Value> {
        let owned = || self.fleet.things(IdList::Device).filter(|one| one.owner() == self.id).map(|one| one.id);
        Some(match field {
            "deviceIds" | "assignedDeviceIds" | "accessibleDeviceIds" => owned().collect(),
            _ => return None,
        })
    }

    fn class_fact(&self, field: &str) -> Option<Value> {
        let DeviceClass { word, name, .. } = CLASSES.get(self.id.checked_sub(1)? as usize)?;
        Some(match field {
            "name" if self.kind == IdList::Policy => json!(format!("{name} standard")),
            "name" => json!(name),
            "nodeClass" => json!(word),
            "nodeClassDefault" => json!(true),
            "custom" => json!(false),
            _ => return None,
        })
    }
}

fn organization_name(id: u32) -> &'static str {
    pick(&ORGANIZATION_NAMES, id.wrapping_sub(1))
}

fn location_name(id: u32) -> String {
    format!("{} {id}", pick(&PLACES, id / ORGANIZATIONS))
}

fn device_name(id: u32) -> String {
    format!("sb-device-{id:03}")
}

fn person(id: u32) -> (&'static str, &'static str) {
    (pick(&FIRST_NAMES, id), pick(&LAST_NAMES, id))
}

fn user_name(id: u32) -> String {
    let (first, last) = person(id);
    format!("{first}.{last}").to_ascii_lowercase()
}

fn pick(words: &[&'static str], n: u32) -> &'static str {
    words.get(n as usize % words.len()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_give_each_person_a_name_of_their_own() {
        let mut names: Vec<_> = IdList::User.ids().map(user_name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 30);
    }
}
