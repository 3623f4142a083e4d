//! The pages of the sign-in: plain HTML that needs no script and no style.

use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use maud::{DOCTYPE, Markup, html};

use super::authorize::AuthorizeRequest;
use super::{PAGES, header, redirect};
use crate::base::plain;
use crate::sandbox::download::SandboxBody;
use crate::sandbox::refusal::SandboxRefusal;

/// Nothing is loaded, no page frames this one, and forms lead here and to the client only.
pub(super) fn policy(client: Option<&str>) -> Result<HeaderValue, SandboxRefusal> {
    let source = client.and_then(redirect::source).map(|source| format!(" {source}")).unwrap_or_default();
    header(&format!("default-src 'none'; base-uri 'none'; form-action 'self'{source}; frame-ancestors 'none'"))
}

pub(super) fn sign_in(id: &str) -> Result<Response<SandboxBody>, SandboxRefusal> {
    let page = html! {
        form #sign-in method="post" action={ (PAGES) "/sign-in" } {
            input type="hidden" name="transaction" value=(id);
            p { label for="user" { "User name" } " " input #user name="user" value="technician" required maxlength="100" autocomplete="off"; }
            p { label for="password" { "Password (anything will do)" } " " input #password name="password" type="password" autocomplete="off"; }
            p { button type="submit" { "Sign in" } }
        }
    };
    respond(StatusCode::OK, "Sign in", &page, None)
}

pub(super) fn consent(
    id: &str,
    app: &str,
    user: &str,
    request: &AuthorizeRequest,
) -> Result<Response<SandboxBody>, SandboxRefusal> {
    let page = html! {
        p { "The app " strong { (plain::line(app)) } " asks to act for " strong { (plain::line(user)) } " with these scopes:" }
        ul { @for name in request.scopes.names() { li { (name) } } }
        p { "The answer goes to " code { (plain::line(&request.redirect_uri)) } "." }
        form #consent method="post" action={ (PAGES) "/consent" } {
            input type="hidden" name="transaction" value=(id);
            p {
                button type="submit" name="decision" value="allow" { "Allow" } " "
                button type="submit" name="decision" value="deny" { "Deny" }
            }
        }
    };
    respond(StatusCode::OK, "Allow access?", &page, Some(&request.redirect_uri))
}

pub(super) fn error(error: &str, description: &str) -> Result<Response<SandboxBody>, SandboxRefusal> {
    let page = html! { p { strong { (plain::line(error)) } } p { (plain::line(description)) } };
    respond(StatusCode::BAD_REQUEST, "Sign-in failed", &page, None)
}

pub(super) fn closed() -> Result<Response<SandboxBody>, SandboxRefusal> {
    error(
        "invalid_request",
        "This sign-in has ended, took longer than ten minutes, or began in another browser. Start it again in your app.",
    )
}

fn respond(
    status: StatusCode,
    title: &str,
    content: &Markup,
    client: Option<&str>,
) -> Result<Response<SandboxBody>, SandboxRefusal> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – ninjaone-proxy sandbox" }
            }
            body {
                main {
                    h1 { (title) }
                    p { "This is the sandbox of ninjaone-proxy, not NinjaOne. Type nothing real here: it takes any name and any password, and keeps no password." }
                    (content)
                }
            }
        }
        "\n"
    };
    let mut response = Response::new(SandboxBody::Whole(Some(Bytes::from(page.into_string()))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, policy(client)?);
    Ok(response)
}
