//! Operations of a newer document: what is added, how it is judged, what is left out, and what differs.

use std::path::Path;

use http::Method;
use ninjaone_proxy::config::Config;
use ninjaone_proxy::proxy::policy::catalog::openapi::Document;
use ninjaone_proxy::proxy::policy::catalog::{Catalog, Operation, ParameterType, Scope, TemplateSegment};
use ninjaone_proxy::proxy::policy::group::Group;
use serde_json::{Map, Value, json};

use crate::harness::{Proxy, Scripted, Then, answer, run_binary};

const UID: &str = "3f2c8a9e-0000-4000-8000-00000000abcd";

fn built_in() -> Catalog {
    Catalog::built_in().expect("good")
}

/// An OpenAPI document of what is built in, but for what no document declares yet.
fn document() -> Value {
    let mut paths = Map::new();
    for own in built_in().operations().iter().filter(|own| own.document == "2.0.9-draft") {
        let parameters: Vec<Value> = own
            .segments
            .iter()
            .filter_map(|segment| match segment {
                TemplateSegment::Literal(_) => None,
                TemplateSegment::Parameter(name, kind) => Some(parameter(name, schema(kind))),
            })
            .collect();
        let item = paths.entry(own.template.clone()).or_insert_with(|| json!({}));
        item[own.method.as_str().to_lowercase()] = json!({ "parameters": parameters, "tags": ["system"] });
    }
    json!({ "openapi": "3.0.1", "info": { "version": "2.1.0" }, "paths": paths })
}

fn parameter(name: &str, schema: Value) -> Value {
    json!({ "in": "path", "name": name, "required": true, "schema": schema })
}

fn schema(kind: &ParameterType) -> Value {
    match kind {
        ParameterType::Integer => json!({ "type": "integer", "format": "int32" }),
        ParameterType::Uid => json!({ "type": "string", "format": "uuid" }),
        ParameterType::OneOf(words) => json!({ "type": "string", "enum": words.to_vec() }),
        ParameterType::Name => json!({ "type": "string" }),
    }
}

