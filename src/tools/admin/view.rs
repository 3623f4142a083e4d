//! What the page shows, in words: made once, and drawn on the server as HTML and by the page's script alike.

mod grid;
mod notices;
mod tables;
mod words;

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::history::Charts;
use super::{Configuration, StoreStatus, TokenState};
use crate::base::plain;
use crate::observe::metrics::totals::Totals;
use crate::observe::refusals::RefusalGroup;

pub use grid::{Cell, Column, Details, Row, Table};
pub use notices::Notice;
use words::{counted, grouped, moment, share, span};

/// All that the page tells of; gathered anew for each view.
#[derive(Debug)]
pub struct PageStatus {
    /// The wall clock.
    pub now: SystemTime,
    /// How long the process has run.
    pub uptime: Duration,
    /// The process is draining.
    pub draining: bool,
    /// All tokens.
    pub tokens: Vec<TokenState>,
    /// The command that looks for the cause of a failure.
    pub doctor: Option<String>,
    /// The configuration.
    pub configuration: Configuration,
    /// What it made.
    pub setup: Setup,
    /// The counts.
    pub tally: Totals,
    /// How many requests wait for approval.
    pub waiting: usize,
    /// What replicas share, if they do.
    pub store: Option<StoreStatus>,
    /// The last refusals by cause, the newest first.
    pub refusals: Vec<RefusalGroup>,
    /// What is used of the quotas.
    pub quotas: Vec<QuotaView>,
    /// The rules with conditions.
    pub permits: Vec<PermitView>,
    /// What happened in the last minutes.
    pub charts: Charts,
}

/// What a configuration made, as far as it does not change while it is in force.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// All instances.
    pub instances: Vec<InstanceView>,
    /// All listeners.
    pub listeners: Vec<ListenerView>,
    /// What an administrator should look at.
    pub warnings: Vec<Notice>,
    /// Sandboxes that seem not to be meant.
    pub doubts: Vec<String>,
}

/// An instance.
#[derive(Debug, Clone)]
pub struct InstanceView {
    /// Its name.
    pub name: String,
    /// Its host and port.
    pub host: String,
    /// It is an embedded sandbox.
    pub sandbox: bool,
}

/// A listener.
#[derive(Debug, Clone)]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// Where it listens, as callers write it.
    pub address: String,
    /// The name of its instance.
    pub instance: String,
    /// Its rules are only observed.
    pub observes: bool,
    /// Its writes are not sent.
    pub tries_writes: bool,
    /// The scopes, separated by spaces.
    pub scopes: String,
    /// How many operations are open.
    pub open: usize,
    /// Who may call; empty: everybody who reaches it.
    pub callers: Vec<CallerView>,
}

/// A caller.
#[derive(Debug, Clone)]
pub struct CallerView {
    /// Its name.
    pub name: String,
    /// How it proves who it is.
    pub proofs: String,
    /// The scopes, separated by spaces.
    pub scopes: String,
    /// How many operations are open.
    pub open: usize,
    /// Its writes are not sent.
    pub tries_writes: bool,
}

/// A quota.
#[derive(Debug, Clone)]
pub struct QuotaView {
    /// The name of its listener.
    pub listener: String,
    /// The caller whose own it is; `None`: all callers of the listener share it.
    pub caller: Option<String>,
    /// What it counts.
    pub kind: &'static str,
    /// How many were used within its window.
    pub used: u64,
    /// How many there are within its window.
    pub count: u64,
    /// The same as it is written, with the window.
    pub limit: String,
}

/// A rule with conditions.
#[derive(Debug, Clone)]
pub struct PermitView {
    /// The name of its listener.
    pub listener: String,
    /// The caller whose own it is; `None`: it is the listener's.
    pub caller: Option<String>,
    /// The rule as written.
    pub rule: String,
    /// What it asks, in words, with the reason.
    pub conditions: String,
    /// How many uses were taken, if they are limited and can be counted.
    pub used: Option<u64>,
    /// It opens nothing any more.
    pub ended: bool,
}

