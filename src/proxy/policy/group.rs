//! The groups: what an administrator opens or closes as one.

use std::fmt;

use super::catalog::Risk;

/// A set of operations with one purpose.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// The name in `groups` and in rules such as `group:tickets`.
    pub name: &'static str,
    /// What it lets a caller do, in one line.
    pub description: &'static str,
    /// The highest risk in it.
    pub risk: Risk,
    /// Closed unless it is named, whatever the scopes: it cuts across them, or they say too little of the harm.
    pub guarded: bool,
}

/// The word in `groups` for no group at all.
pub const NONE: &str = "none";

const fn open(name: &'static str, risk: Risk, description: &'static str) -> Group {
    Group { name, description, risk, guarded: false }
}

const fn guarded(name: &'static str, risk: Risk, description: &'static str) -> Group {
    Group { name, description, risk, guarded: true }
}

/// No operations, but requests for custom-field reports that ask for the values of secure fields.
pub static SECURE_VALUES: Group =
    guarded("secure-values", Risk::Critical, "reports with the values of secure custom fields (showSecureValues=true)");

/// Operations of a catalogue file that nobody can tell the purpose of.
pub static UNCLASSIFIED: Group =
    guarded("unclassified", Risk::Critical, "operations of catalog-file that belong to no other group");

/// Every other group, sorted by name.
static LIST: [Group; 27] = [
    open("activities", Risk::Low, "read the activity log"),
    open("alerts", Risk::High, "read, reset and delete alerts"),
    open("backup", Risk::Medium, "read backup jobs and usage, start integrity checks, set the bandwidth throttle"),
    open("billing", Risk::High, "read and change billing accounts, agreements, products and invoices"),
    open(
        "custom-field-definitions",
        Risk::Critical,
        "read, create, change and delete custom fields (with all their values)",
    ),
    open(
        "custom-field-values",
        Risk::High,
        "read and write custom-field values of devices, users, organizations, locations, the system",
    ),
    open("custom-tabs", Risk::High, "read and arrange tabs of custom fields"),
    open("device-actions", Risk::Critical, "reboot, patch, and control or configure Windows services"),
    open("device-admin", Risk::Critical, "rename, move, approve, stage and decommission devices, set owners"),
    open("device-links", Risk::Low, "get links to devices in the console"),
    open("device-maintenance", Risk::High, "put devices in maintenance mode and out of it"),
    open("devices-read", Risk::High, "read devices: hardware, software, patches, services, jobs, the location history"),
    open(
        "documentation",
        Risk::High,
        "read and write documents, templates, checklists, the knowledge base, related items",
    ),
    guarded("installers", Risk::High, "get installers of agents: their URLs enrol devices into the tenant"),
    open("node-roles", Risk::High, "read and change device roles"),
    open("org-admin", Risk::High, "create and change organizations and locations"),
    open("org-read", Risk::Low, "read organizations, locations and which devices are theirs"),
    open(
        "policies",
        Risk::Critical,
        "read and change policies, conditions, overrides, and which organization has which",
    ),
    open("queries", Risk::High, "read reports over all devices: inventory, patches, antivirus, custom fields"),
    guarded("scripts", Risk::Critical, "list scripts and run them on devices, as SYSTEM if they like"),
    open("signed-urls", Risk::Medium, "get URLs of files that work for anybody, without a token"),
    open("system-read", Risk::Low, "read device groups, jobs, tasks, notification channels, software products"),
    open(
        "tags-itam",
        Risk::Critical,
        "read and change tags, software licences, unmanaged devices, asset relationships",
    ),
    open("tickets", Risk::Medium, "read, create, change and comment tickets"),
    guarded(
        "users-and-roles",
        Risk::Critical,
        "read and change technicians, end users, contacts, roles and their rights",
    ),
    open("vulnerability", Risk::Medium, "read scan groups and upload scan results"),
    guarded("webhooks", Risk::Critical, "set or remove the one webhook, which sends events of the tenant to any URL"),
];

impl Group {
    /// The group of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::all().find(|group| group.name == name)
    }

    /// All groups.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        LIST.iter().chain([&SECURE_VALUES, &UNCLASSIFIED])
    }

    /// The names of all groups, for messages, sorted.
    pub fn names() -> Vec<&'static str> {
        let mut names: Vec<_> = Self::all().map(|group| group.name).collect();
        names.sort_unstable();
        names
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::Catalog;
    use super::*;

    #[test]
    fn group_names_are_unique_and_each_has_operations_of_its_risk() {
        let names = Group::names();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        assert!(LIST.is_sorted_by(|a, b| a.name < b.name));
        let catalog = Catalog::built_in().expect("good");
        for group in &LIST {
            let highest = catalog.operations().iter().filter(|o| o.group == group).map(|o| o.risk).max();
            assert_eq!(highest, Some(group.risk), "{group}");
        }
    }
}
