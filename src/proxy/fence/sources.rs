//! Where the directory reads what belongs to an organization.

use http::uri::PathAndQuery;
use serde::Deserialize;
use serde_json::Value;

use super::EntityId;
use crate::proxy::policy::catalog::EntityKind;

/// How many rows a page has that is asked for.
const PAGE: u32 = 500;

/// A list, or one object, whose rows say whose they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    /// The target; `{o}` is the organization, `{id}` the object.
    template: &'static str,
    /// The field with the id.
    id: Field,
    /// The field that says whose it is.
    pub(super) owner: Owner,
    /// Whether it is read in pages, by `after`.
    pub(super) is_paged: bool,
}

/// What says whose a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// `organizationId`.
    Organization,
    /// `clientId`.
    Client,
    /// `deviceId`: whose device it is.
    Device,
}

#[derive(Debug, Clone, Copy)]
enum Field {
    Id,
    Uid,
    DocumentId,
}

/// The list of what belongs to an organization; `None` where NinjaOne has no such list.
pub(super) fn list(kind: EntityKind) -> Option<Source> {
    let source = |template, id, owner, is_paged| Some(Source { template, id, owner, is_paged });
    let owner = Owner::Organization;
    match kind {
        EntityKind::Device => source("/v2/organization/{o}/devices", Field::Id, owner, true),
        EntityKind::Location => source("/v2/locations", Field::Id, owner, true),
        EntityKind::EndUser => source("/v2/user/end-users", Field::Id, owner, false),
        EntityKind::EndUserUid => source("/v2/user/end-users", Field::Uid, owner, false),
        EntityKind::Contact => source("/v2/contacts", Field::Id, owner, false),
        EntityKind::Alert => source("/v2/alerts?df=org%20in%20({o})", Field::Uid, Owner::Device, false),
        EntityKind::Document => source("/v2/organization/{o}/documents", Field::DocumentId, owner, false),
        EntityKind::Article => {
            source("/v2/knowledgebase/organization/articles?organizationIds={o}", Field::Id, owner, false)
        }
        EntityKind::Checklist => source("/v2/organization/checklists?organizationIds={o}", Field::Id, owner, false),
        EntityKind::Organization | EntityKind::Ticket => None,
    }
}

/// The object itself, where there is no list. Whether it is another customer's or not there, NinjaOne may take another
/// time.
pub(super) fn object(kind: EntityKind) -> Option<Source> {
    match kind {
        EntityKind::Ticket => {
            Some(Source { template: "/v2/ticketing/ticket/{id}", id: Field::Id, owner: Owner::Client, is_paged: false })
        }
        EntityKind::Organization
        | EntityKind::Location
        | EntityKind::Device
        | EntityKind::EndUser
        | EntityKind::EndUserUid
        | EntityKind::Contact
        | EntityKind::Alert
        | EntityKind::Document
        | EntityKind::Checklist
        | EntityKind::Article => None,
    }
}

/// What the directory looks at in a row; more than one value of a field is an error.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    uid: Value,
    #[serde(default)]
    document_id: Value,
    #[serde(default)]
    organization_id: Value,
    #[serde(default)]
    client_id: Value,
    #[serde(default)]
    device_id: Value,
}

impl Source {
    /// The target of a list, or of its page after this id.
    pub(super) fn page(&self, organization: u64, after: Option<u64>) -> Option<PathAndQuery> {
        let text = self.template.replace("{o}", &organization.to_string());
        let after = after.map_or_else(String::new, |after| format!("&after={after}"));
        let text = if self.is_paged { format!("{text}?pageSize={PAGE}{after}") } else { text };
        text.parse().ok()
    }

    /// The target of the one row of a list in pages that has this id, or comes next.
    pub(super) fn single(&self, organization: u64, EntityId(id): EntityId) -> Option<PathAndQuery> {
        let text = self.template.replace("{o}", &organization.to_string());
        format!("{text}?pageSize=1&after={}", id.checked_sub(1)?).parse().ok()
    }

    /// The target of an object that has a number.
    pub(super) fn target(&self, EntityId(id): EntityId) -> Option<PathAndQuery> {
        self.template.replace("{id}", &id.to_string()).parse().ok()
    }

    /// The id of a row.
    pub(super) fn id_of(&self, row: &Row) -> Option<EntityId> {
        match self.id {
            Field::Id => number(&row.id),
            Field::Uid => row.uid.as_str().and_then(EntityId::parse_uuid),
            Field::DocumentId => number(&row.document_id),
        }
    }

    /// Whose a row is: the id of an organization or of a device.
    pub(super) fn owner_of(&self, row: &Row) -> Option<EntityId> {
        number(match self.owner {
            Owner::Organization => &row.organization_id,
            Owner::Client => &row.client_id,
            Owner::Device => &row.device_id,
        })
    }
}

impl Row {
    /// What a page of rows goes on after.
    pub(super) fn number(&self) -> Option<u64> {
        self.id.as_u64()
    }
}

/// A whole number in digits; anything else is not an id.
fn number(value: &Value) -> Option<EntityId> {
    value.as_u64().and_then(EntityId::of_number)
}
