//! The scripts of rates and quotas in a real redis-server, with a clock of the test's own, against one who counts anew.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis::{Connection, Script};

use super::RedisServer;

const SLOTS: &str = include_str!("../../../../src/proxy/quota/slots.lua");
const RESERVE: &str = include_str!("../../../../src/proxy/rate_limit/reserve.lua");
/// Some time in 2025, in microseconds.
const BEGIN: i64 = 1_764_400_000_000_000;

/// A script whose clock is its last argument.
fn timed(script: &str) -> Script {
    assert_eq!(script.matches("redis.call('TIME')").count(), 1);
    Script::new(&script.replace("redis.call('TIME')", "cjson.decode(ARGV[#ARGV])"))
}

fn clock(now: i64) -> String {
    format!("[{},{}]", now / 1_000_000, now % 1_000_000)
}

fn connect(server: &RedisServer) -> Connection {
    let client = redis::Client::open(server.url()).expect("an address");
    client.get_connection().expect("a connection")
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

/// What the script says of one quota: taken, used, own, active, remaining, left, more, opens.
type Row = (u32, u32, u32, u32, u32, i64, i64, i64);

fn take(store: &mut Connection, script: &Script, now: i64, limit: u32, slot: i64, caller: usize, wanted: u32) -> Row {
    let mut call = script.key("quota");
    call.arg(limit).arg(slot).arg(format!("caller{caller}")).arg(0).arg(u32::MAX).arg(wanted).arg(0).arg(clock(now));
    let rows: Vec<Row> = call.invoke(store).expect("an answer");
    rows[0]
}

#[test]
fn quotas_in_the_store_decide_as_one_who_counts_the_whole_history_anew() {
    let Some(server) = RedisServer::start() else { return };
    let (store, script) = (std::cell::RefCell::new(connect(&server)), timed(SLOTS));
    let steps = prop::collection::vec((0..4usize, 0..3u32, 1..4u32, 0..1_000_000i64), 1..120);
    let ran = runner(120).run(
        &(prop::sample::select(vec![1u32, 2, 5, 20]), prop::sample::select(vec![1i64, 60, 3600]), steps),
        |(limit, seconds, steps)| {
            let (mut store, slot, mut now) = (store.borrow_mut(), seconds * 1_000_000 / 60, BEGIN);
            redis::cmd("FLUSHALL").exec(&mut *store).expect("an empty store");
            let (mut history, mut asked) = (Vec::<(i64, usize, u32)>::new(), BTreeMap::new());
            for (caller, pace, wanted, gap) in steps {
                now += gap * seconds / [1000, 30, 1][pace as usize];
                let row = take(&mut store, &script, now, limit, slot, caller, wanted);
                // A use counts until its slot has left the window whole.
                let first = now / slot - 60;
                let used = |who: usize| -> u32 {
                    history
                        .iter()
                        .filter(|(at, by, _)| *at / slot >= first && *by == who)
                        .map(|(.., count)| *count)
                        .sum()
                };
                let others: Vec<_> = asked
                    .iter()
                    .filter(|(who, at)| **who != caller && **at / slot >= first)
                    .map(|(who, _)| *who)
                    .collect();
                let (all, own) = ((0..4).map(used).sum::<u32>(), used(caller));
                let share = (limit / (others.len() as u32 + 1)).max(1);
                let kept: u32 = others.iter().map(|who| share.saturating_sub(used(*who))).sum();
                let room = limit.saturating_sub(all);
                let remaining = share.saturating_sub(own).min(room).max(room.saturating_sub(kept));
                let taken = wanted.min(remaining);
                prop_assert_eq!(
                    (row.0, row.1, row.2, row.3),
                    (taken, all + taken, own + taken, others.len() as u32 + 1)
                );
                prop_assert!((1..=slot).contains(&row.5), "to the end of the slot");
                prop_assert_eq!(row.4 == 0, row.7 > 0, "it is closed, or says nothing of when it opens");
                asked.insert(caller, now);
                if taken > 0 {
                    history.push((now, caller, taken));
                }
            }
            // The law, by the exact times.
            for (end, _, _) in &history {
                let window = *end - seconds * 1_000_000;
                let within: u32 =
                    history.iter().filter(|(at, ..)| *at > window && at <= end).map(|(.., count)| *count).sum();
                prop_assert!(within <= limit, "{} in a window of {}", within, limit);
            }
            Ok(())
        },
    );
    ran.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_quota_opens_when_the_script_says() {
    let Some(server) = RedisServer::start() else { return };
    let (mut store, script, slot) = (connect(&server), timed(SLOTS), 1_000_000);
    for caller in 0..3 {
        take(&mut store, &script, BEGIN + caller * 7_000_000, 3, slot, caller as usize, 1);
    }
    let now = BEGIN + 20_000_000;
    let closed = take(&mut store, &script, now, 3, slot, 0, 1);
    assert_eq!((closed.0, closed.4), (0, 0));
    assert_eq!(take(&mut store, &script, now + closed.7 - 1, 3, slot, 0, 1).0, 0, "not before");
    assert_eq!(take(&mut store, &script, now + closed.7, 3, slot, 0, 1).0, 1);
    assert!(closed.7 <= 42_000_000, "{}", closed.7);
}

#[test]
fn nothing_is_taken_from_one_quota_if_another_is_used_up_and_what_others_wrote_is_ignored() {
    let Some(server) = RedisServer::start() else { return };
    let (mut store, script) = (connect(&server), timed(SLOTS));
    let mut both = |now: i64| -> Vec<Row> {
        let mut call = script.key("own");
        call.key("all");
        for (limit, own) in [(1, 1), (10, 0)] {
            call.arg(limit).arg(1_000_000).arg("caller").arg(own).arg(1).arg(1).arg(0);
        }
        call.arg(clock(now)).invoke(&mut store).expect("an answer")
    };
    assert!(both(BEGIN).iter().all(|row| row.0 == 1));
    let refused = both(BEGIN + 1);
    assert!(refused.iter().all(|row| row.0 == 0));
    assert_eq!((refused[0].4, refused[1].4, refused[1].1), (0, 9, 1));
    server.cli(&["HSET", "all", "strange", "1 2 x", "caller", "nonsense"]);
    assert!(both(BEGIN + 100_000_000).iter().all(|row| row.0 == 1));
    assert!(server.cli(&["PTTL", "all"]).trim().parse::<u32>().is_ok_and(|left| left <= 62_000), "it ends by itself");
}

#[test]
fn permits_of_the_store_are_those_of_one_bucket() {
    let Some(server) = RedisServer::start() else { return };
    let (store, script) = (std::cell::RefCell::new(connect(&server)), timed(RESERVE));
    let steps =
        prop::collection::vec((1..12u32, prop_oneof![Just(0), 0..5_000i64, 0..3_000_000i64], 0..2_000_000i64), 1..80);
    let ran = runner(120).run(&(1..20i64, 100..400_000i64, steps), |(burst, interval, steps)| {
        let (mut store, mut now, tolerance) = (store.borrow_mut(), BEGIN, interval * (burst - 1));
        redis::cmd("FLUSHALL").exec(&mut *store).expect("an empty store");
        let mut permits: Vec<i64> = Vec::new();
        for (count, gap, bound) in steps {
            now += gap;
            let mut call = script.key("pace");
            call.arg(interval).arg(tolerance).arg(count).arg(bound).arg(1_000_000_000).arg(clock(now));
            let (given, first, calm): (u32, i64, i64) = call.invoke(&mut *store).expect("an answer");
            prop_assert_eq!(calm, 0);
            // The earliest time that the permits before allow, of which the script keeps a single number.
            let earliest =
                permits.iter().rev().enumerate().map(|(place, at)| at + interval * (place as i64 + 2 - burst));
            let earliest = earliest.max().unwrap_or(now).max(now);
            if earliest - now > bound {
                prop_assert_eq!((given, first), (0, earliest - now), "too late, and nothing is reserved");
                continue;
            }
            prop_assert_eq!(given, count);
            permits.extend((0..i64::from(count)).map(|number| now + (first + number * interval).max(0)));
            prop_assert_eq!(permits[permits.len() - count as usize], earliest);
        }
        for (first, begin) in permits.iter().enumerate() {
            for (last, end) in permits.iter().enumerate().skip(first) {
                let allowed = burst + (end - begin) / interval;
                prop_assert!((last - first + 1) as i64 <= allowed, "{} within {}", last - first + 1, end - begin);
            }
        }
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
}
