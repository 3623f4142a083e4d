//! Kills at every step of a renewal: where they lose a person's grant, and where they must not.
//!
//! Each proxy process reaches the sandbox over an address of its own, 127.0.0.N, all with one port: so they share the file
//! of one grant, and the relay in between knows which process asks, and can kill it at any step.
//!
//! Slow: `.ci/sign-in` runs it.

mod relay;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::stand::{Stand, config};
use crate::harness::{Ninja, binary, eventually};
use relay::{Plan, Process, Relay, Renewal};

/// How many processes share the grant while none is killed.
const FLEET: usize = 20;
/// How many of them go on beside each process that is killed.
const OTHERS: usize = 3;
/// The renewals before the first kill.
const RENEWALS: usize = 120;

/// When a process is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    /// Just started: it reads its configuration, waits for the lock, or renews.
    Starting,
    /// It has run for a while, and does or waits for anything.
    Running,
    /// Another process holds the lock.
    Waiting,
    /// It has sent its request, and the connection ends before NinjaOne has it.
    Asking,
    /// The same, while another process waits for the lock.
    AskingWithAnotherWaiting,
    /// NinjaOne has answered, and the answer has not come.
    Answered,
    /// The answer has been on its way for so many microseconds.
    Told(u64),
}

/// The steps, and how many kills each gets.
const STEPS: [(Step, usize); 13] = [
    (Step::Starting, 70),
    (Step::Running, 60),
    (Step::Waiting, 50),
    (Step::Asking, 60),
    (Step::AskingWithAnotherWaiting, 50),
    (Step::Answered, 50),
    (Step::Told(0), 30),
    (Step::Told(100), 30),
    (Step::Told(500), 30),
    (Step::Told(1000), 30),
    (Step::Told(2000), 30),
    (Step::Told(5000), 30),
    (Step::Told(10_000), 30),
];

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Starting => f.write_str("at a random moment after its start"),
            Self::Running => f.write_str("at a random moment"),
            Self::Waiting => f.write_str("waits for the lock"),
            Self::Asking => f.write_str("has asked, NinjaOne has not got it"),
            Self::AskingWithAnotherWaiting => f.write_str("the same, while another waits for the lock"),
            Self::Answered => f.write_str("NinjaOne has answered, not yet received"),
            Self::Told(micros) => write!(f, "{} ms after the answer", *micros as f64 / 1000.0),
        }
    }
}

#[test]
#[ignore = "slow: .ci/sign-in runs it"]
fn kills_lose_a_grant_only_between_the_request_for_a_renewal_and_the_writing_of_its_answer() {
    let fleet = Fleet::new();
    let mut watch = FileWatch::begin(&fleet.grant);
    fleet.renew_without_kills();
    let mut table = String::new();
    let (mut kills, mut losses, mut most_unfinished) = (0, 0, 0);
    for (step, times) in STEPS {
        let kill = |number| {
            let is_lost = fleet.kill_at(step, number);
            most_unfinished = most_unfinished.max(fleet.unfinished().len());
            is_lost
        };
        let lost = (0..times).map(kill).filter(|is_lost| *is_lost).count();
        writeln!(table, "{:<45}{times:>7}{lost:>7}", step.to_string()).expect("a line");
        println!("{step}: {times} kills, {lost} grants lost");
        match step {
            Step::Waiting | Step::Asking | Step::AskingWithAnotherWaiting => assert_eq!(lost, 0, "{step}"),
            // The token that is good is known to nobody.
            Step::Answered => assert_eq!(lost, times, "{step}"),
            // Where the kill hit decides: see `Fleet::is_lost`.
            Step::Starting | Step::Running | Step::Told(_) => {}
        }
        (kills, losses) = (kills + times, losses + lost);
    }
    println!("{:<45}{:>7}{:>7}\n{table}{:<45}{kills:>7}{losses:>7}", "killed when the process", "kills", "lost", "all");
    let counts = fleet.stand.ninja.counts();
    println!("renewals {}, reuses {}, reads of the file {}", counts.refreshes, counts.reuses, watch.end());
    println!("files that were begun and not renamed: at most {} at a time", most_unfinished);
    assert!(kills >= 500, "{kills} kills");
    // A grant is lost by the one use of a token whose successor is lost, and by nothing else.
    assert_eq!(counts.reuses, losses as u64);
    let log = fleet.log();
    assert!(!log.contains("damaged") && !log.contains("panicked"), "{log}");
    // What kills have left behind goes with the next renewal.
    fleet.check(None, Instant::now());
    eventually("nothing is left behind", || fleet.unfinished().is_empty());
    assert!(most_unfinished <= 2, "what a kill has left behind, and what is just written: {most_unfinished}");
}

