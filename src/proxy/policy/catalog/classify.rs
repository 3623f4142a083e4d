//! What an operation of a document is to the proxy: its scope, group and risk, by rules that doubt in favour of closed.

use http::Method;

use super::super::group::{Group, UNCLASSIFIED};
use super::openapi::{Declared, Document, shape};
use super::shadow;
use super::{Catalog, Fencing, Operation, Risk, Scope, TemplateSegment};

/// Words that tell of danger, wherever they are in path, `operationId` or tags, and the group that has to be named
/// then. The first that fits decides; hyphens and capitals do not matter.
const DANGERS: [(&str, &str); 16] = [
    ("installer", "installers"),
    ("webhook", "webhooks"),
    ("script", "scripts"),
    ("technician", "users-and-roles"),
    ("user", "users-and-roles"),
    ("role", "users-and-roles"),
    ("contact", "users-and-roles"),
    ("permission", "users-and-roles"),
    ("credential", "unclassified"),
    ("password", "unclassified"),
    ("secret", "unclassified"),
    ("token", "unclassified"),
    ("apikey", "unclassified"),
    ("remotecontrol", "unclassified"),
    ("signedurl", "signed-urls"),
    ("secure", "unclassified"),
];

/// Words that have one of the above in them and tell of nothing.
const HARMLESS: [&str; 4] = ["noderole", "devicerole", "description", "subscription"];

/// NinjaOne's tags whose operations have one purpose. `system`, `management`, `organization` and `Location` are given
/// to all kinds of operations, and tell nothing.
const TAGS: [(&str, &str); 19] = [
    ("Asset Relationships", "tags-itam"),
    ("Asset Tags", "tags-itam"),
    ("Backup", "backup"),
    ("Billing", "billing"),
    ("Checklist Templates", "documentation"),
    ("Custom Fields", "custom-field-definitions"),
    ("Custom Tabs", "custom-tabs"),
    ("Document Templates", "documentation"),
    ("Knowledge Base Articles", "documentation"),
    ("Node Roles", "node-roles"),
    ("Organization Checklists", "documentation"),
    ("Organization Documents", "documentation"),
    ("Related Items", "documentation"),
    ("Software Licenses", "tags-itam"),
    ("Unmanaged Devices", "tags-itam"),
    ("Vulnerability Management", "vulnerability"),
    ("devices", "devices-read"),
    ("queries", "queries"),
    ("ticketing", "tickets"),
];

impl Document {
    /// What a catalogue lacks, classified.
    pub fn added(&self, catalog: &Catalog) -> Vec<Operation> {
        let lacks = |declared: &&Declared| catalog.counterpart(declared).is_none();
        self.operations.iter().filter(lacks).map(|declared| classify(declared, catalog, &self.version)).collect()
    }
}

impl Catalog {
    /// The operation of the same method and template; names do not count, and types only where there are several.
    pub(super) fn counterpart(&self, declared: &Declared) -> Option<&Operation> {
        let is_alike =
            |own: &&Operation| own.method == declared.method && shadow::same_shape(&own.segments, &declared.segments);
        let alike = || self.operations.iter().filter(is_alike);
        alike().find(|own| shadow::same_place(&own.segments, &declared.segments)).or_else(|| alike().next())
    }

    /// The segments of a declared operation, with the types that operations on the same template have here: a second
    /// place for the same paths would leave each method at only one of the two.
    fn adopt(&self, declared: &Declared) -> Vec<TemplateSegment> {
        let mut places: Vec<&[TemplateSegment]> = Vec::new();
        for own in self.operations.iter().filter(|own| shadow::same_shape(&own.segments, &declared.segments)) {
            if !places.iter().any(|place| shadow::same_place(place, &own.segments)) {
                places.push(&own.segments);
            }
        }
        match places.as_slice() {
            [only] if shadow::overlap(only, &declared.segments) => only.to_vec(),
            [..] => declared.segments.clone(),
        }
    }
}

