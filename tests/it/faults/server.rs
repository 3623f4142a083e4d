//! An upstream that follows a row: HTTP/1.1 in clear text or TLS, HTTP/2 frame by frame, or no TLS at all.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::Acceptor;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::SockRef;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use super::{HEALTHY, Over, Row, Step, rows};
use crate::harness::{PATIENCE, grant, read_body, read_head};
use crate::watch::SCRIPTED_TOKEN;

/// How long a script hangs at most.
const HANG: Duration = Duration::from_secs(30);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The upstream of one row.
pub(super) struct Server {
    address: SocketAddr,
    over: Over,
    seen: Arc<Seen>,
}

/// What the upstream saw, over all connections.
#[derive(Default)]
struct Seen {
    arrived: AtomicUsize,
    /// The fault of the idle connection was done.
    idled: AtomicBool,
    /// All of the script was sent.
    played: AtomicBool,
    /// The caller has its answer; from now on all is well.
    healed: AtomicBool,
    /// The scripted connection of HTTP/2 was opened.
    scripted: AtomicBool,
    greeted: AtomicBool,
    /// Somebody has connected.
    asked: AtomicBool,
}

/// A connection of either kind.
trait Stream: Read + Write {
    fn socket(&self) -> &TcpStream;
    fn notify_close(&mut self) {}
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Stream for StreamOwned<ServerConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }

    fn notify_close(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
    }
}

/// Whether a connection goes on.
#[derive(PartialEq)]
enum Then {
    Continue,
    End,
}

impl Server {
    pub(super) fn start(row: Row) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (seen, over) = (Arc::<Seen>::default(), row.over);
        let (shared, row) = (Arc::clone(&seen), Arc::new(row));
        thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                let (row, seen) = (Arc::clone(&row), Arc::clone(&shared));
                thread::spawn(move || serve(&row, &seen, socket));
            }
        });
        Self { address, over, seen }
    }

    /// TOML for an instance.
    pub(super) fn instance(&self) -> String {
        if self.over == Over::Clear {
            return format!("host = \"http://{}\"", self.address);
        }
        let ca_file = identities().folder.path().join("ca.pem");
        format!("host = \"https://localhost:{}\"\nca-file = {ca_file:?}", self.address.port())
    }

    pub(super) fn arrived(&self) -> usize {
        self.seen.arrived.load(Ordering::SeqCst)
    }

    pub(super) fn has_idled(&self) -> bool {
        self.seen.idled.load(Ordering::SeqCst)
    }

    pub(super) fn has_played(&self) -> bool {
        self.seen.played.load(Ordering::SeqCst)
    }

    pub(super) fn heal(&self) {
        self.seen.healed.store(true, Ordering::SeqCst);
    }
}

fn serve(row: &Row, seen: &Seen, mut socket: TcpStream) {
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    socket.set_nodelay(true).expect("no delay");
    if row.over == Over::Clear {
        return http1(row, seen, &mut socket);
    }
    // The token endpoint is asked first, and is always well.
    let token = !seen.asked.swap(true, Ordering::SeqCst);
    let Some(accepted) = hello(&mut socket) else { return };
    let well = token || seen.healed.load(Ordering::SeqCst);
    if row.over == Over::Raw && !well {
        play(seen, &row.script, &mut socket, 0);
        return;
    }
    let config = if well { identities().config(Over::Tls) } else { identities().config(row.over) };
    let mut connection = match accepted.into_connection(config) {
        Ok(connection) => connection,
        // It is gone, or hears that it offers nothing that the row speaks.
        Err((_, mut alert)) => return drop(alert.write_all(&mut socket)),
    };
    if row.over == Over::Tls && !token && !row.greeting.is_empty() && !seen.greeted.swap(true, Ordering::SeqCst) {
        connection.writer().write_all(row.greeting).expect("a greeting");
    }
    let mut stream = StreamOwned::new(connection, socket);
    while stream.conn.is_handshaking() {
        if stream.conn.complete_io(&mut stream.sock).is_err() {
            return;
        }
    }
    let http2_spoken = stream.conn.alpn_protocol() == Some(b"h2");
    if http2_spoken { http2(row, seen, &mut stream) } else { http1(row, seen, &mut stream) }
}

/// An upstream that serves `limit` streams at a time on a connection, and refuses others; and its TOML as an instance.
pub(super) fn with_streams(limit: u32, served: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.set_nonblocking(true).expect("a setting");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            // The token endpoint is asked first.
            let mut over = Over::Tls;
            while let Ok((socket, _)) = listener.accept().await {
                let config = identities().config(std::mem::replace(&mut over, Over::Http2));
                tokio::spawn(serve_streams(socket, config, limit, Arc::clone(&served)));
            }
        });
    });
    let ca_file = identities().folder.path().join("ca.pem");
    format!("host = \"https://localhost:{port}\"\nca-file = {ca_file:?}")
}

