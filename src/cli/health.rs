//! `health` and `wait`: whether a running proxy is alive, or ready, by its admin or probe listener.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use http::header::{HOST, HeaderName};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{CommandError, REFUSED, USAGE, failure, runtime};
use crate::config::admin_address::{Listening, listening};
use crate::observe::logging::ErrorChain;

/// `/readyz` names each token: this is enough for thousands.
const MAX_BODY: usize = 1 << 20;
/// Between two looks of `wait`.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest that `wait` gives one look, so that one that hangs is not the last.
const LOOK: Duration = Duration::from_secs(3);

/// The environment variable that replaces `--admin`.
const ADMIN: &str = "NINJAONE_PROXY_ADMIN";

/// Which listener to ask.
#[derive(Debug, Args)]
pub(super) struct HealthTarget {
    /// Ask the admin or probe listener at this address [default: NINJAONE_PROXY_ADMIN of the environment, else
    /// admin.address and probes.address of the configuration file, which may have mistakes]
    #[arg(long, value_name = "IP:PORT", value_parser = address)]
    admin: Option<SocketAddr>,
}

/// As the log names it, as a URL, or by the name localhost.
fn address(text: &str) -> Result<SocketAddr, String> {
    let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let local = bare.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    local.as_deref().unwrap_or(bare).parse().ok().filter(|address: &SocketAddr| address.port() != 0).ok_or_else(|| {
        format!("{text:?} is not an address: write IP:PORT, as the log of the running proxy has it (\"admin listening\"), such as 127.0.0.1:9180")
    })
}

impl HealthTarget {
    /// The addresses to ask. The configuration is not judged: whether it is right says nothing about a running proxy.
    pub(super) fn addresses(&self, config: Option<&Path>) -> Result<Vec<Listening>, CommandError> {
        let given = |address, origin: &str| Ok(vec![Listening { address, origin: origin.to_owned() }]);
        if let Some(address) = self.admin {
            return given(address, "--admin");
        }
        match std::env::var(ADMIN).ok().filter(|text| !text.is_empty()).map(|text| address(&text)) {
            Some(Ok(address)) => given(address, ADMIN),
            Some(Err(error)) => Err(failure(USAGE)(anyhow!("{ADMIN}: {error}"))),
            None => listening(config).map_err(|error| failure(USAGE)(error.into())),
        }
    }
}

/// Asks once; an error unless the proxy is alive, or ready if `ready`.
pub(super) fn health(
    config: Option<&Path>,
    server: &HealthTarget,
    ready: bool,
    limit: Duration,
) -> Result<(), CommandError> {
    let addresses = server.addresses(config)?;
    runtime()?.block_on(look(&addresses, ready, limit)).map_err(failure(REFUSED))
}

/// Asks until the proxy is ready; an error with what it lacks if it is not in time.
pub(super) fn wait(config: Option<&Path>, server: &HealthTarget, limit: Duration) -> Result<(), CommandError> {
    let addresses = server.addresses(config)?;
    runtime()?.block_on(ready_within(&addresses, limit)).map_err(failure(REFUSED))
}

async fn ready_within(addresses: &[Listening], limit: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + limit;
    let mut last = None;
    loop {
        let left = Duration::from_millis(end.duration_since(Instant::now()).as_millis() as u64);
        match look(addresses, true, LOOK.min(left)).await {
            Ok(()) => return Ok(()),
            // Where the end of the time cut the look short, what the one before said tells more.
            Err(error) if last.is_none() || Instant::now() < end => last = Some(error),
            Err(_) => {}
        }
        if Instant::now() + PAUSE >= end {
            let late = format!("not ready within {limit:?}");
            return Err(last.map_or_else(|| anyhow!(late.clone()), |last| last.context(late.clone())));
        }
        sleep(PAUSE).await;
    }
}

/// Asks one address after the other; an error with what each said, unless one of them is as wanted.
async fn look(addresses: &[Listening], ready: bool, limit: Duration) -> anyhow::Result<()> {
    let (mut said, end) = (Vec::new(), Instant::now() + limit);
    for Listening { address, origin } in addresses {
        let late = |_| anyhow!("{address} ({origin}) does not answer within {limit:?}");
        match timeout_at(end, look_at(*address, origin, ready)).await.map_err(late).flatten() {
            Ok(()) => return Ok(()),
            Err(error) => said.push(ErrorChain(&*error).to_string()),
        }
    }
    bail!(said.join("; "))
}

async fn look_at(address: SocketAddr, origin: &str, ready: bool) -> anyhow::Result<()> {
    let path = if ready { "/readyz" } else { "/livez" };
    let silent = || format!("{address} ({origin}) does not answer");
    let (status, body) = ask(address, &Asked { path, ..Asked::default() }).await.with_context(silent)?;
    match status {
        StatusCode::OK => Ok(()),
        StatusCode::SERVICE_UNAVAILABLE if ready => bail!("the proxy at {address} is not ready: {}", lacks(&body)),
        other => {
            bail!(
                "{address} ({origin}) answers {path} with {other}: it is not the admin or probe listener of a ninjaone-proxy"
            )
        }
    }
}

