//! Whether all is well, and what to do if not.

use std::time::Duration;

use serde::Serialize;

use super::words::{counted, moment};
use super::{PageStatus, Tone};
use crate::base::plain;
use crate::observe::refusals::RefusalExample;
use crate::tools::admin::TokenState;

/// How long a failure behind the proxy needs attention.
const RECENT: Duration = Duration::from_secs(60);

/// Something that an administrator should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// How bad it is.
    pub tone: Tone,
    /// What is so.
    pub text: String,
    /// What to do about it, unless the text says so or there is nothing to do.
    pub todo: Option<String>,
}

impl Notice {
    fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { tone, text: text.into(), todo: None }
    }

    /// The proxy does not do what it is there for.
    pub fn bad(text: impl Into<String>) -> Self {
        Self::new(Tone::Bad, text)
    }

    /// The proxy works, but somebody should do something.
    pub fn warn(text: impl Into<String>) -> Self {
        Self::new(Tone::Warn, text)
    }

    /// Good to know.
    pub fn note(text: impl Into<String>) -> Self {
        Self::new(Tone::Good, text)
    }

    /// With what to do.
    #[must_use]
    pub fn todo(self, todo: impl Into<String>) -> Self {
        Self { todo: Some(todo.into()), ..self }
    }

    fn on_one_line(self) -> Self {
        let line = |text: String| plain::line(&text).into_owned();
        Self { tone: self.tone, text: line(self.text), todo: self.todo.map(line) }
    }

    /// All of it as one text.
    pub(super) fn whole(&self) -> String {
        match &self.todo {
            Some(todo) => format!("{} To do: {todo}", self.text),
            None => self.text.clone(),
        }
    }
}

/// Ready, not ready or draining; as `/readyz` has it: where a person must sign in, most of the service goes on.
pub(super) fn state(status: &PageStatus) -> &'static str {
    if status.draining {
        "Draining"
    } else if status.tokens.iter().any(|token| token.expires_in.is_none() && token.user.is_none()) {
        "Not ready"
    } else if status.tokens.iter().any(|token| token.expires_in.is_none())
        || status.store.as_ref().is_some_and(|store| !store.up)
    {
        "Ready, but degraded"
    } else {
        "Ready"
    }
}

/// What an administrator should know, the worst first.
pub(super) fn all(status: &PageStatus) -> Vec<Notice> {
    let mut notices: Vec<_> = tokens(status)
        .into_iter()
        .chain(sign_ins(status))
        .chain(store(status))
        .chain(process(status))
        .chain(configuration(status))
        .map(Notice::on_one_line)
        .collect();
    notices.sort_by_key(|notice| std::cmp::Reverse(notice.tone));
    notices
}

fn tokens(status: &PageStatus) -> Vec<Notice> {
    let is_missing = |token: &&TokenState| token.expires_in.is_none() && token.user.is_none();
    let missing: Vec<_> = status.tokens.iter().filter(is_missing).collect();
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|token| format!("{} ({})", token.instance, token.scopes)).collect();
        let names = names.join(", ");
        let Some(failed) = missing.iter().find(|token| token.problem.is_some()) else {
            return vec![Notice::warn(format!("The token for {names} is being fetched; requests wait for it."))];
        };
        let text = format!("The proxy has no usable token for {names}: requests get 503 until it has one.");
        return vec![Notice { todo: failed.remedy.clone(), ..Notice::bad(text) }];
    }
    let failing = status.tokens.iter().find(|token| token.expires_in.is_some() && token.problem.is_some());
    let notice = failing.map(|token| {
        let left = token.expires_in.map(super::words::span).unwrap_or_default();
        let text = format!(
            "The token for {} ({}) cannot be renewed; it expires in {left}, and then requests get 503.",
            token.instance, token.scopes
        );
        Notice { todo: token.remedy.clone(), ..Notice::warn(text) }
    });
    notice.into_iter().collect()
}

