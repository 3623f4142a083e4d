//! The load: callers that keep their connections, and ask again when they are answered or when it is time.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// What comes before a measurement, so that connections are made and code is warm.
const WARM_UP: Duration = Duration::from_millis(500);
/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// One caller to be: where it connects, and what it asks for in turn.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    /// Speaks TLS if this is there: to the instance itself.
    pub(crate) tls: Option<TlsConnector>,
    /// Whole requests, at least one.
    pub(crate) requests: Arc<[Vec<u8>]>,
    /// Where in them it begins.
    pub(crate) first: usize,
    /// The length of every body.
    pub(crate) bytes: usize,
}

/// What was measured over a time.
pub(crate) struct Slice {
    pub(crate) requests: u64,
    pub(crate) time: Duration,
    /// Of the proxy.
    pub(crate) cpu: Duration,
}

/// What was measured at a rate.
pub(crate) struct Paced {
    /// All of them.
    pub(crate) requests: u64,
    /// How long answers took, in order of length, those of the warm-up left out.
    pub(crate) took: Vec<Duration>,
}

/// The request of a caller that sends little more than it has to.
pub(crate) fn request(target: &str, more: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: load\r\nAccept: */*\r\n{more}\r\n").into_bytes()
}

/// HTTP/1.1 over TLS that trusts this CA.
pub(crate) fn tls(ca: &CertificateDer<'static>) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone())?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// All lines ask again as soon as they are answered, for so long. `cpu` tells the time that the proxy has used.
pub(crate) fn for_a_time(lines: &[Line], span: Duration, cpu: impl Fn() -> Result<Duration>) -> Result<Slice> {
    runtime()?.block_on(async {
        let crowd = Crowd::set_off(lines, u64::MAX);
        sleep(WARM_UP).await;
        let before = (crowd.answered.get(), Instant::now(), cpu()?);
        sleep(span).await;
        let after = (crowd.answered.get(), Instant::now(), cpu()?);
        crowd.left.set(0);
        crowd.end().await?;
        Ok(Slice { requests: after.0 - before.0, time: after.1 - before.1, cpu: after.2.saturating_sub(before.2) })
    })
}

/// All lines together ask this many times.
pub(crate) fn so_many(lines: &[Line], requests: u64) -> Result<()> {
    runtime()?.block_on(async { Crowd::set_off(lines, requests).end().await })
}

/// So many requests a second, each at its time, whether those before it are answered or not, as far as there are
/// lines.
///
/// An answer that comes late makes its line late: then a request counts from when it should have gone out (Gil Tene's
/// coordinated omission). A thread that the system wakes late is no fault of what is measured: then it counts from
/// when it went out.
pub(crate) fn at_a_rate(lines: &[Line], rate: f64, span: Duration) -> Result<Paced> {
    let start = Instant::now() + WARM_UP;
    let end = start + WARM_UP + span;
    let threads: Vec<_> = (0_u32..)
        .zip(lines.iter().cloned())
        .map(|(number, line)| {
            let every = Duration::from_secs_f64(lines.len() as f64 / rate);
            let mut due = start + Duration::from_secs_f64(f64::from(number) / rate);
            thread::spawn(move || -> Result<Paced> {
                let runtime = runtime()?;
                let mut caller = runtime.block_on(Caller::connect(line))?;
                let mut paced = Paced { requests: 0, took: Vec::new() };
                while due < end {
                    let early = due.saturating_duration_since(Instant::now());
                    if !early.is_zero() {
                        thread::sleep(early);
                    }
                    let from = if early.is_zero() { due } else { Instant::now() };
                    runtime.block_on(caller.ask())?;
                    paced.requests += 1;
                    if due >= start + WARM_UP {
                        paced.took.push(from.elapsed());
                    }
                    due += every;
                }
                Ok(paced)
            })
        })
        .collect();
    let mut all = Paced { requests: 0, took: Vec::new() };
    for thread in threads {
        let paced = thread.join().map_err(|_| anyhow!("a caller panicked"))??;
        all.requests += paced.requests;
        all.took.extend(paced.took);
    }
    all.took.sort_unstable();
    Ok(all)
}

fn runtime() -> Result<LocalRuntime> {
    Ok(Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?)
}

/// Callers under way on this thread.
struct Crowd {
    /// How many requests may still go out.
    left: Rc<Cell<u64>>,
    answered: Rc<Cell<u64>>,
    callers: Vec<JoinHandle<Result<()>>>,
}

impl Crowd {
    fn set_off(lines: &[Line], requests: u64) -> Self {
        let (left, answered) = (Rc::new(Cell::new(requests)), Rc::new(Cell::new(0)));
        let set_off = |line: &Line| {
            let (line, left, answered) = (line.clone(), Rc::clone(&left), Rc::clone(&answered));
            tokio::task::spawn_local(async move {
                let mut caller = Caller::connect(line).await?;
                while left.get() > 0 {
                    left.set(left.get() - 1);
                    timeout(PATIENCE, caller.ask()).await.context("no answer in time")??;
                    answered.set(answered.get() + 1);
                }
                Ok(())
            })
        };
        let callers = lines.iter().map(set_off).collect();
        Self { left, answered, callers }
    }

    async fn end(self) -> Result<()> {
        for caller in self.callers {
            caller.await??;
        }
        Ok(())
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

/// A caller with its connection.
struct Caller {
    stream: Box<dyn Duplex>,
    line: Line,
    next: usize,
    buffer: Vec<u8>,
}

impl Caller {
    async fn connect(line: Line) -> Result<Self> {
        let stream = TcpStream::connect(line.address).await.context("a caller cannot connect")?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Duplex> = match &line.tls {
            Some(tls) => Box::new(tls.connect(ServerName::try_from("localhost")?, stream).await?),
            None => Box::new(stream),
        };
        Ok(Self { stream, next: line.first, line, buffer: vec![0; 64 << 10] })
    }

    /// Sends the next request and reads the whole answer, which must be 200 with a body of the right length.
    async fn ask(&mut self) -> Result<()> {
        let request = self.line.requests.get(self.next % self.line.requests.len()).context("a request")?;
        self.next += 1;
        self.stream.write_all(request).await?;
        let mut filled = 0;
        let (head, bytes) = loop {
            let room = self.buffer.get_mut(filled..).context("room")?;
            let read = self.stream.read(room).await?;
            ensure!(read > 0, "the connection ended in an answer's head");
            filled += read;
            let so_far = self.buffer.get(..filled).context("what was read")?;
            if let Some(found) = parse(so_far)? {
                break found;
            }
        };
        ensure!(bytes == self.line.bytes, "a body of {bytes} bytes in the place of {}", self.line.bytes);
        let mut missing = (head + bytes).checked_sub(filled).context("more than the answer came")?;
        while missing > 0 {
            let most = missing.min(self.buffer.len());
            let read = self.stream.read(self.buffer.get_mut(..most).context("room")?).await?;
            ensure!(read > 0, "the connection ended in an answer's body");
            missing -= read;
        }
        Ok(())
    }
}

/// The length of the head and of the body of an answer, once its head is whole.
fn parse(read: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(read.get(..end).context("a head")?)?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "the answer is not 200 but: {head}");
    let is_length = |line: &&str| line.get(..15).is_some_and(|name| name.eq_ignore_ascii_case("content-length:"));
    let line = head.lines().find(is_length).with_context(|| format!("no Content-Length: {head}"))?;
    let bytes = line.get(15..).context("a length")?.trim().parse()?;
    Ok(Some((end + 4, bytes)))
}
