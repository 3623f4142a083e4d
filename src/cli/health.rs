//! `health` and `wait`: whether the proxy that runs with this configuration is alive, or ready, by its admin listener.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{CONFIG, Failure, REFUSED, failure, runtime};
use crate::config::Config;

/// `/readyz` names each token: this is enough for thousands.
const MAX_BODY: usize = 1 << 20;
/// Between two looks of `wait`.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest that `wait` gives one look, so that one that hangs is not the last.
const LOOK: Duration = Duration::from_secs(3);

/// Asks once; an error unless the proxy is alive, or ready if `ready`.
pub(super) fn health(config: &Config, ready: bool, patience: Duration) -> Result<(), Failure> {
    let address = address(config).map_err(failure(CONFIG))?;
    let look = async {
        let late = |_| anyhow!("{address} does not answer within {patience:?}");
        timeout(patience, look(address, ready)).await.map_err(late)?
    };
    runtime()?.block_on(look).map_err(failure(REFUSED))
}

/// Asks until the proxy is ready; an error with what it lacks if it is not in time.
pub(super) fn wait(config: &Config, patience: Duration) -> Result<(), Failure> {
    let address = address(config).map_err(failure(CONFIG))?;
    runtime()?.block_on(ready_within(address, patience)).map_err(failure(REFUSED))
}

async fn ready_within(address: SocketAddr, patience: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + patience;
    let mut last = anyhow!("{address} does not answer");
    loop {
        match timeout_at(end.min(Instant::now() + LOOK), look(address, true)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => last = error,
            Err(_) if Instant::now() < end => last = anyhow!("{address} does not answer within {LOOK:?}"),
            // What the look before said tells more.
            Err(_) => {}
        }
        if Instant::now() + PAUSE >= end {
            return Err(last.context(format!("not ready within {patience:?}")));
        }
        sleep(PAUSE).await;
    }
}

/// Where the admin listener of a configuration is to be found.
fn address(config: &Config) -> anyhow::Result<SocketAddr> {
    let source = config.source();
    match config.file.admin.address.0 {
        None => {
            bail!("{source}: admin.address is \"none\", so nobody can be asked: give the admin listener an address")
        }
        Some(address) if address.port() == 0 => bail!(
            "{source}: admin.address has port 0, so that only the log tells which port it is: give it a port of its own"
        ),
        Some(address) => Ok(address),
    }
}

async fn look(address: SocketAddr, ready: bool) -> anyhow::Result<()> {
    let path = if ready { "/readyz" } else { "/livez" };
    let (status, body) = ask(address, path).await.with_context(|| format!("{address} does not answer"))?;
    match status {
        StatusCode::OK => Ok(()),
        StatusCode::SERVICE_UNAVAILABLE if ready => bail!("the proxy at {address} is not ready: {}", lacks(&body)),
        other => bail!("{address} answers {path} with {other}: is it the admin listener of this configuration?"),
    }
}

/// The status and the body of an answer.
async fn ask(address: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let stream = TcpStream::connect(address).await?;
    let request = Request::get(path).header(HOST, address.to_string()).body(Empty::<Bytes>::new())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answered = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| anyhow!(error))?;
        Ok((head.status, body.to_bytes()))
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
    fn health_asks_only_where_the_configuration_tells_the_port() {
        let of = |text: &str| {
            let config = Config::parse(std::path::Path::new("c.toml"), text.to_owned()).expect("a configuration");
            address(&config).map(|address| address.to_string()).map_err(|error| error.to_string())
        };
        assert_eq!(of(""), Ok("127.0.0.1:9180".to_owned()));
        assert_eq!(of("[admin]\naddress = \"[::1]:9\""), Ok("[::1]:9".to_owned()));
        for (address, said) in [("none", "nobody can be asked"), ("127.0.0.1:0", "only the log tells")] {
            let error = of(&format!("[admin]\naddress = \"{address}\"")).expect_err("a refusal");
            assert!(error.contains(said), "{error}");
        }
    }
}