/// How bad something is; the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// Green.
    Good,
    /// Amber: it works, but somebody should do something.
    Warn,
    /// Red: it does not work.
    Bad,
}

impl Tone {
    /// Its name in the style.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }

    /// What it looks like to people who do not see colors.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Warn => "!",
            Self::Bad => "✕",
        }
    }

    fn headline(self) -> &'static str {
        match self {
            Self::Good => "Fine",
            Self::Warn => "Needs attention",
            Self::Bad => "Not fine",
        }
    }
}

/// What is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View {
    /// Whether all is well.
    pub tone: Tone,
    /// Single texts, by the id of their place.
    pub texts: Vec<(&'static str, String)>,
    /// What an administrator should know, as one text each.
    pub warnings: Vec<String>,
    /// The same without what the banner says.
    pub notices: Vec<Notice>,
    /// The tables.
    pub tables: Vec<Table>,
    /// The charts, by the id of their place.
    pub charts: Charts,
    /// The names of the listeners.
    #[serde(skip)]
    pub listeners: Vec<String>,
}

impl View {
    /// The words for it.
    pub fn of(status: &PageStatus) -> Self {
        let PageStatus { setup, tally, charts, .. } = status;
        let mut notices = notices::all(status);
        let warnings = notices.iter().map(Notice::whole).collect();
        let tone = notices.first().map_or(Tone::Good, |worst| worst.tone);
        let banner = if tone > Tone::Good { Some(notices.remove(0)) } else { None };
        Self {
            tone,
            texts: texts(status, tone, banner),
            warnings,
            notices,
            tables: vec![
                tables::instances(setup, tally),
                tables::tokens(status),
                tables::refusals(status),
                tables::listeners(setup, tally),
                tables::callers(setup, tally),
                tables::quotas(status),
                tables::permits(status),
            ],
            charts: charts.clone(),
            listeners: setup.listeners.iter().map(|listener| listener.name.clone()).collect(),
        }
    }

    /// The text at a place.
    pub fn text(&self, id: &str) -> &str {
        self.texts.iter().find(|(own, _)| *own == id).map_or("", |(_, text)| text)
    }

    /// The table at a place.
    pub fn table(&self, id: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.id == id)
    }
}

fn texts(status: &PageStatus, tone: Tone, banner: Option<Notice>) -> Vec<(&'static str, String)> {
    let PageStatus { now, uptime, configuration, tally, tokens, .. } = status;
    let (why, todo) = match banner {
        Some(Notice { text, todo, .. }) => (text, todo.unwrap_or_default()),
        None => ("Every token is usable, and nothing needs your attention.".to_owned(), String::new()),
    };
    let last = configuration.reload.as_ref().map_or("none yet".to_owned(), |reload| {
        let result = if reload.refused.is_some() { "refused" } else { "applied" };
        format!("{result}, {}", moment(reload.at))
    });
    let total = tally.total();
    let usable = tokens.iter().filter_map(|token| token.expires_in);
    let next = usable.clone().min().map_or("–".to_owned(), |left| format!("next expiry in {}", span(left)));
    vec![
        ("symbol", tone.symbol().to_owned()),
        ("headline", tone.headline().to_owned()),
        ("state", notices::state(status).to_owned()),
        ("why", why),
        ("todo", todo),
        ("asof", moment(*now)),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("uptime", span(*uptime)),
        ("source", plain::line(&configuration.source).into_owned()),
        ("since", moment(configuration.since)),
        ("reload", last),
        ("total", grouped(total.requests)),
        ("refused-total", grouped(total.refusals)),
        ("refused-share", format!("{} of all requests", share(total.refusals, total.requests))),
        ("in-flight", grouped(total.in_flight)),
        ("causes", counted(status.refusals.len() as u64, "cause", "causes")),
        ("tokens-usable", format!("{} of {}", usable.count(), tokens.len())),
        ("tokens-next", next),
        ("approvals-waiting", counted(status.waiting as u64, "request waits", "requests wait")),
    ]
}

#[cfg(test)]
pub(super) mod tests;
