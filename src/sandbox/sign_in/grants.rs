//! What persons allowed, and the codes and refresh tokens that stand for it at the token endpoint.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::authorize::{AuthorizeRequest, PersonScopes};
use super::entries::Entries;
use crate::sandbox::query::QueryParameters;
use crate::sandbox::refusal::SandboxRefusal;
use crate::sandbox::{Options, SandboxState, token};

/// What every authorization code begins with, so that one is recognized where it must not be.
pub const CODE_MARK: &str = "sandbox_code_";
/// What every refresh token begins with, so that one is recognized where it must not be.
pub const REFRESH_MARK: &str = "sandbox_refresh_";
/// More codes than this are not kept, used ones included.
const MAX_CODES: usize = 1000;
/// More refresh tokens than this are not kept, used ones included.
const MAX_REFRESH_TOKENS: usize = 4000;

/// What a person allowed. All tokens that come of it share it, and end with it.
pub(in crate::sandbox) struct Consent {
    pub(in crate::sandbox) user: String,
    pub(super) request: AuthorizeRequest,
}

/// The codes and refresh tokens.
pub(super) struct Grants(Mutex<GrantTables>);

struct GrantTables {
    codes: Entries<Arc<Consent>>,
    refresh_tokens: Entries<Arc<Consent>>,
}

impl Default for Grants {
    fn default() -> Self {
        let (codes, refresh_tokens) = (Entries::new(MAX_CODES), Entries::new(MAX_REFRESH_TOKENS));
        Self(Mutex::new(GrantTables { codes, refresh_tokens }))
    }
}

impl Grants {
    pub(super) fn add_code(&self, options: &Options, consent: Consent) -> Result<String, SandboxRefusal> {
        let code = token::random(CODE_MARK)?;
        self.lock().codes.add(code.clone(), Arc::new(consent), options.code_lifetime);
        Ok(code)
    }

    pub(super) fn clear(&self) {
        let mut tables = self.lock();
        tables.codes.retain(|_| false);
        tables.refresh_tokens.retain(|_| false);
    }

    fn lock(&self) -> MutexGuard<'_, GrantTables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `grant_type=authorization_code`. `proven`: the client gave its secret.
pub(in crate::sandbox) fn redeem(
    house: &SandboxState,
    form: &QueryParameters,
    proven: bool,
) -> Result<Value, SandboxRefusal> {
    let code = required(form, "code")?;
    let mut tables = house.sign_in.grants.lock();
    let (consent, state) = state(&mut tables.codes, code)?;
    tables.admit(house, &consent, state, proven)?;
    let is_same = form.get("redirect_uri") == Some(&consent.request.redirect_uri);
    if !is_same || !consent.request.is_proven_by(form.get("code_verifier")) {
        // One try for each code: there is no guessing.
        tables.codes.remove(code);
        return Err(SandboxRefusal::InvalidGrant);
    }
    tables.codes.mark_used(code);
    house.tally.codes_used.add(1);
    tables.answer(house, &consent, consent.request.scopes, true)
}

/// `grant_type=refresh_token`.
pub(in crate::sandbox) fn refresh(
    house: &SandboxState,
    form: &QueryParameters,
    proven: bool,
) -> Result<Value, SandboxRefusal> {
    let name = required(form, "refresh_token")?;
    let mut tables = house.sign_in.grants.lock();
    let (consent, state) = state(&mut tables.refresh_tokens, name)?;
    tables.admit(house, &consent, state, proven)?;
    let granted = consent.request.scopes;
    let scopes = match form.get("scope").filter(|text| !text.is_empty()) {
        Some(text) => PersonScopes::parse(text, granted.api).filter(|asked| granted.offline || !asked.offline),
        None => Some(granted),
    };
    let scopes = scopes.ok_or(SandboxRefusal::InvalidScope)?;
    let rotate = house.options.rotate_refresh_tokens;
    if rotate {
        tables.refresh_tokens.mark_used(name);
    }
    house.tally.refreshes.add(1);
    tables.answer(house, &consent, scopes, rotate)
}

/// A parameter that must be there; none may be there twice (RFC 6749 section 3.2).
fn required<'a>(form: &'a QueryParameters, name: &str) -> Result<&'a str, SandboxRefusal> {
    form.get(name).filter(|text| !text.is_empty() && !form.has_repeated()).ok_or(SandboxRefusal::InvalidRequest)
}

#[derive(Clone, Copy)]
enum GrantState {
    Good,
    Used,
    Expired,
}

fn state(entries: &mut Entries<Arc<Consent>>, name: &str) -> Result<(Arc<Consent>, GrantState), SandboxRefusal> {
    let entry = entries.get_mut(name).ok_or(SandboxRefusal::InvalidGrant)?;
    let state = match (entry.used, entry.has_expired()) {
        (true, _) => GrantState::Used,
        (false, true) => GrantState::Expired,
        (false, false) => GrantState::Good,
    };
    Ok((Arc::clone(&entry.value), state))
}

impl GrantTables {
    /// Lets a client go on. A second use ends all that came of the first: one of the two was a thief.
    fn admit(
        &mut self,
        house: &SandboxState,
        consent: &Arc<Consent>,
        state: GrantState,
        proven: bool,
    ) -> Result<(), SandboxRefusal> {
        // Who has no secret needs PKCE, which only the client that asked for the code can complete.
        if !proven && consent.request.challenge.is_none() {
            return Err(SandboxRefusal::InvalidClient);
        }
        match state {
            GrantState::Good => Ok(()),
            GrantState::Expired => Err(SandboxRefusal::InvalidGrant),
            GrantState::Used => {
                house.tally.reuses.add(1);
                self.refresh_tokens.retain(|other| !Arc::ptr_eq(other, consent));
                house.tokens.end(consent);
                Err(SandboxRefusal::InvalidGrant)
            }
        }
    }

    fn answer(
        &mut self,
        house: &SandboxState,
        consent: &Arc<Consent>,
        scopes: PersonScopes,
        with_refresh: bool,
    ) -> Result<Value, SandboxRefusal> {
        let mut answer = token::answer(house, scopes.api, Some(consent), &scopes.to_string())?;
        if with_refresh && consent.request.scopes.offline {
            let name = token::random(REFRESH_MARK)?;
            answer.insert("refresh_token".to_owned(), json!(name));
            self.refresh_tokens.add(name, Arc::clone(consent), house.options.refresh_lifetime);
        }
        Ok(answer.into())
    }
}