/// A value as YAML in block style.
fn yaml(value: &Value, indent: usize) -> String {
    let pad = "  ".repeat(indent);
    match value {
        Value::Object(members) if !members.is_empty() => members
            .iter()
            .map(|(key, value)| format!("\n{pad}{}: {}", Value::from(key.as_str()), yaml(value, indent + 1)))
            .collect(),
        Value::Array(values) if !values.is_empty() => {
            values.iter().map(|value| format!("\n{pad}- {}", yaml(value, indent + 1))).collect()
        }
        Value::String(text) if text.chars().all(char::is_alphanumeric) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

fn file(name: &str, text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(name), text).expect("a file");
    folder
}

/// What is built in with operations added, removed and changed.
fn changed_document() -> Value {
    let mut root = document();
    root["components"] = json!({
        "parameters": { "Id": parameter("id", json!({ "$ref": "#/components/schemas/Id" })) },
        "schemas": { "Id": { "type": "integer" } },
    });
    let paths = root["paths"].as_object_mut().expect("paths");
    paths.insert(
        "/api/v2/device/{id}/firmware".to_owned(),
        json!({ "parameters": [{ "$ref": "#/components/parameters/Id" }], "get": {}, "head": {}, "post": {} }),
    );
    paths.insert("/v2/event-webhooks".to_owned(), json!({ "get": { "tags": ["devices"] } }));
    paths.insert("/v2/custom-fields/field-name/special".to_owned(), json!({ "get": {} }));
    paths.insert("/v2/part-{id}".to_owned(), json!({ "get": {} }));
    paths.insert("/v2/lost".to_owned(), json!({ "get": { "parameters": [{ "$ref": "other.yaml#/x" }] } }));
    paths.insert("/v1/devices".to_owned(), json!({ "get": {}, "post": {} }));
    // The same operation with another name for its parameter is the same operation.
    let disks = paths.remove("/v2/device/{id}/disks").expect("an operation");
    paths.insert("/v2/device/{deviceId}/disks".to_owned(), disks);
    paths["/v2/device/{deviceId}/disks"]["get"]["parameters"][0]["name"] = json!("deviceId");
    paths.remove("/v2/alerts").expect("an operation");
    paths["/v2/device/{id}/reboot/{mode}"]["post"]["parameters"][1]["schema"]["enum"] = json!(["NORMAL", "GENTLE"]);
    paths["/v2/device/{id}"]["get"]["parameters"][0]["schema"] = json!({ "type": "string" });
    paths["/v2/device/{id}"]["get"]["security"] = json!([{ "oauth2": ["management"] }]);
    root
}

#[test]
fn catalog_diff_lists_what_was_added_removed_and_changed() {
    let root = changed_document();
    for (name, text) in [("openapi.json", root.to_string()), ("openapi.yaml", yaml(&root, 0))] {
        let folder = file(name, &text);
        let (code, said, error) = run_binary(folder.path(), &["catalog", "diff", name, "--json"], &[]);
        assert_eq!(code, 0, "{error}");
        let told: Value = serde_json::from_str(&said).expect("JSON");
        let names = |list: &str| -> Vec<String> {
            let list = told[list].as_array().expect("a list").iter();
            list.map(|own| format!("{} {}", own["method"], own["path"]).replace('"', "")).collect()
        };
        assert_eq!((&told["version"], &told["outside"]), (&"2.1.0".into(), &2.into()), "{name}");
        assert_eq!(names("removed"), ["GET /v2/alerts", "GET /v2/attachment/{id}"]);
        assert_eq!(names("later").len(), 4);
        let mut added = names("added");
        added.sort();
        assert_eq!(added, ["GET /v2/device/{id}/firmware", "GET /v2/event-webhooks", "POST /v2/device/{id}/firmware"]);
        assert!(told["added"][0]["classified"].as_str().is_some_and(|reason| reason.contains("path below")), "{said}");
        let mut changed = names("changed");
        changed.sort();
        assert_eq!(changed, ["GET /v2/device/{id}", "POST /v2/device/{id}/reboot/{mode}"]);
        let skipped: Vec<_> = told["skipped"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|own| own["operation"].as_str().expect("a name"))
            .collect();
        assert_eq!(skipped, ["GET /v2/lost", "GET /v2/part-{id}", "GET /v2/custom-fields/field-name/special"]);
        let (_, said, _) = run_binary(folder.path(), &["catalog", "diff", name], &[]);
        for part in [
            "3 added, 2 removed, 2 changed, 3 left out\n",
            "{id} was integer and became name; scope monitoring became management\n",
            "{mode} gained GENTLE and lost FORCED\n",
            "declared by 2.0.5-draft\n",
            "GET, so monitoring; path speaks of \"webhook\", so webhooks;",
            "GET /v2/lost: the reference \"other.yaml#/x\" leads nowhere in the document\n",
            "GET /v2/part-{id}: a parameter is only a part of a segment\n",
            "GET /v2/custom-fields/field-name/special: it would take requests from GET /v2/custom-fields/field-name/{",
        ] {
            assert!(said.contains(part), "{part} is missing in\n{said}");
        }
    }
}

#[test]
fn catalog_diff_of_what_is_built_in_finds_nothing_new_and_of_no_document_is_64() {
    let folder = file("openapi.json", &document().to_string());
    let (code, said, _) = run_binary(folder.path(), &["catalog", "diff", "openapi.json"], &[]);
    assert_eq!(code, 0);
    assert!(said.starts_with("openapi.json (2.1.0): 310 operations below /v2/, 0 elsewhere; against what is built in 0 added, 1 removed, 0 changed, 0 left out\n"), "{said}");
    let (code, _, said) = run_binary(folder.path(), &["catalog", "diff", "none.yaml"], &[]);
    assert!(code == 64 && said.contains("the file \"none.yaml\" cannot be read"), "{said}");
}

#[test]
fn check_names_what_a_catalog_file_brought_and_what_is_left_out() {
    let folder = file("openapi.yaml", &yaml(&changed_document(), 0));
    std::fs::write(folder.path().join("config.toml"), "catalog-file = \"openapi.yaml\"\n").expect("a file");
    let (code, said, error) = run_binary(folder.path(), &["check"], &[]);
    assert_eq!(code, 0, "{error}");
    for part in [
        "\ncatalog-file = \"openapi.yaml\"\n",
        "\n# catalog-file: openapi.yaml (2.1.0): 315 operations, 3 not built in; 2 outside /v2/ are left out\n",
        "\n#   GET /v2/device/{id}/firmware (group devices-read, GET, so monitoring; path below /v2/device/{}, so devices-read; ",
        "\nwarning: catalog-file: GET /v2/lost is left out: the reference",
        "\nwarning: catalog-file: GET /v2/custom-fields/field-name/special is left out: it would take requests from",
    ] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    let (_, said, _) = run_binary(folder.path(), &["routes", "--all", "--json"], &[]);
    let rows: Value = serde_json::from_str(&said).expect("JSON");
    let open = |path: &str, method: &str| {
        let rows = rows.as_array().expect("a list");
        let row = rows.iter().find(|row| row["path"] == path && row["method"] == method).expect("a row");
        assert!(row["classified"].is_string(), "{row}");
        row["decision"].clone()
    };
    assert_eq!(open("/v2/device/{id}/firmware", "GET"), "open");
    assert_eq!(open("/v2/device/{id}/firmware", "POST"), "closed");
    assert_eq!(open("/v2/event-webhooks", "GET"), "closed");
}

#[test]
fn a_newer_operation_is_served_as_its_classification_says() {
    let server = Scripted::start(|mut asked| {
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    });
    let folder = file("openapi.yaml", &yaml(&changed_document(), 0));
    let top = format!("catalog-file = '{}'", folder.path().join("openapi.yaml").display());
    let proxy = Proxy::with_top(&top, &server.instance(), "");
    assert_eq!(proxy.get("/v2/device/7/firmware").status, 200);
    assert_eq!(proxy.get("/v2/device/x/firmware").code(), "operation-unknown");
    assert_eq!(proxy.send("POST", "/v2/device/7/firmware", "", b"").code(), "scope-missing");
    assert_eq!(proxy.get("/v2/event-webhooks").code(), "group-not-open");
    assert_eq!(proxy.get("/v2/lost").code(), "operation-unknown");
    // What is built in stays what it was, whatever the document says.
    assert_eq!(proxy.get("/v2/device/7").status, 200);
    assert_eq!(proxy.get("/v2/device/abc").code(), "operation-unknown");
    assert_eq!(proxy.get("/v2/custom-fields/field-name/special").status, 200);
    assert_eq!(server.api_requests(), 3);
    let named = Proxy::with_top(&top, &server.instance(), "groups = [\"webhooks\"]");
    assert_eq!(named.get("/v2/event-webhooks").status, 200);
}

/// What a catalogue file gets said of itself.
fn said_of(text: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("openapi.yaml"), text).expect("a file");
    said_in(folder.path())
}