/// The shared store, if it is down.
fn store(status: &PageStatus) -> Option<Notice> {
    let store = status.store.as_ref().filter(|store| !store.up)?;
    let why = store.fault.as_deref().unwrap_or("it has not answered yet");
    let text = format!(
        "The shared store ({}) is down: {why}. This replica goes on with its share of rates and quotas, one of {}; rules with max-uses, approvals and the renewal of sign-ins wait for it.",
        store.address, store.replicas
    );
    Some(Notice::warn(text).todo("look at the store and the way there; \"ninjaone-proxy doctor\" tries it."))
}

/// Persons without a usable token.
fn sign_ins(status: &PageStatus) -> Vec<Notice> {
    let missing = status.tokens.iter().filter(|token| token.expires_in.is_none() && token.problem.is_some());
    let notice = |token: &TokenState| {
        let user = token.user.as_ref()?;
        let why = match user.renewed {
            None => "must sign in",
            Some(_) => "is signed in, but there is no usable token",
        };
        let text = format!(
            "The user {} of {} {why}: operations that need this person get 503 until then, and all others work.",
            user.name, token.instance
        );
        Some(Notice { todo: token.remedy.clone(), ..Notice::warn(text) })
    };
    missing.filter_map(notice).collect()
}

/// The last request that failed behind the proxy, if that was just now.
fn failing(PageStatus { now, refusals, .. }: &PageStatus) -> Option<&RefusalExample> {
    let last = refusals.iter().filter_map(|group| group.newest()).find(|newest| newest.what.blame == "upstream")?;
    now.duration_since(last.at).is_ok_and(|age| age < RECENT).then_some(last)
}

fn process(status: &PageStatus) -> Vec<Notice> {
    let PageStatus { tally, doctor, .. } = status;
    let mut notices = Vec::new();
    if status.draining {
        let text = "The process is ending: it finishes the requests in flight, and takes no new ones.";
        notices.push(Notice::warn(text));
    }
    if tally.audit_failing {
        notices.push(
            Notice::bad(
                "The audit log cannot be written. Writes are refused meanwhile, unless on-failure in [audit] says \
                 otherwise.",
            )
            .todo("make room on its disk, and look in the proxy's log for the error."),
        );
    }
    if let Some(RefusalExample { at, what, .. }) = failing(status) {
        let text = format!(
            "Requests failed in the last minute in NinjaOne or on the way there; the last at {}: {}",
            moment(*at),
            what.reason
        );
        let todo = doctor.as_ref().map(|doctor| format!("if it goes on, run: {doctor}"));
        notices.push(Notice { todo, ..Notice::warn(text) });
    }
    if tally.audit_lost > 0 {
        let records = counted(tally.audit_lost, "record", "records");
        notices.push(
            Notice::warn(format!("The audit log has lost {records} since the start."))
                .todo("look in the proxy's log for the time and the error, and note the gap."),
        );
    }
    if tally.panics > 0 {
        let requests = counted(tally.panics, "request", "requests");
        notices.push(
            Notice::warn(format!("A mistake in the proxy ended {requests} since the start."))
                .todo("look for \"panic\" in its log, and report the place that is named there."),
        );
    }
    notices
}

