//! The page at `/`: one document without anything from elsewhere, readable without its script.

mod document;

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

use super::view::View;

/// Also that of the pages of approvals.
pub(super) const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// What the page may do in a browser, worked out once: by the hashes of its style and its script.
#[derive(Debug)]
pub struct StatusPage {
    policy: HeaderValue,
}

/// What the explorer shows.
#[derive(Debug)]
pub struct Explorer<'a> {
    /// What the form holds.
    pub question: &'a ExplorerQuestion,
    /// What is said about it.
    pub answer: Option<&'a ExplorerAnswer>,
    /// Nobody has asked: it is a sample.
    pub sample: bool,
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
    /// What the form holds before anybody asks.
    pub fn sample(listener: Option<&str>) -> Self {
        let listener = listener.unwrap_or_default().to_owned();
        Self { listener, method: "GET".to_owned(), path: "/v2/devices".to_owned() }
    }

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

impl StatusPage {
    /// Works out the policy.
    pub fn new() -> Self {
        let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
            hash(STYLE),
            hash(SCRIPT)
        );
        let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        Self { policy }
    }

    /// The answer with this view, and what the explorer shows.
    pub fn show(&self, view: &View, explorer: &Explorer<'_>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(document::document(view, explorer).into_string()));
        if !explorer.sample && explorer.answer.is_some_and(|answer| answer.problem.is_some()) {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        guarded(response)
    }
}

impl Default for StatusPage {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::view::tests::{refusal, status};
    use super::super::view::{Notice, QuotaView};
    use super::*;

    /// The markup of a document: all between `<` and `>`, with attribute values taken out.
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
        let what = &mut status.refusals[0].examples[0].what;
        (what.caller, what.method, what.reason) = (Some(text.to_owned()), Some(text.to_owned()), text.to_owned());
        status.tokens[0].causes = Some(text.to_owned());
        status.tokens[0].remedy = Some(text.to_owned());
        status.configuration.source = text.to_owned();
        status.setup.warnings = vec![Notice::warn(text).todo(text), Notice::warn(text).todo(text)];
        status.setup.instances[0].name = text.to_owned();
        status.setup.listeners[0].name = text.to_owned();
        let caller = Some(text.to_owned());
        let (listener, limit) = (text.to_owned(), "5/day".to_owned());
        status.quotas = vec![QuotaView { listener, caller, kind: "writes", used: 5, count: 5, limit }];
        let told = SubjectAnswer { title: text.to_owned(), open: false, lines: vec![("request", text.to_owned())] };
        let answer = ExplorerAnswer { problem: Some(text.to_owned()), told: vec![told] };
        let question = ExplorerQuestion { listener: text.to_owned(), method: "GET".to_owned(), path: text.to_owned() };
        (View::of(&status), question, answer)
    }

    fn rendered(text: &str) -> String {
        let (view, question, answer) = hostile(text);
        let explorer = Explorer { question: &question, answer: Some(&answer), sample: false };
        document::document(&view, &explorer).into_string()
    }

    #[test]
    fn page_has_nothing_from_elsewhere() {
        let html = rendered("x");
        assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>\n"));
        for from_elsewhere in ["http://", "https://", "src=", "url(", "@import", "style=", "onclick", "innerHTML"] {
            let where_it_is = html.replace("http://127.0.0.1:8080", "").find(from_elsewhere);
            assert_eq!(where_it_is, None, "{from_elsewhere}");
        }
        assert_eq!(html.matches("<table ").count(), 7);
        assert_eq!(html.matches("<svg ").count(), 3);
    }

    #[test]
    fn page_allows_only_its_own_style_and_script() {
        let question = ExplorerQuestion::sample(None);
        let (view, explorer) = (View::of(&status()), Explorer { question: &question, answer: None, sample: true });
        let response = StatusPage::new().show(&view, &explorer);
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().expect("text");
        let html = document::document(&view, &explorer).into_string();
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

    #[test]
    fn page_says_each_state_in_words_and_with_a_symbol() {
        let shown = |status: &super::super::view::PageStatus| {
            let question = ExplorerQuestion::sample(None);
            let explorer = Explorer { question: &question, answer: None, sample: true };
            document::document(&View::of(status), &explorer).into_string()
        };
        let mut status = status();
        let banner = |html: &str, tone: &str, symbol: &str, words: &str| {
            assert!(html.contains(&format!("<section class=\"tone-{tone}\" id=\"overview\"")), "{html}");
            assert!(html.contains(&format!("<span id=\"symbol\" aria-hidden=\"true\">{symbol}</span>")), "{html}");
            assert!(html.contains(&format!("<h2 id=\"headline\">{words}</h2>")), "{html}");
        };
        banner(&shown(&status), "good", "✓", "Fine");
        status.setup.warnings = vec![Notice::warn("others may read it").todo("close it")];
        let html = shown(&status);
        banner(&html, "warn", "!", "Needs attention");
        assert!(html.contains("<strong>Do this: </strong><span id=\"todo\">close it</span>"), "{html}");
        status.tokens[0].expires_in = None;
        status.tokens[0].problem = Some("refused".into());
        let html = shown(&status);
        banner(&html, "bad", "✕", "Not fine");
        assert!(
            html.contains("<li class=\"warn\">others may read it<p><strong>Do this: </strong>close it</p></li>"),
            "{html}"
        );
    }

    proptest! {
        #[test]
        fn page_holds_no_tag_of_anybody_else(text in prop_oneof![
            "\\PC{1,40}",
            "[<>\"'&/=a-z !-]{1,40}",
            prop::sample::select(vec!["<script>alert(1)</script>", "\"><img src=x onerror=y>", "</script><script>", "</style>", "--><b>", "&#60;b&#62;", "' onfocus='x"])
                .prop_map(str::to_owned),
        ]) {
            prop_assert_eq!(markup(&rendered(&text)), markup(&rendered("nothing")));
        }
    }
}
