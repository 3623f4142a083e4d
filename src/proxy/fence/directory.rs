//! The directory: what belongs to which organization, as NinjaOne says, for a while.
//!
//! It knows what is inside, and nothing else: what NinjaOne does not list for an organization inside is outside, be it
//! another customer's or not there at all. So the two take the same time. Nothing in it comes from a caller.

use std::hash::Hash;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use moka::future::Cache;
use rustc_hash::FxHashSet;
use tokio::task::spawn_local;
use tokio::time::Instant;

pub use super::loading::LookupError;
use super::loading::{find, load, load_object};
use super::sources::{self, Owner, Source};
use super::{EntityId, Inside};
use crate::proxy::policy::Organizations;
use crate::proxy::policy::catalog::EntityKind;

/// For how many cursors the rows are counted, and for how long none may be used: NinjaOne forgets them sooner.
const MAX_CURSORS: u64 = 10_000;
const CURSOR_AGE: Duration = Duration::from_secs(3600);
/// For how many ids there is room, of all organizations together: about 64 bytes each.
const MAX_IDS: u64 = 2_000_000;
/// How long a failure is told to others before NinjaOne is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// What belongs to which organization.
///
/// All workers share it. It is empty, and takes no room, before the first question.
#[derive(Debug, Clone)]
pub struct Directory {
    age: Duration,
    known: Arc<OnceLock<Known>>,
}

#[derive(Debug)]
struct Known {
    lists: Cache<(EntityKind, u64), Arc<Members>>,
    objects: Cache<(EntityKind, EntityId), Arc<Object>>,
    /// How many rows callers got by each cursor of a report.
    rows: Cache<Box<str>, u64>,
}

/// What NinjaOne said, and when it was asked.
#[derive(Debug)]
struct Said<T> {
    asked: Instant,
    said: Result<T, LookupError>,
}

/// What belongs to one organization, of one kind.
type Members = Said<FxHashSet<u128>>;

/// Whose one object is; nobody's if it is not there.
type Object = Said<Option<u64>>;

/// Something of which it is asked whether it is inside.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// What it is.
    pub kind: EntityKind,
    /// Which.
    pub id: EntityId,
    /// NinjaOne is asked anew unless it was since then.
    pub since: Option<Instant>,
    /// Many of the kind are asked about: a list tells of all of them.
    pub is_one_of_many: bool,
}

/// What is inside some organizations, of the kinds that were asked for.
#[derive(Debug, Clone)]
pub struct InsideSet {
    organizations: Arc<Organizations>,
    members: Vec<(EntityKind, Arc<Members>)>,
}

impl Directory {
    /// An empty one, which believes what NinjaOne said for so long.
    pub fn new(age: Duration) -> Self {
        Self { age, known: Arc::default() }
    }

    /// For how long it believes what NinjaOne said.
    pub fn age(&self) -> Duration {
        self.age
    }

    fn known(&self) -> &Known {
        self.known.get_or_init(|| Known::new(self.age))
    }

    /// How many rows a caller has got by a cursor; `None` if that was not through this directory, or long ago.
    pub async fn rows_before(&self, cursor: &str) -> Option<u64> {
        self.known().rows.get(cursor).await
    }

    /// A caller has got so many rows by a cursor.
    pub async fn keep_rows(&self, cursor: &str, rows: u64) {
        self.known().rows.insert(cursor.into(), rows).await;
    }

    /// What is inside, of these kinds. `read` asks NinjaOne.
    pub async fn inside<R>(
        &self,
        kinds: &[EntityKind],
        organizations: &Arc<Organizations>,
        read: &R,
    ) -> Result<InsideSet, LookupError>
    where
        R: AsyncFn(PathAndQuery) -> Result<Option<Bytes>, LookupError> + Clone + 'static,
    {
        let mut members = Vec::new();
        for kind in kinds {
            for organization in organizations.ids() {
                if let Some(source) = sources::list(*kind) {
                    members.push((*kind, self.list(*kind, source, *organization, None, read).await?));
                }
            }
        }
        Ok(InsideSet { organizations: Arc::clone(organizations), members })
    }

