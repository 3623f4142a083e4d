//! What the page shows, in words: made once, and drawn on the server as HTML and by the page's script alike.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use time::OffsetDateTime;

use super::history::Charts;
use super::{Configuration, TokenState};
use crate::base::plain;
use crate::observe::metrics::totals::{Sums, Totals};
use crate::observe::refusals::RecentRefusal;

/// How long a failure behind the proxy is a warning.
const RECENT: Duration = Duration::from_secs(60);

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
    /// The configuration.
    pub configuration: Configuration,
    /// What it made.
    pub setup: Setup,
    /// The counts.
    pub tally: Totals,
    /// The last refusals, the newest first.
    pub refusals: Vec<RecentRefusal>,
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
    pub warnings: Vec<String>,
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
}

/// What is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View {
    /// Whether all is well: `good`, `warn` or `bad`.
    pub tone: &'static str,
    /// Single texts, by the id of their place.
    pub texts: Vec<(&'static str, String)>,
    /// What an administrator should look at.
    pub warnings: Vec<String>,
    /// The tables.
    pub tables: Vec<Table>,
    /// The charts, by the id of their place.
    pub charts: Charts,
    /// The names of the listeners.
    #[serde(skip)]
    pub listeners: Vec<String>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// The id of its place.
    pub id: &'static str,
    /// What it shows.
    #[serde(skip)]
    pub caption: &'static str,
    /// The heads of its columns; the first cell of a row is its head.
    #[serde(skip)]
    pub columns: &'static [&'static str],
    /// Its rows, each with a cell for each column.
    pub rows: Vec<Vec<Cell>>,
    /// What stands there instead of no rows.
    pub empty: &'static str,
}

/// A cell of a table.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cell {
    /// What it says.
    #[serde(rename = "t")]
    pub text: String,
    /// How it is drawn: `good`, `warn`, `bad`, `number`, `word`, `code` or `long`.
    #[serde(rename = "k", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// Where it leads, on this page.
    #[serde(rename = "h", skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

fn plain(text: impl Into<String>) -> Cell {
    Cell { text: plain::line(&text.into()).into_owned(), kind: None, link: None }
}

fn drawn(kind: &'static str, text: impl Into<String>) -> Cell {
    Cell { kind: Some(kind), ..plain(text) }
}

fn number(number: u64) -> Cell {
    drawn("number", grouped(number))
}

impl View {
    /// The words for it.
    pub fn of(status: &PageStatus) -> Self {
        let PageStatus { now, uptime, configuration, setup, tally, charts, .. } = status;
        let (tone, state, why) = readiness(status);
        let last = configuration.reload.as_ref().map_or("none yet".to_owned(), |reload| {
            let result = if reload.refused.is_some() { "refused" } else { "applied" };
            format!("{result}, {}", moment(reload.at))
        });
        let total = tally.total();
        let texts = vec![
            ("state", state.to_owned()),
            ("why", why),
            ("asof", moment(*now)),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("uptime", span(*uptime)),
            ("source", plain::line(&configuration.source).into_owned()),
            ("since", moment(configuration.since)),
            ("reload", last),
            ("total", grouped(total.requests)),
            ("refused-total", grouped(total.refusals)),
            ("in-flight", grouped(total.in_flight)),
        ];
        let warnings: Vec<String> = warnings(status).iter().map(|warning| plain::line(warning).into_owned()).collect();
        let tone = if tone == "good" && !warnings.is_empty() { "warn" } else { tone };
        Self {
            tone,
            texts,
            warnings,
            tables: vec![
                instances(setup, tally),
                tokens(status),
                refusals(status),
                listeners(setup, tally),
                callers(setup, tally),
            ],
            charts: charts.clone(),
            listeners: setup.listeners.iter().map(|listener| listener.name.clone()).collect(),
        }
    }
}

/// Tone, state and reason.
fn readiness(status: &PageStatus) -> (&'static str, &'static str, String) {
    if status.draining {
        let why = "Requests in flight are being finished, and no new ones are taken; then the process ends.";
        return ("warn", "Draining", why.to_owned());
    }
    let missing = status.tokens.iter().filter(|token| token.expires_in.is_none());
    let missing: Vec<_> = missing.map(|token| format!("{} ({})", token.instance, token.scopes)).collect();
    if missing.is_empty() {
        let failing = status.tokens.iter().any(|token| token.problem.is_some());
        let why =
            if failing { "Every token is usable, but one could not be renewed." } else { "Every token is usable." };
        return (if failing { "warn" } else { "good" }, "Ready", why.to_owned());
    }
    let why = format!("There is no usable token for {}: requests get 503 until there is one.", missing.join(", "));
    ("bad", "Not ready", plain::line(&why).into_owned())
}

