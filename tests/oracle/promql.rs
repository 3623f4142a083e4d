//! What an expression of PromQL asks for: series, their labels, and the labels of its result. It is no parser of the
//! language, which is promtool's part, only enough to hold an expression against what `/metrics` shows.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

/// Label, operator, value.
pub(crate) type Matcher = (String, String, String);

/// A series that an expression names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) name: String,
    pub(crate) matchers: Vec<Matcher>,
}

/// What an expression asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) selectors: Vec<Selector>,
    /// The labels that it groups by or joins on.
    pub(crate) grouped: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Mark(String),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let pattern = Regex::new(
        r#"(?x) \s+ | (?<word>[a-zA-Z_:$][a-zA-Z0-9_:$]*) | (?<text>"(?:[^"\\]|\\.)*") | [0-9][0-9a-zA-Z_.]*
            | \[[^\]]*\] | (?<mark>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){},])"#,
    )
    .expect("an expression");
    let (mut found, mut end) = (Vec::new(), 0);
    for token in pattern.captures_iter(text) {
        let whole = token.get(0).expect("a match");
        if whole.start() != end {
            break;
        }
        end = whole.end();
        let get = |name| token.name(name).map(|part| part.as_str().to_owned());
        if let Some(word) = get("word") {
            found.push(Token::Word(word));
        } else if let Some(quoted) = get("text") {
            found.push(Token::Text(serde_json::from_str(&quoted).map_err(|error| format!("{quoted}: {error}"))?));
        } else if let Some(mark) = get("mark") {
            found.push(Token::Mark(mark));
        }
    }
    if end == text.len() { Ok(found) } else { Err(format!("{text}: unknown from {end} on")) }
}

fn is_mark(token: Option<&Token>, mark: &str) -> bool {
    matches!(token, Some(Token::Mark(own)) if own == mark)
}

fn is_word(token: Option<&Token>, words: &[&str]) -> bool {
    matches!(token, Some(Token::Word(own)) if words.contains(&own.as_str()))
}

/// The words up to a closing parenthesis, and where it is.
fn listed(tokens: &[Token], from: usize) -> (Vec<String>, usize) {
    let end = (from..tokens.len()).find(|&place| is_mark(tokens.get(place), ")")).unwrap_or(tokens.len());
    let words = tokens[from..end].iter().filter_map(|token| match token {
        Token::Word(word) => Some(word.clone()),
        Token::Text(_) | Token::Mark(_) => None,
    });
    (words.collect(), end)
}

fn matchers(tokens: &[Token], from: usize) -> Result<(Vec<Matcher>, usize), String> {
    let (mut found, mut place) = (Vec::new(), from);
    while !is_mark(tokens.get(place), "}") {
        let [Token::Word(label), Token::Mark(operator), Token::Text(value), rest @ ..] =
            &tokens[place.min(tokens.len())..]
        else {
            return Err("a selector that cannot be read".to_owned());
        };
        found.push((label.clone(), operator.clone(), value.clone()));
        place += 3 + usize::from(is_mark(rest.first(), ","));
    }
    Ok((found, place))
}

/// Reads an expression.
pub(crate) fn read(text: &str) -> Result<Query, String> {
    const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
    const WORDS: [&str; 7] = ["and", "or", "unless", "bool", "offset", "group_left", "group_right"];
    let tokens = tokens(text)?;
    let (mut query, mut place) = (Query::default(), 0);
    while let Some(token) = tokens.get(place) {
        place += 1;
        let Token::Word(word) = token else { continue };
        let opens = is_mark(tokens.get(place), "(");
        if GROUPING.contains(&word.as_str()) && opens {
            let (labels, end) = listed(&tokens, place + 1);
            query.grouped.extend(labels);
            place = end;
        } else if word == "label_values" && opens {
            let (words, end) = listed(&tokens, place + 1);
            let [name, label] = words.as_slice() else { return Err(format!("{text}: a series and a label")) };
            query.selectors.push(Selector { name: name.clone(), matchers: Vec::new() });
            query.grouped.push(label.clone());
            place = end;
        } else if !(opens || WORDS.contains(&word.as_str()) || is_word(tokens.get(place), &["by", "without"])) {
            let mut selector = Selector { name: word.clone(), matchers: Vec::new() };
            if is_mark(tokens.get(place), "{") {
                (selector.matchers, place) = matchers(&tokens, place + 1)?;
            }
            query.selectors.push(selector);
        }
    }
    if query.selectors.is_empty() { Err(format!("{text}: no series")) } else { Ok(query) }
}

/// The labels of each series, by its name.
pub(crate) type Exposed = BTreeMap<String, Vec<BTreeMap<String, String>>>;

/// Reads the text format of `/metrics`.
pub(crate) fn exposed(text: &str) -> Exposed {
    let line = Regex::new(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$").expect("an expression");
    let label = Regex::new(r#"([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)""#).expect("an expression");
    let mut exposed = Exposed::new();
    for shown in text.lines().filter(|shown| !shown.starts_with('#')) {
        let parts = line.captures(shown).unwrap_or_else(|| panic!("{shown:?} is no series"));
        let labels = parts.get(2).map_or("", |labels| labels.as_str());
        let labels = label.captures_iter(labels).map(|pair| (pair[1].to_owned(), pair[2].to_owned())).collect();
        exposed.entry(parts[1].to_owned()).or_default().push(labels);
    }
    exposed
}

/// What Prometheus adds to every series that it scrapes; it renames a label of ours that is called the same.
const OF_TARGET: [&str; 2] = ["instance", "job"];

impl Query {
    /// Whether there is all that it asks for, and `shown`, the labels that are shown of its result.
    pub(crate) fn check(&self, exposed: &Exposed, shown: &[String]) -> Result<(), String> {
        let mut known: BTreeSet<String> = OF_TARGET.map(str::to_owned).into();
        for Selector { name, matchers } in &self.selectors {
            let none = [BTreeMap::new()];
            let series = match (exposed.get(name), name.as_str()) {
                (Some(series), _) => series.as_slice(),
                // Prometheus's own.
                (None, "up") => &none,
                (None, _) => return Err(format!("there is no series {name}")),
            };
            let renamed =
                |label: &str| if OF_TARGET.contains(&label) { format!("exported_{label}") } else { label.to_owned() };
            known.extend(series.iter().flat_map(BTreeMap::keys).map(|label| renamed(label)));
            for (label, operator, value) in matchers {
                if OF_TARGET.contains(&label.as_str()) {
                    continue;
                }
                let own = label.strip_prefix("exported_").filter(|own| OF_TARGET.contains(own)).unwrap_or(label);
                let values: Vec<_> = series.iter().filter_map(|labels| labels.get(own)).collect();
                let wanted = if operator.ends_with('~') { value.clone() } else { regex::escape(value) };
                let wanted = Regex::new(&format!("^(?:{wanted})$")).map_err(|error| error.to_string())?;
                let open = value.contains('$') || operator.starts_with('!');
                if values.is_empty() || (!open && !values.iter().any(|value| wanted.is_match(value))) {
                    return Err(format!("no series {name} has {label}{operator}{value:?}"));
                }
            }
        }
        let missing =
            |labels: &[String], known: &dyn Fn(&String) -> bool| match labels.iter().find(|label| !known(label)) {
                Some(label) => Err(format!("{:?} has no label {label}", self.selectors)),
                None => Ok(()),
            };
        missing(&self.grouped, &|label| known.contains(label))?;
        // The result has the labels by which it is grouped, or else those of the series.
        missing(shown, &|label| {
            if self.grouped.is_empty() { known.contains(label) } else { self.grouped.contains(label) }
        })
    }
}
