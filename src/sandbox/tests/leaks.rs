//! What a test orders of the sandbox: answers that leak, marks, devices that move, and the record of writes.

use std::io::Read as _;

use flate2::read::GzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Caller, number};
use crate::proxy::policy::catalog::EntityKind;
use crate::sandbox::{marked_organizations, owner};

async fn leaking(order: &str) -> Caller {
    let mut caller = Caller::with_token("monitoring management").await;
    caller.order(&format!("/sandbox/leak?mode={order}")).await;
    caller
}

impl Caller {
    async fn order(&mut self, target: &str) {
        assert_eq!(self.call(Method::POST, target, "").await.status, StatusCode::NO_CONTENT, "{target}");
    }

    async fn organizations(&mut self, target: &str) -> Vec<u64> {
        let mut found: Vec<_> = self.rows(target).await.iter().map(|row| number(row, "organizationId")).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

#[tokio::test]
async fn sandbox_ignores_filters_to_order() {
    let mut caller = leaking("ignore").await;
    assert_eq!(caller.organizations("/v2/devices?df=org%3D1").await, [1, 2, 3, 4]);
    assert_eq!(caller.organizations("/v2/organization/checklists?organizationIds=1").await, [1, 2, 3, 4]);
    let report = caller.get("/v2/queries/device-health?df=org%3D1").await.json();
    assert_eq!(report["results"].as_array().map(Vec::len), Some(60));
    caller.order("/sandbox/leak").await;
    assert_eq!(caller.organizations("/v2/devices?df=org%3D1").await, [1]);
    assert_eq!(caller.organizations("/v2/organization/checklists?organizationIds=1").await, [1]);
}

#[tokio::test]
async fn sandbox_mixes_rows_of_others_in_between_to_order() {
    let mut caller = leaking("mix").await;
    for list in ["/v2/devices?df=org%3D2", "/v2/organization/2/devices", "/v2/organization/documents?organizationIds=2"]
    {
        let rows: Vec<_> = caller.rows(list).await.iter().map(|row| number(row, "organizationId")).collect();
        assert!(rows.contains(&2) && rows.iter().any(|organization| *organization != 2), "{list}");
        assert_ne!(rows.iter().min(), rows.first().filter(|_| rows.is_sorted()), "{list}");
    }
}

#[tokio::test]
async fn sandbox_nests_a_foreign_name_into_every_other_row_to_order() {
    let mut caller = leaking("nested,marks").await;
    let rows = caller.rows("/v2/organization/1/devices").await;
    let is_foreign = |row: &&Value| marked_organizations(&row.to_string()).contains(&2);
    let foreign = rows.iter().filter(is_foreign).count();
    assert!((rows.len() / 3..=rows.len() * 2 / 3).contains(&foreign), "{foreign}");
}

#[tokio::test]
async fn sandbox_answers_with_anothers_object_to_order() {
    let mut caller = leaking("object").await;
    for (target, field, own) in [
        ("/v2/ticketing/ticket/1", "clientId", 4),
        ("/v2/organization/1", "id", 1),
        ("/v2/contact/1", "organizationId", 4),
    ] {
        assert_ne!(number(&caller.get(target).await.json(), field), own, "{target}");
    }
    assert_ne!(caller.organizations("/v2/organization/1/devices").await, [1]);
}

#[tokio::test]
async fn sandbox_errors_name_everybody_to_order() {
    let mut caller = leaking("errors,marks").await;
    for target in ["/v2/device/999", "/v2/nothing", "/v2/devices?status=409"] {
        let got = caller.get(target).await;
        assert!(!got.status.is_success());
        assert_eq!(marked_organizations(&got.json()["errorMessage"].to_string()), [1, 2, 3, 4], "{target}");
    }
    caller.order("/sandbox/leak?status=409&at=/v2/devices").await;
    assert_eq!(caller.get("/v2/devices").await.status, StatusCode::CONFLICT);
    assert_eq!(caller.get("/v2/organizations").await.status, StatusCode::OK);
}

#[tokio::test]
async fn sandbox_compresses_to_order() {
    let mut caller = leaking("compressed").await;
    let got = caller.get("/v2/organizations").await;
    assert_eq!(got.headers[CONTENT_ENCODING], "gzip");
    let mut text = String::new();
    GzDecoder::new(&got.body[..]).read_to_string(&mut text).expect("text");
    assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON").as_array().map(Vec::len), Some(4));
}

#[tokio::test]
async fn sandbox_breaks_the_keys_of_every_other_row_to_order() {
    for (mode, first, third) in [
        ("missing", None, None),
        ("null", Some(json!(null)), Some(json!(null))),
        ("text", Some(json!("1")), Some(json!("3"))),
        ("float", Some(json!(1.0)), Some(json!(3.25))),
    ] {
        let mut caller = leaking(mode).await;
        let rows = caller.rows("/v2/organizations").await;
        assert_eq!((rows[0].get("id"), rows[2].get("id")), (first.as_ref(), third.as_ref()), "{mode}");
        assert_eq!((&rows[1]["id"], &rows[3]["id"]), (&json!(2), &json!(4)), "{mode}");
    }
    let mut caller = leaking("duplicate").await;
    let text = String::from_utf8(caller.get("/v2/organizations").await.body.to_vec()).expect("text");
    assert_eq!(text.matches("\"id\":").count(), 6);
    assert!(text.starts_with("[{\"id\":2,") && text.contains("\"id\":3,") && !text.contains("u0001"), "{text}");
}

#[tokio::test]
async fn sandbox_breaks_whole_answers_to_order() {
    let mut bodies = Vec::new();
    for mode in ["huge", "cut", "utf16", "html", "bom"] {
        let mut caller = leaking(mode).await;
        let got = caller.get("/v2/organizations").await;
        assert_eq!(got.status, StatusCode::OK, "{mode}");
        assert_eq!(got.headers[CONTENT_TYPE] == "text/html", mode == "html");
        assert_eq!(serde_json::from_slice::<Value>(&got.body).is_ok(), mode == "huge", "{mode}");
        bodies.push(got.body);
    }
    assert!(bodies[0].len() > 10_000_000);
    assert!(bodies[1].starts_with(b"[{"));
    assert!(bodies[2].starts_with(b"\xff\xfe[\0"));
    assert!(bodies[3].starts_with(b"<!DOCTYPE html>"));
    assert!(bodies[4].starts_with(b"\xef\xbb\xbf["));
}

#[tokio::test]
async fn sandbox_marks_what_belongs_to_an_organization_and_nothing_else() {
    let mut caller = leaking("marks").await;
    for (target, own) in [
        ("/v2/organization/2/devices", vec![2]),
        ("/v2/organization/2/end-users", vec![2]),
        ("/v2/device/8", vec![4]),
        ("/v2/device/8/disks", vec![4]),
        ("/v2/device/8/alerts", vec![4]),
        ("/v2/device/8/custom-fields", vec![4]),
        ("/v2/device/8/dashboard-url", vec![4]),
        ("/v2/ticketing/ticket/1", vec![4]),
        ("/v2/ticketing/ticket/1/log-entry", vec![4]),
        ("/v2/related-items/with-entity/NODE/8", vec![4]),
        ("/v2/related-items/with-entity/NODE/8/attachments/signed-urls", vec![4]),
        ("/v2/organization/documents?organizationIds=1,3", vec![1, 3]),
        ("/v2/knowledgebase/folder?organizationId=3", vec![3]),
        ("/v2/devices", vec![1, 2, 3, 4]),
        ("/v2/user/technicians", vec![]),
        ("/v2/policies", vec![]),
        ("/v2/automation/scripts", vec![]),
        ("/v2/ticketing/statuses", vec![]),
        ("/v2/system/custom-fields", vec![]),
    ] {
        let got = caller.get(target).await;
        assert_eq!(got.status, StatusCode::OK, "{target}");
        assert_eq!(marked_organizations(&String::from_utf8_lossy(&got.body)), own, "{target}");
    }
}

#[tokio::test]
async fn sandbox_lists_and_single_reads_agree_on_whose_a_thing_is() {
    let mut caller = Caller::with_token("monitoring").await;
    let mut visited = 0;
    for (list, id, field, single, kind) in [
        ("/v2/contacts", "id", "organizationId", "/v2/contact/", EntityKind::Contact),
        ("/v2/user/end-users", "id", "organizationId", "/v2/user/end-user/", EntityKind::EndUser),
        ("/v2/organization/checklists", "id", "organizationId", "/v2/organization/checklist/", EntityKind::Checklist),
        (
            "/v2/knowledgebase/organization/articles",
            "id",
            "organizationId",
            "/v2/knowledgebase/article/",
            EntityKind::Article,
        ),
        ("/v2/organization/documents", "documentId", "organizationId", "", EntityKind::Document),
        ("/v2/locations", "id", "organizationId", "", EntityKind::Location),
        ("/v2/devices", "id", "organizationId", "/v2/device/", EntityKind::Device),
    ] {
        for row in caller.rows(list).await {
            let id = number(&row, id);
            assert_eq!(owner(kind, &id.to_string()).map(u64::from), Some(number(&row, field)), "{list} {id}");
            if !single.is_empty() {
                assert_eq!(caller.get(&format!("{single}{id}")).await.json()[field], row[field], "{list} {id}");
            }
            visited += 1;
        }
    }
    let board = caller.call(Method::POST, "/v2/ticketing/trigger/board/1/run", "{}").await.json();
    for row in board["data"].as_array().expect("rows") {
        let id = number(row, "id");
        let single = caller.get(&format!("/v2/ticketing/ticket/{id}")).await.json();
        assert_eq!((&single["clientId"], owner(EntityKind::Ticket, &id.to_string())), {
            (&row["clientId"], row["clientId"].as_u64().and_then(|id| u32::try_from(id).ok()))
        });
        visited += 1;
    }
    for row in caller.rows("/v2/alerts").await {
        let device = owner(EntityKind::Device, &number(&row, "deviceId").to_string());
        assert_eq!(owner(EntityKind::Alert, row["uid"].as_str().expect("a UUID")), device);
        visited += 1;
    }
    assert_eq!(visited, 7 * 24 + 10 + 60);
    for target in ["/v2/contact/25", "/v2/user/end-user/1", "/v2/ticketing/ticket/25", "/v2/organization/checklist/99"]
    {
        assert_eq!(caller.get(target).await.status, StatusCode::NOT_FOUND, "{target}");
    }
}

#[tokio::test]
async fn sandbox_moves_a_device_to_order() {
    let mut caller = Caller::with_token("monitoring").await;
    assert_eq!(number(&caller.get("/v2/device/7").await.json(), "organizationId"), 3);
    caller.order("/sandbox/move?device=7&organization=2&location=6").await;
    let device = caller.get("/v2/device/7").await.json();
    assert_eq!((number(&device, "organizationId"), number(&device, "locationId")), (2, 6));
    let has = |rows: Vec<Value>| rows.iter().any(|row| row["id"] == 7);
    assert!(has(caller.rows("/v2/organization/2/devices").await));
    assert!(!has(caller.rows("/v2/organization/3/devices").await));
    assert!(has(caller.rows("/v2/devices?df=org%3D2").await));
    for user in caller.rows("/v2/user/end-users").await {
        let devices = user["assignedDeviceIds"].as_array().expect("ids");
        assert!(!devices.contains(&json!(7)) || user["organizationId"] == 2, "{user}");
    }
    caller.order("/sandbox/move?device=61&organization=3").await;
    assert_eq!(number(&caller.get("/v2/device/61").await.json(), "organizationId"), 3);
    assert_eq!(caller.call(Method::POST, "/sandbox/move?device=7", "").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn sandbox_records_whose_things_a_write_would_change() {
    let mut caller = Caller::with_token("monitoring management").await;
    caller.call(Method::PATCH, "/v2/device/8", "{\"organizationId\":2}").await;
    caller.call(Method::DELETE, "/v2/webhook", "").await;
    caller.get("/v2/device/8").await;
    let form = "--x\r\nContent-Disposition: form-data; name=\"organizationId\"\r\n\r\n3\r\n--x--\r\n";
    let request = caller.request(&Method::POST, "/v2/knowledgebase/articles/upload");
    let request = request.header(CONTENT_TYPE, "multipart/form-data; boundary=x");
    caller.send(request.body(http_body_util::Either::Left(form.into())).expect("legal")).await;
    assert_eq!(
        caller.get("/sandbox/changed").await.json(),
        json!([
            { "operation": "PATCH /v2/device/{id}", "organizations": [2, 4] },
            { "operation": "DELETE /v2/webhook", "organizations": [] },
            { "operation": "POST /v2/knowledgebase/articles/upload", "organizations": [3] },
        ])
    );
    caller.call(Method::DELETE, "/sandbox/changed", "").await;
    assert_eq!(caller.get("/sandbox/changed").await.json(), json!([]));
}
