//! Random policies and random requests, near each other and near the catalogue.

use fastrand::Rng;
use http::{Method, Uri};
use ninjaone_proxy::proxy::policy::rule::Rule;

use crate::rulebook::{Atlas, Texts};

pub(super) struct Dice {
    rng: Rng,
    operations: Vec<(&'static str, &'static str)>,
    groups: Vec<&'static str>,
    /// Methods and templates that the rules of the present policy were made from, nearly.
    watched: Vec<(&'static str, &'static str)>,
}

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const STRANGE_METHODS: [&str; 6] = ["HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "BREW"];
const NAMES: [&str; 7] = ["df", "pageSize", "a", "expand", "kind", "showSecureValues", "\u{131}\u{17f}k"];
const VALUES: [&str; 15] = [
    "1",
    "7",
    "true",
    "false",
    "x",
    "B\u{fc}ro",
    "a b",
    "Kiosk",
    "a[0]",
    "1+1",
    "a&df=1",
    "01",
    "+7",
    "5,007",
    "\u{661}",
];
const PREFIXES: [&str; 12] = [
    "/api/v2",
    "/ws/api/v2",
    "//v2",
    "//api/v2",
    "//ws/api/v2",
    "///v2",
    "/API/v2",
    "/ws/v2",
    "/v2/v2",
    "/v1",
    "/v2/",
    "",
];
const CONFUSING: [&str; 46] = [
    "..",
    ".",
    "",
    "%2e%2e",
    "%2E.",
    "%2e",
    "..%20",
    "%20",
    "%2f",
    "%2F..%2f",
    "%5c",
    "\\",
    "a\\b",
    ";",
    ";x=1",
    "7;x=1",
    "..;",
    "%3b",
    "%3fx",
    "%23",
    "%00",
    "7%00",
    "%0d%0a",
    "%7f",
    "%c0%af",
    "%e0%80%af",
    "%c0%ae%c0%ae",
    "%ff",
    "%",
    "%2",
    "%zz",
    "%u002f",
    "%ef%bc%8f",
    "%ef%bc%8e%ef%bc%8e",
    "a%2fb",
    "%252e%252e",
    "%252f",
    "%25",
    "7%2537",
    "%c2%a0",
    "%e2%80%ae",
    "%ed%a0%80",
    "%f4%90%80%80",
    "\u{fc}",
    "\u{ff0f}",
    "[7]",
];
const WORDS: [&str; 27] = [
    "v2",
    "api",
    "ws",
    "device",
    "devices",
    "users",
    "user",
    "7",
    "12",
    "0",
    "disks",
    "queries",
    "tag",
    "delete",
    "script",
    "run",
    "webhook",
    "organizations",
    "someName",
    "abc",
    "-7",
    "07",
    "+7",
    "7.0",
    "Device",
    "NEW-THING",
    "new-thing",
];

/// Words of operations that are values of others, in another case.
const ENUMERATED: [&str; 6] = ["checklist", "document", "organization", "Location", "end_user", "node"];

impl Dice {
    pub(super) fn new(atlas: &Atlas, seed: u64) -> Self {
        let mut groups = atlas.groups();
        groups.extend([
            "secure-values",
            "secure-values",
            "installers",
            "scripts",
            "users-and-roles",
            "webhooks",
            "unclassified",
        ]);
        let (rng, operations) = (Rng::with_seed(seed), atlas.operations());
        Self { rng, operations, groups, watched: Vec::new() }
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.usize(..of.len())]
    }

    fn group(&mut self) -> &'static str {
        self.groups[self.rng.usize(..self.groups.len())]
    }

    /// Once in `times`.
    fn once_in(&mut self, times: usize) -> bool {
        self.rng.usize(..times) == 0
    }

    /// What an administrator may write, with some of these scopes.
    pub(super) fn texts(&mut self, scopes: &[&'static str]) -> Texts {
        let mut kept = scopes.to_vec();
        kept.retain(|_| !self.once_in(4));
        let groups = match self.rng.usize(..10) {
            0..5 => Vec::new(),
            5 => vec!["none"],
            _ => (0..self.rng.usize(1..5)).map(|_| self.group()).collect(),
        };
        let allow = (0..self.rng.usize(..5)).map(|_| self.good_rule()).collect();
        let tables =
            if self.once_in(2) { (0..self.rng.usize(1..4)).map(|_| self.good_rule()).collect() } else { Vec::new() };
        let deny = (0..self.rng.usize(..4)).map(|_| self.good_rule()).collect();
        Texts { scopes: kept, groups, allow, tables, deny }
    }

    /// A rule that is not refused as it is written.
    pub(super) fn good_rule(&mut self) -> String {
        loop {
            let text = self.rule();
            if Rule::parse(&text).is_ok() {
                return text;
            }
        }
    }

    fn rule(&mut self) -> String {
        let (method, template) = self.operation();
        let methods = match self.rng.usize(..6) {
            0..2 => method.to_owned(),
            2..4 => "*".to_owned(),
            4 => format!("{method},{}", self.one(&METHODS)),
            _ => self.one(&METHODS).to_owned(),
        };
        let reach = match self.rng.usize(..12) {
            0 => format!("group:{}", self.group()),
            1 if self.once_in(2) => "group:secure-values".to_owned(),
            1 => self.one(&["/v2/**", "/v2/*", "/v2/*/*", "/v2/{a}/{b}/**"]).to_owned(),
            2 => self
                .one(&["/v2/new-thing", "/v2/new-thing/{id}", "/v2/new-thing/7", "/v2/device/{id}/new-thing/**"])
                .to_owned(),
            _ => self.reach(template),
        };
        let conditions = match self.rng.usize(..10) {
            0..6 => String::new(),
            6 if self.once_in(2) => "?showSecureValues=true".to_owned(),
            7 => format!("?{}&{}", self.condition(&NAMES[..2]), self.condition(&NAMES[2..5])),
            _ => format!("?{}", self.condition(&NAMES)),
        };
        if reach.starts_with("group:") && methods == "*" && self.once_in(2) {
            format!("{reach}{conditions}")
        } else {
            format!("{methods} {reach}{conditions}")
        }
    }

    /// A path of a rule, made from a template.
    fn reach(&mut self, template: &str) -> String {
        let mut segments: Vec<_> = template.split('/').skip(1).map(|segment| self.piece(segment)).collect();
        if self.once_in(5) {
            let place = self.rng.usize(1..segments.len().max(2));
            segments.truncate(place);
            segments.push(self.one(&["**", "*", "{rest}", "7", "new-thing"]).to_owned());
        } else if self.once_in(8) {
            let place = self.rng.usize(1..segments.len());
            segments[place] = "*".to_owned();
        } else if self.once_in(8) {
            segments.push("**".to_owned());
        } else if segments.len() > 3 && self.once_in(6) {
            // One word alone, in any case: it may be a word of one operation and a value of another.
            let kept = self.rng.usize(1..segments.len());
            let word = match self.rng.usize(..3) {
                0 => segments[kept].to_lowercase(),
                1 => segments[kept].to_uppercase(),
                _ => self.one(&ENUMERATED).to_owned(),
            };
            segments[1..].iter_mut().for_each(|segment| *segment = "*".to_owned());
            segments[kept] = word;
        }
        if segments.len() == 1 || segments == ["v2", "**"] {
            "/v2/devices/**".to_owned()
        } else {
            format!("/{}", segments.join("/"))
        }
    }

    fn piece(&mut self, segment: &str) -> String {
        match segment.split_once(':') {
            None if self.once_in(30) => encoded_first(segment),
            None => segment.to_owned(),
            Some(_) if self.once_in(4) => self.value(segment),
            Some((name, _)) => self.one(&["*", "{id}", &format!("{name}}}")]).to_owned(),
        }
    }

    fn condition(&mut self, names: &[&str]) -> String {
        let name = encoded(self.one(names));
        match self.rng.usize(..5) {
            0 => name,
            1 => format!("{name}=*"),
            2 => format!("!{name}"),
            _ => format!("{name}={}", encoded(self.one(&VALUES))),
        }
    }

    /// Makes the coming requests meet the rules of these policies often.
    pub(super) fn look_at(&mut self, layers: &[Texts]) {
        self.watched.clear();
        for rule in layers.iter().flat_map(|texts| texts.allow.iter().chain(&texts.tables).chain(&texts.deny)) {
            let path = rule.split([' ', '?']).find(|word| word.starts_with("/v2/")).unwrap_or("/v2/queries");
            let start: Vec<_> = path.split('/').take(4).filter(|segment| !segment.contains(['*', '{'])).collect();
            let start = start.join("/");
            self.watched.extend(self.operations.iter().filter(|(_, template)| template.starts_with(&start)));
        }
    }

    fn operation(&mut self) -> (&'static str, &'static str) {
        let watched = !self.watched.is_empty() && self.once_in(2);
        let among = if watched { &self.watched } else { &self.operations };
        among[self.rng.usize(..among.len())]
    }

    /// Whether a person is behind requests: nobody, where one is needed (false), or always.
    pub(super) fn user(&mut self) -> Option<bool> {
        (!self.once_in(3)).then(|| self.once_in(3))
    }

    pub(super) fn request(&mut self) -> (Method, Uri) {
        loop {
            let (method, template) = self.operation();
            let path = self.path(template);
            let query = if self.once_in(2) { self.query() } else { String::new() };
            let method = match self.rng.usize(..20) {
                0 => self.one(&STRANGE_METHODS),
                1..3 => self.one(&METHODS),
                3 if method == "GET" => "HEAD",
                _ => method,
            };
            // Some of what is written here no client can send: it does not come as far as a policy.
            if let Ok(uri) = format!("{path}{query}").parse::<Uri>()
                && uri.path().starts_with('/')
            {
                return (Method::from_bytes(method.as_bytes()).expect("a method"), uri);
            }
        }
    }

    fn path(&mut self, template: &str) -> String {
        let mut segments: Vec<_> = template
            .split('/')
            .skip(2)
            .map(|segment| if segment.starts_with('{') { self.value(segment) } else { segment.to_owned() })
            .collect();
        match self.rng.usize(..20) {
            0..4 => self.stray(&mut segments),
            4..6 => self.confuse(&mut segments),
            _ => {}
        }
        let prefix = if self.once_in(4) { self.one(&PREFIXES) } else { "/v2" };
        format!("{prefix}/{}", segments.join("/"))
    }

    fn value(&mut self, parameter: &str) -> String {
        let kind = parameter.trim_end_matches('}').split_once(':').expect("typed").1;
        let (good, bad): (&[&str], &[&str]) = match kind {
            "integer" => (
                &["7", "12", "0", "2718", "9007199254740991"],
                &[
                    "99999999999999999999",
                    "9007199254740992",
                    "-7",
                    "7a",
                    "7.0",
                    "%37",
                    "007",
                    "07",
                    "+7",
                    "-07",
                    "00",
                    "%307",
                    "7%20",
                    "%D9%A7",
                    "0x7",
                ],
            ),
            "uid" => (
                &["3f2c8a9e-0000-4000-8000-00000000abcd"],
                &[
                    "3F2C8A9E-0000-4000-8000-00000000ABCD",
                    "3f2c8a9e-0-4000-8000-abcd",
                    "3f2c8a9e-0000-4000-8000-00000000abc",
                    "3f2c8a9e00004000800000000000abcd",
                    "%33f2c8a9e-0000-4000-8000-00000000abcd",
                ],
            ),
            "name" => (
                &["someName", "SOMENAME", "B%C3%BCro%20(1)", "7", "d%69sks", "usage", "a+b"],
                &["a%2fb", "a;b", "%EF%BC%A1", "07", "%D9%A7", "someName%20"],
            ),
            words => {
                let word = self.one(&words.split('|').collect::<Vec<_>>());
                return if self.once_in(12) { word.to_lowercase() } else { word.to_owned() };
            }
        };
        let kind = if self.once_in(20) { bad } else { good };
        self.one(kind).to_owned()
    }

    /// One segment changed, added or removed.
    fn stray(&mut self, segments: &mut Vec<String>) {
        let place = self.rng.usize(..segments.len());
        match self.rng.usize(..6) {
            0 => segments[place] = self.one(&WORDS).to_owned(),
            1 => segments.insert(place, self.one(&WORDS).to_owned()),
            2 => segments.push(self.one(&WORDS).to_owned()),
            3 => drop(segments.remove(place)),
            4 => segments[place] = segments[place].to_uppercase(),
            _ => segments.truncate(place),
        }
        if self.once_in(40) {
            segments.extend((0..self.rng.usize(8..20)).map(|_| "7".to_owned()));
        }
    }

    fn confuse(&mut self, segments: &mut Vec<String>) {
        let place = self.rng.usize(..segments.len());
        let trick = self.one(&CONFUSING).to_owned();
        match self.rng.usize(..6) {
            0 => segments[place] = trick,
            1 => segments.insert(place, trick),
            2 => segments.push(trick),
            3 => segments[place].push_str(&trick),
            4 => segments[place] = encoded_first(&segments[place]),
            _ => segments[place] = encoded_first(&segments[place]).replace('%', "%25"),
        }
    }

    fn query(&mut self) -> String {
        let pairs: Vec<_> = (0..self.rng.usize(..4)).map(|_| self.pair()).collect();
        let joint = if self.once_in(8) { ";" } else { "&" };
        format!("?{}", pairs.join(joint))
    }

    fn pair(&mut self) -> String {
        let name = self.one(&NAMES);
        let value =
            if name == "showSecureValues" { self.one(&["true", "false", "1", "true"]) } else { self.one(&VALUES) };
        let (name, value) = (self.spelling(name), self.spelling(value));
        match self.rng.usize(..16) {
            0 => name,
            1 => format!("{name}="),
            2 => format!("{name}={value}={value}"),
            3 => format!("{value}={name}"),
            _ => format!("{name}={value}"),
        }
    }

    /// A word of a query as some client may spell it.
    fn spelling(&mut self, word: &str) -> String {
        let plain = encoded(word);
        match self.rng.usize(..24) {
            0 => plain.to_uppercase(),
            1 => plain.to_lowercase(),
            2 => encoded_first(word),
            3 => encoded_first(word).replace('%', "%25"),
            4 => encoded_first(word).replace('%', "%2525"),
            5 => encoded_first(word).replace('%', "%252525"),
            6 => format!(
                "{plain}{}",
                self.one(&["%20", "+", "%00", "%00x", "[]", "%5B0%5D", "%2500", "x", "%0a", "%20[]", ";", "%"])
            ),
            7 => format!("{}{plain}", self.one(&["%20", "+", "%09", "x", "%00", ";", "%2520"])),
            8 => plain.replace(['s', 'S'], "%C5%BF").replace(['i', 'I'], self.one(&["%C4%B0", "%c4%b1"])),
            9 => plain.replace(['k', 'K'], "%E2%84%AA"),
            10 => plain.replace("%20", "+"),
            11 => self.one(&["", "%", "%zz", "a%", "x;y", "\u{131}", "%26df%3D1"]).to_owned(),
            _ => plain,
        }
    }
}

/// With all bytes encoded that cannot stand everywhere.
fn encoded(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    word.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// With its first byte encoded too.
fn encoded_first(word: &str) -> String {
    word.as_bytes()
        .split_first()
        .map_or(String::new(), |(first, rest)| format!("%{first:02x}{}", encoded(&String::from_utf8_lossy(rest))))
}