fn configuration(PageStatus { configuration, setup, .. }: &PageStatus) -> Vec<Notice> {
    let source = &configuration.source;
    let mut notices: Vec<_> = setup.doubts.iter().map(Notice::warn).collect();
    if let Some(why) = configuration.reload.as_ref().and_then(|reload| reload.refused.as_ref()) {
        notices.push(
            Notice::warn(format!(
                "The last change of the configuration was refused; the configuration before it is in force. {why}"
            ))
            .todo(format!("correct {source}; when \"ninjaone-proxy --config {source} check\" accepts it, reload it.")),
        );
    }
    if !configuration.restart.is_empty() {
        let keys = configuration.restart.join(", ");
        notices.push(
            Notice::warn(format!(
                "These keys of the configuration take effect only after a restart: {keys}. All others are in force."
            ))
            .todo("restart the proxy when it suits."),
        );
    }
    notices.extend(setup.warnings.iter().cloned());
    let sandboxes = setup.instances.iter().filter(|instance| instance.sandbox);
    notices.extend(sandboxes.map(|instance| {
        Notice::note(format!(
            "instances.{} is a sandbox: all data is invented, and nothing reaches NinjaOne.",
            instance.name
        ))
    }));
    notices
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::tests::{refusal, status};
    use super::*;
    use crate::tools::admin::Reload;

    #[test]
    fn notices_put_the_worst_first() {
        let mut status = status();
        assert_eq!((all(&status), state(&status)), (Vec::new(), "Ready"));
        status.setup.instances[0].sandbox = true;
        status.setup.warnings.push(Notice::warn("others may read it"));
        status.tally.audit_failing = true;
        let tones: Vec<_> = all(&status).iter().map(|notice| notice.tone).collect();
        assert_eq!(tones, [Tone::Bad, Tone::Warn, Tone::Good]);
    }

    #[test]
    fn notices_name_all_that_an_administrator_should_know() {
        let mut status = status();
        status.configuration.reload =
            Some(Reload { at: SystemTime::UNIX_EPOCH, refused: Some("c.toml:1:1: no".into()) });
        status.configuration.restart = vec!["audit"];
        status.setup.instances[0].sandbox = true;
        status.setup.warnings.push(Notice::warn("others may read it"));
        (status.tally.audit_failing, status.tally.audit_lost, status.tally.panics) = (true, 3, 1);
        let notices = all(&status);
        assert_eq!(notices.len(), 7);
        for (words, todo) in [
            ("c.toml:1:1: no", "correct c.toml"),
            ("cannot be written", "make room"),
            ("lost 3 records", "note the gap"),
            ("ended 1 request since", "report the place"),
            ("restart: audit", "restart the proxy"),
            ("is a sandbox", ""),
            ("others may", ""),
        ] {
            let notice = notices.iter().find(|notice| notice.text.contains(words)).unwrap_or_else(|| panic!("{words}"));
            assert!(notice.todo.as_deref().unwrap_or_default().contains(todo), "{notice:?}");
        }
    }

    #[test]
    fn notices_name_requests_that_failed_behind_the_proxy_for_a_minute() {
        let mut status = status();
        let mut failed = refusal("/v2/devices");
        let newest = &mut failed.examples[0];
        (newest.what.blame, newest.what.reason) = ("upstream", "no answer".into());
        for (ago, warned) in [(0, true), (59, true), (60, false)] {
            failed.examples[0].at = status.now - Duration::from_secs(ago);
            status.refusals = vec![refusal("/v2/x"), failed.clone()];
            let notices = all(&status);
            assert_eq!(notices.iter().any(|notice| notice.text.ends_with("UTC: no answer")), warned, "{notices:?}");
            assert!(notices.iter().all(|notice| notice.tone == Tone::Warn));
        }
    }

    #[test]
    fn notices_of_tokens_say_what_to_do() {
        let mut status = status();
        status.tokens[0].problem = Some("refused".into());
        status.tokens[0].remedy = Some("copy it\nagain".into());
        let renewing = all(&status).remove(0);
        assert!(renewing.tone == Tone::Warn && renewing.text.contains("it expires in 58 min 12 s"), "{renewing:?}");
        status.tokens[0].expires_in = None;
        let missing = all(&status).remove(0);
        assert!(missing.text.contains("no usable token for main (monitoring)"), "{missing:?}");
        assert_eq!((missing.tone, missing.todo.as_deref()), (Tone::Bad, Some("copy it\\u000aagain")));
        assert_eq!(state(&status), "Not ready");
        assert!(missing.whole().ends_with(" To do: copy it\\u000aagain"));
        (status.tokens[0].problem, status.tokens[0].remedy) = (None, None);
        let starting = all(&status).remove(0);
        assert!(starting.tone == Tone::Warn && starting.text.contains("is being fetched"), "{starting:?}");
        assert_eq!(state(&status), "Not ready");
        status.draining = true;
        assert_eq!(state(&status), "Draining");
    }
}
