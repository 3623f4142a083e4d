//! What the explorer of the page says of a request.

use std::sync::Arc;

use crate::config::ListenerConfig;
use crate::tools::admin::page::{ExplorerAnswer, ExplorerQuestion, SubjectAnswer};
use crate::tools::explain::{ExplainedRequest, explain};

/// What would happen to the request in question on the listeners that it is about.
pub(super) fn answer(
    listeners: &[Arc<ListenerConfig>],
    ExplorerQuestion { listener, method, path }: &ExplorerQuestion,
) -> ExplorerAnswer {
    let wanted = listeners.iter().filter(|own| listener.is_empty() || own.name == *listener);
    let subjects: Vec<_> = wanted.flat_map(|listener| listener.subjects()).collect();
    if subjects.is_empty() {
        return ExplorerAnswer::problem(format!("the configuration has no listener {listener:?}: choose another"));
    }
    let method = if method.is_empty() { "GET" } else { method };
    match explain(&subjects, &ExplainedRequest { method, path, ..ExplainedRequest::default() }) {
        Err(error) => ExplorerAnswer::problem(error.to_string()),
        Ok(told) => {
            let told = told.iter().map(|told| SubjectAnswer {
                title: format!("{}: {}", told.name(), if told.is_open() { "allowed" } else { "refused" }),
                open: told.is_open(),
                lines: told.lines(),
            });
            ExplorerAnswer { problem: None, told: told.collect() }
        }
    }
}
