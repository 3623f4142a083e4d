//! The one task that connects to the store, watches over it, and says when it is up and when it is down.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{SLOW, SharedStore};
use crate::observe::logging::ErrorChain;
use crate::shared::connection::{Connection, StoreIdentity};
use crate::shared::heartbeat::{self, Member, Pulse};
use crate::shared::sealing::hex;
use crate::shared::state::SETTLE;
use crate::shared::store_error::{ConnectFault, StoreError};

/// How often a replica says that it lives.
const BEAT: Duration = Duration::from_millis(500);
/// The waits between attempts to connect, from the first on.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// So many quick answers in a row have a store that was slow up again.
const QUICK: u32 = 2;

/// What the task remembers over connections.
#[derive(Default)]
struct Memory {
    /// The mark of the store's contents.
    mark: String,
    /// When all had time to publish again.
    settles: Option<Instant>,
    /// What was last logged, so that it is logged once.
    told: Option<String>,
    /// Keys of others that are not ours, and were told.
    strangers: Vec<String>,
}

/// Keeps the connection.
pub(super) async fn keep(store: SharedStore) {
    let (mut memory, mut wait) = (Memory::default(), RETRY.0);
    loop {
        match Connection::open(&store.0.config).await {
            Ok(connection) => {
                let begun = Instant::now();
                let fault = serve(&store, &connection, &mut memory).await;
                store.lose();
                memory.tell_down(&store, &fault);
                if begun.elapsed() > RETRY.1 {
                    wait = RETRY.0;
                }
            }
            Err(fault) => memory.tell_down(&store, &fault),
        }
        sleep(wait.mul_f64(0.75 + fastrand::f64() / 4.0)).await;
        wait = (wait * 2).min(RETRY.1);
    }
}

/// Watches over a connection until something is wrong with it.
async fn serve(store: &SharedStore, connection: &Connection, memory: &mut Memory) -> ConnectFault {
    let member = member(store);
    let (mut quick, mut identified) = (0, Instant::now());
    let mut identity = match connection.identity().await {
        Ok(identity) => identity,
        Err(fault) => return fault,
    };
    loop {
        let asked = Instant::now();
        if identified.elapsed() >= 2 * BEAT {
            identified = asked;
            identity = match connection.identity().await {
                Ok(identity) => identity,
                Err(fault) => return fault,
            };
            if !connection.is_current(&store.0.config).await {
                return ConnectFault::Moved(connection.at.clone());
            }
        }
        match beat(store, connection, (&member, &identity)).await {
            Ok(pulse) => {
                quick += 1;
                store.0.copies.store(identity.copies, Ordering::Relaxed);
                let was_up = store.state().up;
                if was_up || quick >= QUICK || memory.told.is_none() {
                    memory.note(store, connection, pulse);
                }
            }
            Err(StoreError::Slow) => {
                quick = 0;
                if store.0.slow.fetch_add(1, Ordering::Relaxed) + 1 >= SLOW {
                    store.lose();
                    memory.tell_down(store, &ConnectFault::Unusable(connection.at.clone(), StoreError::Slow));
                }
                // The answer may come yet; a connection that is dead gives none for long.
                if !alive(connection).await {
                    return ConnectFault::Timeout(connection.at.clone());
                }
            }
            Err(error) => return ConnectFault::Unusable(connection.at.clone(), error),
        }
        tokio::select! {
            () = sleep_until(asked + BEAT) => {}
            () = store.0.trouble.notified() => {
                // Slow or not, it is asked again at once, and a connection that broke says so.
                sleep(RETRY.0).await;
            }
        }
    }
}

/// This replica, as the others see it.
pub(super) fn member(store: &SharedStore) -> Member {
    let key = store.0.config.keys.ids().into_iter().next().unwrap_or_default();
    Member { replica: store.replica().to_owned(), key, host: host_name() }
}

/// Whether the store answers at all.
async fn alive(connection: &Connection) -> bool {
    let mut commands = connection.commands.clone();
    let answer = timeout(RETRY.1, redis::cmd("PING").query_async::<String>(&mut commands)).await;
    answer.is_ok_and(|answer| answer.is_ok())
}

async fn beat(
    store: &SharedStore,
    connection: &Connection,
    (member, identity): (&Member, &StoreIdentity),
) -> Result<Pulse, StoreError> {
    let mut mark = [0; 8];
    getrandom::fill(&mut mark).map_err(|_| StoreError::Unsealed)?;
    let (script, arguments) = heartbeat::beat(member, &identity.run, &hex(&mark));
    let mut call = script.prepare_invoke();
    call.key(store.key("replicas", &[])).key(store.key("server", &[]));
    for argument in &arguments {
        call.arg(argument.as_slice());
    }
    let mut commands = connection.commands.clone();
    let answer = timeout(store.deadline(), call.invoke_async(&mut commands)).await;
    let answer = answer.map_err(|_| StoreError::Slow)?.map_err(StoreError::from)?;
    Ok(heartbeat::pulse(answer))
}

impl Memory {
    /// The store is up: says so, and what it told.
    fn note(&mut self, store: &SharedStore, connection: &Connection, pulse: Pulse) {
        let Pulse { mark, age, replicas } = pulse;
        let now = Instant::now();
        let switched = mark != self.mark;
        if switched {
            self.mark = mark;
            self.settles = Some(now + SETTLE.saturating_sub(age));
        }
        let settled = self.settles.is_none_or(|settles| now >= settles);
        let count = u32::try_from(replicas.len()).unwrap_or(u32::MAX).max(1);
        let mut commands = store.0.commands.write().unwrap_or_else(PoisonError::into_inner);
        if commands.is_none() {
            store.0.slow.store(0, Ordering::Relaxed);
            *commands = Some(connection.commands.clone());
        }
        drop(commands);
        store.0.series.up(true);
        store.0.series.replicas(count);
        let mut rose = false;
        store.0.state.send_if_modified(|state| {
            let before = *state;
            rose = !state.up;
            (state.up, state.settled, state.replicas) = (true, settled, count);
            state.switches += u64::from(switched);
            before != *state
        });
        if rose {
            tracing::info!(address = connection.at, replicas = count, "the shared store is up");
            self.told = None;
        }
        self.tell_strangers(store, &replicas);
    }

    fn tell_strangers(&mut self, store: &SharedStore, replicas: &[Member]) {
        let own = store.0.config.keys.ids();
        for Member { key, host, .. } in replicas {
            if !own.contains(key) && !self.strangers.contains(key) {
                tracing::error!(
                    host,
                    key,
                    own = own.join(", "),
                    "a replica seals with a key that is not among key of [shared] here: neither reads what the other writes; give all replicas the same file"
                );
                self.strangers.push(key.clone());
            }
        }
        self.strangers.retain(|key| replicas.iter().any(|member| member.key == *key));
    }

    /// The store is down: says why, once.
    fn tell_down(&mut self, store: &SharedStore, fault: &ConnectFault) {
        let why = ErrorChain(fault).to_string();
        if self.told.as_ref() != Some(&why) {
            tracing::warn!(
                address = store.address(),
                error = why,
                replicas = store.state().replicas,
                "the shared store is down: this replica goes on with its share of rates and quotas; rules with max-uses, approvals and the renewal of sign-ins wait for it"
            );
        }
        *store.0.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
        store.0.series.up(false);
        self.told = Some(why);
    }
}

/// The name of this machine, or container.
fn host_name() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    name.chars().take(64).map(plain).collect()
}
