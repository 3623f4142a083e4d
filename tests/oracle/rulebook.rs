//! The policy, judged by regular expressions that are made from the texts as written: the measure of the real judge.

use std::collections::HashMap;

use regex::{Regex, RegexSet, RegexSetBuilder};

use crate::queries::{self, Word};
use crate::spelling::spell;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    Open,
    Malformed,
    Unknown,
    Method,
    Scope,
    Group,
    Rule,
    SecureValues,
    /// It passes if the conditions of a rule hold.
    Conditional,
    /// A rule with conditions takes it over, and does not surely match.
    Doubtful,
}

/// The lines of the data file.
pub(crate) struct Atlas {
    lines: Vec<Line>,
    by_name: HashMap<(&'static str, &'static str), usize>,
    templates: Vec<&'static str>,
    /// How many slashes each template has.
    depths: Vec<usize>,
    paths: RegexSet,
    secure: Word,
}

struct Line {
    method: &'static str,
    template: &'static str,
    scope: &'static str,
    group: &'static str,
    user: bool,
}

/// A request, and all that no policy changes about it.
pub(crate) struct Question<'a> {
    pub(crate) method: &'a str,
    pub(crate) query: &'a str,
    /// The path that is sent.
    pub(crate) path: String,
    /// The method (`GET` for `HEAD`) and the path, decoded, with a mark on the fixed words of a known operation: what
    /// rules speak of.
    plain: String,
    line: Option<&'a Line>,
    known_path: bool,
    asks: bool,
}

/// What an administrator writes for a listener or a caller.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts {
    pub(crate) scopes: Vec<&'static str>,
    pub(crate) groups: Vec<&'static str>,
    pub(crate) allow: Vec<String>,
    /// Those of `allow` that have conditions.
    pub(crate) tables: Vec<String>,
    pub(crate) deny: Vec<String>,
}

/// The same, understood.
pub(crate) struct Rulebook {
    scopes: Vec<&'static str>,
    groups: Vec<&'static str>,
    allow: Vec<Article>,
    tables: Vec<Article>,
    deny: Vec<Article>,
}

/// One rule.
pub(crate) struct Article {
    methods: Regex,
    /// Over a method and a path: where it surely speaks of it, and where it does to a lenient reader.
    reach: Option<[Regex; 2]>,
    /// Over templates whose fixed words it spells.
    spells: Option<Regex>,
    group: Option<String>,
    conditions: Vec<Condition>,
}

enum Condition {
    Absent(Word),
    Present(String, Word),
    Equal(String, Word, Word),
}

/// The mark on a fixed word, which is no value.
const FIXED: &str = "\u{1}";

const GUARDED: [&str; 6] = ["installers", "scripts", "users-and-roles", "webhooks", "secure-values", "unclassified"];

impl Atlas {
    pub(crate) fn new() -> Self {
        let data = include_str!("../../src/proxy/policy/catalog.tsv");
        let lines: Vec<_> = data.lines().filter(|line| !line.starts_with('#')).map(Line::read).collect();
        let mut templates: Vec<_> = lines.iter().map(|line| line.template).collect();
        // A fixed word sorts before a parameter, and so wins over it.
        templates.sort_unstable();
        templates.dedup();
        let by_name = (0..).zip(&lines).map(|(number, line)| ((line.method, line.template), number)).collect();
        let expressions = templates.iter().map(|template| typed(template));
        let paths = RegexSetBuilder::new(expressions).dfa_size_limit(64 << 20).build().expect("expressions");
        let depths = templates.iter().map(|template| template.matches('/').count()).collect();
        Self { lines, by_name, templates, depths, paths, secure: Word::new("showSecureValues") }
    }

    /// The names of all groups that have operations.
    pub(crate) fn groups(&self) -> Vec<&'static str> {
        let mut groups: Vec<_> = self.lines.iter().map(|line| line.group).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// The methods and templates of all operations.
    pub(crate) fn operations(&self) -> Vec<(&'static str, &'static str)> {
        self.lines.iter().map(|line| (line.method, line.template)).collect()
    }

