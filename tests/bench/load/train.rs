//! The load that a guided build is trained with (`.ci/pgo`): so many requests of every kind that the proxy answers day
//! by day, fixed in number and order, so that two trainings count the same as far as threads and packets let them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::callers::{Line, request, so_many, write};
use crate::instance::Size;
use crate::proxy::Proxy;
use crate::ways::Way;

/// Reads of one size: connections at a time, and requests of all together.
const READS: [(Size, usize, u64); 8] = [
    (Size::Small, 1, 4_000),
    (Size::Small, 16, 8_000),
    (Size::Small, 64, 8_000),
    (Size::Small, 256, 8_000),
    (Size::Medium, 1, 200),
    (Size::Medium, 16, 1_000),
    (Size::Large, 1, 4),
    (Size::Large, 16, 16),
];
/// Writes of one size, likewise.
const UPLOADS: [(Size, usize, u64); 2] = [(Size::Medium, 16, 300), (Size::Large, 4, 8)];
/// Each way at so many connections, and requests of all together.
const WAYS: (usize, u64) = (16, 2_000);
/// Requests of a caller that speaks HTTP/2, and how many of them it has open at a time.
const STREAMS: (usize, usize) = (4_000, 32);
/// All requests of such a caller are answered by then.
const PATIENCE: Duration = Duration::from_secs(120);

/// Goes through all of it. An instrumented binary writes what it counted when it ends.
pub(crate) fn run(binary: &Path) -> Result<()> {
    for way in Way::ALL {
        let instance = way.instance()?;
        let proxy = way.setup(binary).start(&instance)?;
        let line = way.line(&proxy)?;
        let (connections, requests) = WAYS;
        step(&format!("{}: {requests}", way.name()), || so_many(&vec![line.clone(); connections], requests))?;
        match way {
            Way::ReadH2 | Way::ReadH1 => reads(way, &line)?,
            Way::Write => uploads(&line)?,
            Way::Tls => step("tls: HTTP/2", || over_http2(&proxy, &line))?,
            Way::Refusal | Way::Tunnel | Way::Fence | Way::Condition => {}
        }
        proxy.end()?;
    }
    Ok(())
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    work().with_context(|| name.to_owned())?;
    println!("{name}, {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

fn reads(way: Way, line: &Line) -> Result<()> {
    for (size, connections, requests) in READS {
        let line = Line::plain(line.address, [request(size.target(), "")].into(), size.bytes());
        let name = format!("{}: {requests} {size:?} over {connections}", way.name());
        step(&name, || so_many(&vec![line; connections], requests))?;
    }
    Ok(())
}

/// Writes with a long body, each answered as the short one of this line is.
fn uploads(line: &Line) -> Result<()> {
    for (size, connections, requests) in UPLOADS {
        let body = format!("{{\"text\":\"{}\"}}", "x".repeat(size.bytes()));
        let upload = write("PUT", "/v2/device/7/maintenance", &body);
        let line = Line { requests: [upload].into(), ..line.clone() };
        let name = format!("upload: {requests} {size:?} over {connections}");
        step(&name, || so_many(&vec![line; connections], requests))?;
    }
    Ok(())
}

/// One connection of a caller over TLS that chooses HTTP/2, with many requests at a time.
fn over_http2(proxy: &Proxy, line: &Line) -> Result<()> {
    let mut config = line.tls.as_ref().context("a way with TLS")?.config().as_ref().clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tls = TlsConnector::from(Arc::new(config));
    let address = *proxy.doors.first().context("a listener")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(PATIENCE, ask_over_http2(address, &tls, line.bytes)).await })?
}

async fn ask_over_http2(address: SocketAddr, tls: &TlsConnector, bytes: usize) -> Result<()> {
    let (requests, at_a_time) = STREAMS;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream = tls.connect(ServerName::try_from("localhost")?, stream).await?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let target = format!("https://localhost{}", Size::Small.target());
    let mut callers = JoinSet::new();
    for _ in 0..at_a_time {
        let (mut sender, target) = (sender.clone(), target.clone());
        callers.spawn(async move {
            for _ in 0..requests / at_a_time {
                let answer = sender.send_request(Request::get(&target).body(Empty::<Bytes>::new())?).await?;
                ensure!(answer.status() == StatusCode::OK, "the answer is {}", answer.status());
                let body = answer.into_body().collect().await?.to_bytes();
                ensure!(body.len() == bytes, "a body of {} bytes in the place of {bytes}", body.len());
            }
            Ok(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    drop(sender);
    connection.await??;
    Ok(())
}
