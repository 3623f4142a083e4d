//! Which of the operations that are open an instance lacks: fetched on request only, since it takes its time.

use super::instance_server::InstanceServer;
use super::reporter::Reporter;
use crate::config::ListenerConfig;
use crate::config::published_catalog::{self, PATH, Published};
use crate::observe::logging::ErrorChain;
use crate::proxy::policy::catalog::diff::Difference;

/// The operations that are named at most.
const MAX_NAMED: usize = 20;

/// Holds what the listeners open against what the instance publishes of itself.
pub(super) async fn examine(place: &InstanceServer, listeners: &[&ListenerConfig], reporter: &Reporter) {
    reporter.begin("catalog");
    let times = (place.timeouts.connect.0, place.timeouts.upstream.0);
    let Published { document, .. } = match published_catalog::fetch(&place.site, times).await {
        Ok(published) => published,
        Err(error) => {
            let detail = format!("there is no document of what {} has: {}", place.host(), ErrorChain(&error));
            return reporter.warn("catalog", detail, format!("see whether https://{}{PATH} shows one", place.host()));
        }
    };
    let mut lacking = Vec::new();
    for listener in listeners {
        let policy = &listener.policy;
        let Difference { removed, later, .. } = Difference::between(&document, policy.catalog());
        let is_lacking = |method: &http::Method, template: &str| {
            removed.iter().chain(&later).any(|own| own.method == *method && own.template == template)
        };
        let open = policy.catalog().iter().filter(|(id, _)| policy.may_open(*id));
        let names: Vec<String> = open
            .filter(|(_, own)| is_lacking(&own.method, &own.template))
            .filter_map(|(id, _)| policy.catalog().name(id).map(|name| name.to_string()))
            .collect();
        if !names.is_empty() {
            lacking.push(format!("[listeners.{}] opens {}", listener.name, listed(&names)));
        }
    }
    let (version, count) = (&document.version, document.operations.len());
    if lacking.is_empty() {
        return reporter
            .ok("catalog", format!("it declares {count} operations ({version}), all that are open among them"));
    }
    let detail = format!("it declares {count} operations ({version}), and lacks some: {}", lacking.join("; "));
    reporter.warn(
        "catalog",
        detail,
        "these get 404 (route-unknown) there: close them by deny, or ask another instance",
    );
}

fn listed(names: &[String]) -> String {
    let (shown, rest) = names.split_at(names.len().min(MAX_NAMED));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    format!("{}{more}", shown.join(", "))
}
