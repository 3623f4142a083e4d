//! What it is about a request or answer that says whose something is: one class an operation.

use super::{AnswerCheck, EntityKind, FenceRules, Fencing, RequestCheck};

/// How an operation says whose something is; if it says so in several ways, the first in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FenceClass {
    /// The path names an organization.
    OrganizationInPath,
    /// The path names a device.
    DeviceInPath,
    /// The path names something else that belongs to an organization.
    OtherInPath,
    /// The request has the device filter `df`, and the rows of the answer are checked.
    DeviceFilter,
    /// The query names organizations.
    Query,
    /// The body names something that belongs to an organization.
    Body,
    /// Only the rows of the answer say whose they are.
    Rows,
    /// Only the one object of the answer says whose it is.
    Object,
    /// Tenant-wide.
    Closed,
}

impl FenceClass {
    /// All classes, in their order.
    pub const ALL: [Self; 9] = [
        Self::OrganizationInPath,
        Self::DeviceInPath,
        Self::OtherInPath,
        Self::DeviceFilter,
        Self::Query,
        Self::Body,
        Self::Rows,
        Self::Object,
        Self::Closed,
    ];

    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrganizationInPath => "organization in the path",
            Self::DeviceInPath => "device in the path",
            Self::OtherInPath => "something else in the path",
            Self::DeviceFilter => "device filter and rows",
            Self::Query => "query",
            Self::Body => "body",
            Self::Rows => "rows of the answer",
            Self::Object => "object of the answer",
            Self::Closed => "closed",
        }
    }

    /// What says whose data it is, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::OrganizationInPath => "the path names an organization",
            Self::DeviceInPath => "the path names a device",
            Self::OtherInPath => {
                "the path names a ticket, document, alert, person, or something else of an organization"
            }
            Self::DeviceFilter => "the proxy narrows `df`, and checks each row whatever NinjaOne makes of `df`",
            Self::Query => "the query names organizations",
            Self::Body => "the body of the request names organizations or what belongs to them",
            Self::Rows => "each row of the answer names its organization or device",
            Self::Object => "the answer is one object, and names its organization",
            Self::Closed => "nothing that the proxy can check: refused, unless a rule of `allow` names the operation",
        }
    }
}

impl Fencing {
    /// What says whose something is.
    pub fn class(&self) -> FenceClass {
        match &self.rules {
            None => FenceClass::Closed,
            Some(rules) => rules.request.iter().map(class_of_check).min().unwrap_or_else(|| class_of_answer(rules)),
        }
    }
}

fn class_of_check(check: &RequestCheck) -> FenceClass {
    match check {
        RequestCheck::Path { kind: EntityKind::Organization, .. } => FenceClass::OrganizationInPath,
        RequestCheck::Path { kind: EntityKind::Device, .. } => FenceClass::DeviceInPath,
        RequestCheck::Path { .. } | RequestCheck::PathEntity { .. } => FenceClass::OtherInPath,
        RequestCheck::DeviceFilter => FenceClass::DeviceFilter,
        RequestCheck::Query { .. } => FenceClass::Query,
        RequestCheck::Body { .. } | RequestCheck::BodyWithout { .. } => FenceClass::Body,
    }
}

fn class_of_answer(rules: &FenceRules) -> FenceClass {
    match rules.answer {
        AnswerCheck::Rows { .. } => FenceClass::Rows,
        AnswerCheck::Empty | AnswerCheck::Opaque | AnswerCheck::Object { .. } => FenceClass::Object,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Catalog;
    use super::*;

    fn class(operation: &str) -> FenceClass {
        let (method, template) = operation.split_once(' ').expect("two words");
        let catalog = Catalog::built_in().expect("good");
        let found = catalog.operations().iter().find(|own| own.method == method && own.template == template);
        found.expect("known").fencing.class()
    }

    #[test]
    fn the_class_is_the_first_thing_that_says_whose_something_is() {
        for (operation, wanted) in [
            ("GET /v2/organization/{id}/locations/{locationId}/backup/usage", FenceClass::OrganizationInPath),
            ("PATCH /v2/device/{id}", FenceClass::DeviceInPath),
            ("GET /v2/ticketing/ticket/{ticketId}", FenceClass::OtherInPath),
            ("GET /v2/queries/disks", FenceClass::DeviceFilter),
            ("GET /v2/organization/documents", FenceClass::Query),
            ("POST /v2/organization/checklists", FenceClass::Body),
            ("GET /v2/locations", FenceClass::Rows),
            ("GET /v2/knowledgebase/folder/{folderId}", FenceClass::Object),
            ("GET /v2/policies", FenceClass::Closed),
        ] {
            assert_eq!(class(operation), wanted, "{operation}");
        }
    }

    #[test]
    fn all_classes_are_in_their_order() {
        assert!(FenceClass::ALL.is_sorted());
    }
}
