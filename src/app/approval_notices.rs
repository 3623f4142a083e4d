//! Tells a webhook of requests that wait for approval, and ends approvals whose time is over; in the background.

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep;

use crate::base::clock::utc;
use crate::base::warn_limit::WarnLimit;
use crate::observe::logging::ErrorChain;
use crate::observe::metrics::approvals::ApprovalSeries;
use crate::observe::notices::Notices;
use crate::proxy::approval::{ApprovalSummary, Approvals};

/// How often approvals are looked through whose time is over.
const SWEEP: Duration = Duration::from_secs(1);
/// The most notices on their way at a time. One that hangs holds up the others a little, and no request.
const IN_FLIGHT: usize = 4;
/// The most requests that one notice names.
const NAMED: usize = 10;

/// What notices need of the configuration in force.
#[derive(Default)]
pub(super) struct NoticeTarget {
    /// The webhook, if there is one.
    webhook: RefCell<Option<Notices>>,
    /// Where the admin listener is, as a URL without a path.
    admin: RefCell<String>,
    warnings: WarnLimit,
}

impl NoticeTarget {
    /// Starts the tasks; they go on to the end of the runtime.
    pub(super) fn start(
        approvals: &Approvals,
        series: ApprovalSeries,
        waiting: mpsc::Receiver<ApprovalSummary>,
    ) -> Rc<Self> {
        let (target, approvals) = (Rc::new(Self::default()), approvals.clone());
        let following = approvals.clone();
        tokio::task::spawn_local(async move { following.follow_store().await });
        tokio::task::spawn_local(async move {
            loop {
                sleep(SWEEP).await;
                approvals.sweep();
            }
        });
        tokio::task::spawn_local(Rc::clone(&target).send_all(series, waiting));
        target
    }

    /// From now on notices go there.
    pub(super) fn replace(&self, webhook: Option<Notices>, admin: String) {
        self.webhook.replace(webhook);
        self.admin.replace(admin);
    }

    /// Those who come while a notice waits for its turn are told of together.
    async fn send_all(self: Rc<Self>, series: ApprovalSeries, mut waiting: mpsc::Receiver<ApprovalSummary>) {
        let turns = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut requests = Vec::new();
        loop {
            let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
            requests.clear();
            if waiting.recv_many(&mut requests, usize::MAX).await == 0 {
                return;
            }
            let Some(webhook) = self.webhook.borrow().clone() else { continue };
            let (text, target, series) = (text(&requests, &self.admin.borrow()), Rc::clone(&self), series.clone());
            tokio::task::spawn_local(async move {
                let _turn = turn;
                if let Err(error) = webhook.post(&text).await {
                    series.notice_failed();
                    if let Some(left_out) = target.warnings.due("notice") {
                        tracing::warn!(
                            error = %ErrorChain(&error), left_out,
                            "a notice of a request that waits for approval was not sent: check approvals.notify; \"ninjaone-proxy approvals list\" shows what waits"
                        );
                    }
                }
            });
        }
    }
}

/// What is posted: nothing of it comes from a caller, so nothing in it is a command to the chat.
fn text(requests: &[ApprovalSummary], admin: &str) -> String {
    let mut text = match requests.len() {
        1 => "A request waits for approval:".to_owned(),
        count => format!("{count} requests wait for approval:"),
    };
    for summary in requests.iter().take(NAMED) {
        let ApprovalSummary { id, operation, risk, listener, caller, rule, reason, expires, .. } = summary;
        let who = caller.as_ref().map_or_else(String::new, |caller| format!(" by the caller {caller}"));
        let why = reason.as_ref().map_or_else(String::new, |reason| format!(", reason {reason:?}"));
        let until = utc::moment(*expires);
        // Memory takes everything.
        let _ = write!(
            text,
            "\n{operation}, {risk} risk,{who} on the listener {listener}, by the rule {rule:?}{why}; until {until}: {admin}/approvals/{id}"
        );
    }
    if requests.len() > NAMED {
        let _ = write!(text, "\nand {} more: {admin}/approvals", requests.len() - NAMED);
    }
    // Slack reads <...> as links and calls.
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
