//! The tables of the page.

use std::time::SystemTime;

use super::grid::{drawn, number, numbers, plain, words};
use super::words::{brief, grouped, moment, span};
use super::{
    CallerView, Cell, Details, InstanceView, ListenerView, PageStatus, PermitView, QuotaView, Row, Setup, Table,
};
use crate::observe::metrics::totals::{Sums, Totals};
use crate::observe::refusals::{RefusalExample, RefusalGroup, RefusedRequest};
use crate::tools::admin::TokenState;

/// What is shown where nothing is.
const NOTHING: &str = "–";

/// How many of the requests were refused: drawn only where it is not 0, so that it is found.
fn refused(count: u64) -> Cell {
    drawn(if count > 0 { "number some" } else { "number" }, grouped(count))
}

fn counts(sum: &Sums) -> [Cell; 3] {
    [number(sum.requests), refused(sum.refusals), number(sum.in_flight)]
}

pub(super) fn instances(Setup { instances, listeners, .. }: &Setup, tally: &Totals) -> Table {
    let row = |instance: &InstanceView| {
        let mut sum = Sums::default();
        let own = listeners.iter().filter(|listener| listener.instance == instance.name);
        own.filter_map(|listener| tally.listeners.get(&listener.name)).for_each(|listener| sum.add(listener));
        let kind = if instance.sandbox { "sandbox, invented data" } else { "NinjaOne" };
        let [requests, refused, in_flight] = counts(&sum);
        let cells =
            vec![plain(&instance.name), drawn("code", &instance.host), plain(kind), requests, refused, in_flight];
        Row::new(&[&instance.name], cells)
    };
    Table {
        id: "instances",
        caption: "Where requests go",
        columns: const {
            &[
                words("Instance"),
                words("Host"),
                words("Kind"),
                numbers("Requests"),
                numbers("Refused"),
                numbers("In flight"),
            ]
        },
        rows: instances.iter().map(row).collect(),
        empty: "The configuration has no instance.",
    }
}

pub(super) fn tokens(PageStatus { tokens, .. }: &PageStatus) -> Table {
    let row = |token: &TokenState| {
        let (state, left) = match token.expires_in {
            Some(left) => (drawn(if token.problem.is_some() { "warn" } else { "good" }, "usable"), span(left)),
            // Without a person most of the service goes on.
            None => (drawn(if token.user.is_some() { "warn" } else { "bad" }, "none"), NOTHING.to_owned()),
        };
        let of = token.user.as_ref().map_or("the proxy", |user| &user.name);
        let renewed = token.user.as_ref().and_then(|user| user.renewed);
        let sign_in = match (&token.user, renewed) {
            (None, _) => plain(NOTHING),
            (Some(_), Some(age)) => plain(format!("renewed {} ago", span(age))),
            (Some(_), None) => drawn("warn", "must sign in"),
        };
        let failure = token.causes.as_ref().map_or_else(|| plain(NOTHING), |causes| drawn("long", causes));
        let remedy = token.remedy.as_ref().map_or_else(|| plain("nothing"), |remedy| drawn("long", remedy));
        let (of_instance, left) = (plain(&token.instance), drawn("number", left));
        let cells = vec![of_instance, plain(of), plain(&token.scopes), state, left, sign_in, failure, remedy];
        Row::new(&[&token.instance, of, &token.scopes], cells)
    };
    Table {
        id: "tokens",
        caption: "Access tokens: of the proxy itself, one for each set of scopes, and of persons who sign in",
        columns: const {
            &[
                words("Instance"),
                words("Of"),
                words("Scopes"),
                words("Token"),
                numbers("Expires in"),
                words("Sign-in"),
                words("Last failure"),
                words("What to do"),
            ]
        },
        rows: tokens.iter().map(row).collect(),
        empty: "No token is kept.",
    }
}

