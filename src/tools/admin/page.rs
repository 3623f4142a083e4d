//! The page at `/`: one document without anything from elsewhere, readable without its script.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use http_body_util::Full;
use ring::digest::{SHA256, digest};
use serde::Serialize;

use super::history::{Chart, Charts};
use super::view::{Cell, Table, View};
use crate::base::plain;

const DOCUMENT: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// A place in the document is marked `<!--=NAME-->`.
const OPEN: &str = "<!--=";
const CLOSE: &str = "-->";

/// The methods that can be chosen in the explorer.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// The document, taken apart at its places.
#[derive(Debug)]
pub struct PageTemplate {
    /// The name of a place, and the text that follows it; the first has none.
    parts: Vec<(&'static str, &'static str)>,
    policy: HeaderValue,
}

/// What is asked in the explorer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExplorerQuestion {
    /// The listener's name; empty: every listener.
    pub listener: String,
    /// The method.
    pub method: String,
    /// The path, and the query if there is one.
    pub path: String,
}

/// What the explorer says.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ExplorerAnswer {
    /// Why nothing can be said.
    pub problem: Option<String>,
    /// What is said of each listener and caller.
    pub told: Vec<SubjectAnswer>,
}

/// What is said of a listener or caller.
#[derive(Debug, Clone, Serialize)]
pub struct SubjectAnswer {
    /// Who, and what it comes to.
    pub title: String,
    /// Whether the request passes.
    pub open: bool,
    /// All that is said, each with what it tells of.
    pub lines: Vec<(&'static str, String)>,
}

impl ExplorerQuestion {
    /// Reads the query of the form; `None` if nothing is asked.
    pub fn read(query: Option<&str>) -> Option<Self> {
        let mut question = Self::default();
        for (name, value) in form_urlencoded::parse(query?.as_bytes()) {
            match &*name {
                "listener" => question.listener = value.into_owned(),
                "method" => question.method = value.into_owned(),
                "path" => question.path = value.into_owned(),
                _ => {}
            }
        }
        (!question.path.is_empty()).then_some(question)
    }
}

impl ExplorerAnswer {
    /// Nothing can be said, and why.
    pub fn problem(why: impl Into<String>) -> Self {
        Self { problem: Some(why.into()), told: Vec::new() }
    }
}

impl PageTemplate {
    /// Takes the document apart.
    pub fn new() -> Self {
        let mut parts = Vec::new();
        for part in DOCUMENT.split(OPEN) {
            // What stands before the first mark follows no name.
            let (name, text) = part.split_once(CLOSE).filter(|_| !parts.is_empty()).unwrap_or(("", part));
            parts.push((name, text));
        }
        let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
            hash(STYLE),
            hash(SCRIPT)
        );
        let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        Self { parts, policy }
    }

    /// The answer with this view; an explanation, if one was asked for.
    pub fn show(&self, view: &View, asked: Option<(&ExplorerQuestion, &ExplorerAnswer)>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(self.render(view, asked)));
        if asked.is_some_and(|(_, answer)| answer.problem.is_some()) {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        guarded(response)
    }

    fn render(&self, view: &View, asked: Option<(&ExplorerQuestion, &ExplorerAnswer)>) -> String {
        let mut html = Html(String::with_capacity(64 * 1024));
        for (name, text) in &self.parts {
            html.fill(name, view, asked);
            html.0.push_str(text);
        }
        html.0
    }
}

impl Default for PageTemplate {
    fn default() -> Self {
        Self::new()
    }
}

