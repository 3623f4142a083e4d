//! A person's grant that replicas share: one uses the refresh token, and no kill and no empty store makes it come twice.

use std::net::SocketAddr;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use ninjaone_proxy::sandbox::REFRESH_MARK;

use super::stand::{Stand, config, run_in};
use crate::command_line::folder;
use crate::harness::{Ninja, eventually};
use crate::shared::{self, RedisServer};
use crate::watch::SECRET;

/// A proxy process with a folder of its own, as on another machine.
struct Replica {
    folder: tempfile::TempDir,
    running: Option<Child>,
    local: SocketAddr,
}

impl Replica {
    fn start(stand: &Stand, server: &RedisServer) -> Self {
        let folder = folder(&text(&stand.ninja, server));
        std::fs::write(folder.path().join("secret"), SECRET).expect("a file");
        let mut running = None;
        let [local, _] = run_in(folder.path(), &mut running);
        Self { folder, running, local }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }

    fn kill(&mut self) {
        let mut child = self.running.take().expect("a process");
        child.kill().expect("killed");
        child.wait().expect("an end");
    }

    fn ticket(&self, stand: &Stand) -> u16 {
        stand.ticket(self.local).status
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            let _ = running.kill();
            let _ = running.wait();
        }
    }
}

fn text(ninja: &Ninja, server: &RedisServer) -> String {
    config(&ninja.instance(), "", "user-for = \"always\"", "info,access=off") + &shared::config(server)
}

fn stand(server: &RedisServer, change: impl FnOnce(&mut ninjaone_proxy::sandbox::Options)) -> Stand {
    let ninja = Ninja::start(change);
    let text = text(&ninja, server);
    Stand::with(ninja, &text)
}

#[test]
fn a_person_signs_in_once_for_all_replicas_and_out_again() {
    let Some(server) = RedisServer::start() else { return };
    let stand = stand(&server, |_| ());
    let replicas = [Replica::start(&stand, &server), Replica::start(&stand, &server)];
    for replica in &replicas {
        eventually("it says so", || stand.ticket(replica.local).code() == "sign-in-needed");
    }
    assert_eq!(stand.command(&["login", "--status"]).0, 1);
    stand.sign_in();
    for replica in &replicas {
        eventually("it has the sign-in", || replica.ticket(&stand) == 200);
    }
    assert_eq!(stand.ninja.counts().refreshes, 1, "one renewal for both");
    assert!(stand.grants().is_empty(), "no file");
    let (code, said, _) = stand.command(&["login", "--status"]);
    assert!(code == 0 && said.contains("kept in the shared store"), "{said}");
    // Who comes later takes the token that is there.
    let later = Replica::start(&stand, &server);
    eventually("a later one has it", || later.ticket(&stand) == 200);
    assert_eq!(stand.ninja.counts().refreshes, 1);
    let seen = server.cli(&["--scan"]).lines().map(|key| server.cli(&["DUMP", key])).collect::<String>();
    assert!(!seen.is_empty() && !seen.contains(REFRESH_MARK) && !seen.contains("technician"), "{seen}");
    let (code, said, errors) = stand.command(&["logout", "technician"]);
    assert!(code == 0 && said.contains("Signed out"), "{said}{errors}");
    for replica in &replicas {
        eventually("it notices", || replica.ticket(&stand) == 503);
    }
    assert_eq!(stand.command(&["login", "--status"]).0, 1);
    // A store that has lost even that does not bring the sign-in back.
    server.cli(&["FLUSHALL"]);
    thread::sleep(Duration::from_secs(6));
    assert_eq!((replicas[0].ticket(&stand), stand.ninja.counts().refreshes), (503, 1));
}

