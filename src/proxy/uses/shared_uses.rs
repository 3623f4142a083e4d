//! The uses of rules as all replicas count them, in the store.
//!
//! Exact also over kills of replicas and losses of the store, since it is remembered three times: by the store, by each
//! replica that is alive, and by the state folder of the replica that took a use. Each folder has its own count, which only
//! grows; who knows a larger one than the store has writes that there.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::Script;
use tokio::time::{Instant, sleep};

use super::UseError;
use super::tally::Tally;
use crate::base::file;
use crate::shared::{SharedStore, StoreError};

/// Merges what a process knows into what the store has, and takes a use if one is left.
///
/// ARGV: for how long it is kept, in milliseconds; whose use it is; how many there are in all, 0 to take none; 1 if all who
/// know something tell it now; and pairs of a name and its count, as the process knows them. Returns 1 if one was taken, 2
/// if the store has nothing although there was something, else 0; and all pairs.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local counts, sum = {}, 0
local kept = redis.call('HGETALL', KEYS[1])
if #kept == 0 and #ARGV > 4 and ARGV[4] ~= '1' then return {2, {}} end
for i = 1, #kept, 2 do
  local count = tonumber(kept[i + 1])
  if not count or count < 0 or count >= 2 ^ 53 or count % 1 ~= 0 then
    return redis.error_reply('NOCOUNT the uses of a rule are not a number')
  end
  counts[kept[i]] = count
end
for i = 5, #ARGV, 2 do
  local count = tonumber(ARGV[i + 1])
  if count > (counts[ARGV[i]] or 0) then
    counts[ARGV[i]] = count
    redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f', count))
  end
end
for _, count in pairs(counts) do sum = sum + count end
local taken = 0
if sum < tonumber(ARGV[3]) then
  taken = 1
  counts[ARGV[2]] = (counts[ARGV[2]] or 0) + 1
  redis.call('HSET', KEYS[1], ARGV[2], string.format('%.0f', counts[ARGV[2]]))
end
local all = {}
for name, count in pairs(counts) do
  all[#all + 1] = name
  all[#all + 1] = string.format('%.0f', count)
end
if #all > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return {taken, all}
",
    )
});

/// How long the store may take: nothing is sent without its answer, and a use whose answer is late is lost.
const TIME: Duration = Duration::from_secs(1);
/// What is shown of the uses is at most so old.
const FRESH: Duration = Duration::from_secs(1);
/// After a failure.
const AGAIN: Duration = Duration::from_millis(250);
/// The file with the name of a folder.
const NAME: &str = "folder-id";

/// What this process knows of the uses of rules. It lasts as long as the process, over reloads.
#[derive(Debug)]
pub struct SharedUses {
    store: SharedStore,
    /// By the keys of the rules.
    rules: Mutex<HashMap<String, Arc<SharedRule>>>,
}

/// The uses of one rule, in all replicas.
#[derive(Debug)]
pub(super) struct SharedRule {
    store: SharedStore,
    /// Of the entry in the store.
    key: String,
    /// The name of the folder of this process.
    folder: String,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    tally: Tally,
    /// For how long the store keeps them.
    keep: Duration,
    /// When the store was last asked.
    asked: Option<Instant>,
}

/// What the store is asked for.
#[derive(Debug, Clone, Copy)]
enum Asked {
    /// A use, if there are fewer than so many.
    Take(u32),
    /// What it knows.
    Learn,
    /// To know what this process knows, although it has nothing itself: all processes tell it.
    Tell,
}

/// What came of it.
#[derive(Debug)]
enum Exchanged {
    /// A use was taken.
    Taken,
    /// The store has nothing of what it had: nobody knows how many are left before all have told it.
    Lost,
    /// The store and the process know the same now.
    Told,
}

impl SharedUses {
    /// Counts uses in this store. What is known is told to it again each time that it may have lost something; until the
    /// result is dropped, on the current runtime.
    pub fn start(store: SharedStore) -> Arc<Self> {
        let uses = Arc::new(Self { store: store.clone(), rules: Mutex::default() });
        let weak = Arc::downgrade(&uses);
        tokio::spawn(async move {
            let mut states = store.subscribe();
            loop {
                let up = states.borrow_and_update().up;
                let Some(uses) = weak.upgrade() else { return };
                if up && !uses.publish().await {
                    drop(uses);
                    sleep(AGAIN).await;
                    continue;
                }
                drop(uses);
                if states.changed().await.is_err() {
                    return;
                }
            }
        });
        uses
    }

    /// Tells the store what is known of all rules. Whether it knows all of it now.
    async fn publish(&self) -> bool {
        let rules: Vec<_> = self.rules().values().map(Arc::clone).collect();
        let mut all = true;
        for rule in rules {
            all &= rule.exchange(Asked::Tell).await.is_ok();
        }
        all
    }

