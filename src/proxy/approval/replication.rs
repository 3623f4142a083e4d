//! The approvals in the shared store: one entry each, changed by the replica that knows its last version, and a list of changes.
//!
//! An entry is a hash: `v` the version, `m` the sealed ballot, `r` the sealed request, `b` its sealed body while it is open.
//! Only `v` and the times of the sets are not sealed: what they say is checked against what is.

mod scripts;

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, watch};

use super::ballot::Ballot;
use super::document::{millis, read_ballot, read_request, write_ballot, write_request};
use super::following::Withdrawn;
use super::held_request::ShownRequest;
use super::{ApprovalId, MAX_OPEN, MAX_OPEN_OF_CALLER};
use crate::base::clock::Moment;
use crate::shared::{SharedStore, StoreError, StoreState};
use scripts::{CHANGES, PUT, READ};

/// How long the store may take: as long as a person does not notice.
const WITHIN: Duration = Duration::from_secs(1);
/// How long an entry is kept after its time: for callers that have not heard how it ended.
pub(super) const KEPT: Duration = Duration::from_secs(3600);
/// The most changes that are read at once.
const PAGE: usize = 256;
/// The largest body that every replica keeps. A larger one is fetched when an approver looks at it.
const SMALL_BODY: usize = 16 * 1024;

/// The way to the approvals that all replicas share.
#[derive(Debug)]
pub(super) struct Replication {
    store: SharedStore,
    /// Those whose callers left; the task that follows the store ends them.
    withdrawn: UnboundedSender<ApprovalId>,
    /// For that task.
    followed: std::sync::Mutex<Option<Withdrawn>>,
    /// The last change that was read.
    pub(super) cursor: Mutex<u64>,
    /// The switch of the store after which all that is known here was published again.
    published: AtomicU64,
}

/// What came of a write.
#[derive(Debug)]
pub(super) enum Written {
    /// It is there.
    Done,
    /// Another version is there.
    Conflict(Stored),
    /// There is no such entry.
    Missing,
    /// The body that was shown is lost.
    Bodiless,
    /// Too many are open.
    Full,
}

/// A ballot in the store.
#[derive(Debug)]
pub(super) enum Stored {
    /// A replica wrote it.
    Known(Box<Ballot>),
    /// No replica wrote it so: the bytes.
    Foreign(Vec<u8>),
    /// A replica with another sealing key wrote it, which may know more.
    Unreadable,
}

/// An entry, as far as it was asked for.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) ballot: Stored,
    pub(super) request: Option<ShownRequest>,
    pub(super) body: Option<Bytes>,
}

/// How an entry is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way<'a> {
    /// As a new one, if there is room for it.
    Ask,
    /// In the place of the version before.
    Change { needs_body: bool },
    /// If there is none, or an older one.
    Publish,
    /// In the place of what no replica wrote.
    Replace(&'a [u8]),
}

impl Replication {
    pub(super) fn new(store: SharedStore) -> Self {
        let (withdrawn, followed) = unbounded_channel();
        let (followed, published) = (std::sync::Mutex::new(Some(followed)), AtomicU64::new(u64::MAX));
        Self { store, withdrawn, followed, cursor: Mutex::new(0), published }
    }

    /// The caller of this one left; it is ended in a moment.
    pub(super) fn withdraw(&self, id: ApprovalId) {
        // Without the task that follows the store the process ends.
        let _ = self.withdrawn.send(id);
    }

