//! What a configuration made, as the status page shows it.

use std::sync::Arc;

use super::Addresses;
use super::instances::InstanceRuntime;
use super::listeners::BoundListener;
use crate::config;
use crate::proxy::authn::callers::CallerProofs;
use crate::proxy::policy::{InstanceId, Policy};
use crate::tools::admin::view::{CallerView, InstanceView, ListenerView, Notice, Setup};

/// `bound` has the listeners in the order of `listeners`.
pub(super) fn of(
    instances: &[InstanceRuntime],
    sandboxes: &Addresses,
    (bound, listeners): (&[BoundListener], &[Arc<config::ListenerConfig>]),
    (exposures, doubts): (Vec<String>, Vec<String>),
) -> Setup {
    let instance = |runtime: &InstanceRuntime| InstanceView {
        name: runtime.name.clone(),
        host: runtime.host().to_owned(),
        sandbox: sandboxes.iter().any(|(name, _)| *name == runtime.name),
    };
    let listener = |(bound, listener): (&BoundListener, &Arc<config::ListenerConfig>)| {
        let InstanceId(number) = listener.policy.instance();
        ListenerView {
            name: listener.name.clone(),
            address: bound.url(),
            instance: instances.get(usize::from(number)).map_or_else(String::new, |runtime| runtime.name.clone()),
            observes: listener.policy.observes(),
            tries_writes: listener.tries_writes,
            scopes: listener.policy.scopes().to_string(),
            open: open(&listener.policy),
            callers: listener.callers.iter().map(caller).collect(),
        }
    };
    let exposed = exposures.into_iter().map(|exposure| {
        Notice::warn(format!("A credential is open to others: {exposure}"))
            .todo("let only the user that the proxy runs as read the file, then replace the credential.")
    });
    let listeners_say = listeners.iter().flat_map(|listener| warnings(listener));
    Setup {
        instances: instances.iter().map(instance).collect(),
        listeners: bound.iter().zip(listeners).map(listener).collect(),
        warnings: exposed.chain(listeners_say).collect(),
        doubts,
    }
}

/// What the configuration warns of, in its order, each with what to do.
fn warnings(listener: &config::ListenerConfig) -> Vec<Notice> {
    listener.warnings().into_iter().map(|warning| Notice::warn(warning.text).todo(warning.fix)).collect()
}

fn caller(config::CallerConfig { entry, policy, tries_writes, .. }: &config::CallerConfig) -> CallerView {
    let CallerProofs { name, key, certificate, uids, gids } = entry;
    let listed = |what: &str, ids: &[u32]| {
        let ids = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        (!ids.is_empty()).then(|| format!("{what} {ids}"))
    };
    let key = key.map(|_| "key".to_owned());
    let certificate = certificate.map(|_| "certificate".to_owned());
    let proofs: Vec<_> =
        [key, certificate, listed("user", uids), listed("group", gids)].into_iter().flatten().collect();
    CallerView {
        name: name.clone(),
        proofs: proofs.join("; "),
        scopes: policy.scopes().to_string(),
        open: open(policy),
        tries_writes: *tries_writes,
    }
}

/// How many operations are open, at least for some values.
fn open(policy: &Policy) -> usize {
    policy.catalog().iter().filter(|(id, _)| policy.may_open(*id)).count()
}
