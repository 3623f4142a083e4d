//! The way from many proxy processes to one sandbox: it knows which process asks, and can kill it at any step of a renewal.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ninjaone_proxy::base::file::Stamp;

use crate::harness::{connect, eventually, read_body, read_head};

/// What happens at the next renewal of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) enum Plan {
    #[default]
    PassOn,
    /// It is kept waiting until it is released, and goes on then if its process still lives.
    Hold,
    /// Its process is killed before the sandbox has the request.
    KillBefore,
    /// Its process is killed when the sandbox has answered, before the answer is passed on.
    KillBetween,
    /// Its process is killed this long after the answer was passed on.
    KillAfter(Duration),
}

/// One renewal to which the sandbox has answered.
#[derive(Debug, Clone)]
pub(super) struct Renewal {
    /// The process that asked.
    pub(super) process: Process,
    pub(super) arrived: Instant,
    /// The refresh token that came.
    pub(super) sent: String,
    /// The one that was given; none: the grant has ended.
    pub(super) given: Option<String>,
}

/// A process and the address that it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) slot: usize,
    number: u64,
}

pub(super) struct Relay {
    ninja: SocketAddr,
    slots: Vec<Slot>,
    /// Locked while one is under way: what a process has sent before its end comes before what the next one sends.
    renewals: Mutex<Vec<Renewal>>,
    /// The file of the grant, once there is one.
    grant: Mutex<Option<PathBuf>>,
    writing_times: Mutex<Vec<Duration>>,
}

struct Slot {
    address: SocketAddr,
    state: Mutex<SlotState>,
}

#[derive(Default)]
struct SlotState {
    /// Counts the processes that have used this address.
    number: u64,
    child: Option<Child>,
    started: Option<Instant>,
    killed: Option<Instant>,
    plan: Plan,
    is_held: bool,
    is_released: bool,
}

