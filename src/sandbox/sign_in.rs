//! The sign-in of a person: authorization code with PKCE (RFC 6749, RFC 7636), refresh tokens, and pages for a browser.

mod authorize;
mod entries;
mod fault;
mod grants;
#[cfg(test)]
mod model;
mod open;
mod page;
mod redirect;
#[cfg(test)]
mod tests;

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, SET_COOKIE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use self::authorize::{AuthorizeRefusal, AuthorizeRequest};
use self::fault::{Faults, FaultyEndpoint, OrderedFault};
use self::grants::Grants;
use self::open::OpenSignIns;
use super::SandboxState;
use super::download::SandboxBody;
use super::exchange::{Keep, drain, empty_response};
use super::query::QueryParameters;
use super::refusal::SandboxRefusal;

pub use self::grants::{CODE_MARK, REFRESH_MARK};
pub(super) use self::grants::{Consent, redeem, refresh};

/// What sign-ins have left behind: those still open, what persons allowed, and the faults that were ordered.
#[derive(Default)]
pub(super) struct SignIn {
    open: OpenSignIns,
    grants: Grants,
    faults: Faults,
}

impl SignIn {
    /// Ends what every person allowed, except for the access tokens that it gave.
    pub(super) fn end_grants(&self) {
        self.grants.clear();
    }

    /// Orders a fault for the next requests.
    pub(super) fn order_fault(&self, query: &QueryParameters) -> Result<(), SandboxRefusal> {
        self.faults.order(query)
    }

    /// Refuses a request to the token endpoint if a fault was ordered.
    pub(super) fn token_fault(&self) -> Result<(), SandboxRefusal> {
        self.faults.next(FaultyEndpoint::Token).map_or(Ok(()), |fault| Err(fault.into()))
    }
}

/// Where the sign-in pages are; the cookie is sent to these only.
const PAGES: &str = "/ws/oauth";

/// Whether a path is one of the sign-in's.
pub(super) fn owns(path: &str) -> bool {
    ["/ws/oauth/authorize", "/oauth/authorize", "/ws/oauth/error", "/ws/oauth/sign-in", "/ws/oauth/consent"]
        .contains(&path)
}

/// Answers a browser. Nothing of a sign-in is kept by it or told to another site.
pub(super) async fn door(
    house: &SandboxState,
    scheme: &str,
    request: Request<Incoming>,
) -> Result<Response<SandboxBody>, SandboxRefusal> {
    let (parts, body) = request.into_parts();
    let form = drain(body, Keep::Text, |_| ()).await?;
    let mut response = answer(house, scheme, &parts, &QueryParameters::parse(&String::from_utf8_lossy(&form)))?;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, page::policy(None)?);
    }
    Ok(response)
}

fn answer(
    house: &SandboxState,
    scheme: &str,
    parts: &Parts,
    form: &QueryParameters,
) -> Result<Response<SandboxBody>, SandboxRefusal> {
    let query = parts.uri.query().unwrap_or_default();
    let page = parts.uri.path().rsplit('/').next().unwrap_or_default();
    match (&parts.method, page) {
        (&Method::GET | &Method::HEAD, "authorize") => authorize(house, scheme, query),
        (&Method::GET | &Method::HEAD, "sign-in") => sign_in_page(house, parts, &QueryParameters::parse(query)),
        (&Method::POST, "sign-in") => signed_in(house, parts, form),
        (&Method::POST, "consent") => decided(house, scheme, parts, form),
        (&Method::GET | &Method::HEAD, "error") => {
            let query = QueryParameters::parse(query);
            let text = |name| query.get(name).unwrap_or_default();
            page::error(text("error"), text("error_description"))
        }
        (_, "sign-in") => Err(SandboxRefusal::NoSuchMethod("GET, HEAD, POST".to_owned())),
        (_, "consent") => Err(SandboxRefusal::NoSuchMethod("POST".to_owned())),
        _ => Err(SandboxRefusal::NoSuchMethod("GET, HEAD".to_owned())),
    }
}

