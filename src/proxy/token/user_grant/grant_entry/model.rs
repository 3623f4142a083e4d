//! A model of replicas, a store with a copy, and a server that rotates refresh tokens, in which anything ends at any moment.

use proptest::prelude::*;

use super::*;

const REPLICAS: usize = 3;

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A replica looks at the store.
    Look(usize),
    /// It takes the lease, and says what it is about to do.
    Begin(usize),
    /// The copy of the store has what it said.
    Copied(usize),
    /// It uses the token.
    Ask(usize),
    /// It writes what came of that.
    Conclude(usize),
    /// Its lease ends, as if it were paused.
    LoseLease(usize),
    /// It is killed, and another is started in its place.
    Kill(usize),
    /// The store copies what it has.
    Replicate,
    /// The copy takes the place of the store, without what was not copied.
    Switch,
    /// The store forgets all.
    Empty,
}

/// How far a renewal is.
#[derive(Debug, Clone, Default)]
enum Renewal {
    #[default]
    None,
    Intended(GrantEntry),
    Copied(GrantEntry),
    Answered(GrantEntry),
}

#[derive(Debug, Default)]
struct Replica {
    known: Option<GrantEntry>,
    renewal: Renewal,
}

/// Gives numbers as tokens, each of which is good once.
#[derive(Debug)]
struct Server {
    good: Option<u64>,
    newest: u64,
    reuses: u64,
}

impl Server {
    fn renew(&mut self, token: u64) -> Option<u64> {
        if self.good != Some(token) {
            self.reuses += u64::from(token < self.newest || self.good.is_some());
            self.good = None;
            return None;
        }
        self.newest += 1;
        self.good = Some(self.newest);
        self.good
    }
}

#[derive(Debug)]
struct Model {
    store: Option<GrantEntry>,
    copy: Option<GrantEntry>,
    lease: Option<usize>,
    replicas: [Replica; REPLICAS],
    server: Server,
}

fn grant(token: u64) -> StoredGrant {
    StoredGrant::new(Secret::new(token.to_string()), String::new())
}

fn token(entry: &GrantEntry) -> u64 {
    entry.grant.as_ref().and_then(|grant| grant.refresh_token.expose().parse().ok()).expect("a token")
}

fn is_later(entry: &GrantEntry, than: Option<&GrantEntry>) -> bool {
    than.is_none_or(|than| than.generation < entry.generation)
}

impl Model {
    fn new() -> Self {
        let entry = GrantEntry { rotates: Some(true), ..GrantEntry::changed_hands(None, Some(grant(0))) };
        let server = Server { good: Some(0), newest: 0, reuses: 0 };
        let mut model =
            Self { store: Some(entry.clone()), copy: Some(entry), lease: None, replicas: Default::default(), server };
        (0..REPLICAS).for_each(|replica| drop(model.look(replica)));
        model
    }

    fn put(&mut self, entry: &GrantEntry) {
        if is_later(entry, self.store.as_ref()) {
            self.store = Some(entry.clone());
        }
    }

    fn learn(&mut self, replica: usize, entry: &GrantEntry) {
        let known = &mut self.replicas[replica].known;
        if is_later(entry, known.as_ref()) {
            *known = Some(entry.clone());
        }
    }