pub(super) fn refusals(PageStatus { now, refusals, .. }: &PageStatus) -> Table {
    let rows = refusals.iter().filter_map(|group| Some(refusal(group, group.newest()?, *now)));
    Table {
        id: "refusals",
        caption: "Requests that the proxy answered itself, grouped by cause, the newest first; times are in UTC",
        columns: const {
            &[
                words("Answer"),
                words("Request"),
                words("Listener"),
                words("Caller"),
                words("Cause"),
                numbers("Count"),
                numbers("First"),
                numbers("Last"),
            ]
        },
        rows: rows.collect(),
        empty: "No refusals since the start.",
    }
}

fn refusal(group: &RefusalGroup, newest: &RefusalExample, now: SystemTime) -> Row {
    let RefusedRequest { listener, caller, operation, status, code, blame, reason, .. } = &newest.what;
    let differs = |of: fn(&RefusedRequest) -> &Option<String>| {
        group.examples.iter().any(|example| of(&example.what) != of(&newest.what))
    };
    let request = match operation {
        Some(operation) if differs(|what| &what.operation) => format!("{operation} and others"),
        Some(operation) => operation.clone(),
        None if group.examples.len() > 1 => format!("{} and others", request(&newest.what)),
        None => request(&newest.what),
    };
    let caller = if differs(|what| &what.caller) { "several" } else { caller.as_deref().unwrap_or(NOTHING) };
    let mut lines = vec![("Why".to_owned(), plain(reason))];
    lines.extend(group.examples.iter().map(|RefusalExample { at, count, what }| {
        let times = if *count > 1 { format!(", {} times", grouped(*count)) } else { String::new() };
        (
            format!("{}{times}", brief(*at, now)),
            Cell { link: explorer_link(what), ..drawn("code", self::request(what)) },
        )
    }));
    let details = Details { summary: "Why, and what to do", lines };
    let cells = vec![
        drawn("answer", format!("{status} {code}")),
        Cell { link: explorer_link(&newest.what), details: Some(details), ..drawn("code", request) },
        plain(listener),
        plain(caller),
        plain(*blame),
        number(group.count),
        Cell { title: Some(moment(group.first)), ..drawn("number", brief(group.first, now)) },
        Cell { title: Some(moment(group.last)), ..drawn("number", brief(group.last, now)) },
    ];
    let whose = |text: &'_ Option<String>| text.clone().filter(|_| *blame == "caller").unwrap_or_default();
    let (caller, operation) = (whose(&newest.what.caller), whose(operation));
    let key = [code, listener.as_str(), &caller, &operation];
    Row::new(&key, cells)
}

fn request(what: &RefusedRequest) -> String {
    match (&what.method, &what.path) {
        (Some(method), Some(path)) => format!("{method} {path}"),
        _ => "not HTTP".to_owned(),
    }
}

/// Where the same request is explained, if it can be asked for again.
fn explorer_link(what: &RefusedRequest) -> Option<String> {
    let (method, path) = what.method.as_ref().zip(what.path.as_ref()).filter(|_| what.has_whole_path())?;
    let pairs = [("listener", &what.listener), ("method", method), ("path", path)];
    Some(format!("/explain?{}#explorer", form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()))
}

pub(super) fn listeners(Setup { listeners, .. }: &Setup, tally: &Totals) -> Table {
    let row = |listener: &ListenerView| {
        let none = Sums::default();
        let [requests, refused, in_flight] = counts(tally.listeners.get(&listener.name).unwrap_or(&none));
        let mode = match (listener.observes, listener.tries_writes) {
            (false, false) => plain("enforces its rules"),
            (true, false) => drawn("warn", "observes its rules"),
            (false, true) => drawn("warn", "enforces its rules; sends no writes"),
            (true, true) => drawn("warn", "observes its rules; sends no writes"),
        };
        let cells = vec![
            plain(&listener.name),
            drawn("code", &listener.address),
            plain(&listener.instance),
            mode,
            plain(&listener.scopes),
            number(listener.open as u64),
            requests,
            refused,
            in_flight,
        ];
        Row::new(&[&listener.name], cells)
    };
    Table {
        id: "listeners",
        caption: "Where callers find the proxy, and how many operations are open there",
        columns: const {
            &[
                words("Listener"),
                words("Address"),
                words("Instance"),
                words("Mode"),
                words("Scopes"),
                numbers("Operations"),
                numbers("Requests"),
                numbers("Refused"),
                numbers("In flight"),
            ]
        },
        rows: listeners.iter().map(row).collect(),
        empty: "The configuration has no listener.",
    }
}

