//! The connection to a target of `tunnel`: its name is looked up once, every answer is judged, and only what was judged is
//! connected to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::refusal::{self, ConnectRefusal};
use super::target::{TunnelHost, TunnelTarget};
use crate::net::dial;
use crate::net::dial::public_address::special_range;
use crate::net::own_addresses::OwnAddresses;

/// Connects to `target` within `limit`, unless that leads to what nobody listed: one of the `own` listeners, or, where
/// `target` has a name, an address that is not public.
pub async fn open(target: &TunnelTarget, own: &OwnAddresses, limit: Duration) -> Result<TcpStream, ConnectRefusal> {
    open_with(target, own, limit, look_up).await
}

/// The same, with names looked up by `resolve`.
pub async fn open_with<R>(
    target: &TunnelTarget,
    own: &OwnAddresses,
    limit: Duration,
    resolve: R,
) -> Result<TcpStream, ConnectRefusal>
where
    R: AsyncFnOnce(&str) -> io::Result<Vec<IpAddr>>,
{
    let deadline = Instant::now() + limit;
    let text = || target.authority().to_owned();
    let late = |_| ConnectRefusal::Timeout(text());
    let found = match target.host() {
        TunnelHost::Address(address) => vec![*address],
        TunnelHost::Name(name) => {
            let found = timeout_at(deadline, resolve(name)).await.map_err(late)?;
            found.map_err(|error| ConnectRefusal::Resolve(text(), error))?
        }
    };
    let judged = judge(target, own, &found)?;
    let raced = timeout_at(deadline, dial::connect_to(&judged)).await.map_err(late)?;
    let stream = raced.map_err(|error| ConnectRefusal::Connect(text(), error))?;
    dial::connect::notice_death(&stream, limit);
    Ok(stream)
}

/// What may be connected to: all of the addresses, or nothing. One address that is not public among others is what a
/// name has whose owner wants to reach this network.
fn judge(target: &TunnelTarget, own: &OwnAddresses, found: &[IpAddr]) -> Result<Vec<SocketAddr>, ConnectRefusal> {
    let text = || target.authority().to_owned();
    if found.is_empty() {
        return Err(ConnectRefusal::Resolve(text(), io::Error::other("it has no address")));
    }
    let judged = found.iter().map(|&address| {
        let named = matches!(target.host(), TunnelHost::Name(_));
        if let Some(range) = special_range(address).filter(|_| named) {
            return Err(ConnectRefusal::NotPublic { target: text(), address, range });
        }
        let address = SocketAddr::new(address, target.port());
        refusal::own(target.authority(), address, own).map_or(Ok(address), Err)
    });
    judged.collect::<Result<_, _>>().map(dial::interleaved)
}

async fn look_up(name: &str) -> io::Result<Vec<IpAddr>> {
    // The port is the target's.
    Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
}
