//! What a replica tells the store twice a second, and learns from it: who else is there, and whether the store may have lost
//! something.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;

/// How long a replica that says nothing is counted.
const SILENCE: Duration = Duration::from_secs(5);

/// Notes this replica (ARGV 1) among the others (KEYS 1), and the server (ARGV 2) that is asked (KEYS 2). Where that was
/// another one, or nothing is there any more, a new mark (ARGV 3) is set. Answers with the mark, its age in milliseconds,
/// and all replicas.
static BEAT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[4]))
redis.call('PEXPIRE', KEYS[1], 86400000)
local known = redis.call('HMGET', KEYS[2], 'server', 'mark', 'since')
if known[1] ~= ARGV[2] or not known[2] or not known[3] then
    known = { ARGV[2], ARGV[3], string.format('%d', now) }
    redis.call('HSET', KEYS[2], 'server', known[1], 'mark', known[2], 'since', known[3])
end
redis.call('PEXPIRE', KEYS[2], 31536000000)
return { known[2], now - tonumber(known[3]), redis.call('ZRANGE', KEYS[1], 0, -1) }
",
    )
});

/// What a replica learns.
#[derive(Debug)]
pub(super) struct Pulse {
    /// Differs after each loss that is possible.
    pub(super) mark: String,
    /// How long that is ago.
    pub(super) age: Duration,
    /// All replicas, this one among them.
    pub(super) replicas: Vec<Member>,
}

/// A replica as the others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) replica: String,
    /// The id of the key that it seals with.
    pub(super) key: String,
    /// The name of its machine.
    pub(super) host: String,
}

impl Member {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, ' ').map(str::to_owned);
        Some(Self { replica: words.next()?, key: words.next()?, host: words.next()? })
    }
}

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.replica, self.key, self.host)
    }
}

/// The script, and its arguments.
pub(super) fn beat(member: &Member, server: &str, mark: &str) -> (&'static Script, [Vec<u8>; 4]) {
    let silence = SILENCE.as_millis().to_string();
    (&BEAT, [member.to_string().into(), server.into(), mark.into(), silence.into()])
}

/// What the script answered.
pub(super) fn pulse((mark, age, members): (String, u64, Vec<String>)) -> Pulse {
    let replicas = members.iter().filter_map(|text| Member::parse(text)).collect();
    Pulse { mark, age: Duration::from_millis(age), replicas }
}