/// The last request that failed behind the proxy, if that was just now.
fn failing(PageStatus { now, refusals, .. }: &PageStatus) -> Option<String> {
    let last = refusals.iter().find(|refusal| refusal.what.blame == "upstream")?;
    let recent = now.duration_since(last.at).is_ok_and(|age| age < RECENT);
    recent.then(|| format!("{}: {}", moment(last.at), last.what.reason))
}

fn warnings(status: &PageStatus) -> Vec<String> {
    let PageStatus { configuration, setup, tally, .. } = status;
    let mut warnings = setup.doubts.clone();
    if let Some(why) = configuration.reload.as_ref().and_then(|reload| reload.refused.as_ref()) {
        warnings.push(format!("The last change of the configuration was refused, the one before is in force: {why}"));
    }
    if let Some(last) = failing(status) {
        warnings.push(format!("NinjaOne, or the way there, failed requests in the last minute; at {last}"));
    }
    if tally.audit_failing {
        warnings.push(
            "The audit log cannot be written: its disk is full or fails; see the proxy's log. Writes are refused meanwhile, unless on-failure in [audit] says otherwise."
                .to_owned(),
        );
    }
    if tally.audit_lost > 0 {
        warnings.push(format!("The audit log has lost {} records.", grouped(tally.audit_lost)));
    }
    if tally.panics > 0 {
        let count = grouped(tally.panics);
        warnings
            .push(format!("A mistake in the proxy ended {count} requests: its log has the place; please report it."));
    }
    if !configuration.restart.is_empty() {
        let keys = configuration.restart.join(", ");
        warnings
            .push(format!("These keys count only after a restart: {keys}. The rest of the configuration is in force."));
    }
    let sandboxes = setup.instances.iter().filter(|instance| instance.sandbox);
    warnings.extend(sandboxes.map(|instance| {
        format!("instances.{} is a sandbox: all data is invented, nothing reaches NinjaOne.", instance.name)
    }));
    warnings.extend(setup.warnings.iter().cloned());
    warnings
}

fn instances(Setup { instances, listeners, .. }: &Setup, tally: &Totals) -> Table {
    let row = |instance: &InstanceView| {
        let mut sum = Sums::default();
        let own = listeners.iter().filter(|listener| listener.instance == instance.name);
        own.filter_map(|listener| tally.listeners.get(&listener.name)).for_each(|listener| sum.add(listener));
        let kind = if instance.sandbox { "sandbox, invented data" } else { "NinjaOne" };
        let [requests, refused, in_flight] = counts(&sum);
        vec![plain(&instance.name), drawn("code", &instance.host), plain(kind), requests, refused, in_flight]
    };
    Table {
        id: "instances",
        caption: "Where requests go, and how many went through the listeners of each instance since the start",
        columns: &["Instance", "Host", "Kind", "Requests", "Refused", "In flight"],
        rows: instances.iter().map(row).collect(),
        empty: "There is no instance.",
    }
}

fn counts(sum: &Sums) -> [Cell; 3] {
    [number(sum.requests), number(sum.refusals), number(sum.in_flight)]
}

fn tokens(PageStatus { tokens, .. }: &PageStatus) -> Table {
    let row = |token: &TokenState| {
        let (state, left) = match token.expires_in {
            Some(left) => (drawn(if token.problem.is_some() { "warn" } else { "good" }, "usable"), span(left)),
            None => (drawn("bad", "none"), "–".to_owned()),
        };
        let failure = token.causes.as_ref().map_or_else(|| plain("–"), |problem| drawn("long", problem));
        let remedy = token.remedy.as_ref().map_or_else(|| plain("nothing"), |remedy| drawn("long", remedy));
        vec![plain(&token.instance), plain(&token.scopes), state, drawn("number", left), failure, remedy]
    };
    Table {
        id: "tokens",
        caption: "The tokens that are kept, one for each set of scopes",
        columns: &["Instance", "Scopes", "Token", "Expires in", "Last failure", "What to do"],
        rows: tokens.iter().map(row).collect(),
        empty: "No token is kept.",
    }
}

