//! The load: callers that keep their connections, and ask again when they are answered or when it is time.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
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
/// Nor does the first, for which a token and certificates are had.
const LONG_PATIENCE: Duration = Duration::from_secs(300);

/// One caller to be: where it connects, what it asks for in turn, and what every answer must be.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    /// Asks by CONNECT for a way to this name first.
    pub(crate) tunnel: Option<&'static str>,
    /// Speaks TLS if this is there, with a server of the name of the tunnel, or else localhost.
    pub(crate) tls: Option<TlsConnector>,
    /// Whole requests, at least one.
    pub(crate) requests: Arc<[Vec<u8>]>,
    /// Where in them it begins.
    pub(crate) first: usize,
    pub(crate) status: u16,
    /// The length of every body.
    pub(crate) bytes: usize,
}

impl Line {
    /// In clear text, to a listener that answers 200.
    pub(crate) fn plain(address: SocketAddr, requests: Arc<[Vec<u8>]>, bytes: usize) -> Self {
        Self { address, tunnel: None, tls: None, requests, first: 0, status: 200, bytes }
    }
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
    request_to("localhost", "GET", target, more)
}

/// The same to a host of another name.
pub(crate) fn request_to(host: &str, method: &str, target: &str, more: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: load\r\nAccept: */*\r\n{more}\r\n").into_bytes()
}

/// A write with JSON.
pub(crate) fn write(method: &str, target: &str, body: &str) -> Vec<u8> {
    let more = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let mut request = request_to("localhost", method, target, &more);
    request.extend_from_slice(body.as_bytes());
    request
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

/// A whole answer, as far as it fits into a caller's buffer.
pub(crate) struct Answer {
    pub(crate) text: String,
    /// The length of its body.
    pub(crate) bytes: usize,
}

/// One caller asks once, whatever the length of the answer.
pub(crate) fn once(line: &Line) -> Result<Answer> {
    runtime()?.block_on(async {
        let mut caller = Caller::connect(line.clone()).await?;
        let bytes = timeout(LONG_PATIENCE, caller.exchange()).await.context("no answer in time")??;
        Ok(Answer { text: String::from_utf8_lossy(&caller.buffer).trim_end_matches('\0').to_owned(), bytes })
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
        let mut stream = TcpStream::connect(line.address).await.context("a caller cannot connect")?;
        stream.set_nodelay(true)?;
        if let Some(name) = line.tunnel {
            let connect = format!("CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\r\n");
            stream.write_all(connect.as_bytes()).await?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.context("the connection ended in the answer to CONNECT")?);
            }
            ensure!(head.starts_with(b"HTTP/1.1 200 "), "CONNECT: {}", String::from_utf8_lossy(&head));
        }
        let name = ServerName::try_from(line.tunnel.unwrap_or("localhost"))?;
        let stream: Box<dyn Duplex> = match &line.tls {
            Some(tls) => Box::new(tls.connect(name, stream).await?),
            None => Box::new(stream),
        };
        Ok(Self { stream, next: line.first, line, buffer: vec![0; 64 << 10] })
    }

    /// Sends the next request and reads the whole answer, which must have the right status and a body of the right
    /// length.
    async fn ask(&mut self) -> Result<()> {
        let bytes = self.exchange().await?;
        ensure!(bytes == self.line.bytes, "a body of {bytes} bytes in the place of {}", self.line.bytes);
        Ok(())
    }

    /// Sends the next request and reads the whole answer, which must have the right status; the length of its body.
    async fn exchange(&mut self) -> Result<usize> {
        let request = self.line.requests.get(self.next % self.line.requests.len()).context("a request")?;
        self.next += 1;
        self.stream.write_all(request).await?;
        // What did not go out at once would stay in the TLS session.
        self.stream.flush().await?;
        let mut filled = 0;
        let (head, length) = loop {
            filled += self.read_from(filled).await?;
            if let Some(found) = parse(self.buffer.get(..filled).context("what was read")?, self.line.status)? {
                break found;
            }
        };
        let Some(bytes) = length else {
            loop {
                if let Some(bytes) = in_chunks(self.buffer.get(head..filled).context("what was read")?)? {
                    return Ok(bytes);
                }
                filled += self.read_from(filled).await?;
            }
        };
        let mut missing = (head + bytes).checked_sub(filled).context("more than the answer came")?;
        while missing > 0 {
            let most = missing.min(self.buffer.len());
            let read = self.stream.read(self.buffer.get_mut(..most).context("room")?).await?;
            ensure!(read > 0, "the connection ended in an answer's body");
            missing -= read;
        }
        Ok(bytes)
    }

    /// Reads more into the buffer, behind what is there.
    async fn read_from(&mut self, filled: usize) -> Result<usize> {
        let room = self.buffer.get_mut(filled..).filter(|room| !room.is_empty()).context("an answer without room")?;
        let read = self.stream.read(room).await?;
        ensure!(read > 0, "the connection ended in an answer");
        Ok(read)
    }
}

/// The length of the head of an answer, and of its body unless that is in chunks, once the head is whole.
fn parse(read: &[u8], status: u16) -> Result<Option<(usize, Option<usize>)>> {
    let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(read.get(..end).context("a head")?)?;
    let told = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|digits| digits.parse().ok());
    ensure!(told == Some(status), "the answer is not {status} but: {}", String::from_utf8_lossy(read));
    let field = |name: &str| {
        let line =
            head.lines().find(|line| line.get(..name.len()).is_some_and(|own| own.eq_ignore_ascii_case(name)))?;
        line.get(name.len()..).map(str::trim)
    };
    let length = match field("transfer-encoding:") {
        Some("chunked") => None,
        Some(other) => bail!("an answer in another form: {other}"),
        None => Some(field("content-length:").with_context(|| format!("no Content-Length: {head}"))?.parse()?),
    };
    Ok(Some((end + 4, length)))
}

/// The length of a body in chunks, once it is whole.
fn in_chunks(mut read: &[u8]) -> Result<Option<usize>> {
    let mut bytes = 0;
    loop {
        let Some(end) = read.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let size = usize::from_str_radix(std::str::from_utf8(read.get(..end).context("a size")?)?, 16)?;
        let Some(rest) = read.get(end + 2 + size + 2..) else { return Ok(None) };
        if size == 0 {
            ensure!(rest.is_empty(), "more than the answer came");
            return Ok(Some(bytes));
        }
        bytes += size;
        read = rest;
    }
}
