//! Panics behind a listener: they cost the request that they happen in, and nobody else anything.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use ninjaone_proxy::base::panic_guard;
use ninjaone_proxy::net::listener::{self, ConnectionConfig, ConnectionLimits, ListeningSocket, Slots};
use ninjaone_proxy::net::shutdown::{self, Trigger};
use tokio::sync::Semaphore;

use crate::harness::{PATIENCE, Reply, connect, eventually};

const CONNECTIONS: usize = 8;

/// A body of one piece, which may panic after it.
struct Pieces {
    piece: Option<&'static [u8]>,
    torn: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let piece = self.piece.take();
        assert!(piece.is_some() || !self.torn, "asked for: in a body");
        Poll::Ready(piece.map(|piece| Ok(Frame::data(Bytes::from_static(piece)))))
    }
}

async fn handle(path: String) -> Response<Pieces> {
    let mut response = Response::new(Pieces { piece: Some(b"fine"), torn: path == "/torn" });
    match path.as_str() {
        "/at-once" => panic!("asked for: at once"),
        "/later" => {
            tokio::time::sleep(Duration::from_millis(5)).await;
            panic!("asked for: later")
        }
        "/fenced" => {
            let work = async {
                tokio::task::yield_now().await;
                panic!("asked for: fenced")
            };
            if panic_guard::around(work).await.is_err() {
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
        }
        "/slow" => tokio::time::sleep(Duration::from_millis(500)).await,
        _ => {}
    }
    response
}

/// A listener whose requests panic if they ask for it.
struct Served {
    address: SocketAddr,
    connections: Arc<Semaphore>,
    trigger: Trigger,
    thread: thread::JoinHandle<()>,
}

impl Served {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        let limits = ConnectionLimits {
            head_time: PATIENCE,
            head_size: 8192,
            header_count: 100,
            drain: PATIENCE,
            connections: Slots::Waiting(Arc::clone(&connections)),
            buffers: Arc::new(listener::Buffers::new(1 << 20)),
        };
        let (trigger, shutdown) = shutdown::channel();
        let terms = tokio::sync::watch::channel(ConnectionConfig {
            listener: Arc::default(),
            tls: None,
            interception: None,
            limits,
        })
        .1;
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(tokio::runtime::LocalOptions::default())
                .expect("a runtime");
            let handle = |_, request: Request<listener::RequestBody>| handle(request.uri().path().to_owned());
            let serving = listener::serve(ListeningSocket::Tcp(listener), terms, shutdown, handle, |_, _| Vec::new());
            runtime.block_on(serving).expect("a listener to its end");
        });
        Self { address, connections, trigger, thread }
    }
}

fn ask(stream: &mut (impl Read + Write), path: &str) -> Reply {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    Reply::read(stream, false)
}

#[test]
fn a_panic_breaks_its_own_connection_and_leaves_others_the_limits_and_the_drain_alone() {
    let served = Served::start();
    let mut other = connect(served.address);
    let mut slow = connect(served.address);
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    for round in 0..3 * CONNECTIONS {
        let path = ["/at-once", "/later", "/torn"][round % 3];
        let reply = ask(&mut connect(served.address), path);
        assert!(reply.status == 0 || (path == "/torn" && !reply.whole), "{path}: {reply:?}");
        assert_eq!(ask(&mut other, "/").status, 200, "after {path}");
    }
    assert_eq!(Reply::read(&mut slow, false).body, b"fine", "what was in flight is answered");
    drop((slow, other));
    eventually("every place is free", || served.connections.available_permits() == CONNECTIONS);
    served.trigger.shut_down();
    eventually("nobody holds up the drain", || served.thread.is_finished());
    served.thread.join().expect("a listener that lives to its end");
}

#[test]
fn a_panic_in_a_fence_costs_500_and_not_the_connection() {
    let served = Served::start();
    let mut stream = connect(served.address);
    for _ in 0..3 {
        assert_eq!(ask(&mut stream, "/fenced").status, 500);
        assert_eq!(ask(&mut stream, "/").body, b"fine");
    }
    served.trigger.shut_down();
    served.thread.join().expect("a listener that lives to its end");
}