    /// What is asked; `None` if servers may differ on it.
    pub(crate) fn understand<'a>(
        &'a self,
        method: &'a str,
        path: &str,
        query: Option<&'a str>,
    ) -> Option<Question<'a>> {
        let spelling = spell(path, query)?;
        let query = query.unwrap_or_default();
        let plain: String = spelling.segments.iter().map(|(segment, _)| format!("/{segment}")).collect();
        let mut template = self.paths.matches(&plain).into_iter().map(|first| self.templates[first]);
        let template = template.find(|template| has_exact_numbers(template, &plain));
        // A lenient server may take it for a known path.
        let slashes = plain.matches('/').count();
        let mut alike = self.depths.iter().zip(&self.templates).filter(|(depth, _)| **depth == slashes);
        if template.is_none() && alike.any(|(_, template)| is_nearly(template, &plain)) {
            return None;
        }
        let fixed = |wanted: &str| !wanted.ends_with(":name}");
        let mut pairs = template.into_iter().flat_map(|template| template.split('/').skip(1)).zip(&spelling.segments);
        if pairs.any(|(wanted, (_, encoded))| *encoded && fixed(wanted)) {
            return None;
        }
        let asked = if method == "HEAD" { "GET" } else { method };
        let line =
            template.and_then(|template| self.by_name.get(&(asked, template))).map(|number| &self.lines[*number]);
        let marked: String = match line {
            None => plain,
            Some(line) => {
                let segments = line.template.split('/').skip(1).zip(&spelling.segments);
                segments
                    .map(|(wanted, (own, _))| format!("/{own}{}", if wanted.starts_with('{') { "" } else { FIXED }))
                    .collect()
            }
        };
        let plain = format!("{asked} {marked}");
        let asks = queries::asks(query, &self.secure);
        Some(Question { method: asked, query, path: spelling.path, plain, line, known_path: template.is_some(), asks })
    }
}

impl Question<'_> {
    /// Whether it is an operation that needs a signed-in user.
    pub(crate) fn needs_user(&self) -> bool {
        self.line.is_some_and(|line| line.user)
    }
}

impl Line {
    fn read(line: &'static str) -> Self {
        let mut columns = line.split('\t').map(str::trim);
        let mut column = || columns.next().expect("a column");
        let (method, template, scope, group) = (column(), column(), column(), column());
        let [_risk, _idempotent, user] = [column(), column(), column()];
        Self { method, template, scope, group, user: user == "yes" }
    }
}

/// Whether every number of a path that has this template is one that a 64-bit float holds exactly.
fn has_exact_numbers(template: &str, path: &str) -> bool {
    let pairs = template.split('/').zip(path.split('/'));
    pairs
        .filter(|(wanted, _)| wanted.ends_with(":integer}"))
        .all(|(_, own)| own.parse::<u64>().is_ok_and(|number| number <= 9_007_199_254_740_991))
}

/// Whether each segment of a path is what the template has there, or may be read as it.
fn is_nearly(template: &str, path: &str) -> bool {
    template.split('/').zip(path.split('/')).all(|(wanted, own)| {
        let kind = wanted.strip_prefix('{').map(|rest| rest.trim_end_matches('}').split_once(':').unwrap().1);
        let hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        match kind {
            None => own.to_lowercase() == wanted.to_lowercase(),
            Some("name") => !own.is_empty(),
            Some("integer") => {
                let negative = own.strip_prefix('-').and_then(|digits| digits.parse::<u64>().ok());
                negative.is_none_or(|number| number > 9_007_199_254_740_991)
                    && own.trim_start_matches(['+', '-', ' ']).starts_with(char::is_numeric)
            }
            Some("uid") => {
                let own = own.trim_start_matches("urn:uuid:").trim_matches(['(', ')', ' ']);
                hex(own) && (own.matches('-').count() == 4 || (own.len() == 32 && !own.contains('-')))
            }
            Some(words) => words.split('|').any(|word| word.to_lowercase() == own.to_lowercase()),
        }
    })
}

/// A template as an expression over decoded paths.
fn typed(template: &str) -> String {
    let hex = |digits: usize| format!("[0-9a-f]{{{digits}}}");
    let uid = [8, 4, 4, 4, 12].map(hex).join("-");
    let segment = |segment: &str| match segment.trim_matches(['{', '}']).split_once(':') {
        None => regex::escape(segment),
        Some((_, "integer")) => "(?:0|[1-9][0-9]{0,15})".to_owned(),
        Some((_, "uid")) => uid.clone(),
        Some((_, "name")) => "[^/]+".to_owned(),
        Some((_, words)) => format!("(?:{words})"),
    };
    format!(r"\A{}\z", template.split('/').map(segment).collect::<Vec<_>>().join("/"))
}