pub(super) fn callers(Setup { listeners, .. }: &Setup, tally: &Totals) -> Table {
    let row = |(listener, caller): (&ListenerView, &CallerView)| {
        let CallerView { name, proofs, scopes, open, tries_writes } = caller;
        let sums = tally.callers.get(&(listener.name.clone(), name.clone())).copied().unwrap_or_default();
        let cells = vec![
            plain(name),
            plain(&listener.name),
            plain(proofs),
            plain(scopes),
            number(*open as u64),
            number(sums.requests),
            refused(sums.refusals),
            if *tries_writes { drawn("warn", "not sent") } else { plain("sent") },
        ];
        Row::new(&[&listener.name, name], cells)
    };
    let all = listeners.iter().flat_map(|listener| listener.callers.iter().map(move |caller| (listener, caller)));
    Table {
        id: "callers",
        caption: "Who may call, on listeners that tell their callers apart, and how many operations are open to each",
        columns: const {
            &[
                words("Caller"),
                words("Listener"),
                words("Proves it by"),
                words("Scopes"),
                numbers("Operations"),
                numbers("Requests"),
                numbers("Refused"),
                words("Writes"),
            ]
        },
        rows: all.map(row).collect(),
        empty: "No listener tells callers apart: everyone who can reach a listener may call.",
    }
}

pub(super) fn quotas(PageStatus { quotas, .. }: &PageStatus) -> Table {
    let row = |quota: &QuotaView| {
        let QuotaView { listener, caller, kind, used, count, limit } = quota;
        let used = if used >= count { drawn("number some", grouped(*used)) } else { number(*used) };
        let of = caller.as_deref().unwrap_or("all callers");
        let cells = vec![plain(listener), plain(of), plain(*kind), used, drawn("number", limit)];
        Row::new(&[listener, caller.as_deref().unwrap_or_default(), kind], cells)
    };
    Table {
        id: "quotas",
        caption: "Quotas: what was used within their time, now",
        columns: const { &[words("Listener"), words("Of"), words("Counts"), numbers("Used"), numbers("Limit")] },
        rows: quotas.iter().map(row).collect(),
        empty: "No listener and no caller has a quota.",
    }
}

