//! Opens the files in which the uses of rules are counted.

use std::io;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::StartError;
use crate::base::state::StateFolder;
use crate::config::ListenerConfig;
use crate::proxy::uses::{self, SharedUses, UseCounters};

/// Opens a file for each rule with `max-uses` of these listeners and their callers; without such rules nothing is made.
/// Replicas that share a store count them there.
pub(super) async fn open(
    listeners: &[Arc<ListenerConfig>],
    shared: Option<Arc<SharedUses>>,
) -> Result<UseCounters, StartError> {
    let rules: Vec<_> = listeners.iter().flat_map(|listener| counted(listener)).collect();
    if rules.is_empty() {
        return Ok(UseCounters::default());
    }
    let folder = StateFolder::find()?.uses();
    let opened = spawn_blocking(move || UseCounters::open(&folder, rules, shared.as_deref()));
    Ok(opened.await.map_err(io::Error::other)??)
}

fn counted(listener: &ListenerConfig) -> Vec<uses::CountedRule> {
    let of_callers = listener.callers.iter();
    let of_callers =
        of_callers.flat_map(|caller| uses::counted(&listener.name, Some(&caller.entry.name), &caller.policy));
    uses::counted(&listener.name, None, &listener.policy).into_iter().chain(of_callers).collect()
}