impl Relay {
    /// With so many addresses, all with the same port.
    pub(super) fn start(ninja: SocketAddr, slots: usize) -> Arc<Self> {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = first.local_addr().expect("an address").port();
        let other = |slot: usize| {
            let ip = Ipv4Addr::new(127, 0, 0, u8::try_from(slot + 1).expect("few addresses"));
            TcpListener::bind((ip, port)).expect("the same port of another address")
        };
        let listeners: Vec<_> = [first].into_iter().chain((1..slots).map(other)).collect();
        let slot = |listener: &TcpListener| Slot {
            address: listener.local_addr().expect("an address"),
            state: Mutex::default(),
        };
        let slots = listeners.iter().map(slot).collect();
        let (renewals, grant, writing_times) = (Mutex::default(), Mutex::default(), Mutex::default());
        let relay = Arc::new(Self { ninja, slots, renewals, grant, writing_times });
        for (slot, listener) in listeners.into_iter().enumerate() {
            let relay = Arc::clone(&relay);
            thread::spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    let relay = Arc::clone(&relay);
                    thread::spawn(move || relay.serve(slot, stream));
                }
            });
        }
        relay
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn address(&self, slot: usize) -> SocketAddr {
        self.slots[slot].address
    }

    /// From now on it is measured when this file is replaced.
    pub(super) fn watch(&self, grant: &Path) {
        *lock(&self.grant) = Some(grant.to_owned());
    }

    /// All renewals so far, in their order.
    pub(super) fn renewals(&self) -> Vec<Renewal> {
        lock(&self.renewals).clone()
    }

    /// The times from the answers to the renewals to the new files.
    pub(super) fn writing_times(&self) -> Vec<Duration> {
        lock(&self.writing_times).clone()
    }

    /// Starts a process at the address that is free for longest: what a dead one has sent may be read late, and must not be
    /// taken for that of the next one.
    pub(super) fn start_process(&self, plan: Plan, command: impl FnOnce(usize) -> Command) -> Process {
        let free = |slot: &usize| self.state(*slot).child.is_none();
        let free = (0..self.slots.len()).filter(free);
        let slot = free.min_by_key(|slot| self.state(*slot).started).expect("a free address");
        let child = command(slot).spawn().expect("the binary runs");
        let mut state = self.state(slot);
        let number = state.number + 1;
        *state = SlotState { number, child: Some(child), started: Some(Instant::now()), plan, ..SlotState::default() };
        Process { slot, number }
    }

    /// Kills it, and says when; if that was done before, when that was.
    pub(super) fn kill(&self, process: Process) -> Instant {
        let mut state = self.state(process.slot);
        assert_eq!(state.number, process.number, "its address is not used by another one");
        if let Some(killed) = state.killed {
            return killed;
        }
        let killed = Instant::now();
        let mut child = state.child.take().expect("a process");
        child.kill().expect("a kill");
        child.wait().expect("an end");
        state.killed = Some(killed);
        killed
    }

    /// When it was killed.
    pub(super) fn killed(&self, process: Process) -> Option<Instant> {
        self.state(process.slot).killed
    }

    /// Ends it by SIGTERM.
    pub(super) fn end(&self, process: Process) {
        let pid = self.state(process.slot).child.as_ref().map(rustix::process::Pid::from_child).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
        eventually("it ends", || {
            let mut state = self.state(process.slot);
            let ended = state.child.as_mut().expect("a process").try_wait().expect("a status").is_some();
            if ended {
                state.child = None;
            }
            ended
        });
    }

    /// The processes that run, oldest first.
    pub(super) fn alive(&self) -> Vec<Process> {
        let of = |slot: usize| {
            let state = self.state(slot);
            state.child.as_ref().and(state.started).map(|started| (started, Process { slot, number: state.number }))
        };
        let mut alive: Vec<_> = (0..self.slots.len()).filter_map(of).collect();
        alive.sort_by_key(|(started, _)| *started);
        alive.into_iter().map(|(_, process)| process).collect()
    }

    pub(super) fn pid(&self, process: Process) -> u32 {
        self.state(process.slot).child.as_ref().expect("a process").id()
    }

    /// Whether it asks, and is kept waiting.
    pub(super) fn is_held(&self, process: Process) -> bool {
        self.state(process.slot).is_held
    }

    pub(super) fn release(&self, process: Process) {
        self.state(process.slot).is_released = true;
    }

    fn state(&self, slot: usize) -> MutexGuard<'_, SlotState> {
        lock(&self.slots[slot].state)
    }

    /// One request, and the end of the connection.
    fn serve(&self, slot: usize, mut client: TcpStream) {
        let Some(head) = read_head(&mut client) else { return };
        let body = read_body(&head, &mut client);
        let text = String::from_utf8_lossy(&body).into_owned();
        let Some(sent) = field(&text, "refresh_token") else {
            pass_back(&mut client, &self.ask(&head, &body));
            return;
        };
        let (plan, process) = {
            let mut state = self.state(slot);
            (std::mem::take(&mut state.plan), Process { slot, number: state.number })
        };
        if plan == Plan::Hold && !self.hold(process) {
            return;
        }
        let before = self.stamp();
        let answer = {
            let mut renewals = lock(&self.renewals);
            let arrived = Instant::now();
            if plan == Plan::KillBefore {
                self.kill(process);
                return;
            }
            let answer = self.ask(&head, &body);
            let given = json_field(&String::from_utf8_lossy(&answer), "refresh_token");
            renewals.push(Renewal { process, arrived, sent, given });
            answer
        };
        if plan == Plan::KillBetween {
            self.kill(process);
            return;
        }
        pass_back(&mut client, &answer);
        let answered = Instant::now();
        if let Plan::KillAfter(time) = plan {
            // The system wakes a thread late by more than the shortest of these times.
            while answered.elapsed() < time {
                std::hint::spin_loop();
            }
            self.kill(process);
        } else {
            self.measure(process, before, answered);
        }
    }

    /// Waits for the release; whether the process still lives.
    fn hold(&self, process: Process) -> bool {
        self.state(process.slot).is_held = true;
        let mut lives = true;
        eventually("it is released", || {
            let state = self.state(process.slot);
            lives = state.number == process.number && state.child.is_some();
            state.is_released || !lives
        });
        lives
    }

    /// Notes when the file is another one.
    fn measure(&self, process: Process, before: Option<Stamp>, answered: Instant) {
        while answered.elapsed() < Duration::from_secs(1) && self.killed(process).is_none() {
            if self.stamp() != before {
                lock(&self.writing_times).push(answered.elapsed());
                return;
            }
            thread::sleep(Duration::from_micros(20));
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        lock(&self.grant).as_deref().and_then(Stamp::of)
    }

    /// The whole answer of the sandbox, as it came.
    fn ask(&self, head: &str, body: &[u8]) -> Vec<u8> {
        let mut server = connect(self.ninja);
        let fields = head.trim_end().lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
        let head = fields.collect::<Vec<_>>().join("\r\n");
        server.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).expect("a head goes out");
        server.write_all(body).expect("a body goes out");
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).expect("an answer");
        answer
    }
}

/// The client may be dead.
fn pass_back(client: &mut TcpStream, answer: &[u8]) {
    let _ = client.write_all(answer).and_then(|()| client.shutdown(Shutdown::Write));
}

/// The value of a field of a form; tokens have nothing that is encoded.
fn field(form: &str, name: &str) -> Option<String> {
    form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
}

/// The text at this name in JSON without spaces.
fn json_field(text: &str, name: &str) -> Option<String> {
    let rest = text.split(&format!("\"{name}\":\"")).nth(1)?;
    rest.split('"').next().map(str::to_owned)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