#[test]
fn a_sign_in_outlives_a_store_that_loses_it_and_nothing_is_renewed_while_the_store_is_down() {
    let Some(mut server) = RedisServer::start() else { return };
    let stand = stand(&server, |options| options.token_lifetime = Duration::from_secs(12));
    stand.sign_in();
    let replicas = [Replica::start(&stand, &server), Replica::start(&stand, &server)];
    for replica in &replicas {
        eventually("it has the sign-in", || replica.ticket(&stand) == 200);
    }
    server.stop();
    let before = stand.ninja.counts().refreshes;
    assert_eq!(replicas[0].ticket(&stand), 200, "the access token lives on");
    eventually("until it ends", || replicas[0].ticket(&stand) == 503);
    let refused = stand.ticket(replicas[0].local);
    assert_eq!(refused.code(), "token-unavailable");
    let detail = refused.json()["detail"].as_str().expect("text").to_owned();
    assert!(detail.contains("shared store"), "{detail}");
    assert_eq!(stand.ninja.counts().refreshes, before, "no renewal without the store");
    // Empty, as it keeps nothing on a disk: the replicas write again what they know.
    server.start_again();
    for replica in &replicas {
        eventually("it is renewed again", || replica.ticket(&stand) == 200);
    }
    let counts = stand.ninja.counts();
    assert_eq!(counts.reuses, 0);
    assert!(counts.refreshes <= before + 2, "{} renewals", counts.refreshes - before);
    let told = |replica: &Replica| replica.log().contains("is written to the shared store again");
    eventually("it is told", || replicas.iter().any(told));
}

#[test]
fn rotating_refresh_tokens_are_never_used_twice_though_replicas_and_the_store_are_killed() {
    let Some(mut server) = RedisServer::start() else { return };
    let stand = stand(&server, |options| options.token_lifetime = Duration::from_secs(3));
    stand.sign_in();
    let mut replicas: Vec<_> = (0..3).map(|_| Replica::start(&stand, &server)).collect();
    for replica in &replicas {
        eventually("it has the sign-in", || replica.ticket(&stand) == 200);
    }
    let begun = Instant::now();
    for round in 0..6_usize {
        thread::sleep(Duration::from_millis(1700 + 311 * round as u64));
        if round % 2 == 0 {
            server.stop();
            server.start_again();
        } else {
            let victim = &mut replicas[round % 3];
            victim.kill();
            *victim = Replica::start(&stand, &server);
        }
    }
    println!("{} renewals in {:?}", stand.ninja.counts().refreshes, begun.elapsed());
    assert_eq!(stand.ninja.counts().reuses, 0);
    // A replica that was killed in the middle of a renewal has taken the sign-in with it, and then all say so.
    let tells = |replica: &Replica| replica.log().contains("a replica ended while it renewed the sign-in");
    let mut lost = false;
    for replica in &replicas {
        eventually("it works at the end", || {
            if !lost && replicas.iter().any(tells) {
                lost = true;
                println!("the sign-in was lost by a kill in a renewal");
                stand.sign_in();
            }
            replica.ticket(&stand) == 200
        });
    }
    // How many there were before depends on the machine: none is made in the time after a loss of the store.
    let renewals = stand.ninja.counts().refreshes;
    eventually("renewals go on", || stand.ninja.counts().refreshes > renewals + 1);
    assert_eq!(stand.ninja.counts().reuses, 0);
}

#[test]
fn a_replica_that_is_killed_while_it_renews_ends_the_sign_in_and_the_token_is_not_used_again() {
    let Some(server) = RedisServer::start() else { return };
    let stand = stand(&server, |options| {
        (options.token_lifetime, options.token_delay) = (Duration::from_secs(5), Duration::from_millis(700));
    });
    stand.sign_in();
    let mut first = Replica::start(&stand, &server);
    eventually("it has the sign-in", || first.ticket(&stand) == 200);
    // From the first renewal it is known that the server rotates, and in the next one the replica is killed.
    let asked = stand.ninja.counts().token_requests;
    eventually("it asks", || stand.ninja.counts().token_requests > asked);
    first.kill();
    let second = Replica::start(&stand, &server);
    eventually("it is said that the sign-in is lost", || {
        let refused = stand.ticket(second.local);
        refused.status == 503 && String::from_utf8_lossy(&refused.body).contains("a replica ended while it renewed")
    });
    eventually("it is told", || second.log().contains("sign in again"));
    assert_eq!(stand.command(&["login", "--status"]).0, 1);
    assert_eq!((stand.ninja.counts().refreshes, stand.ninja.counts().reuses), (1, 0));
    stand.sign_in();
    eventually("it works again", || second.ticket(&stand) == 200);
    assert_eq!(stand.ninja.counts().reuses, 0);
}