    /// The rule with this key, of whose uses `taken` were taken in the folder of this name.
    pub(super) fn rule(&self, key: &str, folder: &str, taken: u64, keep: Duration) -> Arc<SharedRule> {
        let mut rules = self.rules();
        let rule = rules.entry(key.to_owned()).or_insert_with(|| {
            let known = Known { tally: Tally::default(), keep, asked: None };
            Arc::new(SharedRule {
                store: self.store.clone(),
                key: self.store.key("uses", &[key]),
                folder: folder.to_owned(),
                known: Mutex::new(known),
            })
        });
        let mut known = rule.known();
        known.tally.raise(folder, taken);
        known.keep = keep;
        drop(known);
        rule.exchange_soon(Asked::Tell);
        Arc::clone(rule)
    }

    /// How many uses of the rule with this key were taken, as far as is known; `None` if it is not known.
    pub fn used(&self, key: &str) -> Option<u64> {
        let rule = self.rules().get(key).map(Arc::clone)?;
        rule.refresh();
        Some(rule.used())
    }

    fn rules(&self) -> MutexGuard<'_, HashMap<String, Arc<SharedRule>>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedRule {
    /// Takes a use. Returns how many were taken in the folder of this process, this one included.
    pub(super) async fn take(&self, max: u32) -> Result<u64, UseError> {
        let state = self.store.state();
        if !state.up {
            return Err(UseError::Store(StoreError::Down));
        }
        if !state.settled {
            return Err(UseError::Unsettled);
        }
        match self.exchange(Asked::Take(max)).await {
            Ok(Exchanged::Taken) => Ok(self.known().tally.of(&self.folder)),
            Ok(Exchanged::Told) => Err(UseError::UsedUp(max)),
            Ok(Exchanged::Lost) => Err(UseError::Unsettled),
            // If it was taken all the same, it is lost: nothing is sent without the answer.
            Err(error) => Err(UseError::Store(error)),
        }
    }

    /// How many were taken, as far as is known.
    pub(super) fn used(&self) -> u64 {
        self.known().tally.sum()
    }

    /// Asks the store in the background how many were taken, if that has not been done of late.
    pub(super) fn refresh(self: &Arc<Self>) {
        let mut known = self.known();
        if known.asked.is_some_and(|asked| asked.elapsed() < FRESH) || !self.store.state().up {
            return;
        }
        known.asked = Some(Instant::now());
        drop(known);
        self.exchange_soon(Asked::Learn);
    }

    fn exchange_soon(self: &Arc<Self>, asked: Asked) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let this = Arc::clone(self);
            runtime.spawn(async move { this.exchange(asked).await });
        }
    }

    /// Tells the store what is known, and learns what it knows.
    async fn exchange(&self, asked: Asked) -> Result<Exchanged, StoreError> {
        let (max, tells) = match asked {
            Asked::Take(max) => (max, "0"),
            Asked::Learn => (0, "0"),
            Asked::Tell => (0, "1"),
        };
        let arguments = {
            let mut known = self.known();
            known.asked = Some(Instant::now());
            let keep = known.keep.as_millis().to_string();
            let mut arguments = vec![keep, self.folder.clone(), max.to_string(), tells.to_owned()];
            arguments.extend(known.tally.iter().flat_map(|(name, count)| [name.to_owned(), count.to_string()]));
            arguments
        };
        let arguments: Vec<_> = arguments.iter().map(String::as_bytes).collect();
        let answer: (u8, HashMap<String, u64>) = self.store.run(&TAKE, &[&self.key], &arguments, TIME).await?;
        self.known().tally.merge(answer.1);
        Ok(match answer.0 {
            1 => Exchanged::Taken,
            2 => Exchanged::Lost,
            _ => Exchanged::Told,
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a folder of uses, made if it has none. Blocks.
///
/// Not that of the machine, nor of the process: what was taken before a restart is still its own, and a folder that is lost
/// comes back under another name.
pub(super) fn folder_name(folder: &Path) -> io::Result<String> {
    let path = folder.join(NAME);
    let _lock = file::lock(&path.with_extension("lock"))?;
    let is_name = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match fs::read_to_string(&path).map(|text| text.trim_end().to_owned()) {
        Ok(name) if is_name(&name) => Ok(name),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not the name of a folder of uses")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).map_err(io::Error::other)?;
            let name = format!("{:016x}", u64::from_be_bytes(bytes));
            file::replace(&path, format!("{name}\n").as_bytes(), 0o600)?;
            Ok(name)
        }
        Err(error) => Err(error),
    }
}
