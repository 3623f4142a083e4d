//! `learn` and `check --against`: the rules that recorded use needs, and whether it would pass the rules there are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::anyhow;
use http::{Method, Uri};
use serde_json::{Value, json};

use super::arguments::TargetOptions;
use super::{CONFIG, CommandError, DATA, OS, USAGE, failure, key, print};
use crate::config::edit::EditError;
use crate::config::policy_target::PolicyTarget;
use crate::config::{Config, ListenerConfig};
use crate::observe::usage::{self, Count, OperationUse, Used};
use crate::proxy::authn::key::NewKey;
use crate::proxy::policy::catalog::{Catalog, OperationId, Risk, ScopeSet};
use crate::proxy::policy::coverage::{self, Cover, SecureUse, UsedOperation};
use crate::proxy::policy::path::Target;
use crate::proxy::policy::query::SECURE;
use crate::proxy::policy::rule::Rule;
use crate::proxy::policy::{Groups, OperationVerdict, Policy, PolicyRefusal, Rules};
use crate::proxy::response;

/// Who used what.
type SubjectKey = (String, Option<String>);

/// What was used by whom is asked for, as rules.
pub(super) fn learn(
    config: &Config,
    from: Option<&Path>,
    target: &TargetOptions,
    as_caller: Option<&str>,
    write: bool,
) -> Result<(), CommandError> {
    as_caller.map_or(Ok(()), |name| key::check_name("caller", name)).map_err(failure(USAGE))?;
    let file = match from {
        Some(file) => file.to_owned(),
        None => config.record().map_err(|error| failure(CONFIG)(error.into()))?,
    };
    let mut used = usage::read(&file).map_err(|error| failure(DATA)(error.into()))?;
    used.retain(|what, _| target.listener.as_ref().is_none_or(|name| *name == what.listener));
    if let Some(name) = as_caller {
        used = of_caller(&used, name);
    }
    let listeners = config.listeners().map_err(|error| failure(CONFIG)(error.into()))?;
    let subjects: Vec<_> = listeners.iter().flat_map(ListenerConfig::subjects).collect();
    let catalog = config.catalog().map_err(|error| failure(CONFIG)(error.into()))?;
    let mut lessons = lessons(&subjects, &catalog, &used);
    if let Some(caller) = as_caller.or(target.caller.as_deref()) {
        for_one_caller(&mut lessons, caller);
    }
    for lesson in lessons.iter_mut().filter(|lesson| lesson.entrance.1.is_some() && lesson.today.is_none()) {
        lesson.key = Some(NewKey::make().map_err(|error| failure(OS)(error.into()))?);
    }
    if write {
        return write_to(config, &lessons, &catalog, &subjects);
    }
    print(&printed(&lessons, &catalog, &file, target.json))
}

/// Keeps the rules of this caller, and of its listener what they depend on: the listener must allow as much, which it
/// may do today, and must enforce rules at all.
fn for_one_caller(lessons: &mut Vec<LearnedRules>, caller: &str) {
    let of_caller = lessons.iter().filter(|lesson| lesson.entrance.1.as_deref() == Some(caller));
    let listeners: BTreeSet<String> = of_caller.map(|lesson| lesson.entrance.0.clone()).collect();
    lessons.retain_mut(|lesson| match &lesson.entrance {
        (_, Some(name)) => name == caller,
        (listener, None) => {
            lesson.mode_only = lesson.is_open_today();
            listeners.contains(listener) && (!lesson.mode_only || lesson.observes())
        }
    });
}

/// The same use, as if this caller had made all requests.
fn of_caller(used: &Used, name: &str) -> Used {
    let mut found = Used::default();
    for (what, count) in used {
        let own = OperationUse { caller: Some(name.to_owned()), ..what.clone() };
        found.entry(own).or_default().add(*count);
    }
    found
}

