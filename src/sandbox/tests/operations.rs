//! The operations: every one of the catalogue is answered, and the answers agree with each other.

use std::collections::BTreeSet;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::fleet::uid;
use super::{Caller, number};
use crate::proxy::policy::catalog::{Catalog, Operation, ParameterType, TemplateSegment};

/// A path of the operation whose ids exist.
fn example(operation: &Operation) -> String {
    let end_user = operation.template.starts_with("/v2/user/end-user/");
    let part = |segment: &TemplateSegment| match segment {
        TemplateSegment::Literal(text) => text.clone(),
        TemplateSegment::Parameter(name, ParameterType::Uid) if name == "condition_id" => uid("id", 1),
        TemplateSegment::Parameter(_, ParameterType::Uid) => uid("user", 101),
        TemplateSegment::Parameter(_, ParameterType::Integer) if end_user => "101".to_owned(),
        TemplateSegment::Parameter(name, ParameterType::Name) if name == "fieldName" => "assetNote1".to_owned(),
        TemplateSegment::Parameter(_, ParameterType::OneOf(words)) => words[0].clone(),
        TemplateSegment::Parameter(_, ParameterType::Integer | ParameterType::Name) => "1".to_owned(),
    };
    operation.segments.iter().map(|segment| format!("/{}", part(segment))).collect()
}

#[tokio::test]
async fn sandbox_marks_every_answer() {
    let mut caller = Caller::with_token("monitoring").await;
    for target in ["/v2/devices", "/nothing", "/sandbox/counts", "/v2/device/999"] {
        let got = caller.get(target).await;
        assert_eq!(got.headers["server"], "ninjaone-sandbox", "{target}");
        assert_eq!(got.headers["x-sandbox"], "ninjaone-proxy; invented data", "{target}");
        assert!(got.headers.contains_key("x-nj-request-id"), "{target}");
    }
}