fn said_in(folder: &Path) -> String {
    let config = Config::parse(&folder.join("config.toml"), "\ncatalog-file = \"openapi.yaml\"\n".to_owned());
    let said = config.expect("good").settings().expect_err("a mistake").to_string();
    assert!(said.contains("config.toml:2:16: catalog-file: the file \""), "{said}");
    said
}

#[test]
fn a_file_that_is_no_document_is_a_mistake_with_place_and_cause() {
    let mut bomb = "a0: &a0 [xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx]\n".to_owned();
    for i in 1..12 {
        bomb += &format!("a{i}: &a{i} [{}]\n", format!("*a{}, ", i - 1).repeat(9));
    }
    let many: String = (0..10_001).map(|i| format!("  /v2/x{i}: {{get: {{}}}}\n")).collect();
    for (text, said) in [
        ("paths: [a\n".to_owned(), "it is not YAML: "),
        ("{\"paths\": ".to_owned(), "it begins with { and is not JSON: "),
        ("just words\n".to_owned(), "it is not an OpenAPI document: it is not a mapping of keys to values"),
        (String::new(), "it is not an OpenAPI document: it is not a mapping of keys to values"),
        ("openapi: 3.0.1\n".to_owned(), "it is not an OpenAPI document: it has no paths"),
        ("paths:\n".to_owned(), "it is not an OpenAPI document: it has no paths"),
        ("{\"paths\": {}}".to_owned(), "it is not an OpenAPI document: it has no paths"),
        ("paths:\n  /v2/x: {}\n  /v2/x: {}\n".to_owned(), "line 3: the key \"/v2/x\" is in one mapping twice"),
        (bomb, "aliases copy more than 64 MiB"),
        (format!("paths:\n{many}"), "it has more than 10000 operations"),
    ] {
        let told = said_of(text.as_bytes());
        assert!(told.contains("cannot be used: ") && told.contains(said), "{told}\nnot: {said}");
    }
    assert!(said_of(b"\xff\xff").ends_with("cannot be read: it is not text: save it as UTF-8"));
    let folder = tempfile::tempdir().expect("a folder");
    assert!(said_in(folder.path()).contains("cannot be read: "));
    let large = std::fs::File::create(folder.path().join("openapi.yaml")).expect("a file");
    large.set_len((64 << 20) + 1).expect("a length");
    assert!(said_in(folder.path()).ends_with("it is larger than 64 MiB"));
}