/// Opens a sign-in and shows its page, by a redirect as NinjaOne does it.
fn authorize(house: &SandboxState, scheme: &str, query: &str) -> Result<Response<SandboxBody>, SandboxRefusal> {
    let checked = AuthorizeRequest::check(&house.options, query);
    match (house.sign_in.faults.next(FaultyEndpoint::Authorize), &checked) {
        (Some(OrderedFault { status: Some(StatusCode::FOUND), error: Some(error) }), Ok(request)) => {
            let parameters = [("error", error.as_str()), ("error_description", "A test ordered this")];
            return to_client(&request.redirect_uri, request.state.as_deref(), &parameters);
        }
        (Some(fault), _) => return Err(fault.into()),
        (None, _) => {}
    }
    match checked {
        Ok(request) => {
            let (id, cookie) = house.sign_in.open.add(request)?;
            let mut response = found(&format!("{PAGES}/sign-in?transaction={id}"))?;
            response.headers_mut().insert(SET_COOKIE, set_cookie(&id, &cookie, open::LIFETIME.as_secs(), scheme)?);
            Ok(response)
        }
        Err(AuthorizeRefusal::UnknownClient) => Err(SandboxRefusal::UnknownClient),
        Err(AuthorizeRefusal::Shown { error, description }) => {
            let target = [("error", error), ("error_description", description)];
            found(&redirect::with_parameters(&format!("{PAGES}/error"), &target))
        }
        Err(AuthorizeRefusal::Told { redirect_uri, state, error, description }) => {
            let parameters = [("error", error), ("error_description", description)];
            to_client(&redirect_uri, state.as_deref(), &parameters)
        }
    }
}

fn sign_in_page(
    house: &SandboxState,
    parts: &Parts,
    query: &QueryParameters,
) -> Result<Response<SandboxBody>, SandboxRefusal> {
    let id = query.get("transaction").unwrap_or_default();
    match house.sign_in.open.change(id, &parts.headers, |_| ()) {
        Some(()) => page::sign_in(id),
        None => page::closed(),
    }
}

/// Takes the name of the person. The password is not even looked at.
fn signed_in(
    house: &SandboxState,
    parts: &Parts,
    form: &QueryParameters,
) -> Result<Response<SandboxBody>, SandboxRefusal> {
    let id = form.get("transaction").unwrap_or_default();
    let user = form.get("user").unwrap_or_default().trim();
    if user.is_empty() || user.len() > MAX_USER {
        return page::error("invalid_request", "The user name must have 1 to 100 bytes. Go back and type another one.");
    }
    let request = house.sign_in.open.change(id, &parts.headers, |open| {
        open.user = Some(user.to_owned());
        open.request.clone()
    });
    let Some(request) = request else { return page::closed() };
    house.tally.sign_ins.add(1);
    page::consent(id, &house.options.client_id, user, &request)
}

/// The longest user name, in bytes.
const MAX_USER: usize = 100;

/// Ends a sign-in: with a code, or with the refusal that the person chose.
fn decided(
    house: &SandboxState,
    scheme: &str,
    parts: &Parts,
    form: &QueryParameters,
) -> Result<Response<SandboxBody>, SandboxRefusal> {
    let allowed = match form.get("decision") {
        Some("allow") => true,
        Some("deny") => false,
        _ => return page::error("invalid_request", "The decision must be allow or deny."),
    };
    let id = form.get("transaction").unwrap_or_default();
    let Some((user, request)) = house.sign_in.open.take(id, &parts.headers) else { return page::closed() };
    let (redirect_uri, state) = (request.redirect_uri.clone(), request.state.clone());
    let mut response = if allowed {
        let code = house.sign_in.grants.add_code(&house.options, Consent { user, request })?;
        to_client(&redirect_uri, state.as_deref(), &[("code", &code)])?
    } else {
        let denied = [("error", "access_denied"), ("error_description", "The person denied the request")];
        to_client(&redirect_uri, state.as_deref(), &denied)?
    };
    response.headers_mut().insert(SET_COOKIE, set_cookie(id, "", 0, scheme)?);
    Ok(response)
}

/// A redirect to the client, with the `state` that it gave.
fn to_client(
    redirect_uri: &str,
    state: Option<&str>,
    parameters: &[(&str, &str)],
) -> Result<Response<SandboxBody>, SandboxRefusal> {
    let all: Vec<_> = parameters.iter().copied().chain(state.map(|state| ("state", state))).collect();
    found(&redirect::with_parameters(redirect_uri, &all))
}

fn found(location: &str) -> Result<Response<SandboxBody>, SandboxRefusal> {
    let mut response = empty_response(StatusCode::FOUND);
    response.headers_mut().insert(LOCATION, header(location)?);
    Ok(response)
}

fn set_cookie(id: &str, value: &str, seconds: u64, scheme: &str) -> Result<HeaderValue, SandboxRefusal> {
    let secure = if scheme == "https" { "; Secure" } else { "" };
    header(&format!("{}{id}={value}; Path={PAGES}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}", open::COOKIE))
}

fn header(text: &str) -> Result<HeaderValue, SandboxRefusal> {
    HeaderValue::from_str(text).map_err(|_| SandboxRefusal::BadRequest)
}