    /// For the task that follows the store; nothing if there is one.
    pub(super) fn take_withdrawn(&self) -> Option<Withdrawn> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn state(&self) -> StoreState {
        self.store.state()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<StoreState> {
        self.store.subscribe()
    }

    /// Whether the store has what each replica knows, so that an approval can be used.
    pub(super) fn is_settled(&self, state: StoreState) -> bool {
        state.settled && self.published.load(Ordering::Acquire) == state.switches
    }

    /// The switch after which all that is known here was published.
    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    pub(super) fn set_published(&self, switches: u64) {
        self.published.store(switches, Ordering::Release);
    }

    fn entry(&self, id: ApprovalId) -> String {
        self.store.key("approval", &[&id.to_string()])
    }

    /// Waits a little until the servers that copy the store have what was written.
    pub(super) async fn wait_for_copies(&self) {
        // The primary has it: that is what decides.
        let _ = self.store.wait_for_copies().await;
    }

    /// Writes an entry.
    pub(super) async fn write(
        &self,
        id: ApprovalId,
        way: Way<'_>,
        shown: &ShownRequest,
        ballot: &Ballot,
    ) -> Result<Written, StoreError> {
        let entry = self.entry(id);
        let facts = &shown.held.facts;
        let caller = facts.caller.as_deref();
        let own = [facts.listener.as_str(), caller.unwrap_or_default(), if caller.is_some() { "1" } else { "" }];
        let set = |name| self.store.key("approvals", &[name]);
        let keys = [
            entry.clone(),
            set("changes"),
            set("counter"),
            set("times"),
            set("open"),
            self.store.key("approvals-of", &own),
        ];
        let sealed = self.store.seal(&part(&entry, "ballot"), &write_ballot(ballot))?;
        let (name, whole, check) = match way {
            Way::Ask => ("ask", true, &b""[..]),
            Way::Change { needs_body } => {
                ("change", false, if needs_body && shown.body_bytes > 0 { &b"1"[..] } else { b"" })
            }
            Way::Publish => ("publish", true, &b""[..]),
            Way::Replace(foreign) => ("replace", true, foreign),
        };
        let (mut request, mut body) = (Vec::new(), Vec::new());
        if whole {
            request = self.store.seal(&part(&entry, "request"), &write_request(shown))?;
            if !shown.held.body.is_empty() && ballot.ended.is_none() {
                body = self.store.seal(&part(&entry, "body"), &shown.held.body)?;
            }
        }
        let (id, version) = (id.to_string(), ballot.version.to_string());
        let ends = millis(shown.expires.wall + KEPT).to_string();
        let (most, most_own) = (MAX_OPEN.to_string(), MAX_OPEN_OF_CALLER.to_string());
        let arguments: [&[u8]; 11] = [
            id.as_bytes(),
            name.as_bytes(),
            version.as_bytes(),
            &sealed,
            &request,
            &body,
            ends.as_bytes(),
            if ballot.ended.is_some() { b"1" } else { b"" },
            most.as_bytes(),
            most_own.as_bytes(),
            check,
        ];
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let (code, version, stored): (String, String, Vec<u8>) =
            self.store.run(&PUT, &keys, &arguments, WITHIN).await?;
        match &*code {
            "done" => Ok(Written::Done),
            "conflict" => Ok(Written::Conflict(self.stored(&entry, &version, stored))),
            "missing" => Ok(Written::Missing),
            "bodiless" => Ok(Written::Bodiless),
            "full" => Ok(Written::Full),
            _ => Err(StoreError::Unexpected),
        }
    }

    /// Reads an entry: its ballot, and of one that is not known the rest; a body that is not small only if it is wanted.
    pub(super) async fn read(
        &self,
        id: ApprovalId,
        is_known: bool,
        wants_body: bool,
    ) -> Result<Option<Found>, StoreError> {
        let entry = self.entry(id);
        let known: &[u8] = if is_known { b"1" } else { b"" };
        let largest = match (wants_body, is_known) {
            (true, _) => usize::MAX >> 12,
            (false, false) => SMALL_BODY,
            (false, true) => 0,
        };
        let largest = largest.to_string();
        let (version, ballot, request, body): (String, Vec<u8>, Vec<u8>, Vec<u8>) =
            self.store.run(&READ, &[&entry], &[known, largest.as_bytes()], WITHIN).await?;
        if version.is_empty() {
            return Ok(None);
        }
        let open = |name, sealed: Vec<u8>| {
            if sealed.is_empty() { None } else { self.store.open(&part(&entry, name), &sealed) }
        };
        Ok(Some(Found {
            ballot: self.stored(&entry, &version, ballot),
            request: open("request", request).and_then(|bytes| read_request(&bytes, Moment::now())),
            body: open("body", body).map(|bytes| Bytes::copy_from_slice(&bytes)),
        }))
    }

    fn stored(&self, entry: &str, version: &str, sealed: Vec<u8>) -> Stored {
        let opened = self.store.open(&part(entry, "ballot"), &sealed);
        let ballot = opened.and_then(|bytes| read_ballot(&bytes, Moment::now()));
        match ballot.filter(|ballot| ballot.version.to_string() == version) {
            Some(ballot) => Stored::Known(Box::new(ballot)),
            None if self.store.is_of_other_key(&part(entry, "ballot"), &sealed) => Stored::Unreadable,
            None => Stored::Foreign(sealed),
        }
    }

    /// The ids of what has changed after a change, each with the number of its own; whether there may be more.
    pub(super) async fn changes(&self, after: u64) -> Result<(Vec<(String, u64)>, bool), StoreError> {
        let (key, after, page) = (self.store.key("approvals", &["changes"]), after.to_string(), PAGE.to_string());
        let found: Vec<(String, u64)> =
            self.store.run(&CHANGES, &[&key], &[after.as_bytes(), page.as_bytes()], WITHIN).await?;
        let is_full = found.len() >= PAGE;
        Ok((found, is_full))
    }
}

/// The name of a part of an entry, for sealing: no part is taken for another.
fn part(entry: &str, name: &str) -> String {
    format!("{entry} {name}")
}