    /// Whether something is inside.
    pub async fn contains<R>(
        &self,
        Asked { kind, id, since, is_one_of_many }: Asked,
        organizations: &Organizations,
        read: &R,
    ) -> Result<bool, LookupError>
    where
        R: AsyncFn(PathAndQuery) -> Result<Option<Bytes>, LookupError> + Clone + 'static,
    {
        if kind == EntityKind::Organization {
            return Ok(organizations.contains_id(id));
        }
        if let Some(source) = sources::object(kind) {
            let owner = self.object((kind, id), source, since, read).await?;
            return Ok(owner.is_some_and(|owner| organizations.contains(owner)));
        }
        let Some(source) = sources::list(kind) else { return Ok(false) };
        if source.is_paged && since.is_some() && !is_one_of_many {
            return self.find((kind, id), source, organizations, read).await;
        }
        for organization in organizations.ids() {
            if self.list(kind, source, *organization, since, read).await?.contains(id) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks for one row in the lists of the organizations, where it was last first. NinjaOne answers with an inside row
    /// or none, be it another customer's or not there.
    async fn find<R>(
        &self,
        (kind, id): (EntityKind, EntityId),
        source: Source,
        organizations: &Organizations,
        read: &R,
    ) -> Result<bool, LookupError>
    where
        R: AsyncFn(PathAndQuery) -> Result<Option<Bytes>, LookupError>,
    {
        let mut order = Vec::new();
        for organization in organizations.ids() {
            let known = self.known().lists.get(&(kind, *organization)).await;
            order.push((!known.is_some_and(|members| members.contains(id)), *organization));
        }
        order.sort_unstable();
        for (_, organization) in order {
            if find(read, source, organization, id).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn list<R>(
        &self,
        kind: EntityKind,
        source: Source,
        organization: u64,
        since: Option<Instant>,
        read: &R,
    ) -> Result<Arc<Members>, LookupError>
    where
        R: AsyncFn(PathAndQuery) -> Result<Option<Bytes>, LookupError> + Clone + 'static,
    {
        let devices = match (source.owner, sources::list(EntityKind::Device)) {
            (Owner::Device, Some(devices)) => {
                Some(Box::pin(self.list(EntityKind::Device, devices, organization, since, read)).await?)
            }
            (Owner::Device | Owner::Organization | Owner::Client, _) => None,
        };
        let load = || {
            let (read, devices) = (read.clone(), devices.clone());
            async move {
                let devices = devices.as_ref().and_then(|devices| devices.said.as_ref().ok());
                load(&read, source, organization, devices).await
            }
        };
        ask(&self.known().lists, (kind, organization), since, load).await
    }

    async fn object<R>(
        &self,
        (kind, id): (EntityKind, EntityId),
        source: Source,
        since: Option<Instant>,
        read: &R,
    ) -> Result<Option<u64>, LookupError>
    where
        R: AsyncFn(PathAndQuery) -> Result<Option<Bytes>, LookupError> + Clone + 'static,
    {
        let load = || {
            let read = read.clone();
            async move { load_object(&read, source, id).await }
        };
        let found = ask(&self.known().objects, (kind, id), since, load).await?;
        found.said.clone()
    }
}

/// What NinjaOne said last; it is asked again if that is older than `since`, and a while after it could not be asked. Many
/// who ask at once share one answer.
async fn ask<K, T, L>(
    cache: &Cache<K, Arc<Said<T>>>,
    key: K,
    since: Option<Instant>,
    load: impl Fn() -> L,
) -> Result<Arc<Said<T>>, LookupError>
where
    K: Copy + Eq + Hash + Send + Sync + 'static,
    T: Send + Sync + 'static,
    L: Future<Output = Result<T, LookupError>> + 'static,
{
    loop {
        let asking = async {
            let asked = Instant::now();
            // A task of its own: a caller that leaves ends it for nobody else.
            let said = spawn_local(load()).await;
            Arc::new(Said { asked, said: said.unwrap_or_else(|ended| Err(LookupError::Failed(Arc::new(ended)))) })
        };
        let found = cache.entry(key).or_insert_with_if(asking, |known| known.is_old(since)).await.into_value();
        match &found.said {
            Err(error) => return Err(error.clone()),
            // Another request had begun to ask before this one came.
            Ok(_) if since.is_some_and(|since| found.asked < since) => {}
            Ok(_) => return Ok(found),
        }
    }
}

impl<T> Said<T> {
    /// Whether NinjaOne must be asked again: what was asked before `since`, and a failure after its pause.
    fn is_old(&self, since: Option<Instant>) -> bool {
        match self.said {
            Err(_) => self.asked.elapsed() >= PAUSE,
            Ok(_) => since.is_some_and(|since| self.asked < since),
        }
    }
}

impl Known {
    fn new(age: Duration) -> Self {
        let weight = |_: &_, members: &Arc<Members>| {
            members.said.as_ref().map_or(1, |ids| u32::try_from(ids.len()).unwrap_or(u32::MAX).saturating_add(1))
        };
        Self {
            lists: Cache::builder().max_capacity(MAX_IDS).weigher(weight).time_to_live(age).build(),
            objects: Cache::builder().max_capacity(MAX_IDS / 10).time_to_live(age).build(),
            rows: Cache::builder().max_capacity(MAX_CURSORS).time_to_idle(CURSOR_AGE).build(),
        }
    }
}

impl Members {
    fn contains(&self, EntityId(id): EntityId) -> bool {
        self.said.as_ref().is_ok_and(|ids| ids.contains(&id))
    }
}

impl Inside for InsideSet {
    fn contains(&self, kind: EntityKind, id: EntityId) -> bool {
        if kind == EntityKind::Organization {
            return self.organizations.contains_id(id);
        }
        self.members.iter().any(|(own, members)| *own == kind && members.contains(id))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use http::StatusCode;
    use tokio::task::LocalSet;

    use super::*;

    const AGE: Duration = Duration::from_secs(60);

    /// An invented NinjaOne: whose each device and ticket is, and what was asked.
    #[derive(Default)]
    struct Tenant {
        devices: RefCell<Vec<(u64, u64)>>,
        asked: RefCell<Vec<String>>,
        is_down: Cell<bool>,
    }

    impl Tenant {
        fn answer(&self, target: &PathAndQuery) -> Result<Option<Bytes>, LookupError> {
            self.asked.borrow_mut().push(target.to_string());
            if self.is_down.get() {
                return Err(LookupError::Refused(target.clone(), StatusCode::BAD_GATEWAY));
            }
            let row = |(id, owner): &(u64, u64)| {
                format!(r#"{{"id":{id},"organizationId":{owner},"clientId":{owner},"uid":"x","deviceId":null}}"#)
            };
            let devices = self.devices.borrow();
            if let Some(id) = target.path().rsplit_once("/device/").or(target.path().rsplit_once("/ticket/")) {
                let found = devices.iter().find(|(own, _)| own.to_string() == id.1);
                return Ok(found.map(|device| Bytes::from(row(device))));
            }
            // Every list has the whole fleet, two rows a page: what is asked for is ignored.
            let after = target.query().and_then(|query| query.split_once("after=")?.1.parse().ok()).unwrap_or(0);
            let page: Vec<_> = devices.iter().filter(|(id, _)| *id > after).take(2).map(row).collect();
            Ok(Some(Bytes::from(format!("[{}]", page.join(",")))))
        }
    }

    async fn with(test: impl AsyncFnOnce(Rc<Tenant>, Directory)) {
        let tenant =
            Tenant { devices: RefCell::new(vec![(1, 5), (2, 9), (3, 5), (4, 7), (8, 9)]), ..Tenant::default() };
        LocalSet::new().run_until(test(Rc::new(tenant), Directory::new(AGE))).await;
    }

    fn reader(
        tenant: &Rc<Tenant>,
    ) -> impl AsyncFn(PathAndQuery) -> Result<Option<Bytes>, LookupError> + Clone + 'static {
        let tenant = Rc::clone(tenant);
        async move |target: PathAndQuery| {
            tokio::task::yield_now().await;
            tenant.answer(&target)
        }
    }

    fn device(id: u128, since: Option<Instant>) -> Asked {
        Asked { kind: EntityKind::Device, id: EntityId(id), since, is_one_of_many: false }
    }

    fn some() -> Arc<Organizations> {
        Arc::new(Organizations::new([5, 7]).expect("some"))
    }

    #[tokio::test]
    async fn a_directory_knows_what_is_inside_whatever_the_list_has_in_addition() {
        with(async |tenant, directory| {
            let read = reader(&tenant);
            for (id, inside) in [(1, true), (2, false), (3, true), (4, true), (8, false), (99, false)] {
                assert_eq!(
                    directory.contains(device(id, None), &some(), &read).await.expect("an answer"),
                    inside,
                    "{id}"
                );
            }
            let pages = tenant.asked.borrow().len();
            assert_eq!(pages, 8, "each of two lists once, in four pages: {:?}", tenant.asked.borrow());
            let set = directory.inside(&[EntityKind::Device], &some(), &read).await.expect("a set");
            assert!(set.contains(EntityKind::Device, EntityId(3)) && !set.contains(EntityKind::Device, EntityId(8)));
            assert!(
                set.contains(EntityKind::Organization, EntityId(7))
                    && !set.contains(EntityKind::Organization, EntityId(9))
            );
            assert!(!set.contains(EntityKind::Location, EntityId(3)), "nobody asked for these");
            assert_eq!(tenant.asked.borrow().len(), pages, "nothing is asked twice");
        })
        .await;
    }

    #[tokio::test]
    async fn a_directory_asks_once_for_many_and_anew_before_a_write() {
        with(async |tenant, directory| {
            let read = reader(&tenant);
            let organizations = some();
            let asking = (0..50).map(|_| directory.contains(device(1, None), &organizations, &read));
            let answers: Vec<_> = futures(asking).await;
            assert!(answers.iter().all(|answer| matches!(answer, Ok(true))));
            assert_eq!(tenant.asked.borrow().len(), 4, "one list, four pages");
            tenant.devices.borrow_mut()[0].1 = 9;
            assert!(directory.contains(device(1, None), &organizations, &read).await.expect("an answer"), "as it was");
            let now = Some(Instant::now());
            assert!(
                !directory.contains(device(1, now), &organizations, &read).await.expect("an answer"),
                "it has moved"
            );
            let last = tenant.asked.borrow().last().expect("a request").clone();
            assert_eq!(last, "/v2/organization/7/devices?pageSize=1&after=0", "each organization, one row");
            assert!(directory.contains(device(4, now), &organizations, &read).await.expect("an answer"));
            let last = tenant.asked.borrow().last().expect("a request").clone();
            assert_eq!(last, "/v2/organization/7/devices?pageSize=1&after=3");
            for outside in [2, 99] {
                assert!(!directory.contains(device(outside, now), &organizations, &read).await.expect("an answer"));
            }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_directory_that_cannot_be_read_opens_nothing_and_is_asked_again_soon() {
        with(async |tenant, directory| {
            let read = reader(&tenant);
            tenant.is_down.set(true);
            for _ in 0..3 {
                let refused = directory.contains(device(1, None), &some(), &read).await;
                assert!(matches!(refused, Err(LookupError::Refused(..))), "{refused:?}");
            }
            assert_eq!(tenant.asked.borrow().len(), 1, "others learn of it");
            tenant.is_down.set(false);
            tokio::time::advance(PAUSE).await;
            assert!(directory.contains(device(1, None), &some(), &read).await.expect("an answer"));
        })
        .await;
    }

    #[tokio::test]
    async fn an_object_that_says_whose_it_is_is_read_once_and_one_that_is_absent_is_outside() {
        with(async |tenant, directory| {
            let read = reader(&tenant);
            let ticket = |id| Asked { kind: EntityKind::Ticket, ..device(id, None) };
            for (id, inside) in [(4, true), (2, false), (77, false), (4, true), (77, false)] {
                assert_eq!(directory.contains(ticket(id), &some(), &read).await.expect("an answer"), inside, "{id}");
            }
            assert_eq!(tenant.asked.borrow().len(), 3);
        })
        .await;
    }

    async fn futures<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
        let mut waiting: Vec<_> = all.map(Box::pin).collect();
        let mut done: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
        std::future::poll_fn(|cx| {
            for (future, done) in waiting.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
                if let std::task::Poll::Ready(output) = future.as_mut().poll(cx) {
                    *done = Some(output);
                }
            }
            if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        done.into_iter().flatten().collect()
    }
}
