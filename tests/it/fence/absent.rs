//! What is outside and what is not there: nobody can tell them apart.

use super::{Asker, Stand};
use crate::harness::Reply;

/// Requests with one id left out; the second is of something outside, the third of nothing.
const PAIRS: [(&str, &str, &str, &str, &str); 22] = [
    ("GET", "/v2/device/{}", "18", "99", ""),
    ("GET", "/v2/device/{}/disks", "18", "99", ""),
    ("GET", "/v2/device/{}/alerts", "18", "99", ""),
    ("PATCH", "/v2/device/{}", "18", "99", "{\"displayName\":\"x\"}"),
    ("POST", "/v2/device/{}/reboot/NORMAL", "18", "99", "{}"),
    ("GET", "/v2/organization/{}", "4", "7", ""),
    ("GET", "/v2/organization/{}/devices", "4", "7", ""),
    ("PATCH", "/v2/organization/{}", "4", "7", "{\"name\":\"x\"}"),
    ("GET", "/v2/organization/1/location/{}/custom-fields", "10", "77", ""),
    ("GET", "/v2/user/end-user/{}", "102", "999", ""),
    ("PATCH", "/v2/user/end-user/{}", "102", "999", "{\"firstName\":\"x\"}"),
    ("GET", "/v2/contact/{}", "11", "99", ""),
    ("DELETE", "/v2/contact/{}", "11", "99", ""),
    ("GET", "/v2/ticketing/ticket/{}", "11", "99", ""),
    ("GET", "/v2/ticketing/ticket/{}/log-entry", "11", "99", ""),
    ("GET", "/v2/organization/checklist/{}", "11", "99", ""),
    ("GET", "/v2/knowledgebase/article/{}", "11", "99", ""),
    ("POST", "/v2/contacts", "4", "7", "{\"organizationId\":{}}"),
    ("GET", "/v2/organization/documents?organizationIds={}", "4", "7", ""),
    ("POST", "/v2/devices/approval/APPROVE", "18", "99", "{\"devices\":[{}]}"),
    ("PATCH", "/v2/device/3", "4", "7", "{\"organizationId\":{}}"),
    ("GET", "/v2/related-items/with-entity/NODE/{}", "18", "99", ""),
];

/// An answer without what differs from request to request.
fn comparable(reply: &Reply, id: &str) -> String {
    let names = ["x-request-id", "x-nj-request-id", "date", "traceparent"];
    let is_kept = |line: &&str| !names.iter().any(|name| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
    let head: Vec<_> = reply.head.lines().filter(is_kept).collect();
    let body = String::from_utf8_lossy(&reply.body).replace(reply.header("x-request-id"), "ID");
    // A caller may see the id that it sent.
    format!("{}\n{body}", head.join("\n")).replace(&format!("/{id}"), "/ID")
}

#[test]
fn what_is_outside_looks_as_what_is_not_there() {
    let stand = Stand::new();
    let mut visited = 0;
    for (method, path, outside, absent, body) in PAIRS {
        let ask = |id: &str| stand.send(Asker::Wide, method, &path.replace("{}", id), &body.replace("{}", id));
        let replies = [ask(outside), ask(absent), ask(outside)];
        assert!([403, 404].contains(&replies[0].status), "{method} {path}: {:?}", replies[0]);
        let [first, second, third] = [0, 1, 2].map(|n: usize| comparable(&replies[n], [outside, absent, outside][n]));
        assert_eq!(first.len(), second.len(), "{method} {path}");
        assert_eq!(first, second, "{method} {path}");
        assert_eq!(first, third, "{method} {path}");
        visited += 1;
    }
    assert_eq!(visited, PAIRS.len());
    assert_eq!(stand.changed(), Vec::new());
}

#[test]
fn a_message_of_ninjaone_does_not_pass() {
    let stand = Stand::new();
    assert_eq!(stand.get(Asker::Wide, "/v2/device/3").status, 200);
    for status in [400, 401, 403, 404, 409, 429, 500, 503] {
        stand.leak(&format!("mode=marks,errors&status={status}&at=/v2/device/{{id}},/v2/alerts,/v2/contacts"));
        for path in ["/v2/device/3", "/v2/alerts", "/v2/contacts"] {
            let reply = stand.get(Asker::Wide, path);
            assert!(reply.status >= 400, "{status} {path}: {reply:?}");
            let text = format!("{}{}", reply.head, String::from_utf8_lossy(&reply.body));
            assert_eq!(ninjaone_proxy::sandbox::marked_organizations(&text), Vec::<u32>::new(), "{status} {path}");
            assert!(!text.contains("SANDBOX-") && !text.contains("is locked"), "{status} {path}: {text}");
            let open = stand.get(Asker::Open, path);
            assert!(open.status == 401 || String::from_utf8_lossy(&open.body).contains("is locked"), "{open:?}");
        }
    }
}
