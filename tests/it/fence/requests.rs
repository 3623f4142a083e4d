//! Requests for every operation, with ids of what is inside, what is outside, and what is not there.

use fastrand::Rng;
use ninjaone_proxy::proxy::policy::catalog::{
    EntityKind, FenceRules, Operation, ParameterType, RequestCheck, TemplateSegment,
};
use ninjaone_proxy::sandbox::owner;
use serde_json::{Value, json};

/// A request that may name anything.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) body: String,
}

/// Ids of a kind, as far as the sandbox has them and beyond.
fn candidates(kind: EntityKind) -> Vec<String> {
    let numbers = |most: u32| (1..=most).map(|id| id.to_string()).collect();
    match kind {
        EntityKind::Organization => numbers(6),
        EntityKind::Location => numbers(12),
        EntityKind::Device => numbers(64),
        EntityKind::EndUser => (99..=126).map(|id| id.to_string()).collect(),
        EntityKind::Contact
        | EntityKind::Ticket
        | EntityKind::Document
        | EntityKind::Checklist
        | EntityKind::Article => numbers(27),
        EntityKind::EndUserUid | EntityKind::Alert => Vec::new(),
    }
}

/// What names things: the UUIDs that the sandbox shows, by kind.
#[derive(Debug, Default)]
pub(super) struct Uids {
    pub(super) alerts: Vec<String>,
    pub(super) end_users: Vec<String>,
}

/// Makes requests.
pub(super) struct Maker<'a> {
    pub(super) rng: Rng,
    pub(super) uids: &'a Uids,
    pub(super) inside: &'a [u32],
}

impl Maker<'_> {
    pub(super) fn make(&mut self, operation: &Operation) -> Made {
        let rules = operation.fencing.rules.as_ref();
        let path: String =
            operation.segments.iter().map(|segment| format!("/{}", self.segment(rules, segment))).collect();
        let query = self.query();
        let is_read = operation.method == http::Method::GET;
        let body = if is_read { String::new() } else { self.body(rules) };
        let method = if is_read && self.rng.u8(..) < 8 { "HEAD".to_owned() } else { operation.method.to_string() };
        Made { method, target: format!("{path}{query}"), body }
    }

    fn segment(&mut self, rules: Option<&FenceRules>, segment: &TemplateSegment) -> String {
        let (name, kind) = match segment {
            TemplateSegment::Literal(text) => return text.clone(),
            TemplateSegment::Parameter(name, kind) => (name, kind),
        };
        let mut checks = rules.into_iter().flat_map(|rules| &rules.request);
        let entity = checks.find_map(|check| {
            let RequestCheck::Path { kind, parameter } = check else { return None };
            (parameter == name).then_some(*kind)
        });
        if let Some(entity) = entity {
            return self.id(entity);
        }
        match kind {
            ParameterType::OneOf(words) => words[self.rng.usize(..words.len())].clone(),
            ParameterType::Uid => self.uid(EntityKind::Alert),
            ParameterType::Integer => self.rng.u32(1..64).to_string(),
            ParameterType::Name => "assetNote1".to_owned(),
        }
    }

    /// Mostly what is inside, else what is outside or not there.
    fn id(&mut self, kind: EntityKind) -> String {
        if matches!(kind, EntityKind::EndUserUid | EntityKind::Alert) {
            return self.uid(kind);
        }
        let all = candidates(kind);
        let is_inside = |id: &&String| owner(kind, id).is_some_and(|owner| self.inside.contains(&owner));
        let inside: Vec<_> = all.iter().filter(is_inside).cloned().collect();
        let from = if self.rng.u8(..) < 150 && !inside.is_empty() { inside } else { all };
        from[self.rng.usize(..from.len())].clone()
    }

    fn uid(&mut self, kind: EntityKind) -> String {
        let known = if kind == EntityKind::Alert { &self.uids.alerts } else { &self.uids.end_users };
        if self.rng.u8(..) < 25 || known.is_empty() {
            return "01234567-89ab-8def-8123-456789abcdef".to_owned();
        }
        let is_inside = |uid: &&String| owner(kind, uid).is_some_and(|owner| self.inside.contains(&owner));
        let inside: Vec<_> = known.iter().filter(is_inside).collect();
        if self.rng.u8(..) < 150 && !inside.is_empty() {
            return inside[self.rng.usize(..inside.len())].clone();
        }
        known[self.rng.usize(..known.len())].clone()
    }

    fn query(&mut self) -> String {
        let mut parameters = Vec::new();
        for _ in 0..[0, 0, 1, 1, 2, 3][self.rng.usize(..6)] {
            let number = self.rng.u32(1..64);
            let organization = self.rng.u32(1..6);
            let one = match self.rng.u8(..18) {
                0 => format!("df=org%3D{organization}"),
                1 => format!("df=org+in+(1,%20{organization})%20AND%20online"),
                2 => format!("df=id%20%3D%20{number}"),
                3 => "df=class%20in%20(MAC,%20NMS_SWITCH)".to_owned(),
                4 => format!("df=x)%20or%20org%20in%20({organization}"),
                5 => format!("of=id%3D{organization}"),
                6 => format!("organizationIds={organization}"),
                7 => format!("organizationIds=1,{organization}"),
                8 => format!("organizationId={organization}"),
                9 => format!("clientId={organization}"),
                10 => format!("pageSize={}", self.rng.u32(1..9)),
                11 => format!("after={number}"),
                12 => format!("olderThan={}", number * 10),
                13 => format!("newerThan={}", number * 10),
                14 => format!("q=sb-device-0{}", number % 10),
                15 => "userType=END_USER".to_owned(),
                16 => format!("deviceId={number}"),
                _ => format!("anchorId={number}&expand=all"),
            };
            parameters.push(one);
        }
        if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) }
    }

    /// What the operation looks at, mostly, and whatever else names something.
    fn body(&mut self, rules: Option<&FenceRules>) -> String {
        let checks: Vec<_> = rules.into_iter().flat_map(|rules| &rules.request).collect();
        let is_list =
            checks.iter().any(|check| matches!(check, RequestCheck::Body { pointer, .. } if pointer.starts_with("/*")));
        let is_bare = checks.iter().any(|check| matches!(check, RequestCheck::Body { pointer, .. } if pointer == "/*"));
        if is_bare {
            let id = |check: &&RequestCheck| {
                let RequestCheck::Body { kind, .. } = check else { return None };
                Some(*kind)
            };
            let kind = checks.iter().find_map(id).unwrap_or(EntityKind::Device);
            let ids: Vec<_> = (0..self.rng.usize(0..4)).map(|_| self.number(kind)).collect();
            return json!(ids).to_string();
        }
        let mut one = || {
            let mut fields = serde_json::Map::new();
            for check in &checks {
                if let RequestCheck::Body { kind, pointer, .. } = check
                    && self.rng.u8(..) < 225
                {
                    let names: Vec<_> = pointer.trim_start_matches("/*").split('/').skip(1).collect();
                    let value = self.number(*kind);
                    put(&mut fields, &names, value);
                }
            }
            for _ in 0..[0, 0, 1, 2][self.rng.usize(..4)] {
                let (name, value) = self.field();
                fields.insert(name, value);
            }
            Value::Object(fields)
        };
        if is_list { json!([one(), one()]).to_string() } else { one().to_string() }
    }

    /// A field that names an organization or a device. Other things are named only where the operation has them.
    fn field(&mut self) -> (String, Value) {
        let number = |id: String| id.parse::<u64>().map_or(json!(id), |id| json!(id));
        let (name, value) = match self.rng.u8(..10) {
            0 => ("organizationId", number(self.id(EntityKind::Organization))),
            1 => ("clientId", number(self.id(EntityKind::Organization))),
            2 => ("deviceId", number(self.id(EntityKind::Device))),
            3 => ("nodeId", json!(self.id(EntityKind::Device))),
            4 => ("destinationOrganizationId", number(self.id(EntityKind::Organization))),
            5 => ("devices", json!([number(self.id(EntityKind::Device)), number(self.id(EntityKind::Device))])),
            6 => ("organizationIds", json!([number(self.id(EntityKind::Organization))])),
            7 => ("entity", json!({ "entityType": "NODE", "entityId": number(self.id(EntityKind::Device)) })),
            8 => ("note", json!("text")),
            _ => ("nested", json!({ "deep": [{ "organizationId": number(self.id(EntityKind::Organization)) }] })),
        };
        (name.to_owned(), value)
    }

    fn number(&mut self, kind: EntityKind) -> Value {
        let id = self.id(kind);
        id.parse::<u64>().map_or(json!(id), |id| json!(id))
    }
}

