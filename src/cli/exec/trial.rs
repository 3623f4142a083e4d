//! A first connection through a proxy that runs: whether it takes the key, and vouches with the CA of this user.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http::StatusCode;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::net::tls;
use crate::tools::exec::CommandProxy;

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(5);
/// The longest head of an answer.
const MAX_HEAD: usize = 16 * 1024;

/// Says what is wrong before the command meets it, since few programs say it well.
pub(super) async fn connect(proxy: &CommandProxy) -> anyhow::Result<()> {
    let address = proxy.address;
    let silent = |_| anyhow!("the proxy at {address} does not answer CONNECT within {LIMIT:?}");
    timeout(LIMIT, try_names(proxy)).await.map_err(silent).flatten()
}

async fn try_names(proxy: &CommandProxy) -> anyhow::Result<()> {
    let (address, certificate) = (proxy.address, proxy.certificate.display());
    let fix = "set STATE_DIRECTORY to the state folder of that proxy, or run exec as the user that runs it";
    let config = tls::trusting_only(&proxy.certificate)
        .with_context(|| format!("the local CA of the proxy at {address} is not in this user's state folder: {fix}"))?;
    // First of all without the key, which only a proxy that has shown the CA's certificate is given.
    let Some(first) = proxy.names.first() else { bail!("the proxy at {address} stands in for no name") };
    let mut stream = TcpStream::connect(address).await?;
    match ask(&mut stream, first, None).await? {
        StatusCode::OK => {}
        status => bail!("the proxy at {address} answers CONNECT {first}:443 with {status}: its log says why"),
    }
    let other = || format!("the proxy at {address} vouches for {first} with another CA than {certificate}: {fix}");
    let server = ServerName::try_from(first.clone())?;
    TlsConnector::from(config).connect(server, stream).await.with_context(other)?;
    let Some((caller, _)) = &proxy.caller else { return Ok(()) };
    for name in &proxy.names {
        let mut stream = TcpStream::connect(address).await?;
        match ask(&mut stream, name, proxy.authorization()).await? {
            StatusCode::OK => return Ok(()),
            // A caller may be one that reaches other names only.
            StatusCode::FORBIDDEN => {}
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => bail!(
                "the proxy at {address} does not know the key of --key-file: give the key of the caller {caller}, as \"ninjaone-proxy key new {caller}\" printed it"
            ),
            status => bail!("the proxy at {address} answers CONNECT {name}:443 with {status}: its log says why"),
        }
    }
    bail!(
        "the proxy at {address} lets this caller reach none of {}: see intercept of the caller",
        proxy.names.join(", ")
    )
}

async fn ask(stream: &mut TcpStream, name: &str, proof: Option<Zeroizing<String>>) -> anyhow::Result<StatusCode> {
    let proof = proof.map(|proof| Zeroizing::new(format!("Proxy-Authorization: {}\r\n", *proof)));
    let proof = proof.as_ref().map_or("", |line| line.as_str());
    let head = Zeroizing::new(format!("CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n{proof}\r\n"));
    stream.write_all(head.as_bytes()).await?;
    let mut read = Vec::new();
    // Byte by byte, since what comes after the head is TLS.
    while !read.ends_with(b"\r\n\r\n") {
        read.push(stream.read_u8().await?);
        if read.len() > MAX_HEAD {
            bail!("the head of its answer has no end");
        }
    }
    let status = read.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    Ok(StatusCode::from_bytes(status)?)
}