pub(super) fn permits(PageStatus { permits, .. }: &PageStatus) -> Table {
    let row = |permit: &PermitView| {
        let PermitView { listener, caller, rule, conditions, used, ended } = permit;
        let of = caller.as_deref().unwrap_or("all callers");
        let used = used.map_or_else(|| plain(NOTHING), number);
        let state = if *ended { drawn("some", "opens nothing any more") } else { plain("in force") };
        let cells = vec![plain(listener), plain(of), plain(rule), plain(conditions), used, state];
        Row::new(&[listener, caller.as_deref().unwrap_or_default(), rule, conditions], cells)
    };
    Table {
        id: "permits",
        caption: "Rules with conditions",
        columns: const {
            &[
                words("Listener"),
                words("Of"),
                words("Rule"),
                words("Opens a request if"),
                numbers("Used"),
                words("State"),
            ]
        },
        rows: permits.iter().map(row).collect(),
        empty: "No rule has conditions.",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{refusal, status};
    use super::*;
    use crate::observe::metrics::totals::CallerSums;

    fn texts(row: &Row) -> Vec<&str> {
        row.cells.iter().map(|cell| cell.text.as_str()).collect()
    }

    #[test]
    fn tables_group_refusals_and_lead_to_their_explanation() {
        let mut status = status();
        let mut group = refusal("/v2/a&b\u{202e}c");
        (group.first, group.last, group.count) = (status.now - Duration::from_secs(86_400), status.now, 1234);
        group.examples[0].at = status.now;
        group.examples[0].count = 2;
        status.refusals = vec![group.clone()];
        let table = refusals(&status);
        let shown = [
            "404 operation-unknown",
            "GET /v2/a&b\\u202ec",
            "local",
            "–",
            "caller",
            "1\u{202f}234",
            "2026-11-21 09:58",
            "09:58:57",
        ];
        assert_eq!(texts(&table.rows[0]), shown);
        let cell = &table.rows[0].cells[1];
        let link = "/explain?listener=local&method=GET&path=%2Fv2%2Fa%26b%E2%80%AEc#explorer";
        assert_eq!(cell.link.as_deref(), Some(link));
        let lines = &cell.details.as_ref().expect("details").lines;
        assert_eq!((lines[0].0.as_str(), lines[1].0.as_str()), ("Why", "09:58:57, 2 times"));
        assert_eq!(lines[1].1.link.as_deref(), Some(link));
        group.examples.push(group.examples[0].clone());
        status.refusals = vec![group.clone()];
        assert!(texts(&refusals(&status).rows[0])[1].ends_with("c and others"));
        let newest = &mut group.examples[0].what;
        (newest.operation, newest.caller) = (Some("GET /v2/x".into()), Some("desk".into()));
        status.refusals.push(group.clone());
        group.examples.truncate(1);
        status.refusals.push(group);
        let rows = refusals(&status).rows;
        assert_eq!(texts(&rows[1])[1..4], ["GET /v2/x and others", "local", "several"]);
        assert_eq!(texts(&rows[2])[1..4], ["GET /v2/x", "local", "desk"]);
        assert_ne!(rows[0].key, rows[1].key);
    }

    #[test]
    fn tables_of_quotas_mark_what_is_used_up() {
        let mut status = status();
        let quota = |caller: Option<&str>, used| QuotaView {
            listener: "local".into(),
            caller: caller.map(str::to_owned),
            kind: "writes",
            used,
            count: 1200,
            limit: "1200/min".into(),
        };
        status.quotas = vec![quota(None, 1199), quota(Some("desk"), 1200)];
        let table = quotas(&status);
        assert_eq!(texts(&table.rows[0]), ["local", "all callers", "writes", "1\u{202f}199", "1200/min"]);
        assert_eq!(texts(&table.rows[1])[1..3], ["desk", "writes"]);
        assert_eq!([0, 1].map(|row: usize| table.rows[row].cells[3].kind), [Some("number"), Some("number some")]);
    }

    #[test]
    fn tables_of_permits_mark_those_that_have_ended() {
        let mut status = status();
        let permit = |used, ended| PermitView {
            listener: "local".into(),
            caller: None,
            rule: "POST /v2/tag".into(),
            conditions: "3 uses".into(),
            used,
            ended,
        };
        status.permits = vec![permit(Some(2), false), permit(Some(3), true), permit(None, false)];
        let table = permits(&status);
        assert_eq!(texts(&table.rows[0]), ["local", "all callers", "POST /v2/tag", "3 uses", "2", "in force"]);
        assert_eq!(texts(&table.rows[1])[4..], ["3", "opens nothing any more"]);
        assert_eq!([0, 1].map(|row: usize| table.rows[row].cells[5].kind), [None, Some("some")]);
        assert_eq!(texts(&table.rows[2])[4], NOTHING);
    }

    #[test]
    fn tables_count_what_each_caller_was_refused() {
        let mut status = status();
        let caller = |name: &str| CallerView {
            name: name.into(),
            proofs: "key".into(),
            scopes: "monitoring".into(),
            open: 9,
            tries_writes: name == "desk",
        };
        status.setup.listeners[0].callers = vec![caller("desk"), caller("reports")];
        let sums = CallerSums { requests: 1200, refusals: 34 };
        status.tally.callers.insert(("local".into(), "reports".into()), sums);
        status.tally.callers.insert(("other".into(), "desk".into()), sums);
        let table = callers(&status.setup, &status.tally);
        assert_eq!(texts(&table.rows[0]), ["desk", "local", "key", "monitoring", "9", "0", "0", "not sent"]);
        assert_eq!(texts(&table.rows[1]), ["reports", "local", "key", "monitoring", "9", "1\u{202f}200", "34", "sent"]);
        assert!(table.columns[6].number && table.rows[1].cells[6].kind == Some("number some"));
    }
}