async fn serve_streams(socket: tokio::net::TcpStream, config: Arc<ServerConfig>, limit: u32, served: Arc<AtomicUsize>) {
    let Ok(mut stream) = TlsAcceptor::from(config).accept(socket).await else { return };
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        let grant = grant(&format!("{SCRIPTED_TOKEN}0")).replacen("\r\n", "\r\nConnection: close\r\n", 1);
        let _ = stream.write_all(grant.as_bytes()).await;
        let _ = stream.shutdown().await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        return;
    }
    let mut builder = h2::server::Builder::new();
    let Ok(mut connection) = builder.max_concurrent_streams(limit).handshake(stream).await else { return };
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let served = Arc::clone(&served);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            served.fetch_add(1, Ordering::SeqCst);
            let mut body = respond.send_response(http::Response::new(()), false).expect("a head");
            body.send_data(bytes::Bytes::from_static(rows::BODY), true).expect("a body");
        });
    }
}

fn hello(socket: &mut TcpStream) -> Option<rustls::server::Accepted> {
    let mut acceptor = Acceptor::default();
    loop {
        acceptor.read_tls(socket).ok().filter(|bytes| *bytes > 0)?;
        if let Some(accepted) = acceptor.accept().ok()? {
            return Some(accepted);
        }
    }
}

fn http1(row: &Row, seen: &Seen, stream: &mut dyn Stream) {
    let healthy = answer(HEALTHY.1);
    while let Some(head) = read_head(stream) {
        read_body(&head, stream);
        let then = if head.starts_with("POST /ws/oauth/token") {
            send(stream, grant(&format!("{SCRIPTED_TOKEN}0")).as_bytes())
        } else if head.contains(HEALTHY.0) {
            let then = send(stream, &healthy);
            if row.idle.is_empty() || seen.idled.load(Ordering::SeqCst) { then } else { idle(row, seen, stream, 0) }
        } else if seen.arrived.fetch_add(1, Ordering::SeqCst) == 0 {
            play_script(row, seen, stream, 0)
        } else if head.starts_with("HEAD") {
            send(stream, &rows::GOOD[..rows::GOOD.len() - rows::BODY.len()])
        } else {
            send(stream, rows::GOOD)
        };
        if then == Then::End {
            return;
        }
    }
}

/// The fault between two requests. The caller is told once it is done, so that the next request comes after it.
fn idle(row: &Row, seen: &Seen, stream: &mut dyn Stream, last: u32) -> Then {
    // The proxy has the answer, and may have to make the connection an idle one still.
    thread::sleep(Duration::from_millis(50));
    let then = play(seen, &row.idle, stream, last);
    if then == Then::End {
        let _ = stream.socket().shutdown(std::net::Shutdown::Both);
    }
    seen.idled.store(true, Ordering::SeqCst);
    then
}