impl Rulebook {
    pub(crate) fn new(texts: &Texts) -> Self {
        let articles = |texts: &[String]| texts.iter().map(|text| Article::read(text)).collect();
        let (allow, tables, deny) = (articles(&texts.allow), articles(&texts.tables), articles(&texts.deny));
        Self { scopes: texts.scopes.clone(), groups: texts.groups.clone(), allow, tables, deny }
    }

    pub(crate) fn judge(&self, asked: &Question<'_>) -> Answer {
        let denies = |article: &&Article| article.denies(asked);
        let allows = |article: &&Article| article.allows(asked);
        let (secure, deny): (Vec<_>, Vec<_>) = self.deny.iter().partition(|article| article.is_of("secure-values"));
        let mut allow: Vec<_> = self.allow.iter().filter(allows).collect();
        let lifts = self.groups.contains(&"secure-values") || allow.iter().any(|article| article.lifts());
        allow.retain(|article| !article.is_of("secure-values"));
        let mut tables: Vec<_> = self.tables.iter().filter(allows).collect();
        let surely = !tables.is_empty();
        if let Some(line) = asked.line {
            allow.retain(|article| !GUARDED.contains(&line.group) || article.names(line));
            // A group that is listed opens what is guarded, with or without conditions.
            tables.retain(|article| self.opens(line.group) || !GUARDED.contains(&line.group) || article.names(line));
        } else if (allow.is_empty() && !surely) || !["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&asked.method) {
            return if asked.known_path { Answer::Method } else { Answer::Unknown };
        }
        let assumed = if asked.method == "GET" { "monitoring" } else { "management" };
        if deny.iter().any(denies) {
            Answer::Rule
        } else if !self.scopes.contains(&asked.line.map_or(assumed, |line| line.scope)) {
            Answer::Scope
        } else if self.tables.iter().any(|article| article.denies(asked)) {
            let passes = |article: &Article| !asked.asks || lifts || article.lifts();
            if tables.is_empty() {
                Answer::Doubtful
            } else if asked.asks && secure.iter().any(denies) {
                Answer::Rule
            } else if !tables.iter().any(|article| passes(article)) {
                Answer::SecureValues
            } else {
                Answer::Conditional
            }
        } else if !asked.line.is_some_and(|line| self.opens(line.group)) && allow.is_empty() {
            Answer::Group
        } else if asked.asks && secure.iter().any(denies) {
            Answer::Rule
        } else if asked.asks && !lifts {
            Answer::SecureValues
        } else {
            Answer::Open
        }
    }

    /// Whether a group is open without a rule.
    fn opens(&self, group: &str) -> bool {
        if self.groups.is_empty() { !GUARDED.contains(&group) } else { self.groups.contains(&group) }
    }
}

impl Article {
    /// Understands a good rule.
    pub(crate) fn read(text: &str) -> Self {
        let (methods, target) = text.trim().split_once(char::is_whitespace).unwrap_or(("*", text.trim()));
        let (path, conditions) = target.trim().split_once('?').unwrap_or((target.trim(), ""));
        let methods = if methods == "*" { "[A-Z]+".to_owned() } else { format!("(?:{})", methods.replace(',', "|")) };
        let conditions = conditions.split('&').filter(|text| !text.is_empty()).map(Condition::read).collect();
        let whole = |text: String| Regex::new(&text).expect("an expression");
        let (mut reach, mut spells) = (None, None);
        if path.starts_with('/') {
            let is_any = |segment: &str| segment == "*" || segment.starts_with('{');
            let word = |segment: &str| regex::escape(&String::from_utf8(queries::decode(segment.as_bytes())).unwrap());
            let path_of = |any: &dyn Fn(&str) -> String, word: &dyn Fn(&str) -> String| -> String {
                let kept = path.strip_suffix("/**").unwrap_or(path).split('/').skip(1);
                kept.map(|segment| format!("/{}", if is_any(segment) { any(segment) } else { word(segment) })).collect()
            };
            let value = |segment: &str| if segment == "*" { "[^/]+".to_owned() } else { format!("[^/{FIXED}]+") };
            let rest = if path.ends_with("/**") { "(?:/[^/]+)*" } else { "" };
            let reaching =
                |word: &dyn Fn(&str) -> String| whole(format!(r"\A{methods} {}{rest}\z", path_of(&value, word)));
            let surely = |segment: &str| format!("{}{FIXED}?", word(segment));
            let maybe = |segment: &str| {
                let number = word(segment).bytes().all(|byte| byte.is_ascii_digit());
                let tail = if number { format!("(?:[^0-9/{FIXED}][^/{FIXED}]*)?") } else { String::new() };
                format!("(?:{}{FIXED}|{}{tail})", word(segment), queries::in_any_case(&word(segment)))
            };
            reach = Some([reaching(&surely), reaching(&maybe)]);
            let parameter = |_: &str| r"\{[^/]+".to_owned();
            let stem = path_of(&parameter, &|segment| format!(r"(?:{}|\{{[^/]+)", word(segment)));
            spells = (!path.ends_with("/**")).then(|| whole(format!(r"\A{stem}\z")));
        }
        let group = path.strip_prefix("group:").map(str::to_owned);
        Self { methods: whole(format!(r"\A{methods}\z")), reach, spells, group, conditions }
    }