/// Where the embedded NinjaOne of an instance listens, as the running proxy says.
pub(super) async fn sandbox_of_running_proxy(config: Option<&Path>, instance: &str) -> anyhow::Result<Authority> {
    let listening = HealthTarget { admin: None }.addresses(config).map_err(|failure| failure.error)?;
    let address = listening.first().map(|listening| listening.address).context("no admin listener")?;
    let asked = timeout(LOOK, ask(address, &Asked { path: "/readyz", ..Asked::default() })).await;
    let (_, body) = asked.map_err(|_| anyhow!("{address} does not answer within {LOOK:?}")).flatten()?;
    let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let instances = said.get("instances").and_then(serde_json::Value::as_array).into_iter().flatten();
    let is_it = |own: &&serde_json::Value| {
        own.get("sandbox").is_some_and(|sandbox| sandbox == true)
            && own.get("name").is_some_and(|name| name == instance)
    };
    let host = instances.into_iter().find(is_it).and_then(|own| own.get("host")?.as_str());
    let host = host.context("it serves no sandbox for this instance")?;
    Ok(Authority::try_from(host)?)
}

/// What is asked of a listener.
#[derive(Default)]
pub(super) struct Asked<'a> {
    pub(super) path: &'a str,
    /// To be posted; without it the path is read.
    pub(super) form: Option<Bytes>,
    /// Further header fields.
    pub(super) fields: Vec<(HeaderName, String)>,
}

/// The status and the body of an answer.
pub(super) async fn ask(address: SocketAddr, asked: &Asked<'_>) -> anyhow::Result<(StatusCode, Bytes)> {
    let (head, body) = ask_whole(address, asked).await?.into_parts();
    Ok((head.status, body))
}

/// The whole answer.
pub(super) async fn ask_whole(address: SocketAddr, asked: &Asked<'_>) -> anyhow::Result<Response<Bytes>> {
    let stream = TcpStream::connect(address).await?;
    let method = if asked.form.is_some() { Method::POST } else { Method::GET };
    let mut request = Request::builder().method(method).uri(asked.path).header(HOST, address.to_string());
    for (name, value) in &asked.fields {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(asked.form.clone().unwrap_or_default()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answered = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| anyhow!(error))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    tokio::select! {
        answer = answered => answer,
        // An end without an error comes after the answer, if one came.
        Err(error) = connection => Err(error.into()),
    }
}

/// What `/readyz` says of the tokens that are not there.
fn lacks(body: &[u8]) -> String {
    let said: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    if said.get("draining").and_then(serde_json::Value::as_bool) == Some(true) {
        return "it drains".to_owned();
    }
    let word = |token: &serde_json::Value, key: &str| {
        token.get(key).and_then(serde_json::Value::as_str).unwrap_or("unknown").to_owned()
    };
    let lacking = said.get("tokens").and_then(serde_json::Value::as_array).into_iter().flatten();
    let lacking = lacking.filter(|token| token.get("usable").and_then(serde_json::Value::as_bool) == Some(false));
    let lines: Vec<_> = lacking
        .map(|token| {
            let why = token.get("problem").and_then(serde_json::Value::as_str).unwrap_or("it is being fetched");
            format!("no token for instances.{} ({}): {why}", word(token, "instance"), word(token, "scopes"))
        })
        .collect();
    if lines.is_empty() { "/readyz does not say why".to_owned() } else { lines.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_tells_what_is_lacking_as_readyz_says_it() {
        let said = r#"{"ready":false,"draining":false,"tokens":[
            {"instance":"main","scopes":"monitoring","usable":true,"problem":null},
            {"instance":"b","scopes":"control","usable":false,"problem":"refused"},
            {"instance":"c","scopes":"monitoring","usable":false,"problem":null}]}"#;
        assert_eq!(
            lacks(said.as_bytes()),
            "no token for instances.b (control): refused; no token for instances.c (monitoring): it is being fetched"
        );
        assert_eq!(lacks(br#"{"draining":true,"tokens":[]}"#), "it drains");
        assert_eq!(lacks(b"<html>"), "/readyz does not say why");
    }

    #[test]
    fn an_address_is_taken_as_people_have_it() {
        for text in ["127.0.0.1:9180", "http://127.0.0.1:9180", "http://localhost:9180/", "localhost:9180"] {
            assert_eq!(address(text), Ok(SocketAddr::from(([127, 0, 0, 1], 9180))), "{text}");
        }
        for bad in ["", "9180", "localhost", "127.0.0.1:0", "https://127.0.0.1:9180", "127.0.0.1:9180/readyz"] {
            assert!(address(bad).is_err_and(|error| error.contains("IP:PORT")), "{bad}");
        }
    }
}
