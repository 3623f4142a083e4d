//! Whose things the writes would have changed, by simple rules of the sandbox's own: what path and body name.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::fleet::IdList;
use super::homes::Fleet;
use super::owner::thing_of_uid;
use crate::proxy::policy::catalog::Operation;

/// More writes than this are not kept.
const MAX_WRITES: usize = 100_000;

/// The writes so far.
#[derive(Debug, Default)]
pub(super) struct Changes(Mutex<VecDeque<(String, BTreeSet<u32>)>>);

impl Changes {
    pub(super) fn record(&self, operation: &Operation, organizations: BTreeSet<u32>) {
        let mut writes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if writes.len() >= MAX_WRITES {
            writes.pop_front();
        }
        writes.push_back((format!("{} {}", operation.method, operation.template), organizations));
    }

    /// Each write with the organizations whose things it would have changed; none: things that are everybody's.
    pub(super) fn shown(&self) -> Value {
        let writes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let show = |(operation, organizations): &(String, BTreeSet<u32>)| json!({ "operation": operation, "organizations": organizations });
        writes.iter().map(show).collect()
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The organizations that a request names by path, query and body.
pub(super) fn named(
    fleet: &Fleet,
    operation: &Operation,
    parameters: &[(&str, String)],
    query: &[(String, String)],
    body: &Value,
) -> BTreeSet<u32> {
    let mut found = Found { fleet, organizations: BTreeSet::new() };
    for (name, value) in parameters {
        match kind_of_parameter(&operation.template, name) {
            Some(kind) => found.id(kind, value),
            None => found.uid(value),
        }
    }
    let value = |name: &str| parameters.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str());
    let types = ["entityType", "relEntityType", "assetType"].iter().find_map(|name| value(name));
    let ids = ["entityId", "relEntityId", "assetId"].iter().find_map(|name| value(name));
    if let (Some(word), Some(id)) = (types, ids) {
        found.id(kind_of_word(word), id);
    }
    for (name, value) in query {
        found.field(name, &json!(value));
    }
    found.body(&operation.template, body);
    found.organizations
}

/// The fields of a form of parts that are short, as far as they are one.
pub(super) fn form_fields(text: &str) -> Value {
    let parts = text.split("name=\"").skip(1);
    let field = |part: &str| {
        let (name, rest) = part.split_once('"')?;
        let (_, value) = rest.split_once("\r\n\r\n")?;
        let value = value.split("\r\n").next()?;
        (value.len() <= 100).then(|| (name.to_owned(), json!(value)))
    };
    Value::Object(parts.filter_map(field).collect())
}

/// Collects organizations.
struct Found<'a> {
    fleet: &'a Fleet,
    organizations: BTreeSet<u32>,
}