fn classify(declared: &Declared, catalog: &Catalog, version: &str) -> Operation {
    let method = declared.method.clone();
    let scope = scope(declared);
    let (group, why) = group(declared, scope, catalog);
    let (risk, why_risk) = risk(&method, group, catalog);
    let asks = if Some(scope) == declared.scope { "which asks for" } else { "so" };
    let segments = catalog.adopt(declared);
    Operation {
        template: segments.iter().map(|segment| format!("/{segment}")).collect(),
        reason: Some(format!("{method}, {asks} {scope}; {why}, so {group}; {why_risk}, so {risk} risk")),
        idempotent: [Method::GET, Method::PUT, Method::DELETE].contains(&method),
        user_context: false,
        fencing: Fencing::default(),
        document: version.to_owned(),
        method,
        segments,
        scope,
        group,
        risk,
    }
}

/// A document can ask for more than the method says, never for less.
fn scope(declared: &Declared) -> Scope {
    let least = if declared.method == Method::GET { Scope::Monitoring } else { Scope::Management };
    declared.scope.map_or(least, |scope| scope.max(least))
}

fn group(declared: &Declared, scope: Scope, catalog: &Catalog) -> (&'static Group, String) {
    danger(declared)
        .or_else(|| by_path(declared, scope, catalog))
        .or_else(|| by_tag(declared, scope, catalog))
        .unwrap_or((&UNCLASSIFIED, "neither path nor tag tells what it is for".to_owned()))
}

fn danger(declared: &Declared) -> Option<(&'static Group, String)> {
    let (path, id) = (declared.template(), declared.id.clone());
    let tags = declared.tags.iter().map(|tag| ("tag", tag.clone()));
    let texts: Vec<_> =
        [("path", path), ("operationId", id)].into_iter().chain(tags).map(|(what, text)| (what, bare(&text))).collect();
    DANGERS.into_iter().find_map(|(word, group)| {
        let (what, _) = texts.iter().find(|(_, text)| text.contains(word))?;
        Some((Group::find(group).unwrap_or(&UNCLASSIFIED), format!("{what} speaks of {word:?}")))
    })
}

/// A text without capitals, hyphens, spaces and harmless words.
fn bare(text: &str) -> String {
    let text = text.to_ascii_lowercase().replace(['-', '_', ' ', '.', '~'], "");
    HARMLESS.into_iter().fold(text, |text, word| text.replace(word, "*"))
}

/// The group of most built-in operations with the scope and the longest beginning of the path that any have. All
/// have `/v2`, which says nothing.
fn by_path(declared: &Declared, scope: Scope, catalog: &Catalog) -> Option<(&'static Group, String)> {
    (2..=declared.segments.len()).rev().find_map(|depth| {
        let start = declared.segments.get(..depth)?;
        let below = |own: &&Operation| {
            own.scope == scope
                && own.reason.is_none()
                && own.segments.get(..depth).is_some_and(|own| shadow::same_shape(own, start))
        };
        let groups: Vec<_> = catalog.operations.iter().filter(below).map(|own| own.group).collect();
        if groups.is_empty() {
            return None;
        }
        let of = |group| groups.iter().filter(|own| **own == group).count();
        let most = groups.iter().find(|group| 2 * of(**group) > groups.len());
        Some(most.map(|group| (*group, format!("path below {}", shape(start)))))
    })?
}

/// A tag's group, if operations with this scope are in it: a write has no place among reads.
fn by_tag(declared: &Declared, scope: Scope, catalog: &Catalog) -> Option<(&'static Group, String)> {
    let mut found = declared.tags.iter().filter_map(|tag| {
        let (_, group) = TAGS.into_iter().find(|(known, _)| known == tag)?;
        Group::find(group).map(|group| (group, tag))
    });
    let (group, tag) = found.next()?;
    let one_purpose = found.all(|(other, _)| other == group);
    let has_scope = catalog.operations.iter().any(|own| own.group == group && own.scope == scope);
    (one_purpose && has_scope).then(|| (group, format!("tag {tag:?}")))
}

