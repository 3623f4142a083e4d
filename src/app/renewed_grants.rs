//! The grants that are renewed ahead of time: each that a listener needs, once, and no others.

use std::sync::Arc;

use super::admin_listener::ShownGrant;
use super::instances::InstanceRuntime;
use crate::config::ListenerConfig;
use crate::proxy::policy::InstanceId;
use crate::proxy::policy::catalog::ScopeSet;
use crate::proxy::token::{KeptGrant, Tokens};

#[derive(Default)]
pub(super) struct RenewedGrants(Vec<RenewedGrant>);

/// Renewed until it is dropped.
struct RenewedGrant {
    tokens: Arc<Tokens>,
    scopes: ScopeSet,
    _kept: KeptGrant,
}

impl RenewedGrants {
    /// Renews what these listeners need from now on; returns it as the status page shows it.
    pub(super) fn replace(
        &mut self,
        instances: &[InstanceRuntime],
        listeners: &[Arc<ListenerConfig>],
    ) -> Vec<ShownGrant> {
        let (mut old, mut shown) = (std::mem::take(&mut self.0), Vec::<ShownGrant>::new());
        for subject in listeners.iter().flat_map(|listener| listener.subjects()) {
            let (policy, listener) = (subject.policy(), &subject.listener.name);
            let InstanceId(number) = policy.instance();
            let Some(instance) = instances.get(usize::from(number)) else { continue };
            for (tokens, scopes) in instance.needed_by(policy) {
                let same = |grant: &RenewedGrant| Arc::ptr_eq(&grant.tokens, tokens) && grant.scopes == scopes;
                if let Some(index) = self.0.iter().position(same) {
                    if let Some(grant) = shown.get_mut(index).filter(|grant| !grant.listeners.contains(listener)) {
                        grant.listeners.push(listener.clone());
                    }
                    continue;
                }
                self.0.push(match old.iter().position(same) {
                    Some(index) => old.swap_remove(index),
                    None => RenewedGrant { tokens: Arc::clone(tokens), scopes, _kept: tokens.keep(scopes) },
                });
                let (instance, tokens) = (instance.name.clone(), Arc::clone(tokens));
                shown.push(ShownGrant { instance, tokens, scopes, listeners: vec![listener.clone()] });
            }
        }
        shown
    }
}
