//! Lists: pages, cursors, filters and ticket boards.

use http::{Method, StatusCode};
use serde_json::json;

use super::{Caller, number};

#[tokio::test]
async fn sandbox_pages_walk_every_list_exactly_once() {
    let mut caller = Caller::with_token("monitoring").await;
    for (list, length) in [("devices", 60), ("organizations", 4), ("locations", 10), ("devices-detailed", 60)] {
        let (mut seen, mut after) = (Vec::new(), 0);
        loop {
            let page = caller.rows(&format!("/v2/{list}?pageSize=7&after={after}")).await;
            assert!(page.len() <= 7);
            let Some(last) = page.last() else { break };
            after = number(last, "id");
            seen.extend(page.iter().map(|row| number(row, "id")));
        }
        assert_eq!(seen, (1..=length).collect::<Vec<_>>(), "{list}");
    }
}

#[tokio::test]
async fn sandbox_cursor_walks_a_report_exactly_once_with_its_filter() {
    let mut caller = Caller::with_token("monitoring").await;
    let whole = caller.get("/v2/queries/software?df=org%20in%20(1,%202)").await.json()["results"].clone();
    let (mut seen, mut first) = (Vec::new(), None);
    let mut target = "/v2/queries/software?df=org%20in%20(1,%202)&pageSize=40".to_owned();
    loop {
        let page = caller.get(&target).await.json();
        let rows = page["results"].as_array().expect("rows").clone();
        assert_eq!((&page["cursor"]["offset"], &page["cursor"]["count"]), (&json!(seen.len()), &json!(rows.len())));
        if rows.is_empty() {
            break;
        }
        seen.extend(rows);
        let name = page["cursor"]["name"].as_str().expect("a name");
        assert!(*first.get_or_insert(name.to_owned()) == name, "the same name");
        target = format!("/v2/queries/software?cursor={name}");
    }
    assert!(seen.len() > 100);
    assert_eq!(json!(seen), whole);
    assert_eq!(caller.get("/v2/queries/software?cursor=stale").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn sandbox_filters_devices_by_df() {
    let mut caller = Caller::with_token("monitoring").await;
    let macs = caller.rows("/v2/devices?df=class%20in%20(MAC)%20AND%20online").await;
    assert!(!macs.is_empty() && macs.iter().all(|device| device["nodeClass"] == "MAC" && device["offline"] == false));
    let offline = caller.rows("/v2/devices?df=org+%3D+2+%26%26+offline").await;
    assert!(!offline.is_empty() && offline.iter().all(|device| device["offline"] == true));
    assert_eq!(caller.rows("/v2/devices?df=colour%3Dred").await.len(), 60);
    assert_eq!(caller.rows("/v2/organizations?of=id%3D3").await.len(), 1);
}

#[tokio::test]
async fn sandbox_runs_a_ticket_board_page_by_page() {
    let mut caller = Caller::with_token("monitoring").await;
    let target = "/v2/ticketing/trigger/board/1/run";
    let first = caller.call(Method::POST, target, "{\"pageSize\":20}").await.json();
    assert_eq!((first["data"].as_array().map(Vec::len), &first["metadata"]["lastCursorId"]), (Some(20), &json!(20)));
    let second = caller.call(Method::POST, target, "{\"pageSize\":20,\"lastCursorId\":20}").await.json();
    assert_eq!(second["data"].as_array().map(Vec::len), Some(4));
    assert_eq!(caller.sandbox.counts().writes, 0);
}
