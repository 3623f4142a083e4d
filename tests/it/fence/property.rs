//! Whatever is asked, and however wrong the answer is: nothing of another organization passes, and none is changed.

use fastrand::Rng;
use ninjaone_proxy::proxy::policy::catalog::{AnswerCheck, Catalog, FenceRules, Operation, OperationName};
use serde_json::Value;

use super::requests::{Made, Maker, Uids};
use super::{Asker, Connection, Stand, foreign};

/// How the sandbox goes wrong, and whether only at the operation that is asked for: else the proxy could read nothing
/// of what it must know, and all that is asked for would be refused.
const LEAKS: [(&str, bool); 19] = [
    ("marks", false),
    ("marks,ignore", false),
    ("marks,mix", false),
    ("marks,nested", false),
    ("marks,ignore,nested", false),
    ("marks,object", true),
    ("marks,object,ignore", false),
    ("marks,errors", false),
    ("marks,ignore,compressed", true),
    ("marks,ignore,missing", true),
    ("marks,ignore,null", true),
    ("marks,ignore,text", true),
    ("marks,ignore,float", true),
    ("marks,ignore,duplicate", true),
    ("marks,mix,nested,duplicate", true),
    ("marks,ignore,cut", true),
    ("marks,ignore,utf16", true),
    ("marks,ignore,html", true),
    ("marks,ignore,bom", true),
];

/// How many requests are made: by default each way to go wrong for every third operation.
fn rounds() -> (usize, usize) {
    let wanted = std::env::var("FENCE_REQUESTS").ok().and_then(|text| text.parse::<usize>().ok());
    let operations = Catalog::built_in().expect("built in").operations().len();
    wanted.map_or((1, 3), |wanted| (wanted.div_ceil(operations * LEAKS.len()), 1))
}

/// Whether nothing in an answer could tell that it is about something else than what the path names.
fn takes_its_word(operation: &Operation, leak: &str) -> bool {
    let keyless = |rules: &FenceRules| match &rules.answer {
        // A URL, or a word on whether it worked: it need not even be JSON.
        AnswerCheck::Opaque => leak.contains("object") || leak.contains("nested"),
        AnswerCheck::Object { key } | AnswerCheck::Rows { key, .. } => key.is_none() && leak.contains("object"),
        AnswerCheck::Empty => false,
    };
    operation.fencing.rules.as_ref().is_some_and(keyless)
}

fn uids(stand: &Stand) -> Uids {
    let of = |list: &str| {
        let rows = stand.get(Asker::Open, list).json();
        let uids = rows.as_array().expect("rows").iter().map(|row| row["uid"].as_str().expect("a UUID").to_owned());
        uids.collect()
    };
    stand.leak("mode=marks");
    Uids { alerts: of("/v2/alerts"), end_users: of("/v2/user/end-users") }
}

/// What came of the requests.
#[derive(Debug, Default)]
struct Outcome {
    requests: usize,
    /// Answers of success with a body.
    shown: usize,
    /// Marks of what is inside.
    marked: usize,
    refused: usize,
    withheld: usize,
    writes: usize,
    wrong: Vec<String>,
}