    fn is_of(&self, group: &str) -> bool {
        self.group.as_deref() == Some(group)
    }

    /// Whether it speaks of a path, written plainly, whatever the method; to a lenient reader, if it denies.
    pub(crate) fn reaches(&self, plain: &str, denies: bool) -> bool {
        let any = ["GET", "POST", "PUT", "PATCH", "DELETE"];
        let reach = self.reach.as_ref().map(|reach| &reach[usize::from(denies)]);
        any.iter().any(|method| reach.is_some_and(|reach| reach.is_match(&format!("{method} {plain}"))))
    }

    /// Whether it speaks of a method.
    pub(crate) fn has(&self, method: &str) -> bool {
        self.methods.is_match(method)
    }

    fn speaks_of(&self, asked: &Question<'_>, denies: bool) -> bool {
        match (&self.reach, self.group.as_deref()) {
            (Some(reach), _) => reach[usize::from(denies)].is_match(&asked.plain),
            (None, Some("secure-values")) => self.methods.is_match(asked.method) && asked.asks,
            (None, group) => {
                self.methods.is_match(asked.method) && asked.line.is_some_and(|line| Some(line.group) == group)
            }
        }
    }

    fn allows(&self, asked: &Question<'_>) -> bool {
        self.speaks_of(asked, false) && self.surely(asked.query)
    }

    fn denies(&self, asked: &Question<'_>) -> bool {
        self.speaks_of(asked, true) && self.maybe(asked.query)
    }

    /// Whether every server finds the conditions true.
    pub(crate) fn surely(&self, query: &str) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Absent(name) => !queries::maybe(query, name, None),
            Condition::Present(_, name) => queries::surely(query, name, None),
            Condition::Equal(_, name, value) => queries::surely(query, name, Some(value)),
        })
    }

    /// Whether some server finds the conditions true.
    pub(crate) fn maybe(&self, query: &str) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Absent(name) => !queries::surely(query, name, None),
            Condition::Present(_, name) => queries::maybe(query, name, None),
            Condition::Equal(_, name, value) => queries::maybe(query, name, Some(value)),
        })
    }

    /// Whether it says the group of an operation, or each fixed word of its path.
    fn names(&self, line: &Line) -> bool {
        self.is_of(line.group) || self.spells.as_ref().is_some_and(|spells| spells.is_match(line.template))
    }

    /// Whether it says that the values of secure fields may be asked for.
    fn lifts(&self) -> bool {
        let says = |name: &str| name.to_lowercase() == "showsecurevalues";
        self.is_of("secure-values")
            || self.conditions.iter().any(|condition| match condition {
                Condition::Absent(_) => false,
                Condition::Present(name, _) | Condition::Equal(name, ..) => says(name),
            })
    }
}

impl Condition {
    fn read(text: &str) -> Self {
        let plain = |text: &str| String::from_utf8(queries::decode(text.as_bytes())).unwrap();
        let word = |text: &str| Word::new(&plain(text));
        match (text.strip_prefix('!'), text.split_once('=')) {
            (Some(name), _) => Self::Absent(word(name)),
            (None, Some((name, value))) if value != "*" => Self::Equal(plain(name), word(name), word(value)),
            (None, with_star) => {
                let name = with_star.map_or(text, |(name, _)| name);
                Self::Present(plain(name), word(name))
            }
        }
    }
}