/// Puts a value at a place of names and stars.
fn put(fields: &mut serde_json::Map<String, Value>, names: &[&str], value: Value) {
    match names {
        [] => {}
        [name] => _ = fields.insert((*name).to_owned(), value),
        [name, "*"] => _ = fields.insert((*name).to_owned(), json!([value])),
        [name, "*", rest @ ..] => {
            let mut inner = serde_json::Map::new();
            put(&mut inner, rest, value);
            fields.insert((*name).to_owned(), json!([inner]));
        }
        [name, rest @ ..] => {
            let mut inner = serde_json::Map::new();
            put(&mut inner, rest, value);
            fields.insert((*name).to_owned(), Value::Object(inner));
        }
    }
}

/// The first id in an answer of something that is outside, by the names of the fields.
pub(super) fn foreign_id(value: &Value, inside: &[u32]) -> Option<String> {
    let check = |kind: EntityKind, name: &str, value: &Value| {
        let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        let ids = values.iter().filter_map(|value| value.as_u64().map(|id| id.to_string()));
        let outside = |id: &String| !owner(kind, id).is_some_and(|owner| inside.contains(&owner));
        ids.into_iter().find(outside).map(|id| format!("{name} {id}"))
    };
    match value {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let here = match name.as_str() {
                "organizationId" | "clientId" | "organizationIds" | "clientIds" => {
                    check(EntityKind::Organization, name, value)
                }
                "deviceId" | "nodeId" | "deviceIds" | "nodeIds" | "assignedDeviceIds" => {
                    check(EntityKind::Device, name, value)
                }
                "locationId" => check(EntityKind::Location, name, value),
                _ => None,
            };
            here.or_else(|| foreign_id(value, inside))
        }),
        Value::Array(values) => values.iter().find_map(|value| foreign_id(value, inside)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}