fn answer(body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

fn send(stream: &mut dyn Stream, bytes: &[u8]) -> Then {
    match stream.write_all(bytes).and_then(|()| stream.flush()) {
        Ok(()) => Then::Continue,
        Err(_) => Then::End,
    }
}

fn play_script(row: &Row, seen: &Seen, stream: &mut dyn Stream, id: u32) -> Then {
    let then = play(seen, &row.script, stream, id);
    seen.played.store(true, Ordering::SeqCst);
    then
}

fn play(seen: &Seen, steps: &[Step], stream: &mut dyn Stream, id: u32) -> Then {
    for step in steps {
        let then = match step {
            Step::Send(bytes) => send(stream, bytes),
            Step::Flood(bytes, times) => flood(stream, bytes, *times),
            Step::Drip(bytes, pause) => bytes.iter().fold(Then::Continue, |then, byte| {
                if then == Then::End {
                    return then;
                }
                thread::sleep(Duration::from_millis(*pause));
                send(stream, &[*byte])
            }),
            Step::Wait(pause) => {
                thread::sleep(Duration::from_millis(*pause));
                Then::Continue
            }
            Step::Close => Then::End,
            Step::CloseNotify => {
                stream.notify_close();
                Then::End
            }
            Step::Reset => {
                SockRef::from(stream.socket()).set_linger(Some(Duration::ZERO)).expect("a reset");
                return Then::End;
            }
            Step::Hang => hang(seen),
            Step::Frame(kind, flags, payload) => send(stream, &frame(*kind, *flags, id, payload)),
            Step::GoAway(last, code) => {
                let last = id.saturating_add_signed(*last);
                send(stream, &frame(7, 0, 0, &[last.to_be_bytes(), u32::from(*code).to_be_bytes()].concat()))
            }
        };
        if then == Then::End {
            return Then::End;
        }
    }
    Then::Continue
}

fn flood(stream: &mut dyn Stream, bytes: &[u8], times: usize) -> Then {
    let many = bytes.repeat(times.min(1000));
    (0..times.div_ceil(1000)).fold(Then::Continue, |then, round| {
        let rest = (times - round * 1000).min(1000) * bytes.len();
        if then == Then::End { then } else { send(stream, &many[..rest]) }
    })
}

fn hang(seen: &Seen) -> Then {
    let begun = Instant::now();
    while !seen.healed.load(Ordering::SeqCst) && begun.elapsed() < HANG {
        thread::sleep(Duration::from_millis(10));
    }
    Then::End
}

/// RFC 9113 section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The first connection follows the row: its requests are one healthy one, if the row is warm, and the faulty one. On
/// the others come healthy requests, and the faulty one again, which is the first of them.
fn http2(row: &Row, seen: &Seen, stream: &mut dyn Stream) {
    let mut preface = [0; PREFACE.len()];
    if stream.read_exact(&mut preface).is_err() || send(stream, &frame(4, 0, 0, row.settings())) == Then::End {
        return;
    }
    let scripted = !seen.scripted.swap(true, Ordering::SeqCst);
    let mut requests = 0;
    while let Ok((kind, flags, id)) = read_frame(stream) {
        let then = match kind {
            1 => {
                requests += 1;
                request(row, seen, stream, (scripted, requests), id)
            }
            4 if flags & 1 == 0 => send(stream, &frame(4, 1, 0, &[])),
            _ => Then::Continue,
        };
        if then == Then::End {
            return;
        }
    }
}

fn request(row: &Row, seen: &Seen, stream: &mut dyn Stream, (scripted, number): (bool, usize), id: u32) -> Then {
    let healed = seen.healed.load(Ordering::SeqCst);
    let warming = scripted && row.warm && number == 1;
    if healed || warming {
        let then = send(stream, &[frame(1, 4, id, b"\x88"), frame(0, 1, id, HEALTHY.1)].concat());
        return if warming && !row.idle.is_empty() { idle(row, seen, stream, id) } else { then };
    }
    if seen.arrived.fetch_add(1, Ordering::SeqCst) == 0 && (row.idle.is_empty() || scripted) {
        return play_script(row, seen, stream, id);
    }
    send(stream, &[frame(1, 4, id, b"\x88"), frame(0, 1, id, rows::BODY)].concat())
}

/// Type, flags and stream of the next frame; PING is answered.
fn read_frame(stream: &mut dyn Stream) -> io::Result<(u8, u8, u32)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let [high, middle, low, kind, flags, id @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
    stream.read_exact(&mut payload)?;
    if kind == 6 && flags & 1 == 0 {
        send(stream, &frame(6, 1, 0, &payload));
    }
    Ok((kind, flags, u32::from_be_bytes(id)))
}

/// The certificates of all rows, made once.
struct Identities {
    folder: TempDir,
    configs: Vec<(Over, Arc<ServerConfig>)>,
}

impl Identities {
    fn config(&self, over: Over) -> Arc<ServerConfig> {
        let found = self.configs.iter().find(|(known, _)| *known == over);
        Arc::clone(&found.expect("a certificate of that kind").1)
    }
}

fn identities() -> &'static Identities {
    static ALL: OnceLock<Identities> = OnceLock::new();
    ALL.get_or_init(|| {
        let (ca, other) = (authority(), authority());
        let folder = tempfile::tempdir().expect("a folder");
        let ca_file: PathBuf = folder.path().join("ca.pem");
        std::fs::write(ca_file, ca.pem()).expect("a file");
        let h1: &[&[u8]] = &[b"http/1.1"];
        let config = |over, issuer, parameters| (over, config(issuer, parameters, h1));
        let mut common = leaf(&[]);
        common.distinguished_name.push(DnType::CommonName, "localhost");
        let (mut expired, mut early) = (leaf(&["localhost"]), leaf(&["localhost"]));
        expired.not_after = rcgen::date_time_ymd(2021, 1, 1);
        early.not_before = rcgen::date_time_ymd(2090, 1, 1);
        let configs = vec![
            config(Over::Tls, &ca, leaf(&["localhost"])),
            (Over::Http2, self::config(&ca, leaf(&["localhost"]), &[b"h2"])),
            config(Over::OtherName, &ca, leaf(&["other.example"])),
            config(Over::CommonName, &ca, common),
            config(Over::Expired, &ca, expired),
            config(Over::Early, &ca, early),
            config(Over::UnknownCa, &other, leaf(&["localhost"])),
        ];
        Identities { folder, configs }
    })
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut ca = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(ca, KeyPair::generate().expect("a key")).expect("a CA")
}

fn leaf(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut leaf = CertificateParams::new(names).expect("parameters");
    leaf.not_before = rcgen::date_time_ymd(2020, 1, 1);
    leaf
}

fn config(issuer: &CertifiedIssuer<'static, KeyPair>, leaf: CertificateParams, alpn: &[&[u8]]) -> Arc<ServerConfig> {
    let key = KeyPair::generate().expect("a key");
    let certificate: CertificateDer<'static> = leaf.signed_by(&key, issuer).expect("a certificate").der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate and its key");
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // Data of the server's may go out with its Finished.
    config.send_half_rtt_data = true;
    Arc::new(config)
}
