//! A million decisions of random policies on random requests: the judge says what the oracle says.

mod advice;
mod dice;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Method, Uri};
use ninjaone_proxy::proxy::policy::catalog::{Catalog, Scope};
use ninjaone_proxy::proxy::policy::group::Group;
use ninjaone_proxy::proxy::policy::path::{Segments, Target};
use ninjaone_proxy::proxy::policy::query::Query;
use ninjaone_proxy::proxy::policy::rule::{Effect, METHODS, Rule, Selector, Terms};
use ninjaone_proxy::proxy::policy::{
    DenyReason, Groups, InstanceId, Policy, PolicyError, PolicyRefusal, PolicyUser, Rules, TokenHolder,
};

use crate::rulebook::{Answer, Article, Atlas, Rulebook, Texts};
use dice::Dice;

const POLICIES: usize = 500;
const REQUESTS: usize = 2_000;

/// What must have happened, or the dice are loaded. How many scopes and conditions close depends on the policies, of which
/// there are few: 50,000 to 68,000 and 4,400 to 9,000 as a rule.
const LEAST: [(Answer, usize); 10] = [
    (Answer::Open, 100_000),
    (Answer::Malformed, 50_000),
    (Answer::Unknown, 50_000),
    (Answer::Method, 20_000),
    (Answer::Scope, 20_000),
    (Answer::Group, 50_000),
    (Answer::Rule, 10_000),
    (Answer::SecureValues, 2_000),
    (Answer::Conditional, 2_000),
    (Answer::Doubtful, 50),
];

fn rules(texts: &Texts) -> Rules {
    let parse = |texts: &[String]| -> Vec<Rule> { texts.iter().map(|text| Rule::parse(text).expect(text)).collect() };
    let approved = |rule: Rule| rule.with_terms(Terms { approval: true, ..Terms::default() });
    let tables: Vec<_> = parse(&texts.tables).into_iter().map(approved).collect();
    let listed = texts.groups.iter().filter(|name| **name != "none");
    let listed: Vec<_> = listed.map(|name| Group::find(name).expect("a group")).collect();
    Rules {
        scopes: texts.scopes.iter().map(|name| Scope::parse(name).expect("a scope")).collect(),
        groups: if texts.groups.is_empty() { Groups::Ordinary } else { Groups::Only(listed) },
        allow: parse(&texts.allow).into_iter().chain(tables).collect(),
        deny: parse(&texts.deny),
        organizations: None,
    }
}

