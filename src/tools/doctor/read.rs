//! One harmless read with the token that was granted.

use std::time::Instant;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::response::Parts;
use http::{Request, StatusCode};

use super::grant::Granted;
use super::instance_server::InstanceServer;
use super::milliseconds;
use super::report::CheckStatus;
use super::reporter::Reporter;
use crate::net::body::coding::without_mark;
use crate::net::dial::exchange::CollectedAnswer;
use crate::observe::logging::ErrorChain;
use crate::proxy::policy::catalog::Scope;
use crate::proxy::response::CONSOLE;

const TARGET: &str = "/v2/organizations?pageSize=1";
/// The longest error code that is shown.
const MAX_CODE: usize = 60;
/// The longest beginning of a text that is shown.
const MAX_LINE: usize = 100;

/// Asks for one organization, and says what came.
pub(super) async fn examine(place: &InstanceServer, token: &Granted, reporter: &Reporter) {
    reporter.begin("read");
    let begun = Instant::now();
    let request = Request::builder().uri(TARGET).header(ACCEPT, "application/json");
    let answer = place.exchange(request.header(AUTHORIZATION, token.authorization.clone())).await;
    let took = milliseconds(begun.elapsed());
    let (head, body) = match answer {
        Ok(CollectedAnswer { head, body }) => (head, body),
        Err(error) => {
            let detail = format!("GET {TARGET} got no answer: {}", ErrorChain(&error));
            return reporter.fail("read", detail, "try again; if it lasts, raise timeouts.upstream, or ask NinjaOne");
        }
    };
    let fix = match head.status {
        StatusCode::LOOP_DETECTED => Some(place.loop_fix()),
        _ => fix(&head, &body, place.host()),
    };
    let status = match fix {
        None => CheckStatus::Ok,
        // Whether NinjaOne lets other scopes read is for NinjaOne to say.
        Some(_) if !token.scopes.contains(Scope::Monitoring) => CheckStatus::Warning,
        Some(_) => CheckStatus::Failed,
    };
    reporter.write(
        "read",
        status,
        format!("GET {TARGET} answered {}{} ({took})", head.status, said(&head, &body)),
        fix,
    );
}

fn is_html(head: &Parts) -> bool {
    is_of_type(head, "text/html")
}

fn is_of_type(head: &Parts, wanted: &str) -> bool {
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with(wanted)
}

/// The first line of a text that is meant for people.
fn beginning(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(without_mark(body));
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(MAX_LINE).collect())
}

/// What the answer says after its status: its error code, the beginning of its text, or that it is a page.
pub(super) fn said(head: &Parts, body: &[u8]) -> String {
    if is_html(head) {
        return " with an HTML page".to_owned();
    }
    match code(body).or_else(|| is_of_type(head, "text/plain").then(|| beginning(body)).flatten()) {
        Some(code) if !head.status.is_success() => format!(" {code:?}"),
        Some(_) | None => String::new(),
    }
}

/// The error code in NinjaOne's forms.
fn code(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(without_mark(body)).ok()?;
    let code = body.get("error").or_else(|| body.get("resultCode"))?.as_str()?;
    Some(code.chars().take(MAX_CODE).collect())
}

/// What to do; `None` if the read went well.
fn fix(head: &Parts, body: &[u8], host: &str) -> Option<String> {
    let page = is_html(head);
    let location = head.headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
    let fix = match head.status {
        StatusCode::OK if !page && serde_json::from_slice::<serde::de::IgnoredAny>(without_mark(body)).is_ok() => {
            return None;
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
            "in {CONSOLE}: the app must have the scope Monitoring; a token that is granted and then refused may also \
             come from another host: check host and token-path"
        ),
        StatusCode::TOO_MANY_REQUESTS => "NinjaOne limits the rate of requests: try again in a minute".to_owned(),
        status if status.is_redirection() => format!("{host} redirects to {location}: set host to the host of the API"),
        status if status.is_server_error() => {
            "NinjaOne has a fault of its own: try again, then ask its support".to_owned()
        }
        _ if page => format!("{host} answers with a web page: check that host is NinjaOne's API, or try later"),
        _ => format!("check that {host} is NinjaOne's API"),
    };
    Some(fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;

    fn told(status: u16, kind: &str, body: &'static str) -> (String, Option<String>) {
        let head =
            Response::builder().status(status).header(CONTENT_TYPE, kind).body(()).expect("a head").into_parts().0;
        (said(&head, body.as_bytes()), fix(&head, body.as_bytes(), "eu.ninjarmm.com"))
    }

    #[test]
    fn read_is_well_with_json_only() {
        assert_eq!(told(200, "application/json", "[]"), (String::new(), None));
        let (said, fix) = told(200, "text/html; charset=utf-8", "<html>");
        assert!(said == " with an HTML page" && fix.is_some_and(|fix| fix.contains("web page")));
        assert!(told(200, "application/json", "<html>").1.is_some());
    }

    #[test]
    fn read_shows_the_error_code_of_a_refusal() {
        let (said, fix) = told(403, "application/json", r#"{"error":"insufficient_privileges"}"#);
        assert_eq!(said, " \"insufficient_privileges\"");
        assert!(fix.is_some_and(|fix| fix.contains(CONSOLE)));
        assert_eq!(told(500, "application/json", r#"{"resultCode":"FAILURE"}"#).0, " \"FAILURE\"");
        let long: &'static str = "\nSend https, please.\nOr not.";
        assert_eq!(told(400, "text/plain; charset=utf-8", long).0, " \"Send https, please.\"");
        assert_eq!(told(400, "application/octet-stream", long).0, "");
    }
}