#[test]
fn an_operation_that_cannot_be_used_is_named_and_the_others_are_kept() {
    let text = r##"
servers: [{url: "https://eu.ninjarmm.com/api/v2"}]
info: {version: 3}
paths:
  /fine/{a}: {get: &op {parameters: [{in: path, name: a, schema: {type: [integer, "null"]}}]}, put: *op}
  /ws/api/v2/fine/{b}: {get: {}}
  /v2/a//b: {get: {}}
  /v2/a/: {get: {}}
  /v2/a/../b: {get: {}}
  /v2/a%20b: {get: {}}
  /v2/{a b}: {get: {}}
  /v2/{}: {get: {}}
  /v2/x{a}: {get: {}}
  /v2/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16: {get: {}}
  /v2/list: []
  /v2/op: {get: [], query: {}, x-note: {}, summary: s}
  /v2/words/{a}: {get: {parameters: [{in: path, name: a, schema: {enum: []}}]}, post: {parameters: [{in: path, name: a, schema: {enum: ["a/b"]}}]}}
  /v2/circle: {$ref: "#/paths/~1v2~1circle"}
  /v2/security: {get: {security: monitoring}}
"##;
    let document = Document::parse(text).expect("good");
    let names: Vec<_> = document.operations.iter().map(|own| format!("{} {}", own.method, own.template())).collect();
    assert_eq!(names, ["GET /v2/fine/{a}", "PUT /v2/fine/{a}"]);
    assert!(matches!(document.operations[1].segments[2], TemplateSegment::Parameter(_, ParameterType::Integer)));
    let mut skipped: Vec<_> = document.skipped.iter().map(ToString::to_string).collect();
    skipped.sort();
    let expected = [
        "/v2/circle is left out: the reference \"#/paths/~1v2~1circle\" leads nowhere in the document",
        "/v2/list is left out: its path is not a mapping",
        "/v2/op is left out: \"query\" is not a method that the proxy knows",
        "GET /v2/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16 is left out: the path has more than 16 segments",
        "GET /v2/a%20b is left out: a segment is too long, or has other characters",
        "GET /v2/a/ is left out: the path has an empty segment",
        "GET /v2/a/../b is left out: the path has a dot segment",
        "GET /v2/a//b is left out: the path has an empty segment",
        "GET /v2/fine/{b} is left out: the document has it twice",
        "GET /v2/op is left out: its operation is not a mapping",
        "GET /v2/security is left out: its security is not a list",
        "GET /v2/words/{a} is left out: the parameter a is one of words that cannot be in a path",
        "GET /v2/x{a} is left out: a parameter is only a part of a segment",
        "GET /v2/{a b} is left out: the name of a parameter is too long, or has other characters",
        "GET /v2/{} is left out: the name of a parameter",
        "POST /v2/words/{a} is left out: the parameter a is one of words that cannot be in a path",
    ];
    assert_eq!(skipped.len(), expected.len(), "{skipped:#?}");
    for (said, wanted) in skipped.iter().zip(expected) {
        assert!(said.starts_with(wanted), "{said}\nnot: {wanted}");
    }
}