fn refusals(PageStatus { refusals, .. }: &PageStatus) -> Table {
    let row = |RecentRefusal { at, times, what }: &RecentRefusal| {
        let time = if *times > 1 { format!("{}, {} times", moment(*at), grouped(*times)) } else { moment(*at) };
        let request = match (&what.operation, &what.method, &what.path) {
            (Some(operation), ..) => operation.clone(),
            (None, Some(method), Some(path)) => format!("{method} {path}"),
            (None, ..) => "not HTTP".to_owned(),
        };
        vec![
            plain(time),
            plain(&what.listener),
            plain(what.caller.as_deref().unwrap_or("–")),
            Cell { link: explorer_link(what), ..drawn("code", request) },
            drawn("word", format!("{} {}", what.status, what.code)),
            plain(what.blame),
            drawn("long", &what.reason),
        ]
    };
    Table {
        id: "refusals",
        caption: "The last 50 requests that the proxy answered itself, the newest first; each leads to its explanation",
        columns: &["Time", "Listener", "Caller", "Request", "Answer", "Fault of", "Why, and what would change it"],
        rows: refusals.iter().map(row).collect(),
        empty: "None since the start.",
    }
}

/// Where the same request is explained, if it can be asked for again.
fn explorer_link(what: &crate::observe::refusals::RefusedRequest) -> Option<String> {
    let (method, path) = what.method.as_ref().zip(what.path.as_ref()).filter(|_| what.has_whole_path())?;
    let pairs = [("listener", &what.listener), ("method", method), ("path", path)];
    Some(format!("/explain?{}#explorer", form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()))
}

fn listeners(Setup { listeners, .. }: &Setup, tally: &Totals) -> Table {
    let row = |listener: &ListenerView| {
        let none = Sums::default();
        let [requests, refused, in_flight] = counts(tally.listeners.get(&listener.name).unwrap_or(&none));
        let mode = if listener.observes { drawn("warn", "observes its rules") } else { plain("enforces its rules") };
        vec![
            plain(&listener.name),
            drawn("code", &listener.address),
            plain(&listener.instance),
            mode,
            plain(&listener.scopes),
            number(listener.open as u64),
            requests,
            refused,
            in_flight,
        ]
    };
    Table {
        id: "listeners",
        caption: "Where callers find the proxy, and what is open there",
        columns: &[
            "Listener",
            "Address",
            "Instance",
            "Mode",
            "Scopes",
            "Operations open",
            "Requests",
            "Refused",
            "In flight",
        ],
        rows: listeners.iter().map(row).collect(),
        empty: "There is no listener.",
    }
}

fn callers(Setup { listeners, .. }: &Setup, tally: &Totals) -> Table {
    let row = |(listener, caller): (&ListenerView, &CallerView)| {
        let CallerView { name, proofs, scopes, open } = caller;
        let requests = tally.callers.as_ref().map_or_else(
            || drawn("number", "–"),
            |counts| number(counts.get(&(listener.name.clone(), name.clone())).copied().unwrap_or_default()),
        );
        vec![plain(name), plain(&listener.name), plain(proofs), plain(scopes), number(*open as u64), requests]
    };
    let all = listeners.iter().flat_map(|listener| listener.callers.iter().map(move |caller| (listener, caller)));
    Table {
        id: "callers",
        caption: "Who may call, where callers are told apart",
        columns: &["Caller", "Listener", "Proves it by", "Scopes", "Operations open", "Requests"],
        rows: all.map(row).collect(),
        empty: "No listener tells callers apart: whoever reaches it may call.",
    }
}

/// `2026-11-22 09:58:57 UTC`.
fn moment(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let (date, time) = (at.date(), at.time());
    let (month, day) = (u8::from(date.month()), date.day());
    format!("{}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", date.year(), time.hour(), time.minute(), time.second())
}

/// `3 d 4 h`, `58 min 12 s`, `7 s`.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    if days > 0 {
        format!("{days} d {hours} h")
    } else if hours > 0 {
        format!("{hours} h {minutes} min")
    } else if minutes > 0 {
        format!("{minutes} min {} s", seconds % 60)
    } else {
        format!("{seconds} s")
    }
}

