//! The way to a server: its name, a race between its addresses, an HTTP proxy if there is one, TLS, and HTTP.

pub mod connect;
pub mod exchange;
mod no_proxy;
pub mod protocol;
pub mod proxy;
pub mod public_address;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use proxy::{HttpProxy, ProxyError};

/// How long an address may be alone in the race (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// The way to a server.
#[derive(Debug, Clone)]
pub struct Route {
    host: String,
    port: u16,
    proxy: Option<Arc<HttpProxy>>,
    /// Where the host is, if DNS is not asked.
    addresses: Arc<[IpAddr]>,
}

/// Why there is no TCP connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("the name {0} cannot be resolved")]
    Resolve(String, #[source] io::Error),
    /// No address can be connected to.
    #[error("no TCP connection")]
    Connect(#[source] io::Error),
    /// The proxy is there, and does not connect us.
    #[error("the proxy {0} does not connect us")]
    Proxy(String, #[source] ProxyError),
}

impl DialError {
    /// Whether somebody must change something first; a server that cannot be reached comes back by itself.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Resolve(..) | Self::Proxy(..) => true,
            Self::Connect(_) => false,
        }
    }
}

impl Route {
    /// To `host`, without the brackets of an IPv6 address.
    pub fn new(host: String, port: u16, proxy: Option<Arc<HttpProxy>>) -> Self {
        Self { host, port, proxy, addresses: Arc::default() }
    }

    /// The same host at these addresses, if there are any; DNS is not asked. A proxy looks names up itself.
    #[must_use]
    pub fn at(self, addresses: &[IpAddr]) -> Self {
        Self { addresses: addresses.into(), ..self }
    }

    /// The proxy on the way.
    pub fn proxy(&self) -> Option<&HttpProxy> {
        self.proxy.as_deref()
    }

    /// The host and port that TCP goes to: the server's, or its proxy's.
    pub fn next_hop(&self) -> (&str, u16) {
        self.proxy.as_ref().map_or((&self.host, self.port), |proxy| proxy.address())
    }

    /// The addresses of [`Route::next_hop`], in the order in which they are tried.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, DialError> {
        if self.proxy.is_none() && !self.addresses.is_empty() {
            let given = self.addresses.iter().map(|ip| SocketAddr::new(*ip, self.port));
            return Ok(interleaved(given.collect()));
        }
        let found = tokio::net::lookup_host(self.next_hop()).await;
        let found = found.map_err(|error| DialError::Resolve(self.next_hop().0.to_owned(), error))?;
        Ok(interleaved(found.collect()))
    }

    /// A connection to the first of the addresses that answers.
    pub async fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, DialError> {
        connect_to(addresses).await.map_err(DialError::Connect)
    }

    /// Has the proxy, if there is one, connect the stream to the server.
    pub async fn tunnel(&self, stream: &mut TcpStream) -> Result<(), DialError> {
        let Some(proxy) = &self.proxy else { return Ok(()) };
        let tunnelled = proxy.tunnel(stream, &self.host, self.port).await;
        tunnelled.map_err(|error| DialError::Proxy(proxy.to_string(), error))
    }
}

/// A connection to the first of the addresses that answers; they are tried in this order.
pub(crate) async fn connect_to(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let stream = race(addresses).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Addresses of the two families in turn, beginning with the one that the system prefers (RFC 8305 section 4).
pub(crate) fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let six_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, others): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == six_first);
    let longest = preferred.len().max(others.len());
    (0..longest).flat_map(|at| [preferred.get(at), others.get(at)]).flatten().copied().collect()
}

/// Connects to each address some time after the one before it, or at once if that fails. The first connection wins;
/// without any, the first error is returned: that of the preferred address.
async fn race(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    if let [only] = addresses {
        return TcpStream::connect(only).await;
    }
    let mut waiting = addresses.iter().copied();
    let mut attempts = JoinSet::new();
    let mut failure = None;
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(TcpStream::connect(address));
        }
        let ended = match waiting.len() {
            0 => attempts.join_next().await,
            _ => match timeout(STAGGER, attempts.join_next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            },
        };
        match ended {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => failure = failure.or(Some(error)),
            Some(Err(gone)) => failure = failure.or(Some(gone.into())),
            None => return Err(failure.unwrap_or(io::ErrorKind::AddrNotAvailable.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Instant;

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// An address that does not answer: its queue is full, so that the system drops what comes.
    fn blackhole() -> (SocketAddr, Vec<Socket>) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
        listener.listen(0).expect("a listener");
        let address = listener.local_addr().expect("an address").as_socket().expect("an IP address");
        let mut sockets = vec![listener];
        for _ in 0..4 {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            filler.set_nonblocking(true).expect("a setting");
            let _ = filler.connect(&address.into());
            sockets.push(filler);
        }
        (address, sockets)
    }

    async fn server() -> (SocketAddr, tokio::net::TcpListener) {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        (listener.local_addr().expect("an address"), listener)
    }

    async fn closed() -> SocketAddr {
        server().await.0
    }

    #[test]
    fn addresses_of_both_families_take_turns() {
        let six = |port| SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let four = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let given = vec![six(1), six(2), six(3), four(4), four(5)];
        assert_eq!(interleaved(given), [six(1), four(4), six(2), four(5), six(3)]);
        assert_eq!(interleaved(vec![four(1), six(2)]), [four(1), six(2)]);
        assert!(interleaved(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_costs_the_next_one_a_quarter_of_a_second() {
        let ((dead, _sockets), (good, _listener)) = (blackhole(), server().await);
        let begun = Instant::now();
        let stream = race(&[dead, good]).await.expect("a connection");
        assert_eq!(stream.peer_addr().expect("an address"), good);
        let took = begun.elapsed();
        assert!(took >= STAGGER && took < STAGGER * 6, "{took:?}");
    }

    #[tokio::test]
    async fn an_address_that_refuses_costs_the_next_one_nothing() {
        let (refusing, (good, _listener)) = (closed().await, server().await);
        let begun = Instant::now();
        assert!(race(&[refusing, refusing, refusing, good]).await.is_ok());
        assert!(begun.elapsed() < STAGGER, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn the_first_error_counts_where_no_address_answers() {
        let refusing = closed().await;
        let error = race(&[refusing, refusing]).await.expect_err("no connection");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(race(&[]).await.expect_err("no address").kind(), io::ErrorKind::AddrNotAvailable);
    }
}
