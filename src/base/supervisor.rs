//! The supervisor: reports the state of the process to systemd, or to anything else that speaks sd_notify(3).
//!
//! Not by a crate: `sd-notify` knows no abstract sockets and waits for a full one, and the rest of it is this page.

use std::time::Duration;

#[cfg(target_os = "linux")]
use socket::NotifySocket;
use tokio::time::{sleep, timeout};

/// Whom to tell; nobody, if nobody asked for it.
#[derive(Debug, Clone, Default)]
pub struct ServiceManager {
    #[cfg(target_os = "linux")]
    socket: Option<std::sync::Arc<NotifySocket>>,
    /// How long it goes without a sign of life before it ends the process.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that the environment names.
    pub fn from_env() -> Self {
        Self::of(|name| std::env::var_os(name), std::process::id())
    }

    /// It serves, as the status says: after the start, and after each reload.
    pub fn ready(&self, status: &str) {
        // A line is an assignment of its own.
        self.notify(&format!("READY=1\nSTATUS={}", status.replace(['\r', '\n'], " ")));
    }

    /// It ends.
    pub fn stopping(&self) {
        self.notify("STOPPING=1\nSTATUS=draining");
    }

    /// Gives signs of life for ever, if somebody wants them: whenever `alive` has ended.
    pub async fn watched(self, alive: impl AsyncFn()) {
        let Some(limit) = self.watchdog else { return };
        loop {
            if timeout(limit / 3, alive()).await.is_ok() {
                self.notify("WATCHDOG=1");
            } else {
                tracing::error!("a worker does not respond");
            }
            sleep(limit / 3).await;
        }
    }
}

#[cfg(target_os = "linux")]
impl ServiceManager {
    fn of(variable: impl Fn(&str) -> Option<std::ffi::OsString>, own_id: u32) -> Self {
        let Some(address) = variable("NOTIFY_SOCKET") else { return Self::default() };
        let number = |name: &str| variable(name).and_then(|value| value.into_string().ok()?.parse::<u64>().ok());
        let for_us = number("WATCHDOG_PID").is_none_or(|id| id == u64::from(own_id));
        let watchdog = number("WATCHDOG_USEC").filter(|limit| for_us && *limit > 0).map(Duration::from_micros);
        match NotifySocket::to(&address) {
            Ok(socket) => Self { socket: Some(socket.into()), watchdog },
            Err(error) => {
                tracing::warn!(%error, "cannot write to the supervisor (NOTIFY_SOCKET)");
                Self::default()
            }
        }
    }

    /// It reads its configuration again; [`ServiceManager::ready`] must follow.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.notify(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading the configuration"));
    }

    fn notify(&self, text: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(text) {
            tracing::warn!(%error, "cannot write to the supervisor (NOTIFY_SOCKET)");
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl ServiceManager {
    fn of(_: impl Fn(&str) -> Option<std::ffi::OsString>, _: u32) -> Self {
        Self::default()
    }

    /// It reads its configuration again; [`ServiceManager::ready`] must follow.
    pub fn reloading(&self) {}

    fn tell(&self, _: &str) {}
}

#[cfg(target_os = "linux")]
mod socket {
    use std::ffi::OsStr;
    use std::io;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    /// Where notifications go.
    #[derive(Debug)]
    pub(super) struct NotifySocket {
        own: UnixDatagram,
        far: SocketAddr,
    }

    impl NotifySocket {
        /// A path, or after an `@` an abstract name.
        pub(super) fn to(address: &OsStr) -> io::Result<Self> {
            let far = match address.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name)?,
                None => SocketAddr::from_pathname(address)?,
            };
            let own = UnixDatagram::unbound()?;
            own.set_nonblocking(true)?;
            Ok(Self { own, far })
        }

        pub(super) fn send(&self, text: &str) -> io::Result<()> {
            self.own.send_to_addr(text.as_bytes(), &self.far).map(drop)
        }
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    fn of(pairs: &[(&str, &str)]) -> ServiceManager {
        let find = |name: &str| pairs.iter().find(|(own, _)| *own == name).map(|(_, value)| OsString::from(value));
        ServiceManager::of(find, 7)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let length = socket.recv(&mut bytes).expect("a message");
        String::from_utf8(bytes[..length].to_vec()).expect("text")
    }

    #[test]
    fn supervisor_is_told_of_a_life_by_path_or_abstract_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let by_path = UnixDatagram::bind(&path).expect("a socket");
        let name = format!("ninjaone-proxy-test-{}", fastrand::u64(..));
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let abstract_one = UnixDatagram::bind_addr(&address).expect("a socket");
        for (socket, address) in [(by_path, path.to_str().expect("text")), (abstract_one, &format!("@{name}"))] {
            let supervisor = of(&[("NOTIFY_SOCKET", address)]);
            supervisor.ready("serving\nWATCHDOG=trigger");
            assert_eq!(heard(&socket), "READY=1\nSTATUS=serving WATCHDOG=trigger");
            supervisor.reloading();
            let said = heard(&socket);
            let micros = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.split_once('\n'));
            assert!(micros.is_some_and(|(micros, _)| micros.parse::<u64>().is_ok_and(|n| n > 0)), "{said}");
            supervisor.stopping();
            assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=draining");
        }
    }

    #[test]
    fn supervisor_without_a_socket_is_nobody_and_a_watchdog_may_be_for_another_process() {
        let nobody = of(&[("WATCHDOG_USEC", "1000000")]);
        assert!(nobody.socket.is_none() && nobody.watchdog.is_none());
        nobody.ready("to nobody");
        let at = ("NOTIFY_SOCKET", "/nowhere/notify");
        for (pairs, wanted) in [
            (&[at, ("WATCHDOG_USEC", "1500000")][..], Some(Duration::from_millis(1500))),
            (&[at, ("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "7")], Some(Duration::from_secs(1))),
            (&[at, ("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "8")], None),
            (&[at, ("WATCHDOG_USEC", "0")], None),
            (&[at, ("WATCHDOG_USEC", "soon")], None),
            (&[at], None),
        ] {
            assert_eq!(of(pairs).watchdog, wanted, "{pairs:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn supervisor_gets_no_sign_of_life_from_a_process_that_hangs() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_nonblocking(true).expect("a mode");
        let supervisor = of(&[("NOTIFY_SOCKET", path.to_str().expect("text")), ("WATCHDOG_USEC", "3000000")]);
        let signs = || std::iter::from_fn(|| socket.recv(&mut [0; 64]).ok()).count();
        let _ = timeout(Duration::from_secs(9), supervisor.clone().watched(async || {})).await;
        assert!((9..=10).contains(&signs()), "one a second");
        let _ = timeout(Duration::from_secs(9), supervisor.watched(async || std::future::pending().await)).await;
        assert_eq!(signs(), 0);
    }
}