impl Found<'_> {
    fn id(&mut self, kind: IdList, id: &str) {
        let things = self.fleet.things(kind);
        self.organizations.extend(things.filter(|one| one.id.to_string() == id).map(|one| one.organization));
    }

    fn uid(&mut self, text: &str) {
        self.organizations.extend(thing_of_uid(self.fleet, text).map(|thing| thing.organization));
    }

    /// What a list of ids without names holds depends on the operation.
    fn body(&mut self, template: &str, body: &Value) {
        let is_row = ["/checklists/", "/documents", "/articles", "/folders", "/archive", "/restore", "/invoices"];
        if is_row.iter().any(|part| template.contains(part)) && !template.contains("template") {
            let bare = body.as_array().into_iter().flatten();
            bare.map(|one| one.get("id").unwrap_or(one)).for_each(|id| self.ids(IdList::Row, id));
        }
        self.value(body);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => {
                for [kind, id] in [["entityType", "entityId"], ["relEntityType", "relEntityId"]] {
                    if let (Some(Value::String(word)), Some(id)) = (fields.get(kind), fields.get(id)) {
                        self.ids(kind_of_word(word), id);
                    }
                }
                fields.iter().for_each(|(name, value)| self.field(name, value));
            }
            Value::Array(values) => values.iter().for_each(|value| self.value(value)),
            Value::String(text) => self.uid(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn field(&mut self, name: &str, value: &Value) {
        match kind_of_field(name) {
            Some(kind) => self.ids(kind, value),
            None => self.value(value),
        }
    }

    /// One id or a list of them, as numbers or text.
    fn ids(&mut self, kind: IdList, value: &Value) {
        match value {
            Value::Number(number) => self.id(kind, &number.to_string()),
            Value::String(text) => text.split(',').for_each(|id| self.id(kind, id.trim())),
            Value::Array(values) => values.iter().for_each(|value| self.ids(kind, value)),
            Value::Null | Value::Bool(_) | Value::Object(_) => {}
        }
    }
}

fn kind_of_parameter(template: &str, name: &str) -> Option<IdList> {
    Some(match name {
        "organizationId" => IdList::Organization,
        "locationId" | "location_id" => IdList::Location,
        "nodeId" => IdList::Device,
        "ticketId" | "clientDocumentId" | "checklistId" | "articleId" | "relatedItemId" => IdList::Row,
        "id" => match template.split('/').nth(2)? {
            "device" => IdList::Device,
            "organization" => IdList::Organization,
            "user" if template.contains("/end-user/") => IdList::EndUser,
            "contact" | "billing" => IdList::Row,
            _ => return None,
        },
        _ => return None,
    })
}

/// What NinjaOne's word for a kind of entity names.
pub(super) fn kind_of_word(word: &str) -> IdList {
    match word.to_ascii_uppercase().as_str() {
        "ORGANIZATION" | "CLIENT" => IdList::Organization,
        "LOCATION" => IdList::Location,
        "NODE" | "DEVICE" => IdList::Device,
        "END_USER" | "USER" => IdList::EndUser,
        "TECHNICIAN" => IdList::Technician,
        _ => IdList::Row,
    }
}

/// What the ids in a field of this name are of.
pub(super) fn kind_of_field(name: &str) -> Option<IdList> {
    let plural = name.strip_suffix('s').unwrap_or(name);
    Some(match plural {
        "organizationId" | "clientId" | "orgId" | "destinationOrganizationId" | "templateOrganizationId" => {
            IdList::Organization
        }
        "locationId" => IdList::Location,
        "deviceId" | "nodeId" | "device" | "assetId" => IdList::Device,
        "endUserId" => IdList::EndUser,
        "documentId" | "clientChecklistId" | "checklistId" | "articleId" | "ticketId" | "parentTicketId"
        | "contactId" => IdList::Row,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::proxy::policy::catalog::Catalog;

    fn changed(method: Method, target: &str, parameters: &[(&str, &str)], body: Value) -> Vec<u32> {
        let catalog = Catalog::built_in().expect("built in");
        let operation = catalog.find(&method, target).expect("known");
        let parameters: Vec<_> = parameters.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        named(&Fleet::new(), operation, &parameters, &[], &body).into_iter().collect()
    }

    #[test]
    fn a_write_names_organizations_in_its_path_and_its_body() {
        let (patch, post) = (Method::PATCH, Method::POST);
        assert_eq!(changed(patch.clone(), "/v2/device/8", &[("id", "8")], json!({"organizationId": 2})), [2, 4]);
        assert_eq!(changed(patch.clone(), "/v2/user/end-user/101", &[("id", "101")], json!({})), [1]);
        assert_eq!(changed(post.clone(), "/v2/devices/approval/APPROVE", &[], json!({"devices": [1, 2]})), [1, 2]);
        assert_eq!(changed(post.clone(), "/v2/contacts", &[], json!({"organizationId": "3"})), [3]);
        assert_eq!(changed(post.clone(), "/v2/noderole/delete", &[], json!({"ids": [1]})), Vec::<u32>::new());
        assert_eq!(changed(post, "/v2/organization/checklists/delete", &[], json!([1])), [4]);
        let parameters = [("entityType", "NODE"), ("entityId", "7")];
        assert_eq!(changed(Method::DELETE, "/v2/related-items/NODE/7", &parameters, Value::Null), [3]);
    }

    #[test]
    fn an_owner_is_recognized_by_uuid() {
        let uid = crate::sandbox::fleet::uid("user", 102);
        let parameters = [("id", "1"), ("ownerUid", uid.as_str())];
        assert_eq!(changed(Method::POST, &format!("/v2/device/1/owner/{uid}"), &parameters, Value::Null), [1, 2]);
    }
}
