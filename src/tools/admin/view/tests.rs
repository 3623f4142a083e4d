//! What the page says in which state, and a state to change.

use super::*;
use crate::observe::refusals::{RefusalExample, RefusedRequest};
use crate::tools::admin::{Reload, UserState};

/// A proxy with one instance and one listener, where nothing has happened.
pub(in crate::tools::admin) fn status() -> PageStatus {
    let instance = InstanceView { name: "main".into(), host: "eu.ninjarmm.com".into(), sandbox: false };
    let listener = ListenerView {
        name: "local".into(),
        address: "http://127.0.0.1:8080".into(),
        instance: "main".into(),
        observes: false,
        tries_writes: false,
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
        age: None,
        problem: None,
        causes: None,
        remedy: None,
        user: None,
    };
    PageStatus {
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_341_537),
        uptime: Duration::from_secs(90_061),
        draining: false,
        tokens: vec![token],
        doctor: Some("ninjaone-proxy doctor".into()),
        configuration,
        setup: Setup { instances: vec![instance], listeners: vec![listener], ..Setup::default() },
        tally: Totals::default(),
        waiting: 0,
        store: None,
        refusals: Vec::new(),
        quotas: Vec::new(),
        permits: Vec::new(),
        charts: Charts::default(),
    }
}

pub(in crate::tools::admin) fn refusal(path: &str) -> RefusalGroup {
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
    let at = SystemTime::UNIX_EPOCH;
    RefusalGroup { first: at, last: at, count: 1, examples: vec![RefusalExample { at, count: 1, what }] }
}

fn banner(view: &View) -> (Tone, &str, &str, &str) {
    (view.tone, view.text("headline"), view.text("state"), view.text("todo"))
}

#[test]
fn view_names_a_person_who_must_sign_in_and_what_still_works() {
    let mut status = status();
    let mut token = super::tests::status().tokens.remove(0);
    token.user = Some(UserState { name: "technician".into(), renewed: Some(Duration::from_secs(7200)) });
    status.tokens.push(token);
    let view = View::of(&status);
    assert_eq!(banner(&view), (Tone::Good, "Fine", "Ready", ""));
    let row = |view: &View| -> Vec<String> {
        let cells = &view.table("tokens").expect("a table").rows[1].cells;
        cells.iter().map(|cell| cell.text.clone()).collect()
    };
    assert_eq!(row(&view)[..6], ["main", "technician", "monitoring", "usable", "58 min 12 s", "renewed 2 h 0 min ago"]);
    let token = &mut status.tokens[1];
    (token.expires_in, token.user.as_mut().expect("a person").renewed) = (None, None);
    (token.problem, token.remedy) = (Some("nobody".into()), Some("run: ninjaone-proxy login technician".into()));
    let view = View::of(&status);
    let todo = "run: ninjaone-proxy login technician";
    assert_eq!(banner(&view), (Tone::Warn, "Needs attention", "Ready, but degraded", todo));
    assert!(
        view.text("why").contains("technician of main must sign in") && view.text("why").contains("all others work")
    );
    assert_eq!((&*row(&view)[3], &*row(&view)[5]), ("none", "must sign in"));
    assert_eq!(view.text("tokens-usable"), "1 of 2");
}

#[test]
fn view_is_fine_with_usable_tokens_and_whatever_was_refused() {
    let mut status = status();
    status.refusals = vec![refusal("/v2/nope")];
    status.setup.instances[0].sandbox = true;
    let view = View::of(&status);
    assert_eq!(banner(&view), (Tone::Good, "Fine", "Ready", ""));
    assert_eq!((view.text("asof"), view.text("uptime")), ("2026-11-22 09:58:57 UTC", "1 d 1 h"));
    assert_eq!((view.text("tokens-usable"), view.text("tokens-next")), ("1 of 1", "next expiry in 58 min 12 s"));
    let tokens = view.table("tokens").expect("a table");
    let shown: Vec<_> = tokens.rows[0].cells.iter().map(|cell| cell.text.as_str()).collect();
    assert_eq!(shown, ["main", "the proxy", "monitoring", "usable", "58 min 12 s", "–", "–", "nothing"]);
    assert!(view.notices.len() == 1 && view.notices[0].text.contains("is a sandbox"), "it is named without an alarm");
    assert_eq!(view.text("causes"), "1 cause");
}

#[test]
fn view_needs_attention_for_what_works_and_should_not_stay() {
    let mut status = status();
    let refused = Some(Reload { at: SystemTime::UNIX_EPOCH, refused: Some("c.toml:1:1: no".into()) });
    status.configuration.reload = refused;
    status.configuration.restart = vec!["audit"];
    let view = View::of(&status);
    let todo = "correct c.toml; when \"ninjaone-proxy --config c.toml check\" accepts it, reload it.";
    assert_eq!(banner(&view), (Tone::Warn, "Needs attention", "Ready", todo));
    assert!(view.text("why").contains("c.toml:1:1: no"));
    assert_eq!((view.warnings.len(), view.notices.len()), (2, 1), "the banner has the first");
    status.configuration.reload = None;
    status.configuration.restart.clear();
    status.draining = true;
    assert_eq!(banner(&View::of(&status)), (Tone::Warn, "Needs attention", "Draining", ""));
}

#[test]
fn view_is_not_fine_without_a_token_and_says_what_to_do() {
    let mut status = status();
    status.configuration.restart = vec!["audit"];
    status.tokens[0].expires_in = None;
    status.tokens[0].problem = Some("refused".into());
    status.tokens[0].causes = status.tokens[0].problem.clone();
    status.tokens[0].remedy = Some("copy it again".into());
    let view = View::of(&status);
    assert_eq!(banner(&view), (Tone::Bad, "Not fine", "Not ready", "copy it again"));
    assert!(view.text("why").contains("no usable token for main (monitoring)"));
    assert_eq!((view.text("tokens-usable"), view.text("tokens-next")), ("0 of 1", "–"));
    let tokens = view.table("tokens").expect("a table");
    let shown: Vec<_> = tokens.rows[0].cells.iter().skip(3).map(|cell| cell.text.as_str()).collect();
    assert_eq!(shown, ["none", "–", "–", "refused", "copy it again"]);
}

#[test]
fn view_as_json_has_rows_with_keys() {
    let mut status = status();
    status.refusals = vec![refusal("/v2/nope")];
    let json = serde_json::json!(View::of(&status));
    assert_eq!(json["tone"], "good");
    let table = &json["tables"][2];
    assert_eq!((&table["id"], &table["rows"][0][0]["t"]), (&"refusals".into(), &"404 operation-unknown".into()));
    assert_eq!(table["keys"][0], "operation-unknown | local |  | ");
    assert_eq!(table["rows"][0][1]["d"]["l"][0][0], "Why");
}