    /// The newest of what the store and the replica know; both know it then.
    fn look(&mut self, replica: usize) -> Option<GrantEntry> {
        if let Some(stored) = self.store.clone() {
            self.learn(replica, &stored);
        }
        let known = self.replicas[replica].known.clone()?;
        self.put(&known);
        Some(known)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Look(replica) => drop(self.look(replica)),
            Event::Begin(replica) => self.begin(replica),
            Event::Copied(replica) => {
                if let Renewal::Intended(entry) = self.replicas[replica].renewal.clone() {
                    self.copy.clone_from(&self.store);
                    self.replicas[replica].renewal = Renewal::Copied(entry);
                }
            }
            Event::Ask(replica) => {
                let Renewal::Copied(entry) = self.replicas[replica].renewal.clone() else { return };
                let result = match self.server.renew(token(&entry)) {
                    Some(next) => entry.concluded(grant(next), Some(true)),
                    None => entry.concluded(StoredGrant { ended: Some(UNIX_EPOCH), ..grant(0) }, None),
                };
                self.replicas[replica].renewal = Renewal::Answered(result);
            }
            Event::Conclude(replica) => {
                let Renewal::Answered(result) = self.replicas[replica].renewal.clone() else { return };
                self.learn(replica, &result);
                self.put(&result);
                self.replicas[replica].renewal = Renewal::None;
                self.lose_lease(replica);
            }
            Event::LoseLease(replica) => self.lose_lease(replica),
            Event::Kill(replica) => {
                self.lose_lease(replica);
                self.replicas[replica] = Replica::default();
            }
            Event::Replicate => self.copy.clone_from(&self.store),
            Event::Switch => {
                (self.store, self.lease) = (self.copy.clone(), None);
                self.settle();
            }
            Event::Empty => {
                // Each has looked since: that a replica is killed while it renews, and the store forgets within the seconds
                // until the others look, is more than the design bears.
                self.settle();
                (self.store, self.copy, self.lease) = (None, None, None);
                self.settle();
            }
        }
    }

    /// Nobody renews before all have published what they know.
    fn settle(&mut self) {
        (0..REPLICAS).for_each(|replica| drop(self.look(replica)));
    }

    fn begin(&mut self, replica: usize) {
        if self.lease.is_some() || !matches!(self.replicas[replica].renewal, Renewal::None) {
            return;
        }
        let Some(entry) = self.look(replica) else { return };
        match entry.step() {
            Step::Renew => {
                let intended = entry.intended(&replica.to_string());
                if self.store.as_ref().is_some_and(|stored| stored.generation == entry.generation) {
                    self.lease = Some(replica);
                    self.store = Some(intended.clone());
                    self.learn(replica, &intended);
                    self.replicas[replica].renewal = Renewal::Intended(intended);
                }
            }
            Step::Doubt => {
                let torn = entry.torn();
                self.learn(replica, &torn);
                self.put(&torn);
            }
            Step::SignIn | Step::Ended | Step::Torn => {}
        }
    }

    fn lose_lease(&mut self, replica: usize) {
        self.lease = self.lease.filter(|holder| *holder != replica);
    }

    /// All that is under way comes to its end, and everybody looks.
    fn come_to_rest(&mut self) {
        for replica in 0..REPLICAS {
            for event in [Event::Copied(replica), Event::Ask(replica), Event::Conclude(replica)] {
                self.happen(event);
            }
        }
        self.settle();
        self.settle();
    }
}

fn event() -> impl Strategy<Value = Event> {
    let replica = || 0..REPLICAS;
    prop_oneof![
        3 => replica().prop_map(Event::Look),
        6 => replica().prop_map(Event::Begin),
        6 => replica().prop_map(Event::Copied),
        6 => replica().prop_map(Event::Ask),
        6 => replica().prop_map(Event::Conclude),
        1 => replica().prop_map(Event::LoseLease),
        1 => replica().prop_map(Event::Kill),
        3 => Just(Event::Replicate),
        1 => Just(Event::Switch),
        1 => Just(Event::Empty),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever is killed, paused, switched or emptied.
    #[test]
    fn grant_entries_never_let_a_refresh_token_be_used_twice(events in prop::collection::vec(event(), 1..80)) {
        let mut model = Model::new();
        for event in &events {
            model.happen(*event);
            prop_assert_eq!(model.server.reuses, 0);
        }
        model.come_to_rest();
        prop_assert_eq!(model.server.reuses, 0);
    }

    /// Without a kill nothing is lost: in the end the store has the token that is good.
    #[test]
    fn grant_entries_lose_no_sign_in_while_no_replica_is_killed(events in prop::collection::vec(event(), 1..80)) {
        let mut model = Model::new();
        for event in events.iter().filter(|event| !matches!(event, Event::Kill(_))) {
            model.happen(*event);
        }
        model.come_to_rest();
        let entry = model.store.as_ref().expect("an entry");
        prop_assert_eq!((entry.step(), Some(token(entry))), (Step::Renew, model.server.good));
    }
}