#[tokio::test]
async fn sandbox_refuses_unknown_paths_methods_and_things() {
    let mut caller = Caller::with_token("monitoring management").await;
    for (target, code) in [
        ("/v2/device-roles", "FAILURE"),
        ("/v2/device/abc", "FAILURE"),
        ("/v1/devices", "FAILURE"),
        ("/", "FAILURE"),
        ("/v2/device/61", "ENTITY_NOT_FOUND"),
        ("/v2/organization/5", "ENTITY_NOT_FOUND"),
    ] {
        let got = caller.get(target).await;
        assert_eq!(got.status, StatusCode::NOT_FOUND, "{target}");
        assert_eq!(got.json()["resultCode"], code, "{target}");
        assert!(got.json()["incidentId"].is_string(), "{target}");
    }
    let got = caller.call(Method::PUT, "/v2/device/7", "{}").await;
    assert_eq!(got.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(got.headers[ALLOW], "GET, HEAD, PATCH");
}

/// How many operations of the catalogue are `GET`.
const READS: usize = 151;

#[tokio::test]
async fn sandbox_answers_every_read_of_the_catalogue() {
    let mut caller = Caller::with_token("monitoring").await;
    let catalog = Catalog::built_in().expect("built in");
    let mut visited = 0;
    for operation in catalog.operations().iter().filter(|operation| operation.method == Method::GET) {
        let target = format!("{}{}", ["", "/api", "/ws/api"][visited % 3], example(operation));
        let got = caller.get(&target).await;
        assert_eq!(got.status, StatusCode::OK, "{target}");
        if got.headers[CONTENT_TYPE] == "application/json" {
            let value = got.json();
            assert!(!value.is_null() && value != json!({}), "{target}");
        }
        visited += 1;
    }
    assert_eq!(visited, READS);
}

#[tokio::test]
async fn sandbox_accepts_every_write_that_needs_no_user() {
    let mut caller = Caller::with_token("monitoring management control").await;
    let catalog = Catalog::built_in().expect("built in");
    let (mut accepted, mut refused) = (0, 0);
    for operation in catalog.operations().iter().filter(|operation| operation.method != Method::GET) {
        let got = caller.call(operation.method.clone(), &example(operation), "{}").await;
        if operation.user_context {
            assert_eq!((got.status, got.error().as_str()), (StatusCode::FORBIDDEN, "user_context_required"));
            refused += 1;
        } else {
            assert!(got.status.is_success(), "{} {}: {}", operation.method, operation.template, got.status);
            assert_eq!(got.body.is_empty(), !got.headers.contains_key(CONTENT_TYPE), "{}", operation.template);
            accepted += 1;
        }
    }
    assert_eq!((accepted + refused, refused), (315 - READS, 4));
}

#[tokio::test]
async fn sandbox_shows_a_device_as_the_list_does() {
    let mut caller = Caller::with_token("monitoring").await;
    let devices = caller.rows("/v2/devices-detailed").await;
    assert_eq!(devices.len(), 60);
    let organizations: BTreeSet<_> =
        caller.rows("/v2/organizations").await.iter().map(|one| number(one, "id")).collect();
    let locations = caller.rows("/v2/locations").await;
    for device in &devices {
        let id = number(device, "id");
        assert_eq!(caller.get(&format!("/v2/device/{id}")).await.json(), *device);
        assert!(organizations.contains(&number(device, "organizationId")));
        let location = locations.iter().find(|one| one["id"] == device["locationId"]).expect("existing location");
        assert_eq!(location["organizationId"], device["organizationId"]);
    }
    assert!(devices.iter().any(|device| device["os"]["name"].is_string()));
}

#[tokio::test]
async fn sandbox_shows_the_same_disks_in_the_report_and_at_the_device() {
    let mut caller = Caller::with_token("monitoring").await;
    let mut report =
        caller.get("/v2/queries/disks?df=id%3D8").await.json()["results"].as_array().expect("rows").clone();
    for row in &mut report {
        let fields = row.as_object_mut().expect("an object");
        assert_eq!(fields.remove("deviceId"), Some(json!(8)));
        assert!(fields.remove("timestamp").is_some());
    }
    assert_eq!(caller.rows("/v2/device/8/disks").await, report);
    assert_eq!(report.len(), 2);
}

#[tokio::test]
async fn sandbox_refers_only_to_devices_and_users_that_exist() {
    let mut caller = Caller::with_token("monitoring").await;
    let mut visited = 0;
    for (target, list) in [("/v2/alerts", ""), ("/v2/jobs", ""), ("/v2/activities", "/activities")] {
        let answer = caller.get(target).await.json();
        for row in answer.pointer(list).and_then(Value::as_array).expect("a list") {
            assert!((1..=60).contains(&number(row, "deviceId")), "{target}");
            visited += 1;
        }
    }
    let users: BTreeSet<_> =
        caller.rows("/v2/users").await.iter().map(|user| user["uid"].clone().to_string()).collect();
    for device in caller.rows("/v2/devices").await {
        assert!(users.contains(&device["assignedOwnerUid"].to_string()));
        visited += 1;
    }
    assert_eq!(visited, 24 + 24 + 200 + 60);
}

#[tokio::test(start_paused = true)]
async fn sandbox_delays_and_fails_to_order() {
    let mut caller = Caller::with_token("monitoring").await;
    let before = Instant::now();
    let got = caller.get("/v2/groups?delay=1500&status=429").await;
    assert!(before.elapsed() >= Duration::from_millis(1500));
    assert_eq!((got.status, &got.json()["resultCode"]), (StatusCode::TOO_MANY_REQUESTS, &json!("FAILURE")));
    assert_eq!(got.headers[RETRY_AFTER], "1");
    assert_eq!(caller.get("/v2/groups?status=204").await.body.len(), 0);
    assert_eq!(caller.get("/v2/device/8/os-patches?status=APPROVED").await.status, StatusCode::OK);
    let before = Instant::now();
    caller.get("/v2/groups?delay=99999999").await;
    assert!(before.elapsed() < Duration::from_secs(31));
}

#[tokio::test]
async fn sandbox_shows_the_last_request_without_its_token() {
    let mut caller = Caller::with_token("monitoring").await;
    caller.get("//api/v2/devices?df=a%20b+c&x").await;
    let got = caller.get("/sandbox/last-request").await;
    let shown = got.json();
    assert_eq!(shown["target"], "//api/v2/devices?df=a%20b+c&x");
    assert!(shown["headers"].as_array().expect("a list").contains(&json!({ "name": "host", "value": "sandbox.test" })));
    assert!(!shown.to_string().contains(&caller.token));
    assert_eq!(caller.get("/sandbox/counts").await.json()["api_requests"], 1);
}