/// A policy, and what it was made from; another one where rules of `allow` need scopes that are not there.
fn policy(dice: &mut Dice, catalog: &Arc<Catalog>, scopes: &[&'static str]) -> (Policy, Texts) {
    loop {
        let texts = dice.texts(scopes);
        match Policy::new(Arc::clone(catalog), InstanceId(0), rules(&texts)) {
            Ok(policy) => return (policy, texts),
            Err(PolicyError::AboveCeiling { .. } | PolicyError::Misspelled { .. }) => {}
            Err(PolicyError::ConditionsOnSecureValues { .. }) => {}
            Err(other) => panic!("{other}: {texts:?}"),
        }
    }
}

/// What becomes of a request, the path that is sent, and whose token it gets if it is open.
fn answer(policy: &Policy, method: &Method, uri: &Uri) -> (Answer, String, Option<TokenHolder>) {
    let target = match Target::canonical(uri) {
        Ok(target) => target,
        Err(_) => return (Answer::Malformed, String::new(), None),
    };
    let mut holder = None;
    let answer = match policy.decide(method, &target) {
        Ok(decision) => {
            holder = Some(policy.token_holder(decision.operation));
            if decision.is_conditional() { Answer::Conditional } else { Answer::Open }
        }
        Err(PolicyRefusal::Malformed(_)) => Answer::Malformed,
        Err(PolicyRefusal::UnknownOperation) => Answer::Unknown,
        Err(PolicyRefusal::MethodNotAllowed { .. }) => Answer::Method,
        Err(PolicyRefusal::Closed(closed)) => match closed.barrier {
            DenyReason::Scope { .. } => Answer::Scope,
            DenyReason::Group(_) => Answer::Group,
            DenyReason::Rule(_) => Answer::Rule,
            DenyReason::SecureValues => Answer::SecureValues,
            DenyReason::TenantWide(_) => panic!("there is no fence"),
            DenyReason::Conditions(_) => Answer::Doubtful,
        },
    };
    (answer, target.path().to_owned(), holder)
}

#[test]
fn a_million_decisions_are_those_of_regular_expressions_made_from_the_texts() {
    let seed = fastrand::u64(..);
    let (atlas, catalog) = (Atlas::new(), Arc::new(Catalog::built_in().expect("good")));
    let mut dice = Dice::new(&atlas, seed);
    let (mut counts, mut of_persons) = (BTreeMap::new(), 0);
    for number in 0..POLICIES {
        let (mut judge, texts) = policy(&mut dice, &catalog, &["monitoring", "management", "control"]);
        let mut layers = vec![texts];
        if number % 3 == 0 {
            let (caller, texts) = policy(&mut dice, &catalog, &layers[0].scopes);
            judge = caller.within(Arc::new(judge)).expect("no more scopes than its listener");
            layers.push(texts);
        }
        let user = dice.user();
        let person = user.map(|always| PolicyUser { name: "technician".into(), always, scopes: judge.scopes() });
        let judge = judge.with_user(person);
        let books: Vec<_> = layers.iter().map(Rulebook::new).collect();
        dice.look_at(&layers);
        for _ in 0..REQUESTS {
            let (method, uri) = dice.request();
            let name = method.as_str();
            let question = atlas.understand(name, uri.path(), uri.query());
            let plain = match &question {
                None => Answer::Malformed,
                // The listener is asked first; what it closes, its caller cannot open.
                Some(asked) => {
                    let answers = books.iter().map(|book| book.judge(asked));
                    let answers: Vec<_> = answers.collect();
                    let passes = |answer: &&Answer| matches!(answer, Answer::Open | Answer::Conditional);
                    let conditional = answers.contains(&Answer::Conditional);
                    let open = if conditional { Answer::Conditional } else { Answer::Open };
                    answers.iter().find(|answer| !passes(answer)).copied().unwrap_or(open)
                }
            };
            let (answer, path, holder) = answer(&judge, &method, &uri);
            assert_eq!(answer, plain, "{method} {uri} by {layers:#?} (seed {seed})");
            if let Some(question) = question {
                assert_eq!(path, question.path, "{uri}");
                let of_person = user.is_some_and(|always| always || question.needs_user());
                let wanted = if of_person { TokenHolder::User } else { TokenHolder::Machine };
                assert!(holder.is_none_or(|holder| holder == wanted), "{holder:?}: {method} {uri}, {user:?}");
                of_persons += usize::from(holder == Some(TokenHolder::User) && user == Some(false));
            }
            *counts.entry(answer).or_insert(0) += 1;
        }
    }
    let all = counts.values().sum::<usize>();
    println!("{all} decisions compared, seed {seed}: {counts:?}, {of_persons} that need a person");
    assert!(of_persons >= 200, "{of_persons} that need a person");
    assert_eq!(all, POLICIES * REQUESTS);
    for (answer, least) in LEAST {
        assert!(counts.get(&answer).is_some_and(|count| *count >= least), "{answer:?}: {counts:?}");
    }
}

#[test]
fn rules_match_cover_and_overlap_as_their_expressions_say() {
    let mut dice = Dice::new(&Atlas::new(), fastrand::u64(..));
    let (mut covered, mut met) = (0, 0);
    for round in 0..20_000 {
        // Rules that meet are rare: it goes on until there were enough of them.
        if round >= 2_000 && covered > 20 && met > 20 {
            break;
        }
        let texts = [dice.good_rule(), dice.good_rule()];
        let rules = texts.each_ref().map(|text| Rule::parse(text).expect(text));
        if !rules.iter().all(|rule| matches!(rule.reach(), Selector::Path(_))) {
            continue;
        }
        dice.look_at(&[Texts { allow: texts.to_vec(), ..Texts::default() }]);
        let articles = texts.each_ref().map(|text| Article::read(text));
        for _ in 0..20 {
            let (method, uri) = dice.request();
            let Ok(path) = Segments::parse(uri.path()) else { continue };
            if !METHODS.contains(&method) {
                continue;
            }
            let plain: String = path.iter().map(|segment| format!("/{}", segment.decoded())).collect();
            let real =
                rules.each_ref().map(|rule| rule.matches(Effect::Allow, &method, &path, Query::new(uri.query()), None));
            let says = |article: &Article| {
                article.has(method.as_str())
                    && article.reaches(&plain, false)
                    && article.surely(uri.query().unwrap_or_default())
            };
            assert_eq!(real, articles.each_ref().map(says), "{texts:?} {method} {uri}");
            for (wide, narrow) in [(0, 1), (1, 0)] {
                let covers = rules[wide].covers(&rules[narrow]) && real[narrow];
                assert!(!covers || real[wide], "{texts:?} {method} {uri}");
                covered += usize::from(covers);
            }
            let both = real == [true, true];
            assert!(!both || rules[0].overlaps(&rules[1]), "{texts:?} {method} {uri}");
            met += usize::from(both);
        }
    }
    assert!(covered > 20 && met > 20, "{covered} {met}");
}