/// Writes the rules into the configuration file, if it is good with them.
fn write_to(
    config: &Config,
    lessons: &[LearnedRules],
    catalog: &Catalog,
    subjects: &[PolicyTarget<'_>],
) -> Result<(), CommandError> {
    let mut said = String::new();
    let mut edited: Option<Config> = None;
    for lesson in lessons {
        let table = lesson.table();
        let names: Vec<&str> = match &lesson.entrance {
            (listener, Some(caller)) => vec!["listeners", listener, "callers", caller],
            (listener, None) => vec!["listeners", listener],
        };
        let next = edited.as_ref().unwrap_or(config).with_keys(&names, &lesson.keys(catalog));
        edited = Some(next.map_err(|error| failure(CONFIG)(error.into()))?);
        let what = if lesson.mode_only { "mode" } else { "rules" };
        said += &format!("\nwrote the {what} of [{table}]\n{}{}", lesson.told_key(), lesson.difference(catalog));
    }
    if let Some(edited) = &edited {
        edited.replace(config).map_err(|error| {
            let unused = if matches!(error, EditError::Refused(_)) { unused(lessons, subjects) } else { String::new() };
            failure(CONFIG)(anyhow!("{error}{unused}"))
        })?;
    } else {
        said += "# This listener or caller used nothing, so nothing was written.\n";
    }
    print(&said)
}

/// Callers that used nothing keep rules that their listener may no longer permit.
fn unused(lessons: &[LearnedRules], subjects: &[PolicyTarget<'_>]) -> String {
    let learnt = |caller: Option<&str>, listener: &str| {
        lessons.iter().any(|lesson| lesson.entrance.0 == listener && lesson.entrance.1.as_deref() == caller)
    };
    let unused = subjects.iter().filter_map(|subject| {
        let (listener, caller) = (&*subject.listener.name, subject.caller()?);
        (learnt(None, listener) && !learnt(Some(caller), listener))
            .then(|| format!("[listeners.{listener}.callers.{caller}]"))
    });
    let unused: Vec<String> = unused.collect();
    if unused.is_empty() {
        return String::new();
    }
    format!(
        ". The listener would permit only what was used, and no use is recorded of {}: record that too, remove the caller, or write the rules of one caller with \"learn --caller NAME --write\"",
        unused.join(", ")
    )
}

/// The rules that cover what was used, for each listener and caller.
fn lessons(subjects: &[PolicyTarget<'_>], catalog: &Catalog, used: &Used) -> Vec<LearnedRules> {
    by_entrance(used)
        .into_iter()
        .map(|(entrance, used)| LearnedRules::new(entrance, &used, subjects, catalog))
        .collect()
}

/// As TOML or JSON.
fn printed(lessons: &[LearnedRules], catalog: &Catalog, file: &Path, json: bool) -> String {
    if json {
        return format!("{}\n", Value::from(lessons.iter().map(|lesson| lesson.json(catalog)).collect::<Vec<_>>()));
    }
    let mut text = format!(
        "# From {}: the least that covers what was used. Paste it over these keys, or run learn --write.\n",
        file.display()
    );
    if lessons.is_empty() {
        text += "# This listener or caller used nothing.\n";
    }
    text + &lessons.iter().map(|lesson| lesson.toml(catalog)).collect::<String>()
}

/// By listener and caller; where a listener has callers, first what all of them used together.
fn by_entrance(used: &Used) -> BTreeMap<SubjectKey, BTreeMap<String, Count>> {
    let mut found: BTreeMap<SubjectKey, BTreeMap<String, Count>> = BTreeMap::new();
    for (OperationUse { listener, caller, operation }, count) in used {
        for caller in BTreeSet::from([None, caller.clone()]) {
            let page = found.entry((listener.clone(), caller)).or_default();
            page.entry(operation.clone()).or_default().add(*count);
        }
    }
    found
}

/// What one listener or caller needs, and what it has.
struct LearnedRules {
    entrance: SubjectKey,
    cover: Cover,
    operations: BTreeSet<OperationId>,
    requests: u64,
    unknown: Vec<String>,
    /// For a caller that is not there yet.
    key: Option<NewKey>,
    /// Today's rules and what they open, if the listener or caller is there.
    today: Option<Today>,
    /// Whether the rules may stay, and only the mode changes.
    mode_only: bool,
}

struct Today {
    rules: Rules,
    observes: bool,
    open: BTreeSet<OperationId>,
}

impl LearnedRules {
    fn new(
        entrance: SubjectKey,
        used: &BTreeMap<String, Count>,
        subjects: &[PolicyTarget<'_>],
        catalog: &Catalog,
    ) -> Self {
        let mut wanted = UsedOperation::default();
        let mut unknown = Vec::new();
        for (operation, count) in used {
            match (named(catalog, operation), Rule::parse(operation)) {
                (Some(id), _) => drop(wanted.operations.insert(id, secure_use(count))),
                (None, Ok(_)) => drop(wanted.rules.insert(operation.clone())),
                (None, Err(_)) => unknown.push(operation.clone()),
            }
        }
        let (listener, caller) = &entrance;
        let policy = subjects.iter().find_map(|subject| {
            let here = subject.listener.name == *listener;
            let own = caller.is_none() || subject.caller() == caller.as_deref();
            let policy = if caller.is_none() { &subject.listener.policy } else { subject.policy() };
            (here && own).then_some(policy)
        });
        let today = policy.map(|policy| Today {
            rules: policy.rules().clone(),
            observes: policy.observes(),
            open: catalog.iter().map(|(id, _)| id).filter(|id| policy.may_open(*id)).collect(),
        });
        let requests = used.values().map(|count| count.requests).sum();
        let operations = wanted.operations.keys().copied().collect();
        let cover = coverage::cover(catalog, &wanted);
        Self { cover, entrance, operations, requests, unknown, key: None, today, mode_only: false }
    }

    fn table(&self) -> String {
        let (listener, caller) = &self.entrance;
        response::table(listener, caller.as_deref())
    }

    fn toml(&self, catalog: &Catalog) -> String {
        let Self { operations, requests, .. } = self;
        let risks = risks(catalog, operations.iter());
        let mut text = format!(
            "\n# {} operations, {requests} requests; {risks}\n{}[{}]\n",
            operations.len(),
            self.told_key(),
            self.table()
        );
        for (key, value) in self.keys(catalog) {
            text += &format!("{key} = {value}\n");
        }
        for operation in &self.unknown {
            text += &format!("# {operation} was used, and is neither an operation of this catalogue nor a rule\n");
        }
        text + &self.difference(catalog)
    }

    /// The keys of the table, each with its value in TOML.
    fn keys(&self, catalog: &Catalog) -> Vec<(&'static str, String)> {
        let Self { cover, key, .. } = self;
        let rule =
            |(rule, ids): &(String, Vec<OperationId>)| format!("    {},{}\n", quoted(rule), marks(catalog, rule, ids));
        let allow: String = cover.allow.iter().map(rule).collect();
        let key = key.iter().map(|key| ("key", quoted(&key.hash().to_string())));
        let mode = self.observes().then(|| ("mode", quoted("enforce")));
        let rules = [
            ("scopes", array(scopes(cover.scopes))),
            ("groups", array(cover.groups.iter().cloned())),
            ("allow", format!("[\n{allow}]")),
            ("deny", array(cover.deny.iter().cloned())),
        ];
        key.chain(mode).chain(rules.into_iter().filter(|_| !self.mode_only)).collect()
    }

    /// Whether this is a listener that refuses nothing by its rules today.
    fn observes(&self) -> bool {
        self.entrance.1.is_none() && self.today.as_ref().is_some_and(|today| today.observes)
    }

    /// The key of a caller that is made.
    fn told_key(&self) -> String {
        let (Some(key), (_, Some(caller))) = (&self.key, &self.entrance) else { return String::new() };
        format!(
            "# The key of {caller}. It is shown only here; it works once these rules are in the configuration: {}\n",
            key.expose()
        )
    }

    /// Whether all that was used is open already.
    fn is_open_today(&self) -> bool {
        let Some(today) = &self.today else { return false };
        // Values of secure fields, and what the catalogue lacks, are open only by a rule of their own.
        let allowed: BTreeSet<String> = today.rules.allow.iter().map(Rule::to_string).collect();
        let is_by_rule = |rule: &str, ids: &[OperationId]| ids.is_empty() || is_of_secure_values(rule);
        self.operations.is_subset(&today.open)
            && self.cover.allow.iter().all(|(rule, ids)| !is_by_rule(rule, ids) || allowed.contains(rule))
    }

    /// What changes against today, as comments.
    fn difference(&self, catalog: &Catalog) -> String {
        let Some(Today { rules, open, .. }) = &self.today else {
            return format!("# [{}] is not in this configuration.\n", self.table());
        };
        let mut lines = vec!["Against today:".to_owned()];
        if self.observes() {
            lines.extend(["- mode = \"observe\"".to_owned(), "+ mode = \"enforce\"".to_owned()]);
        }
        if self.mode_only {
            lines.push("from now on the listener enforces its rules, for all of its callers".to_owned());
            return lines.iter().map(|line| format!("# {line}\n")).collect();
        }
        let rule = |rule: &Rule| rule.to_string();
        let own = self.cover.allow.iter().map(|(rule, _)| rule.clone());
        for (key, old, new) in [
            ("scopes", array(scopes(rules.scopes)), array(scopes(self.cover.scopes))),
            ("groups", array(groups(&rules.groups)), array(self.cover.groups.iter().cloned())),
            ("allow", array(rules.allow.iter().map(rule)), array(own)),
            ("deny", array(rules.deny.iter().map(rule)), array(self.cover.deny.iter().cloned())),
        ] {
            if old != new {
                lines.extend([format!("- {key} = {old}"), format!("+ {key} = {new}")]);
            }
        }
        let closed = || open.difference(&self.operations);
        lines.push(format!(
            "closes {} of {} open operations: {}",
            closed().count(),
            open.len(),
            risks(catalog, closed())
        ));
        let opened = self.operations.difference(open).filter_map(|id| Some((id, catalog.get(*id)?)));
        for (id, operation) in opened {
            let name = catalog.name(*id).map(|name| name.to_string()).unwrap_or_default();
            lines.push(format!("opens {name} ({}, {}), which is closed today", operation.group, operation.risk));
        }
        lines.iter().map(|line| format!("# {line}\n")).collect()
    }

    fn json(&self, catalog: &Catalog) -> Value {
        let names = |ids: &mut dyn Iterator<Item = &OperationId>| -> Vec<String> {
            ids.filter_map(|id| catalog.name(*id)).map(|name| name.to_string()).collect()
        };
        let allow = self.cover.allow.iter().map(|(rule, ids)| {
            json!({ "rule": rule, "operations": names(&mut ids.iter()), "risk": highest(catalog, ids).map(Risk::as_str) })
        });
        let (closes, opens) = match &self.today {
            Some(Today { open, .. }) => {
                (names(&mut open.difference(&self.operations)), names(&mut self.operations.difference(open)))
            }
            None => Default::default(),
        };
        json!({
            "listener": self.entrance.0, "caller": self.entrance.1, "requests": self.requests,
            "scopes": scopes(self.cover.scopes).collect::<Vec<_>>(), "groups": self.cover.groups,
            "allow": allow.collect::<Vec<_>>(), "deny": self.cover.deny, "closes": closes, "opens": opens,
            "unknown": self.unknown,
        })
    }
}

fn secure_use(count: &Count) -> SecureUse {
    match (count.secure_values, count.doubtful) {
        (0, _) => SecureUse::No,
        (_, 0) => SecureUse::Plain,
        (_, _) => SecureUse::Doubtful,
    }
}

fn named(catalog: &Catalog, operation: &str) -> Option<OperationId> {
    let named = |id: &OperationId| catalog.name(*id).is_some_and(|name| name.to_string() == operation);
    catalog.iter().map(|(id, _)| id).find(named)
}

fn scopes(scopes: ScopeSet) -> impl Iterator<Item = String> {
    scopes.iter().map(|scope| scope.as_str().to_owned()).collect::<Vec<_>>().into_iter()
}

fn groups(groups: &Groups) -> Vec<String> {
    match groups {
        Groups::Ordinary => Vec::new(),
        Groups::Only(listed) if listed.is_empty() => vec![crate::proxy::policy::group::NONE.to_owned()],
        Groups::Only(listed) => listed.iter().map(|group| group.name.to_owned()).collect(),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn array(entries: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", entries.into_iter().map(|entry| quoted(&entry)).collect::<Vec<_>>().join(", "))
}

fn risks<'a>(catalog: &Catalog, ids: impl Iterator<Item = &'a OperationId>) -> String {
    let risks: Vec<_> = ids.filter_map(|id| Some(catalog.get(*id)?.risk)).collect();
    let count = |risk: &Risk| risks.iter().filter(|own| *own == risk).count();
    Risk::ALL.iter().rev().map(|risk| format!("{} {risk}", count(risk))).collect::<Vec<_>>().join(", ")
}

fn highest(catalog: &Catalog, ids: &[OperationId]) -> Option<Risk> {
    ids.iter().filter_map(|id| Some(catalog.get(*id)?.risk)).max()
}

fn is_of_secure_values(rule: &str) -> bool {
    rule.contains(SECURE) || rule.starts_with("group:secure")
}

/// The comment after a rule: what it opens, and how dangerous that is.
fn marks(catalog: &Catalog, rule: &str, ids: &[OperationId]) -> String {
    let group = ids.first().and_then(|id| Some(catalog.get(*id)?.group.name));
    match (group, highest(catalog, ids)) {
        _ if is_of_secure_values(rule) => "  # values of secure fields, CRITICAL".to_owned(),
        (Some(group), Some(Risk::Critical)) => format!("  # {group}, CRITICAL"),
        (Some(group), Some(Risk::High)) => format!("  # {group}, HIGH"),
        (Some(group), Some(risk)) => format!("  # {group}, {risk}"),
        _ => "  # not in the catalogue".to_owned(),
    }
}

/// What recorded use would meet, and whether all of it would pass.
pub(super) fn against(subjects: &[PolicyTarget<'_>], used: &Used, file: &Path) -> (String, bool) {
    let mut refused = Vec::new();
    let mut doubtful = Vec::new();
    for (what, count) in used {
        let place = response::table(&what.listener, what.caller.as_deref());
        let line = |why: String| format!("{place}: {} ({} requests): {why}", what.operation, count.requests);
        let of = |subject: &&PolicyTarget<'_>| {
            subject.listener.name == what.listener && subject.caller() == what.caller.as_deref()
        };
        match subjects.iter().find(of).map(|subject| outcome(subject.policy(), what, count)) {
            None => refused.push(line("not in the configuration".to_owned())),
            Some(LearnResult::Refused(why)) => refused.push(line(why)),
            Some(LearnResult::Depends) => doubtful.push(line("depends on values, which are not recorded".to_owned())),
            Some(LearnResult::Passes) => {}
        }
    }
    let passing = used.len() - refused.len() - doubtful.len();
    let mut text = format!("# recorded use in {}: {passing} of {} would pass\n", file.display(), used.len());
    text += &doubtful.iter().map(|line| format!("warning: may be refused: {line}\n")).collect::<String>();
    text += &refused.iter().map(|line| format!("would be refused: {line}\n")).collect::<String>();
    (text, refused.is_empty())
}

enum LearnResult {
    Passes,
    Depends,
    Refused(String),
}

fn outcome(policy: &Policy, what: &OperationUse, count: &Count) -> LearnResult {
    let catalog = policy.catalog();
    let Some((id, operation)) = named(catalog, &what.operation).and_then(|id| Some((id, catalog.get(id)?))) else {
        return unknown(policy, &what.operation);
    };
    let path = operation.example();
    let plain = match policy.verdict(id) {
        OperationVerdict::Depends => LearnResult::Depends,
        OperationVerdict::Open(_) | OperationVerdict::Closed(_) | OperationVerdict::ClosedByListener => {
            ask(policy, &operation.method, &path)
        }
    };
    let spelled = if count.doubtful > 0 { SECURE.to_ascii_lowercase() } else { SECURE.to_owned() };
    match &plain {
        LearnResult::Passes if count.secure_values > 0 => {
            ask(policy, &operation.method, &format!("{path}?{spelled}=true"))
        }
        LearnResult::Passes | LearnResult::Depends | LearnResult::Refused(_) => plain,
    }
}

/// Something that a rule of `allow` stood for.
fn unknown(policy: &Policy, rule: &str) -> LearnResult {
    let Ok(rule) = Rule::parse(rule) else {
        return LearnResult::Refused("it is neither an operation nor a rule".to_owned());
    };
    let methods = crate::proxy::policy::rule::METHODS;
    let Some(method) = methods.iter().find(|method| rule.has_method(method)) else { return LearnResult::Depends };
    ask(policy, method, &rule.path_text().replace("{id}", "1"))
}

fn ask(policy: &Policy, method: &Method, target: &str) -> LearnResult {
    let Ok(uri) = target.parse::<Uri>() else { return LearnResult::Depends };
    let judged = Target::canonical(&uri).map_err(PolicyRefusal::from).and_then(|target| policy.decide(method, &target));
    match judged {
        Ok(_) => LearnResult::Passes,
        Err(PolicyRefusal::Closed(closed)) => {
            LearnResult::Refused(format!("{}: {closed}", response::code(&closed.barrier)))
        }
        Err(refusal) => LearnResult::Refused(refusal.to_string()),
    }
}