/// Processes with one grant.
struct Fleet {
    stand: Stand,
    relay: Arc<Relay>,
    grant: PathBuf,
    /// How long a process takes from its start to the end of its first renewal.
    first_renewal: Duration,
}

impl Fleet {
    fn new() -> Self {
        let ninja = Ninja::start(|options| options.token_lifetime = Duration::from_secs(2));
        let relay = Relay::start(ninja.address, FLEET + 5);
        let instance = |slot: usize| {
            let address = relay.address(slot);
            format!("host = \"http://localhost:{}\"\naddresses = [\"{}\"]", address.port(), address.ip())
        };
        let listener = "user-for = \"always\"";
        let stand = Stand::with(ninja, &config(&instance(0), "", listener, "warn"));
        for slot in 0..relay.slots() {
            let path = stand.folder.path().join(format!("config-{slot}.toml"));
            std::fs::write(path, config(&instance(slot), "", listener, "warn")).expect("a file");
        }
        stand.sign_in();
        let grant = stand.grants().pop().expect("a grant");
        relay.watch(&grant);
        let mut fleet = Self { stand, relay, grant, first_renewal: Duration::ZERO };
        let begun = Instant::now();
        let process = fleet.start(Plan::PassOn);
        fleet.renewal_after(None, begun);
        fleet.first_renewal = begun.elapsed();
        println!("from the start of a process to its first renewal: {:?}", fleet.first_renewal);
        fleet.relay.end(process);
        fleet
    }

    /// All at once, for so many renewals.
    fn renew_without_kills(&self) {
        let before = self.stand.ninja.counts();
        let processes: Vec<_> = (0..FLEET).map(|_| self.start(Plan::PassOn)).collect();
        let begun = Instant::now();
        while self.stand.ninja.counts().refreshes - before.refreshes < RENEWALS as u64 {
            assert!(begun.elapsed() < Duration::from_secs(120), "the renewals come");
            thread::sleep(Duration::from_millis(50));
        }
        let renewals = self.relay.renewals();
        assert!(renewals.iter().all(|renewal| renewal.given.is_some()), "no grant is lost");
        let has_asked = |process: &Process| renewals.iter().any(|renewal| renewal.process == *process);
        assert!(processes.iter().all(has_asked), "each has a turn: {renewals:?}");
        assert_eq!(self.stand.ninja.counts().reuses, 0);
        let mut times = self.relay.writing_times();
        times.sort();
        println!(
            "{} renewals of {FLEET} processes in {:?}; from the answer to the renamed file: median {:?}, most {:?}",
            renewals.len(),
            begun.elapsed(),
            times[times.len() / 2],
            times[times.len() - 1]
        );
        // A normal end loses nothing.
        processes.into_iter().skip(OTHERS).for_each(|process| self.relay.end(process));
        assert!(!self.check(None, Instant::now()).is_lost);
    }

    /// Kills a process at this step, and says whether the grant is lost; if so, signs in anew.
    fn kill_at(&self, step: Step, number: usize) -> bool {
        let (victim, killed) = match step {
            Step::Starting => {
                let victim = self.start(Plan::PassOn);
                thread::sleep(self.first_renewal.mul_f64(1.3 * random(number)));
                (victim, self.relay.kill(victim))
            }
            Step::Running => {
                let victim = self.relay.alive().first().copied().expect("the others");
                thread::sleep(Duration::from_millis(300).mul_f64(random(number)));
                (victim, self.relay.kill(victim))
            }
            Step::Waiting | Step::AskingWithAnotherWaiting => {
                let holder = self.start(Plan::Hold);
                eventually("it holds the lock", || self.relay.is_held(holder));
                let waiting = self.start(Plan::PassOn);
                eventually("another waits", || self.has_lock_open(waiting));
                thread::sleep(Duration::from_millis(20).mul_f64(random(number)));
                let victim = if step == Step::Waiting { waiting } else { holder };
                let killed = self.relay.kill(victim);
                self.relay.release(holder);
                (victim, killed)
            }
            Step::Asking => self.kill_by(Plan::KillBefore),
            Step::Answered => self.kill_by(Plan::KillBetween),
            Step::Told(micros) => self.kill_by(Plan::KillAfter(Duration::from_micros(micros))),
        };
        let checked = self.check(Some(victim), killed);
        if checked.is_lost {
            self.assert_in_window(&checked, victim);
            // In a real world a person does this.
            self.relay.kill(checked.checker);
            self.stand.sign_in();
        }
        self.thin_out();
        checked.is_lost
    }

    /// Starts a process that the relay kills at its first renewal.
    fn kill_by(&self, plan: Plan) -> (Process, Instant) {
        let victim = self.start(plan);
        let mut killed = None;
        eventually("it is killed", || {
            killed = self.relay.killed(victim);
            killed.is_some()
        });
        (victim, killed.expect("a moment"))
    }