/// With a thin space after each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::observe::refusals::RefusedRequest;
    use crate::tools::admin::Reload;

    /// A proxy with one instance and one listener, where nothing has happened.
    pub(in crate::tools::admin) fn status() -> PageStatus {
        let instance = InstanceView { name: "main".into(), host: "eu.ninjarmm.com".into(), sandbox: false };
        let listener = ListenerView {
            name: "local".into(),
            address: "http://127.0.0.1:8080".into(),
            instance: "main".into(),
            observes: false,
            scopes: "monitoring".into(),
            open: 120,
            callers: Vec::new(),
        };
        let configuration =
            Configuration { source: "c.toml".into(), since: SystemTime::UNIX_EPOCH, reload: None, restart: Vec::new() };
        let token = TokenState {
            instance: "main".into(),
            scopes: "monitoring".into(),
            expires_in: Some(Duration::from_secs(3492)),
            problem: None,
            causes: None,
            remedy: None,
        };
        PageStatus {
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_341_537),
            uptime: Duration::from_secs(90_061),
            draining: false,
            tokens: vec![token],
            configuration,
            setup: Setup { instances: vec![instance], listeners: vec![listener], ..Setup::default() },
            tally: Totals::default(),
            refusals: Vec::new(),
            charts: Charts::default(),
        }
    }

    pub(in crate::tools::admin) fn refusal(path: &str) -> RecentRefusal {
        let what = RefusedRequest {
            listener: "local".into(),
            caller: None,
            method: Some("GET".into()),
            operation: None,
            path: Some(path.into()),
            status: 404,
            code: "operation-unknown",
            blame: "caller",
            reason: format!("No operation has the path {path:?}."),
        };
        RecentRefusal { at: SystemTime::UNIX_EPOCH, times: 1, what }
    }

    fn text<'a>(view: &'a View, id: &str) -> &'a str {
        view.texts.iter().find(|(own, _)| *own == id).map_or("", |(_, text)| text)
    }

    fn row(view: &View, id: &str) -> Vec<String> {
        let table = view.tables.iter().find(|table| table.id == id).expect("a table");
        table.rows[0].iter().map(|cell| cell.text.clone()).collect()
    }

    #[test]
    fn view_says_ready_and_when_tokens_expire() {
        let view = View::of(&status());
        assert_eq!((view.tone, text(&view, "state"), text(&view, "uptime")), ("good", "Ready", "1 d 1 h"));
        assert_eq!(text(&view, "asof"), "2026-11-22 09:58:57 UTC");
        assert_eq!(row(&view, "tokens"), ["main", "monitoring", "usable", "58 min 12 s", "–", "nothing"]);
    }

    #[test]
    fn view_says_why_it_is_not_ready_and_what_to_do() {
        let mut status = status();
        status.tokens[0].expires_in = None;
        status.tokens[0].problem = Some("refused".into());
        status.tokens[0].causes = status.tokens[0].problem.clone();
        status.tokens[0].remedy = Some("copy it again".into());
        let view = View::of(&status);
        assert_eq!((view.tone, text(&view, "state")), ("bad", "Not ready"));
        assert!(text(&view, "why").contains("no usable token for main (monitoring)"));
        assert_eq!(row(&view, "tokens")[2..], ["none", "–", "refused", "copy it again"]);
        status.draining = true;
        assert_eq!(text(&View::of(&status), "state"), "Draining");
    }

    #[test]
    fn view_warns_of_all_that_an_administrator_should_know() {
        let mut status = status();
        status.configuration.reload =
            Some(Reload { at: SystemTime::UNIX_EPOCH, refused: Some("c.toml:1:1: no".into()) });
        status.configuration.restart = vec!["audit"];
        status.setup.instances[0].sandbox = true;
        status.setup.warnings.push("others may read it".into());
        (status.tally.audit_failing, status.tally.audit_lost, status.tally.panics) = (true, 3, 1);
        let view = View::of(&status);
        assert_eq!((view.tone, view.warnings.len()), ("warn", 7));
        for words in [
            "c.toml:1:1: no",
            "cannot be written",
            "lost 3 records",
            "ended 1 requests",
            "restart: audit",
            "is a sandbox",
            "others may",
        ] {
            assert!(view.warnings.iter().any(|warning| warning.contains(words)), "{words} in {:?}", view.warnings);
        }
    }

    #[test]
    fn view_warns_of_requests_that_failed_behind_the_proxy_for_a_minute() {
        let mut status = status();
        let mut failed = refusal("/v2/devices");
        (failed.what.blame, failed.what.reason) = ("upstream", "no answer".into());
        for (ago, warned) in [(0, true), (59, true), (60, false)] {
            failed.at = status.now - Duration::from_secs(ago);
            status.refusals = vec![refusal("/v2/x"), failed.clone()];
            let told = View::of(&status).warnings;
            assert_eq!(told.iter().any(|warning| warning.ends_with("UTC: no answer")), warned, "{ago} s: {told:?}");
        }
    }

    #[test]
    fn view_links_a_refusal_to_its_explanation_and_shows_what_hides() {
        let mut status = status();
        status.refusals = vec![refusal("/v2/a&b\u{202e}c")];
        let view = View::of(&status);
        let cell = &view.tables[2].rows[0][3];
        assert_eq!(cell.text, "GET /v2/a&b\\u202ec");
        let link = "/explain?listener=local&method=GET&path=%2Fv2%2Fa%26b%E2%80%AEc#explorer";
        assert_eq!(cell.link.as_deref(), Some(link));
        status.refusals[0].times = 1234;
        assert!(row(&View::of(&status), "refusals")[0].ends_with("UTC, 1\u{202f}234 times"));
    }
}