#[test]
fn nothing_of_another_organization_passes_and_none_is_changed() {
    let stand = Stand::new();
    let catalog = Catalog::built_in().expect("built in");
    let uids = uids(&stand);
    let seed = std::env::var("FENCE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(2026);
    let mut outcome = Outcome::default();
    let begun = std::time::Instant::now();
    let (rounds, part) = rounds();
    for round in 0..rounds {
        for (number, (leak, is_local)) in LEAKS.into_iter().enumerate() {
            let asker = if (round + number).is_multiple_of(3) { Asker::Narrow } else { Asker::Wide };
            let rng = Rng::with_seed(seed + (round * LEAKS.len() + number) as u64);
            let mut maker = Maker { rng, uids: &uids, inside: asker.organizations() };
            let mut connection = Connection::new(stand.address(asker));
            stand.leak(&format!("mode={leak}"));
            let mut sent = Vec::new();
            for operation in catalog.operations().iter().skip(number % part).step_by(part) {
                if is_local {
                    stand.leak(&format!("mode={leak}&at={}", operation.template));
                }
                sent.push((
                    OperationName(operation).to_string(),
                    ask(&mut connection, &mut maker, operation, (leak, asker), &mut outcome),
                ));
            }
            check_changes(&stand, asker, (leak, &sent), &mut outcome);
        }
    }
    let wrong = outcome.wrong.len();
    let first: Vec<_> = outcome.wrong.iter().take(20).collect();
    println!("{} in {:?}: {first:#?}", describe(&outcome), begun.elapsed());
    assert!(outcome.wrong.is_empty(), "{wrong} of {}: {first:#?}", outcome.requests);
    // The requests came through to where the fence matters.
    assert!(outcome.shown * 20 > outcome.requests && outcome.marked * 50 > outcome.requests, "{}", describe(&outcome));
    assert!(outcome.writes * 100 > outcome.requests && outcome.withheld > 0, "{}", describe(&outcome));
}

fn describe(outcome: &Outcome) -> String {
    let Outcome { requests, shown, marked, refused, withheld, writes, wrong } = outcome;
    format!(
        "{requests} requests: {shown} shown, {marked} with marks of inside, {refused} refused, {withheld} withheld, {writes} writes sent, {} wrong",
        wrong.len()
    )
}

fn ask(
    connection: &mut Connection,
    maker: &mut Maker<'_>,
    operation: &Operation,
    (leak, asker): (&str, Asker),
    outcome: &mut Outcome,
) -> Made {
    let made = maker.make(operation);
    let json = if made.body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let reply = connection.send(&made.method, &made.target, &format!("{}{json}", asker.headers()), &made.body);
    outcome.requests += 1;
    match reply.status {
        200..300 if !reply.body.is_empty() => outcome.shown += 1,
        502 => outcome.withheld += 1,
        400.. => outcome.refused += 1,
        _ => {}
    }
    let text = String::from_utf8_lossy(&reply.body);
    outcome.marked += usize::from(!ninjaone_proxy::sandbox::marked_organizations(&text).is_empty());
    if let Some(what) = foreign(&reply, asker.organizations())
        && !takes_its_word(operation, leak)
    {
        outcome.wrong.push(format!("{leak} {asker:?} {made:?}: {what} in {reply:?}"));
    }
    made
}

fn check_changes(stand: &Stand, asker: Asker, (leak, sent): (&str, &[(String, Made)]), outcome: &mut Outcome) {
    for (operation, organizations) in stand.changed() {
        outcome.writes += 1;
        // An empty list of things changes nothing.
        let is_empty = sent.iter().any(|(name, made)| *name == operation && made.body == "[]");
        if organizations.is_empty() && !is_empty || organizations.iter().any(|one| !asker.organizations().contains(one))
        {
            let made = sent.iter().find(|(name, _)| *name == operation);
            outcome.wrong.push(format!("{leak} {asker:?}: {operation} changed {organizations:?}: {made:?}"));
        }
    }
}

/// The same eyes see what leaks where there is no fence.
#[test]
fn the_checks_see_what_leaks_without_a_fence() {
    let stand = Stand::new();
    let catalog = Catalog::built_in().expect("built in");
    let uids = uids(&stand);
    stand.leak("mode=marks,ignore");
    let mut maker = Maker { rng: Rng::with_seed(7), uids: &uids, inside: &[1, 3] };
    let mut connection = Connection::new(stand.address(Asker::Open));
    let mut seen = 0;
    for operation in catalog.operations() {
        let made = maker.make(operation);
        let reply = connection.send(&made.method, &made.target, "Content-Type: application/json\r\n", &made.body);
        if foreign(&reply, &[1, 3]).is_some() {
            seen += 1;
        }
    }
    let changed = stand.changed();
    let foreign_changes = changed.iter().filter(|(_, ids)| ids.iter().any(|id| [2, 4].contains(id))).count();
    assert!(seen > 60 && foreign_changes > 20, "{seen} {foreign_changes}");
}

/// The names of all operations are those that the table has rules for, or that are closed.
#[test]
fn what_is_closed_is_refused_under_every_name() {
    let stand = Stand::new();
    let uids = Uids::default();
    let catalog = Catalog::built_in().expect("built in");
    let mut maker = Maker { rng: Rng::with_seed(11), uids: &uids, inside: &[1, 3] };
    let mut connection = Connection::new(stand.address(Asker::Wide));
    let mut closed = 0;
    for operation in catalog.operations().iter().filter(|operation| operation.fencing.rules.is_none()) {
        let made = maker.make(operation);
        let reply = connection.send(&made.method, &made.target, Asker::Wide.headers(), &made.body);
        assert_eq!(reply.status, 403, "{}: {reply:?}", OperationName(operation));
        closed += 1;
    }
    assert!(closed > 100, "{closed}");
    assert_eq!(stand.changed(), Vec::new());
    assert_eq!(stand.sandbox("GET", "/sandbox/last-request").json(), Value::Null);
}