/// As high as anything in the group; a read as high as the group's built-in reads.
fn risk(method: &Method, group: &'static Group, catalog: &Catalog) -> (Risk, String) {
    if *method == Method::DELETE {
        return (Risk::Critical, "DELETE".to_owned());
    }
    let reads = catalog.operations.iter().filter(|own| own.group == group && own.method == Method::GET);
    match reads.map(|own| own.risk).max() {
        Some(risk) if *method == Method::GET => (risk, format!("GET of {group}")),
        _ => (group.risk.max(Risk::Medium), format!("{method} of {group}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ParameterType;
    use super::*;

    fn built_in() -> Catalog {
        Catalog::built_in().expect("good")
    }

    fn declared(method: &str, path: &str, tags: &[&str], id: &str, scope: Option<Scope>) -> Declared {
        let segment = |text: &str| match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            Some(name) => TemplateSegment::Parameter(name.to_owned(), ParameterType::Integer),
            None => TemplateSegment::Literal(text.to_owned()),
        };
        Declared {
            method: method.parse().expect("a method"),
            segments: path.split('/').skip(1).map(segment).collect(),
            scope,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            id: id.to_owned(),
        }
    }

    /// Method, path, tag, operationId, scope that is asked for; then scope, group, risk, and a part of the reason.
    type Line = (&'static str, &'static str, &'static str, &'static str, Option<Scope>, &'static str, &'static str);

    const LINES: [Line; 32] = [
        // Danger, whatever else is said.
        (
            "GET",
            "/v2/devices/installer-links",
            "devices",
            "",
            None,
            "monitoring installers high",
            "path speaks of \"installer\"",
        ),
        (
            "POST",
            "/v2/device/{id}/x",
            "Webhooks",
            "",
            None,
            "management webhooks critical",
            "tag speaks of \"webhook\"",
        ),
        (
            "GET",
            "/v2/device/{id}/x",
            "",
            "getRunScript",
            None,
            "monitoring scripts low",
            "operationId speaks of \"script\"",
        ),
        ("GET", "/v2/queries/technicians", "", "", None, "monitoring users-and-roles medium", "\"technician\""),
        ("GET", "/v2/device/{userId}/x", "", "", None, "monitoring users-and-roles medium", "\"user\""),
        ("PATCH", "/v2/policies/roles", "", "", None, "management users-and-roles critical", "\"role\""),
        ("GET", "/v2/billing/contacts", "Billing", "", None, "monitoring users-and-roles medium", "\"contact\""),
        ("GET", "/v2/device/{id}/permissions", "", "", None, "monitoring users-and-roles medium", "\"permission\""),
        ("GET", "/v2/tag/credentials", "", "", None, "monitoring unclassified critical", "\"credential\""),
        ("GET", "/v2/tag/pass-word", "", "", None, "monitoring unclassified critical", "\"password\""),
        ("GET", "/v2/tag/secrets", "", "", None, "monitoring unclassified critical", "\"secret\""),
        ("GET", "/v2/tag/tokens", "", "", None, "monitoring unclassified critical", "\"token\""),
        ("GET", "/v2/tag/api-keys", "", "", None, "monitoring unclassified critical", "\"apikey\""),
        ("GET", "/v2/tag/RemoteControl", "", "", None, "monitoring unclassified critical", "\"remotecontrol\""),
        ("GET", "/v2/tag/{id}/signed-urls", "", "", None, "monitoring signed-urls medium", "\"signedurl\""),
        ("GET", "/v2/tag/{id}/secure", "", "", None, "monitoring unclassified critical", "\"secure\""),
        ("GET", "/v2/script/{id}/signed-urls", "", "", None, "monitoring scripts low", "\"script\""),
        // Words that only look like danger.
        ("GET", "/v2/noderole/{id}", "Node Roles", "", None, "monitoring node-roles", "path below /v2/noderole"),
        (
            "GET",
            "/v2/billing/subscriptions",
            "",
            "getDescription",
            None,
            "monitoring billing medium",
            "path below /v2/billing",
        ),
        // The path, by the longest beginning with operations of the scope.
        (
            "GET",
            "/v2/ticketing/board/{id}/x",
            "",
            "",
            None,
            "monitoring tickets",
            "so monitoring; path below /v2/ticketing",
        ),
        ("GET", "/v2/queries/firmware", "billing", "", None, "monitoring queries", "path below /v2/queries"),
        ("GET", "/v2/device/{id}/firmware", "", "", None, "monitoring devices-read", "path below /v2/device/{}"),
        ("DELETE", "/v2/tag/{id}/x", "", "", None, "management tags-itam critical", "DELETE, so critical risk"),
        ("PUT", "/v2/webinar/{id}", "", "", None, "management unclassified critical", "neither path nor tag"),
        // The tag, where the path tells nothing.
        (
            "POST",
            "/v2/labels",
            "Asset Tags",
            "",
            None,
            "management tags-itam critical",
            "tag \"Asset Tags\", so tags-itam",
        ),
        ("POST", "/v2/firmware", "devices", "", None, "management unclassified critical", "neither"),
        ("GET", "/v2/firmware", "devices", "", None, "monitoring devices-read high", "tag \"devices\""),
        ("GET", "/v2/firmware", "management", "", None, "monitoring unclassified critical", "neither"),
        ("GET", "/v2/{id}", "", "", None, "monitoring unclassified critical", "neither"),
        // The scope that the document asks for, never less than the method's.
        (
            "GET",
            "/v2/queries/firmware",
            "",
            "",
            Some(Scope::Management),
            "management unclassified",
            "GET, which asks for management",
        ),
        (
            "POST",
            "/v2/labels",
            "Asset Tags",
            "",
            Some(Scope::Monitoring),
            "management tags-itam",
            "POST, so management",
        ),
        (
            "POST",
            "/v2/labels",
            "",
            "",
            Some(Scope::Control),
            "control unclassified critical",
            "POST, which asks for control",
        ),
    ];

    #[test]
    fn classify_gives_scope_group_and_risk_by_danger_path_and_tag() {
        let catalog = built_in();
        let mut used = std::collections::BTreeSet::new();
        for (method, path, tag, id, scope, wanted, part) in LINES {
            let tags: Vec<_> = [tag].into_iter().filter(|tag| !tag.is_empty()).collect();
            let own = classify(&declared(method, path, &tags, id, scope), &catalog, "next");
            let reason = own.reason.clone().expect("a reason");
            let made = format!("{} {} {}", own.scope, own.group, own.risk);
            assert!(made.starts_with(wanted), "{method} {path}: {made}\n{reason}");
            assert!(reason.contains(part), "{method} {path}: {reason}");
            used.extend(DANGERS.into_iter().filter(|(word, _)| reason.contains(&format!("{word:?}"))));
        }
        assert_eq!(used.len(), DANGERS.len(), "every danger has a line");
    }

    #[test]
    fn classify_finds_every_group_that_it_names() {
        let catalog = built_in();
        for (_, group) in DANGERS.into_iter().chain(TAGS) {
            assert!(Group::find(group).is_some(), "{group}");
        }
        for (tag, group) in TAGS {
            let method = if group == "tags-itam" { "POST" } else { "GET" };
            let own = classify(&declared(method, "/v2/firmware", &[tag], "", None), &catalog, "next");
            assert_eq!(own.group.name, group, "{tag}");
            let both = classify(&declared(method, "/v2/firmware", &[tag, "Backup"], "", None), &catalog, "next");
            assert!(group == "backup" || both.group == &UNCLASSIFIED, "two purposes are none: {tag}");
        }
    }

    #[test]
    fn classify_would_close_every_built_in_operation_that_is_closed_if_it_were_new() {
        let all = built_in();
        let (mut guarded, mut low) = (0, Vec::new());
        for own in all.operations() {
            let others = all.operations().iter().filter(|other| !std::ptr::eq(*other, own)).cloned().collect();
            let (others, skipped) = Catalog::parse("").expect("empty").extended(others);
            let declared = Declared {
                method: own.method.clone(),
                segments: own.segments.clone(),
                scope: None,
                tags: Vec::new(),
                id: String::new(),
            };
            let new = classify(&declared, &others, "next");
            assert!(new.scope >= own.scope && new.group.guarded >= own.group.guarded, "{new:?}");
            assert!(new.method == Method::GET || new.risk >= Risk::Medium, "{new:?}");
            guarded += usize::from(own.group.guarded);
            if new.risk < own.risk {
                low.push(format!("{} {} {} {}", own.method, own.template, own.risk, new.risk));
            }
            drop(skipped);
        }
        assert!(guarded > 25, "{guarded} were visited");
        assert!(low.len() <= 12, "the risk of few is taken for lower: {low:#?}");
    }
}
