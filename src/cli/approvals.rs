//! `approvals`: what waits for approval at a running proxy, and the decisions of approvers.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use clap::{Args, Subcommand};
use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::Value;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::health::{Asked, HealthTarget, ask};
use super::{CommandError, DATA, REFUSED, USAGE, counted, failure, print, runtime};
use crate::base::secret::source::SecretSource;
use crate::config::admin_address::Listening;
use crate::proxy::approval::ApprovalId;

/// How long the running proxy may take.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Subcommand)]
pub(super) enum ApprovalsCommand {
    /// List the requests that wait for approval, and those that were decided of late
    List {
        #[command(flatten)]
        server: HealthTarget,
        /// The file of an approver's key: with it the queries are shown too
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one request; with an approver's key its query and body too
    Show {
        /// The id, as list prints it
        id: ApprovalId,
        #[command(flatten)]
        server: HealthTarget,
        /// The file of an approver's key
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Approve a request: it may be sent once; exit with 1 if the proxy does not take the decision
    Approve(DecisionOptions),
    /// Deny a request: it will never be sent; exit with 1 if the proxy does not take the decision
    Deny(DecisionOptions),
}

#[derive(Debug, Args)]
pub(super) struct DecisionOptions {
    /// The id, as list prints it
    id: ApprovalId,
    /// The file of your approver's key
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Why; the caller sees why you deny
    #[arg(long, value_name = "TEXT", default_value = "")]
    comment: String,
    #[command(flatten)]
    server: HealthTarget,
}

/// Runs one of the commands.
pub(super) fn approvals(config: Option<&Path>, command: &ApprovalsCommand) -> Result<(), CommandError> {
    match command {
        ApprovalsCommand::List { server, key_file, json } => {
            let said = Client::new(config, server, key_file.as_deref())?.get("/approvals.json")?;
            print(&if *json { pretty(&said) } else { list(&said) })
        }
        ApprovalsCommand::Show { id, server, key_file, json } => {
            let said = Client::new(config, server, key_file.as_deref())?.get(&format!("/approvals/{id}"))?;
            print(&if *json { pretty(&said) } else { show(&said) })
        }
        ApprovalsCommand::Approve(options) => decide(config, options, "approve"),
        ApprovalsCommand::Deny(options) => decide(config, options, "deny"),
    }
}

fn decide(config: Option<&Path>, options: &DecisionOptions, decision: &str) -> Result<(), CommandError> {
    let DecisionOptions { id, key_file, comment, server } = options;
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("decision", decision)
        .append_pair("comment", comment)
        .finish();
    let said = Client::new(config, server, Some(key_file))?.post(&format!("/approvals/{id}"), form)?;
    let (state, operation) = (text(&said, "state"), text(&said, "operation"));
    let left = number(&said, "required").saturating_sub(number(&said, "approvals"));
    print(&match (decision, state) {
        ("deny", _) => format!("denied: {operation} will not be sent\n"),
        (_, "waiting") => format!("approved by you: {operation} waits for {}\n", counted(left, "more approver")),
        _ => format!("approved: {operation} may be sent once\n"),
    })
}

/// Asks the admin listener of a running proxy.
struct Client {
    listening: Vec<Listening>,
    key: Option<Zeroizing<String>>,
}

impl Client {
    fn new(config: Option<&Path>, server: &HealthTarget, key_file: Option<&Path>) -> Result<Self, CommandError> {
        let key = key_file.map(read_key).transpose().map_err(failure(DATA))?;
        Ok(Self { listening: server.addresses(config)?, key })
    }

    fn get(&self, path: &str) -> Result<Value, CommandError> {
        self.ask(&Asked { path, ..Asked::default() })
    }

    fn post(&self, path: &str, form: String) -> Result<Value, CommandError> {
        let kind = (CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned());
        self.ask(&Asked { path, form: Some(Bytes::from(form)), fields: vec![kind] })
    }

    fn ask(&self, asked: &Asked<'_>) -> Result<Value, CommandError> {
        // The probe listener knows nothing of approvals; without an admin listener it is what is left.
        let Some(Listening { address, origin }) = self.listening.first() else {
            return Err(failure(USAGE)(anyhow!("there is no admin listener to ask: give one with --admin IP:PORT")));
        };
        let key = self.key.as_ref().map(|key| (AUTHORIZATION, format!("Bearer {}", **key)));
        let fields = asked.fields.iter().cloned().chain(key).collect();
        let asked = Asked { fields, form: asked.form.clone(), ..*asked };
        runtime()?.block_on(answer(*address, origin, &asked)).map_err(failure(REFUSED))
    }
}

async fn answer(address: SocketAddr, origin: &str, asked: &Asked<'_>) -> anyhow::Result<Value> {
    let silent = || format!("{address} ({origin}) does not answer: is the proxy running?");
    let answered = timeout(LIMIT, ask(address, asked)).await;
    let answered = answered.map_err(|_| anyhow!("{address} ({origin}) does not answer within {LIMIT:?}"))?;
    let (status, body) = answered.with_context(silent)?;
    let said: Option<Value> = serde_json::from_slice(&body).ok();
    match (status, said) {
        (StatusCode::OK, Some(said)) if said.is_array() || said.get("state").is_some() => Ok(said),
        (_, Some(said)) if !text(&said, "detail").is_empty() && text(&said, "code") != "path-unknown" => {
            bail!("the proxy at {address} refuses it ({}): {}", text(&said, "code"), text(&said, "detail"))
        }
        (status, _) => bail!(
            "{address} ({origin}) answers {} with {status}: it is not the admin listener of a ninjaone-proxy with approvals",
            asked.path
        ),
    }
}

/// A key as it was printed, alone in its file.
fn read_key(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    Ok(SecretSource::File(file.to_owned()).read().context("the key of the approver cannot be used")?.expose())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn list(said: &Value) -> String {
    let all = said.as_array().map(Vec::as_slice).unwrap_or_default();
    if all.is_empty() {
        return "no request waits for approval\n".to_owned();
    }
    let mut told = String::new();
    for one in all {
        let caller = Some(text(one, "caller")).filter(|caller| !caller.is_empty()).unwrap_or("any caller");
        let query = Some(text(one, "query")).filter(|query| !query.is_empty());
        let query = query.map_or_else(String::new, |query| format!("?{query}"));
        // Memory takes everything.
        let _ = writeln!(
            told,
            "{} {} {} risk, {caller} on {}, until {}\n    {} {}{query}",
            text(one, "id"),
            state(one),
            text(one, "risk"),
            text(one, "listener"),
            text(one, "expires"),
            text(one, "method"),
            text(one, "path"),
        );
    }
    told
}

fn state(one: &Value) -> String {
    let (state, required) = (text(one, "state"), number(one, "required"));
    if state == "waiting" && required > 1 {
        return format!("{state} ({} of {required})", number(one, "approvals"));
    }
    state.to_owned()
}

/// As JSON, over several lines.
fn pretty(said: &Value) -> String {
    serde_json::to_string_pretty(said).unwrap_or_default() + "\n"
}

fn show(said: &Value) -> String {
    let mut told = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(told, "{name:<12} {value}");
        }
    };
    line("id", text(said, "id"));
    line("state", &state(said));
    line("operation", text(said, "operation"));
    line("group", [text(said, "group"), text(said, "mayDo")].join(": ").trim_matches([':', ' ']));
    line("risk", text(said, "risk"));
    line("caller", text(said, "caller"));
    line("listener", text(said, "listener"));
    line("instance", text(said, "instance"));
    line("user", text(said, "user"));
    line("rule", text(said, "rule"));
    line("reason", text(said, "reason"));
    line("request", &format!("{} {}", text(said, "method"), text(said, "path")));
    if said.get("dryRun").and_then(Value::as_bool) == Some(true) {
        line("dry run", "it is not sent: the caller gets an invented answer");
    }
    for name in said.get("names").and_then(Value::as_array).into_iter().flatten() {
        line(text(name, "what"), text(name, "name"));
    }
    line("asked", text(said, "asked"));
    line("expires", text(said, "expires"));
    for vote in said.get("votes").and_then(Value::as_array).into_iter().flatten() {
        let (approver, at, comment) = (text(vote, "approver"), text(vote, "at"), text(vote, "comment"));
        line(text(vote, "decision"), format!("{approver}, {at} {comment}").trim_end());
    }
    line("query", text(said, "query"));
    let whole = said.get("bodySha256").is_some();
    if !whole {
        told.push_str("The query and the body are shown to approvers only: give --key-file FILE.\n");
        return told;
    }
    let bytes = number(said, "bodyBytes");
    let masked = match number(said, "maskedValues") {
        0 => String::new(),
        count => format!("; {} not shown (***)", counted(count, "secret value")),
    };
    line(
        "body",
        &format!(
            "{} ({}), SHA-256 {}{masked}",
            counted(bytes, "byte"),
            text(said, "bodyForm"),
            text(said, "bodySha256")
        ),
    );
    told + text(said, "body") + if text(said, "body").ends_with('\n') || bytes == 0 { "" } else { "\n" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_has_the_id_and_what_is_asked() {
        assert_eq!(list(&json!([])), "no request waits for approval\n");
        let one = json!({
            "id": "0123", "state": "waiting", "approvals": 1, "required": 2, "risk": "critical", "listener": "local",
            "caller": "agent", "method": "POST", "path": "/v2/device/7/script/run", "expires": "2026-12-31T18:00:00Z",
        });
        let told = list(&json!([one]));
        assert_eq!(
            told,
            "0123 waiting (1 of 2) critical risk, agent on local, until 2026-12-31T18:00:00Z\n    POST /v2/device/7/script/run\n"
        );
    }

    #[test]
    fn a_request_is_shown_whole_or_with_what_is_missing() {
        let mut one =
            json!({ "id": "0123", "state": "approved", "operation": "POST /v2/x", "method": "POST", "path": "/v2/x" });
        assert!(show(&one).contains("give --key-file FILE"), "{}", show(&one));
        one["dryRun"] = true.into();
        assert!(show(&one).contains("dry run      it is not sent"), "{}", show(&one));
        one["bodySha256"] = "abc".into();
        one["bodyBytes"] = 2.into();
        one["bodyForm"] = "json".into();
        one["body"] = "{}".into();
        one["maskedValues"] = 1.into();
        let told = show(&one);
        assert!(
            told.ends_with("body         2 bytes (json), SHA-256 abc; 1 secret value not shown (***)\n{}\n"),
            "{told}"
        );
    }
}
