//! Answers that cannot be read: nothing of them passes, and the log says why without a word of their content.

use std::io::Read;
use std::process::Stdio;

use ninjaone_proxy::sandbox::marked_organizations;
use serde_json::Value;

use super::{Asker, Stand};
use crate::doors::Running;
use crate::harness::{Proxy, Reply, Scripted, Then, answer, eventually, request};
use crate::watch::SECRET;

/// Answers of which nothing may pass.
const WHOLE: [&str; 5] = ["cut", "utf16", "html", "compressed", "huge"];
/// Answers of which rows may pass whose owner is beyond doubt, or nothing.
const ROWS: [&str; 6] = ["missing", "null", "text", "float", "duplicate", "bom"];

const LISTS: [&str; 4] = ["/v2/devices", "/v2/alerts", "/v2/queries/disks", "/v2/contacts"];

/// A list that is answered with the whole fleet, and broken; nothing of it that is outside has passed.
fn broken(stand: &Stand, mode: &str, list: &str) -> Reply {
    stand.leak(&format!("mode=marks,ignore,{mode}&at={list}"));
    let reply = stand.get(Asker::Wide, list);
    let text = String::from_utf8_lossy(&reply.body);
    let outside: Vec<_> = marked_organizations(&text).into_iter().filter(|id| [2, 4].contains(id)).collect();
    assert_eq!(outside, Vec::<u32>::new(), "{mode} {list}");
    reply
}

#[test]
fn of_an_answer_that_cannot_be_read_nothing_passes() {
    let stand = Stand::new();
    assert_eq!(stand.get(Asker::Wide, "/v2/devices").status, 200);
    for mode in WHOLE {
        for list in LISTS {
            let reply = broken(&stand, mode, list);
            // A row that was whole may be under way before the answer breaks.
            assert!(reply.status == 502 || !reply.whole, "{mode} {list}: {reply:?}");
        }
    }
}

#[test]
fn of_a_row_whose_owner_is_in_doubt_nothing_passes() {
    let stand = Stand::new();
    assert_eq!(stand.get(Asker::Wide, "/v2/devices").status, 200);
    for mode in ROWS {
        for list in LISTS {
            broken(&stand, mode, list);
        }
    }
}

#[test]
fn the_log_says_why_in_one_line_without_content() {
    let config = "[instances.main]\nhost = \"sandbox\"\nclient-id = \"sandbox\"\nclient-secret = { env = \"NINJA_SECRET\" }\n\
                  [admin]\naddress = \"none\"\n[log]\nformat = \"json\"\n\
                  [listeners.local]\naddress = \"127.0.0.1:0\"\norganizations = [1, 3]\n";
    let running = Running::start(config, &format!("NINJA_SECRET={SECRET} exec \"$0\""), Stdio::null());
    let lines = || -> Vec<Value> {
        let log = running.log();
        let whole = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    };
    let mut addresses = (None, None);
    eventually("both listen", || {
        for line in lines() {
            let address = line["address"].as_str().map(|text| text.trim_start_matches("http://"));
            let address = address.and_then(|text| text.parse().ok());
            match (line["message"].as_str().unwrap_or_default(), line["listener"].as_str()) {
                ("listening", Some("local")) => addresses.0 = addresses.0.or(address),
                (message, None) if message.contains("SANDBOX") => addresses.1 = addresses.1.or(address),
                _ => {}
            }
        }
        addresses.0.is_some() && addresses.1.is_some()
    });
    let (proxy, sandbox) = (addresses.0.expect("one"), addresses.1.expect("one"));
    let records = |lines: &[Value]| lines.iter().filter(|line| line["target"] == "access").count();
    assert_eq!(request(proxy, "GET", "/v2/devices", "", b"").status, 200);
    // A record may be written after its answer was read, so each is waited for.
    eventually("a record of the first request", || records(&lines()) == 1);
    for mode in ["cut", "utf16", "html", "compressed", "huge", "bom", "missing", "duplicate"] {
        let order = format!("/sandbox/leak?mode=marks,ignore,{mode}&at=/v2/devices");
        assert_eq!(request(sandbox, "POST", &order, "", b"").status, 204);
        let before = lines().len();
        let reply = request(proxy, "GET", "/v2/devices", "", b"");
        let mut new = Vec::new();
        eventually("a record", || {
            new = lines().split_off(before);
            records(&new) == 1
        });
        let text: String = new.iter().map(Value::to_string).collect();
        assert_eq!(marked_organizations(&text), Vec::<u32>::new(), "{mode}: {text}");
        if reply.status == 502 {
            assert!(new.len() <= 2, "{mode}: {new:#?}");
            assert!(text.contains("row") || text.contains("answer") || text.contains("fence"), "{mode}: {text}");
        }
    }
}

#[test]
fn a_write_whose_answer_is_about_another_organization_is_not_told_to_be_undone() {
    const BODY: &[u8] = br#"{"organizationId":1,"firstName":"Ada"}"#;
    let server = Scripted::start(|mut asked| {
        let is_write = asked.head.starts_with("POST ");
        if is_write {
            asked.stream.read_exact(&mut [0; BODY.len()]).expect("a body");
        }
        asked.answer(&answer("200 OK", if is_write { r#"{"id":9,"organizationId":2,"email":"a@b"}"# } else { "[]" }));
        Then::Continue
    });
    let listener = "organizations = [1]\nscopes = [\"monitoring\", \"management\"]\nallow = [\"POST /v2/contacts\"]";
    let proxy = Proxy::start(&server.instance(), listener, "");
    let reply = proxy.send("POST", "/v2/contacts", "Content-Type: application/json\r\n", BODY);
    assert_eq!((reply.status, reply.code().as_str()), (502, "answer-withheld"), "{reply:?}");
    let problem = reply.json().to_string();
    assert!(problem.contains("may have done the write") && !problem.contains("a@b"), "{problem}");
}
