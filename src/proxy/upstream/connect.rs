//! The beginning of HTTP on a new connection to an instance, for the pool.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::http2_connection;
use super::turn_reader::TurnReader;
use super::watched_socket::{ConnectionTrack, WatchedSocket};
use crate::net::body::Upload;
use crate::net::dial::connect::{ConnectError, Connection, Connector, Offer, Step};
use crate::net::dial::protocol;
use crate::observe::metrics::traffic::{Protocol, Traffic};

/// A new connection.
pub(super) struct NewConnection {
    pub(super) sender: Sender,
    pub(super) track: Rc<ConnectionTrack>,
}

/// What an HTTP connection is spoken through.
#[derive(Debug)]
pub(super) enum Sender {
    /// One exchange at a time.
    Http1(http1::SendRequest<Upload>),
    /// Many at once.
    Http2(http2_connection::Http2Connection),
}

/// A connection, counted as `traffic` as long as it is open, or the step that did not end before `deadline`.
pub(super) async fn open(
    connector: &Connector,
    offer: Offer,
    deadline: Instant,
    traffic: &Traffic,
) -> Result<NewConnection, ConnectError> {
    let track = Rc::<ConnectionTrack>::default();
    let link = connector.connect(offer, deadline, |stream| WatchedSocket::new(stream, Rc::clone(&track))).await?;
    let begun = async {
        Ok::<_, ConnectError>(match link {
            Connection::Clear(stream) => begin_http1(stream, &track, traffic).await?,
            Connection::Http1(stream) => begin_http1(stream, &track, traffic).await?,
            Connection::Http2(stream) => {
                let begun = http2_connection::begin(stream, connector.patience(), Rc::clone(&track), traffic);
                Sender::Http2(begun.await.map_err(|error| ConnectError::Http(error.into()))?)
            }
        })
    };
    let sender = Step::Http.before(deadline, begun).await?;
    Ok(NewConnection { sender, track })
}

async fn begin_http1<I>(io: I, track: &ConnectionTrack, traffic: &Traffic) -> Result<Sender, ConnectError>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (io, turn) = TurnReader::new(io);
    let (sender, mut connection) =
        protocol::http1().handshake(TokioIo::new(io)).await.map_err(|error| ConnectError::Http(error.into()))?;
    let open = traffic.open(Protocol::Http1);
    let task = tokio::task::spawn_local(async move {
        let _open = open;
        let ended = poll_fn(|cx| {
            turn.begin();
            Pin::new(&mut connection).poll(cx)
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    track.moved_by(task.abort_handle());
    Ok(Sender::Http1(sender))
}