/// The fields that keep a browser from doing more with an answer than to show it.
pub(super) fn guarded<B>(mut response: Response<B>) -> Response<B> {
    let fields = [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in fields {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// HTML that is being written. Markup is that of this file; all else goes through [`Html::text`].
struct Html(String);

impl Html {
    fn markup(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// Text, in an element or in an attribute between double quotes.
    fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.markup("&amp;"),
                '<' => self.markup("&lt;"),
                '>' => self.markup("&gt;"),
                '"' => self.markup("&quot;"),
                '\'' => self.markup("&#39;"),
                '\n' => self.0.push(c),
                _ => plain::push(c, &mut self.0),
            }
        }
    }

    fn attribute(&mut self, name: &'static str, value: &str) {
        self.markup(" ");
        self.markup(name);
        self.markup("=\"");
        self.text(value);
        self.markup("\"");
    }

    fn fill(&mut self, name: &str, view: &View, asked: Option<(&ExplorerQuestion, &ExplorerAnswer)>) {
        let question = asked.map(|(question, _)| question);
        match name {
            "" => {}
            "style" => self.markup(STYLE),
            "script" => self.markup(SCRIPT),
            "tone" => self.markup(view.tone),
            "warnings" => self.warnings(&view.warnings),
            "charts" => self.charts(&view.charts),
            "listener-options" => {
                let chosen = question.map_or("", |question| &question.listener);
                self.option("", "every listener", chosen);
                view.listeners.iter().for_each(|name| self.option(name, name, chosen));
            }
            "method-options" => {
                let chosen = question.map_or("GET", |question| &question.method);
                METHODS.into_iter().for_each(|method| self.option(method, method, chosen));
            }
            "path" => self.text(question.map_or("", |question| &question.path)),
            "answer" => asked.into_iter().for_each(|(_, answer)| self.answer(answer)),
            _ => {
                if let Some((_, text)) = view.texts.iter().find(|(id, _)| *id == name) {
                    self.text(text);
                } else if let Some(table) = view.tables.iter().find(|table| table.id == name) {
                    self.table(table);
                }
            }
        }
    }

    fn warnings(&mut self, warnings: &[String]) {
        if warnings.is_empty() {
            self.markup("<li>None.</li>");
        }
        for warning in warnings {
            self.markup("<li>");
            self.text(warning);
            self.markup("</li>");
        }
    }

    fn option(&mut self, value: &str, text: &str, chosen: &str) {
        self.markup("<option");
        self.attribute("value", value);
        self.markup(if value.eq_ignore_ascii_case(chosen) { " selected>" } else { ">" });
        self.text(text);
        self.markup("</option>");
    }

    fn charts(&mut self, Charts { requests, refused, latency }: &Charts) {
        self.chart("requests", "Requests", requests);
        self.chart("refused", "Refused", refused);
        self.chart("latency", "Latency, median / 95th percentile", latency);
    }

    /// The drawing says nothing that the words beside it do not say.
    fn chart(&mut self, id: &'static str, title: &'static str, Chart { lines, now, top }: &Chart) {
        self.markup("<figure");
        self.attribute("id", id);
        self.markup("><figcaption><span>");
        self.markup(title);
        if lines.len() > 1 {
            self.markup(" <span class=\"key\"></span> <span class=\"key second\"></span>");
        }
        self.markup("</span> <b class=\"now\">");
        self.text(now);
        self.markup("</b><small class=\"top\">");
        if !top.is_empty() {
            self.markup("Upper edge: ");
            self.text(top);
        }
        self.markup(
            "</small></figcaption><svg viewBox=\"0 0 300 60\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
        );
        for line in lines {
            self.markup("<path");
            self.attribute("d", line);
            self.markup("/>");
        }
        self.markup("</svg></figure>");
    }

    /// With roles: on a narrow screen a table is drawn as blocks, and some browsers forget then what it is.
    fn table(&mut self, Table { id, caption, columns, rows, empty }: &Table) {
        self.markup("<table role=\"table\"");
        self.attribute("id", id);
        self.markup("><caption>");
        self.text(caption);
        self.markup("</caption><thead role=\"rowgroup\"><tr role=\"row\">");
        for column in *columns {
            self.markup("<th scope=\"col\" role=\"columnheader\">");
            self.text(column);
            self.markup("</th>");
        }
        self.markup("</tr></thead><tbody role=\"rowgroup\">");
        for row in rows {
            self.markup("<tr role=\"row\">");
            for (place, (cell, column)) in row.iter().zip(*columns).enumerate() {
                self.cell(place == 0, column, cell);
            }
            self.markup("</tr>");
        }
        if rows.is_empty() {
            self.markup("<tr role=\"row\"><td role=\"cell\"");
            self.attribute("colspan", &columns.len().to_string());
            self.markup(">");
            self.text(empty);
            self.markup("</td></tr>");
        }
        self.markup("</tbody></table>");
    }

    fn cell(&mut self, head: bool, column: &str, Cell { text, kind, link }: &Cell) {
        self.markup(if head { "<th scope=\"row\" role=\"rowheader\"" } else { "<td role=\"cell\"" });
        if let Some(kind) = kind {
            self.attribute("class", kind);
        }
        self.attribute("data-label", column);
        self.markup("><span>");
        match link {
            Some(link) => {
                self.markup("<a");
                self.attribute("href", link);
                self.markup(">");
                self.text(text);
                self.markup("</a>");
            }
            None => self.text(text),
        }
        self.markup(if head { "</span></th>" } else { "</span></td>" });
    }

    fn answer(&mut self, ExplorerAnswer { problem, told }: &ExplorerAnswer) {
        if let Some(problem) = problem {
            self.markup("<p class=\"bad\">");
            self.text(problem);
            self.markup("</p>");
        }
        for SubjectAnswer { title, open, lines } in told {
            self.markup(if *open { "<article class=\"open\"><h3>" } else { "<article><h3>" });
            self.text(title);
            self.markup("</h3><dl>");
            for (name, text) in lines {
                self.markup("<dt>");
                self.text(name);
                self.markup("</dt><dd>");
                self.text(text);
                self.markup("</dd>");
            }
            self.markup("</dl></article>");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::view::tests::{refusal, status};
    use super::*;

    /// The markup of a document: all that stands between `<` and `>`, with attribute values taken out.
    fn markup(html: &str) -> Vec<String> {
        let mut rest = html.to_owned();
        for code in [STYLE, SCRIPT] {
            assert!(rest.contains(code));
            rest = rest.replacen(code, "", 1);
        }
        rest.split('<')
            .skip(1)
            .map(|tag| {
                let tag = tag.split('>').next().unwrap_or_default();
                tag.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
            })
            .collect()
    }

    fn hostile(text: &str) -> (View, ExplorerQuestion, ExplorerAnswer) {
        let mut status = status();
        status.refusals = vec![refusal(text)];
        status.refusals[0].what.caller = Some(text.to_owned());
        status.refusals[0].what.method = Some(text.to_owned());
        status.tokens[0].causes = Some(text.to_owned());
        status.configuration.source = text.to_owned();
        status.setup.warnings = vec![text.to_owned()];
        status.setup.listeners[0].name = text.to_owned();
        let told = SubjectAnswer { title: text.to_owned(), open: false, lines: vec![("request", text.to_owned())] };
        let answer = ExplorerAnswer { problem: Some(text.to_owned()), told: vec![told] };
        let question = ExplorerQuestion { listener: text.to_owned(), method: "GET".to_owned(), path: text.to_owned() };
        (View::of(&status), question, answer)
    }

    fn rendered(text: &str) -> String {
        let (view, question, answer) = hostile(text);
        PageTemplate::new().render(&view, Some((&question, &answer)))
    }

    #[test]
    fn page_has_no_place_left_and_nothing_from_elsewhere() {
        let html = rendered("x");
        assert!(!html.contains(OPEN) && html.ends_with("</html>\n"));
        for from_elsewhere in ["http://", "https://", "src=", "url(", "@import", "style=", "onclick", "innerHTML"] {
            let where_it_is = html.replace("http://127.0.0.1:8080", "").find(from_elsewhere);
            assert_eq!(where_it_is, None, "{from_elsewhere}");
        }
        assert_eq!(html.matches("<table ").count(), 5);
        assert_eq!(html.matches("<svg ").count(), 3);
    }

    #[test]
    fn page_allows_only_its_own_style_and_script() {
        let page = PageTemplate::new();
        let response = page.show(&View::of(&status()), None);
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().expect("text");
        let html = page.render(&View::of(&status()), None);
        for (directive, open, close) in [("style-src", "<style>", "</style>"), ("script-src", "<script>", "</script>")]
        {
            let (_, rest) = html.split_once(open).expect("its begin");
            let (code, _) = rest.split_once(close).expect("its end");
            let hash = STANDARD.encode(digest(&SHA256, code.as_bytes()));
            assert!(policy.contains(&format!("{directive} 'sha256-{hash}';")), "{policy}");
        }
        for directive in ["default-src 'none';", "frame-ancestors 'none';", "base-uri 'none';", "connect-src 'self';"] {
            assert!(policy.contains(directive), "{policy}");
        }
        assert!(!policy.contains("unsafe"));
    }

    #[test]
    fn page_reads_what_the_form_asks() {
        let question = ExplorerQuestion::read(Some("listener=&method=get&path=%2Fv2%2Fdevices%3Fa%3D%3Cb%3E&x=1"));
        let path = "/v2/devices?a=<b>".to_owned();
        assert_eq!(question, Some(ExplorerQuestion { listener: String::new(), method: "get".into(), path }));
        assert_eq!((ExplorerQuestion::read(None), ExplorerQuestion::read(Some("method=GET&path="))), (None, None));
    }

    proptest! {
        #[test]
        fn page_holds_no_tag_of_anybody_else(text in prop_oneof![
            "\\PC{1,40}",
            "[<>\"'&/=a-z !-]{1,40}",
            prop::sample::select(vec!["<script>alert(1)</script>", "\"><img src=x onerror=y>", "<!--=script-->", "</style>", "--><b>", "&#60;b&#62;", "' onfocus='x"])
                .prop_map(str::to_owned),
        ]) {
            prop_assert_eq!(markup(&rendered(&text)), markup(&rendered("nothing")));
        }
    }
}
