//! `doctor`: tries all that the proxy needs, in order, and says how to fix what fails.

mod certificate;
mod clock;
mod connection;
mod grant;
mod instance_check;
mod instance_server;
mod missing_operations;
mod organizations;
mod read;
mod recording_verifier;
pub mod report;
pub mod reporter;
mod shared_store;
mod sign_in;

use std::time::Duration;

use crate::config::mistake::ConfigMistake;
use crate::config::sections::InstanceSection;
use crate::config::{Config, ListenerConfig};
use crate::proxy::policy::InstanceId;
pub use grant::fix;
use instance_check::InstanceCheck;
pub(crate) use instance_check::sandbox;
use reporter::Reporter;

/// Examines a configuration, or the message why there is none, and then its instances, or only the one of this name.
/// No listener is bound, so a proxy may run meanwhile. With `catalog`, what each instance publishes of itself is fetched
/// too.
pub async fn examine(config: Result<&Config, &str>, only: Option<&str>, catalog: bool, reporter: &Reporter) {
    let mistaken = |mistake: &str| {
        let fix = "correct this, then run \"ninjaone-proxy --config FILE check\"";
        reporter.fail("configuration", mistake, fix);
    };
    let config = match config {
        Ok(config) => config,
        Err(mistake) => return mistaken(mistake),
    };
    let listeners = config.listeners();
    let checks = listeners.as_ref().map_err(ConfigMistake::to_string);
    let checks = checks.and_then(|listeners| instance_checks(config, listeners).map_err(|mistake| mistake.to_string()));
    let checks = match checks {
        Ok(checks) => checks,
        Err(mistake) => return mistaken(&mistake),
    };
    reporter.ok("configuration", summary(config));
    if only.is_none() {
        shared_store::examine(config, reporter).await;
    }
    for check in checks.into_iter().filter(|check| only.is_none_or(|name| name == check.name)) {
        let reporter = reporter.of(check.name);
        check.examine(catalog, &reporter).await;
    }
}

fn summary(config: &Config) -> String {
    let (instances, listeners) = (config.file.instances.keys(), config.file.listeners.keys());
    let listed = |names: Vec<&String>| names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let (instances, listeners) = (listed(instances.collect()), listed(listeners.collect()));
    format!("{}; instances: {instances}; listeners: {listeners}", config.source())
}

fn instance_checks<'a>(
    config: &'a Config,
    listeners: &'a [ListenerConfig],
) -> Result<Vec<InstanceCheck<'a>>, ConfigMistake> {
    let check = |(id, (name, file)): (u16, (&'a String, &'a InstanceSection))| {
        let own = listeners.iter().filter(|listener| listener.policy.instance() == InstanceId(id)).collect();
        Ok(InstanceCheck { config, name, file, site: config.site(file)?, listeners: own })
    };
    (0..).zip(&config.file.instances).map(check).collect()
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