    /// The token that the next process sends was followed by another one, which was given to the victim, and to nobody who
    /// still lived to write it.
    fn assert_in_window(&self, checked: &Checked, victim: Process) {
        let renewals = self.relay.renewals();
        let mut before = renewals.iter().filter(|renewal| renewal.arrived < checked.renewal.arrived);
        let last = before.next_back().expect("a renewal before the loss");
        assert_eq!(last.process, victim, "a process that was not killed has lost the grant: {checked:?} {last:?}");
        assert_eq!(
            last.sent, checked.renewal.sent,
            "the next one sends what the victim has used: {checked:?} {last:?}"
        );
    }

    /// The first renewal after a kill, by a new process or one of the others.
    fn check(&self, victim: Option<Process>, after: Instant) -> Checked {
        let checker = self.start(Plan::PassOn);
        let renewal = self.renewal_after(victim, after);
        Checked { checker, is_lost: renewal.given.is_none(), renewal }
    }

    /// The first renewal that begins after this moment; the victim may still begin one while it is killed.
    fn renewal_after(&self, victim: Option<Process>, after: Instant) -> Renewal {
        let mut found = None;
        eventually("a renewal", || {
            let is_next = |renewal: &Renewal| renewal.arrived > after && Some(renewal.process) != victim;
            found = self.relay.renewals().into_iter().find(is_next);
            found.is_some()
        });
        found.expect("a renewal")
    }

    fn start(&self, plan: Plan) -> Process {
        let folder = self.stand.folder.path();
        self.relay.start_process(plan, |slot| {
            let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).expect("a file");
            let mut command = std::process::Command::new(binary());
            command.arg("--config").arg(format!("config-{slot}.toml")).current_dir(folder);
            command.env("STATE_DIRECTORY", self.stand.state()).stderr(log);
            command
        })
    }

    /// Ends all but a few, the oldest first; none of them in a renewal.
    fn thin_out(&self) {
        let alive = self.relay.alive();
        alive.iter().take(alive.len().saturating_sub(OTHERS + 1)).for_each(|process| self.relay.end(*process));
    }

    /// Whether this process has the lock file open; one that has, and does not hold the lock, waits for it.
    fn has_lock_open(&self, process: Process) -> bool {
        let pid = self.relay.pid(process);
        let lock = self.grant.with_extension("lock");
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|path| path == lock)
    }

    /// Files that were begun and not renamed.
    fn unfinished(&self) -> Vec<PathBuf> {
        let name = self.grant.file_name().expect("a name").to_str().expect("text").to_owned() + ".";
        let files = std::fs::read_dir(self.grant.parent().expect("a folder")).expect("a folder");
        let paths = files.map(|file| file.expect("an entry").path());
        paths.filter(|path| path.file_name().is_some_and(|own| own.to_string_lossy().starts_with(&name))).collect()
    }

    fn log(&self) -> String {
        self.stand.log()
    }
}

/// What the first renewal after a kill has shown.
#[derive(Debug)]
struct Checked {
    checker: Process,
    is_lost: bool,
    renewal: Renewal,
}

/// Spreads evenly over 0 to 1, whatever the number of kills: the golden ratio.
fn random(number: usize) -> f64 {
    (number as f64 * 0.618_033_988_75).fract()
}

/// Reads the grant's file again and again: it is whole at any moment.
struct FileWatch {
    stop: Arc<AtomicBool>,
    reads: Option<thread::JoinHandle<u64>>,
}

impl FileWatch {
    fn begin(path: &Path) -> Self {
        let (stop, path) = (Arc::new(AtomicBool::new(false)), path.to_owned());
        let stopped = Arc::clone(&stop);
        let reads = thread::spawn(move || {
            let mut reads = 0;
            while !stopped.load(Ordering::Relaxed) {
                let text = std::fs::read_to_string(&path).expect("a file at any moment");
                let content: serde_json::Value = serde_json::from_str(&text).expect("a whole file");
                assert!(content["refresh-token"].as_str().is_some_and(|token| !token.is_empty()));
                reads += 1;
                thread::sleep(Duration::from_millis(1));
            }
            reads
        });
        Self { stop, reads: Some(reads) }
    }

    /// How often it was read.
    fn end(&mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let reads = self.reads.take().expect("not ended before");
        reads.join().expect("a file that is whole at any moment")
    }
}

/// The folder outlasts the reading.
impl Drop for FileWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.reads.take().map(thread::JoinHandle::join);
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for process in self.relay.alive() {
            self.relay.kill(process);
        }
    }
}
