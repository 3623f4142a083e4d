//! Whether the organizations of the fences are there.

use std::collections::BTreeMap;

use http::header::{ACCEPT, AUTHORIZATION};
use http::{Request, StatusCode};

use super::grant::Granted;
use super::instance_server::InstanceServer;
use super::reporter::Reporter;
use crate::config::ListenerConfig;
use crate::observe::logging::ErrorChain;

const CHECK: &str = "organizations";
/// How many are looked for.
const MOST: usize = 100;

/// Asks for each organization that a fence names. Says nothing where there is no fence.
pub(super) async fn examine(
    place: &InstanceServer,
    listeners: &[&ListenerConfig],
    token: &Granted,
    reporter: &Reporter,
) {
    let named = named(listeners);
    if named.is_empty() {
        return;
    }
    reporter.begin(CHECK);
    let (count, mut absent, mut unclear) = (named.len(), Vec::new(), Vec::new());
    for (id, tables) in named.iter().take(MOST) {
        let request = Request::builder().uri(format!("/v2/organization/{id}")).header(ACCEPT, "application/json");
        match place.exchange(request.header(AUTHORIZATION, token.authorization.clone())).await {
            Ok(answer) if answer.head.status == StatusCode::OK => {}
            Ok(answer) if answer.head.status == StatusCode::NOT_FOUND => absent.push(format!("{id} ({tables})")),
            Ok(answer) => unclear.push(format!("{id}: {}", answer.head.status)),
            Err(error) => unclear.push(format!("{id}: {}", ErrorChain(&error))),
        }
    }
    match (absent.is_empty(), unclear.is_empty()) {
        (false, _) => reporter.fail(
            CHECK,
            format!("NinjaOne has no organization {}", absent.join(", ")),
            "correct organizations there: the ids are in the address of the organization's page in NinjaOne, and in GET /v2/organizations of a listener without organizations",
        ),
        (true, false) => reporter.warn(
            CHECK,
            format!("NinjaOne does not say whether these are there: {}", unclear.join(", ")),
            "try again; if it lasts, see what the check read says",
        ),
        (true, true) if count > MOST => reporter.ok(CHECK, format!("the first {MOST} of {count} are there")),
        (true, true) => {
            let ids: Vec<_> = named.keys().map(u64::to_string).collect();
            reporter.ok(CHECK, format!("NinjaOne has all that the fences name: {}", ids.join(", ")));
        }
    }
}

/// The organizations, each with the tables that name it.
fn named(listeners: &[&ListenerConfig]) -> BTreeMap<u64, String> {
    let mut named = BTreeMap::<u64, String>::new();
    for subject in listeners.iter().flat_map(|listener| listener.subjects()) {
        for id in subject.policy().organizations().iter().flat_map(|organizations| organizations.ids()) {
            let tables = named.entry(*id).or_default();
            let separator = if tables.is_empty() { "" } else { ", " };
            *tables += &format!("{separator}listeners.{}", subject.name());
        }
    }
    named
}
