//! The token endpoint, where client credentials or what a person allowed give a random bearer token, and the table of
//! tokens in force.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::query::QueryParameters;
use super::refusal::SandboxRefusal;
use super::sign_in::{self, Consent};
use super::{Options, SandboxState};
use crate::proxy::policy::catalog::{Scope, ScopeSet};

/// What every token begins with, so that one is recognized where it must not be: in a log, in a dump.
pub const TOKEN_MARK: &str = "sandbox_token_";
/// More tokens than this are not kept: the one that would expire first goes.
const MAX_TOKENS: usize = 1024;

/// The tokens in force.
pub(super) struct SandboxTokens {
    table: Mutex<HashMap<String, SandboxGrant>>,
    lifetime: Duration,
}

/// What a token is good for.
#[derive(Clone)]
pub(super) struct SandboxGrant {
    pub(super) scopes: ScopeSet,
    /// For whom it acts; client credentials have nobody.
    pub(super) person: Option<Arc<Consent>>,
    expires: Instant,
}

impl SandboxTokens {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self { table: Mutex::default(), lifetime }
    }

    /// What a token is good for, if it is in force.
    pub(super) fn find(&self, token: &str) -> Option<SandboxGrant> {
        self.lock().get(token).filter(|grant| grant.expires > Instant::now()).cloned()
    }

    /// Forgets all tokens.
    pub(super) fn revoke(&self) {
        self.lock().clear();
    }

    /// Forgets the tokens of all persons.
    pub(super) fn revoke_persons(&self) {
        self.lock().retain(|_, grant| grant.person.is_none());
    }

    /// Forgets the tokens that came of this consent.
    pub(super) fn end(&self, consent: &Arc<Consent>) {
        self.lock().retain(|_, grant| grant.person.as_ref().is_none_or(|other| !Arc::ptr_eq(other, consent)));
    }

    fn issue(&self, scopes: ScopeSet, person: Option<Arc<Consent>>) -> Result<String, SandboxRefusal> {
        let token = random(TOKEN_MARK)?;
        let now = Instant::now();
        let mut table = self.lock();
        if table.len() >= MAX_TOKENS {
            make_room(&mut table, now);
        }
        table.insert(token.clone(), SandboxGrant { scopes, person, expires: now + self.lifetime });
        Ok(token)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, SandboxGrant>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room(table: &mut HashMap<String, SandboxGrant>, now: Instant) {
    table.retain(|_, grant| grant.expires > now);
    if table.len() >= MAX_TOKENS
        && let Some(first) = table.iter().min_by_key(|(_, grant)| grant.expires).map(|(token, _)| token.clone())
    {
        table.remove(&first);
    }
}

/// 256 random bits as text, after a mark.
pub(super) fn random(mark: &str) -> Result<String, SandboxRefusal> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| SandboxRefusal::NoRandomness)?;
    Ok(format!("{mark}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// Checks a token request and issues a token.
pub(super) fn grant(
    house: &SandboxState,
    headers: &HeaderMap,
    form: &QueryParameters,
) -> Result<Value, SandboxRefusal> {
    let proven = authenticate(&house.options, headers, form)?;
    match form.get("grant_type") {
        Some("client_credentials") if proven => machine(house, form),
        Some("authorization_code") => sign_in::redeem(house, form, proven),
        Some("refresh_token") => sign_in::refresh(house, form, proven),
        _ if proven => Err(SandboxRefusal::UnsupportedGrantType),
        _ => Err(SandboxRefusal::InvalidClient),
    }
}

fn machine(house: &SandboxState, form: &QueryParameters) -> Result<Value, SandboxRefusal> {
    let scopes = scopes(house.options.scopes, form.get("scope").unwrap_or_default())?;
    answer(house, scopes, None, &scopes.to_string()).map(Value::Object)
}

/// Issues a token and tells it.
pub(super) fn answer(
    house: &SandboxState,
    scopes: ScopeSet,
    person: Option<&Arc<Consent>>,
    scope: &str,
) -> Result<Map<String, Value>, SandboxRefusal> {
    let token = house.tokens.issue(scopes, person.cloned())?;
    let seconds = house.options.token_lifetime.as_secs();
    let fields = [
        ("access_token", json!(token)),
        ("token_type", json!("Bearer")),
        ("expires_in", json!(seconds)),
        ("scope", json!(scope)),
    ];
    Ok(fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect())
}

/// Whether the client gave its secret. A wrong one is refused; none is enough for what a person allowed.
fn authenticate(options: &Options, headers: &HeaderMap, form: &QueryParameters) -> Result<bool, SandboxRefusal> {
    let (id, secret) = match headers.get(AUTHORIZATION) {
        Some(value) => basic(value.as_bytes()).ok_or(SandboxRefusal::InvalidClient)?,
        None => {
            let id = form.get("client_id").ok_or(SandboxRefusal::InvalidClient)?;
            (id.to_owned(), form.get("client_secret").unwrap_or_default().to_owned())
        }
    };
    if id != options.client_id {
        return Err(SandboxRefusal::UnknownClient);
    }
    if !secret.is_empty() && !same(secret.as_bytes(), options.client_secret.as_bytes()) {
        return Err(SandboxRefusal::InvalidClient);
    }
    Ok(!secret.is_empty())
}

/// RFC 6749 section 2.3.1: both parts are form-encoded inside of the Basic scheme.
fn basic(value: &[u8]) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim_ascii()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

/// Undoes form encoding; a client that does not encode `&` is understood too.
fn form_decoded(text: &str) -> String {
    let pair = format!("={}", text.replace('&', "%26"));
    form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// Compares without telling by the time taken how much was right.
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// The scopes asked for: at least one, and each of them granted to the client.
pub(super) fn scopes(granted: ScopeSet, text: &str) -> Result<ScopeSet, SandboxRefusal> {
    let asked: Option<Vec<_>> = text.split_ascii_whitespace().map(Scope::parse).collect();
    let asked = asked.filter(|asked| !asked.is_empty()).ok_or(SandboxRefusal::InvalidScope)?;
    if asked.iter().all(|scope| granted.contains(*scope)) {
        Ok(asked.into_iter().collect())
    } else {
        Err(SandboxRefusal::InvalidScope)
    }
}

/// The token of a request to the API.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, SandboxRefusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(SandboxRefusal::MissingHeader)?;
    if values.next().is_some() {
        return Err(SandboxRefusal::InvalidHeader);
    }
    let (scheme, token) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(SandboxRefusal::InvalidHeader)?;
    let token = token.trim_matches(' ');
    if scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty() && !token.contains(' ') {
        Ok(token)
    } else {
        Err(SandboxRefusal::InvalidHeader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Sandbox;
    use http::HeaderValue;

    fn options(scopes: &[Scope]) -> Options {
        Options { scopes: scopes.iter().copied().collect(), ..Options::with_secret("s&cr=t +%") }
    }

    fn try_form(scopes: &[Scope], form: &str) -> Result<Value, SandboxRefusal> {
        let sandbox = Sandbox::new(options(scopes)).expect("good options");
        grant(&sandbox.0, &HeaderMap::new(), &QueryParameters::parse(form))
    }

    fn try_basic(credentials: &str) -> Result<Value, SandboxRefusal> {
        let mut headers = HeaderMap::new();
        let value = format!("Basic {}", STANDARD.encode(credentials));
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&value).expect("ascii"));
        let sandbox = Sandbox::new(options(&Scope::ALL)).expect("good options");
        let form = QueryParameters::parse("grant_type=client_credentials&scope=monitoring");
        grant(&sandbox.0, &headers, &form)
    }

    const GOOD: &str = "client_id=sandbox&client_secret=s%26cr%3Dt+%2B%25&grant_type=client_credentials";

    #[test]
    fn token_is_granted_for_a_form_with_the_scopes_asked_for() {
        let answer = try_form(&Scope::ALL, &format!("{GOOD}&scope=management+monitoring")).expect("granted");
        assert_eq!(answer.pointer("/token_type"), Some(&json!("Bearer")));
        assert_eq!(answer.pointer("/expires_in"), Some(&json!(3600)));
        assert_eq!(answer.pointer("/scope"), Some(&json!("monitoring management")));
        assert_eq!(answer.pointer("/access_token").and_then(Value::as_str).map(str::len), Some(TOKEN_MARK.len() + 43));
    }

    #[test]
    fn token_is_granted_for_basic_credentials_form_encoded_or_nearly() {
        assert!(try_basic("sandbox:s%26cr%3Dt+%2B%25").is_ok());
        assert!(try_basic("sandbox:s&cr=t+%2B%25").is_ok());
        assert_eq!(try_basic("sandbox:wrong"), Err(SandboxRefusal::InvalidClient));
        assert_eq!(try_basic("other:wrong"), Err(SandboxRefusal::UnknownClient));
        assert_eq!(try_basic("nothing"), Err(SandboxRefusal::InvalidClient));
    }

    #[test]
    fn token_is_refused_for_wrong_forms() {
        let all = &Scope::ALL;
        for (form, refusal) in [
            ("", SandboxRefusal::InvalidClient),
            ("client_id=other&client_secret=x", SandboxRefusal::UnknownClient),
            ("client_id=sandbox&client_secret=x", SandboxRefusal::InvalidClient),
            ("client_id=sandbox&client_secret=s%26cr%3Dt+%2B%25", SandboxRefusal::UnsupportedGrantType),
            (GOOD, SandboxRefusal::InvalidScope),
            (&format!("{GOOD}&scope="), SandboxRefusal::InvalidScope),
            (&format!("{GOOD}&scope=monitoring+offline_access"), SandboxRefusal::InvalidScope),
        ] {
            assert_eq!(try_form(all, form), Err(refusal), "{form}");
        }
        let refused = try_form(&[Scope::Monitoring], &format!("{GOOD}&scope=management"));
        assert_eq!(refused, Err(SandboxRefusal::InvalidScope));
    }

    #[test]
    fn token_table_is_bounded_and_tokens_differ() {
        let tokens = SandboxTokens::new(Duration::from_secs(60));
        let scopes = Scope::ALL.into_iter().collect();
        let first = tokens.issue(scopes, None).expect("random");
        for _ in 0..MAX_TOKENS + 10 {
            let next = tokens.issue(scopes, None).expect("random");
            assert_ne!(next, first);
            assert!(tokens.find(&next).is_some());
        }
        assert_eq!(tokens.lock().len(), MAX_TOKENS);
    }

    #[tokio::test(start_paused = true)]
    async fn token_expires_on_time_and_can_be_revoked() {
        let tokens = SandboxTokens::new(Duration::from_secs(60));
        let scopes = Scope::ALL.into_iter().collect();
        let first = tokens.issue(scopes, None).expect("random");
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(tokens.find(&first).map(|grant| grant.scopes), Some(scopes));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(tokens.find(&first).is_none());
        let second = tokens.issue(scopes, None).expect("random");
        tokens.revoke();
        assert!(tokens.find(&second).is_none());
    }

    #[test]
    fn bearer_takes_one_header_of_two_words() {
        let header = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).expect("ascii"));
            headers
        };
        assert_eq!(bearer(&HeaderMap::new()), Err(SandboxRefusal::MissingHeader));
        assert_eq!(bearer(&header("bearer abc")), Ok("abc"));
        for value in ["", "Bearer", "Bearer ", "Basic abc", "Bearer a b", "NJ a:b"] {
            assert_eq!(bearer(&header(value)), Err(SandboxRefusal::InvalidHeader), "{value}");
        }
        let mut two = header("Bearer abc");
        two.append(AUTHORIZATION, HeaderValue::from_static("Bearer def"));
        assert_eq!(bearer(&two), Err(SandboxRefusal::InvalidHeader));
    }
}