/// Operations on templates that differ from a built-in one in one segment, in each way.
fn neighbours(catalog: &Catalog) -> Vec<Operation> {
    let literal = |text: &str| TemplateSegment::Literal(text.to_owned());
    let typed = |kind: ParameterType| TemplateSegment::Parameter("new".to_owned(), kind);
    let words = ["delete", "NORMAL", "someName", "7"];
    let mut segments: Vec<_> = words.into_iter().chain([UID]).map(literal).collect();
    let kinds = [ParameterType::Integer, ParameterType::Uid, ParameterType::Name];
    segments.extend(kinds.into_iter().map(typed));
    segments.push(typed(ParameterType::OneOf(words.map(str::to_owned).into_iter().collect())));
    let mut neighbours = Vec::new();
    for own in catalog.operations() {
        for (place, segment) in (1..own.segments.len()).flat_map(|place| segments.iter().map(move |new| (place, new))) {
            let mut own = own.clone();
            own.segments[place] = segment.clone();
            own.template = own.segments.iter().map(|segment| format!("/{segment}")).collect();
            own.group = Group::find("activities").expect("a group");
            own.scope = Scope::Monitoring;
            own.method = if place % 2 == 0 { own.method } else { Method::PATCH };
            neighbours.push(own);
        }
    }
    neighbours
}

/// A path that both templates admit.
fn shared(one: &[TemplateSegment], other: &[TemplateSegment]) -> Option<String> {
    let words = |segment: &TemplateSegment| match segment {
        TemplateSegment::Literal(text) => vec![text.clone()],
        TemplateSegment::Parameter(_, ParameterType::OneOf(words)) => words.to_vec(),
        TemplateSegment::Parameter(..) => ["7", UID, "someName"].map(str::to_owned).to_vec(),
    };
    let admits = |segment: &TemplateSegment, word: &str| match segment {
        TemplateSegment::Literal(text) => text == word,
        TemplateSegment::Parameter(_, kind) => kind.admits(word),
    };
    let common = |(one, other): (&TemplateSegment, &TemplateSegment)| {
        let word = words(one).into_iter().chain(words(other)).find(|word| admits(one, word) && admits(other, word))?;
        Some(format!("/{word}"))
    };
    if one.len() == other.len() { one.iter().zip(other).map(common).collect() } else { None }
}

#[test]
fn no_added_operation_changes_what_a_known_request_is_judged_as() {
    let before = built_in();
    let neighbours = neighbours(&before);
    let (after, skipped) = built_in().extended(neighbours.clone());
    let (mut visited, mut added) = (0, 0);
    for new in &neighbours {
        for own in before.operations() {
            let Some(path) = shared(&new.segments, &own.segments) else { continue };
            let known = before.find(&own.method, &path).map(|own| (&own.template, own.group.name, own.scope));
            let Some(known) = known else { continue };
            let found = after.find(&own.method, &path).map(|own| (&own.template, own.group.name, own.scope));
            assert_eq!(found, Some(known), "{} {path} beside {}", own.method, new.template);
            visited += 1;
        }
        added += usize::from(
            before.find(&new.method, &example(new)).is_none() && after.find(&new.method, &example(new)).is_some(),
        );
    }
    assert!(visited > 2_000 && added > 2_000 && skipped.len() > 200, "{visited} {added} {}", skipped.len());
}

fn example(own: &Operation) -> String {
    shared(&own.segments, &own.segments).expect("its own path")
}

#[test]
fn enumerations_of_a_hundred_thousand_words_are_read_compared_and_matched_in_time() {
    const WORDS: usize = 100_000;
    let words = |first: usize| (first..first + WORDS).map(|number| format!("WORD_{number}")).collect::<Vec<_>>();
    let operation = |first: usize| {
        let schema = json!({ "type": "string", "enum": words(first) });
        json!({ "get": { "tags": ["system"], "parameters": [parameter("kind", schema)] } })
    };
    let document = json!({ "openapi": "3.0.1", "info": { "version": "9" }, "paths": {
        "/v2/new-thing/{kind}": operation(0),
        "/v2/new-thing/{kind}/more": operation(WORDS),
        "/v2/itam/asset-relationship/{kind}/1/relations": operation(7),
    } });
    let begun = std::time::Instant::now();
    let catalog = built_in().with(&Document::parse(&document.to_string()).expect("a document"));
    for number in (0..WORDS).step_by(100) {
        assert!(catalog.find(&Method::GET, &format!("/v2/new-thing/WORD_{number}")).is_some());
        assert!(catalog.find(&Method::GET, &format!("/v2/new-thing/word_{number}")).is_none());
    }
    // A comparison of each word with each other takes minutes.
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
}
