//! Sign-ins that a person has not ended yet, each bound to one browser by a cookie.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http::header;

use super::authorize::AuthorizeRequest;
use super::entries::Entries;
use crate::sandbox::refusal::SandboxRefusal;
use crate::sandbox::token;

/// How long a sign-in may take.
pub(super) const LIFETIME: Duration = Duration::from_secs(600);
/// What the cookie's name begins with; the id of the sign-in follows, so that tabs do not disturb each other.
pub(super) const COOKIE: &str = "sandbox_sign_in_";
/// More than this are not kept: the oldest goes.
const MAX_OPEN: usize = 1000;

pub(super) struct OpenSignIns(Mutex<Entries<OpenSignIn>>);

pub(super) struct OpenSignIn {
    pub(super) request: AuthorizeRequest,
    /// Who signed in, before the consent.
    pub(super) user: Option<String>,
    cookie: String,
}

impl Default for OpenSignIns {
    fn default() -> Self {
        Self(Mutex::new(Entries::new(MAX_OPEN)))
    }
}

impl OpenSignIns {
    /// The id of a new sign-in, and the value of its cookie.
    pub(super) fn add(&self, request: AuthorizeRequest) -> Result<(String, String), SandboxRefusal> {
        let (id, cookie) = (token::random("")?, token::random("")?);
        let open = OpenSignIn { request, user: None, cookie: cookie.clone() };
        self.lock().add(id.clone(), open, LIFETIME);
        Ok((id, cookie))
    }

    /// Changes a sign-in for the browser that began it.
    pub(super) fn change<T>(
        &self,
        id: &str,
        headers: &HeaderMap,
        change: impl FnOnce(&mut OpenSignIn) -> T,
    ) -> Option<T> {
        let mut entries = self.lock();
        let open = entries.get_mut(id).filter(|entry| !entry.has_expired())?;
        is_same_browser(id, &open.value.cookie, headers).then(|| change(&mut open.value))
    }

    /// Ends a sign-in for the browser that began it, once somebody has signed in.
    pub(super) fn take(&self, id: &str, headers: &HeaderMap) -> Option<(String, AuthorizeRequest)> {
        let mut entries = self.lock();
        let open = entries.get_mut(id).filter(|entry| !entry.has_expired())?;
        if !is_same_browser(id, &open.value.cookie, headers) || open.value.user.is_none() {
            return None;
        }
        let open = entries.remove(id)?.value;
        Some((open.user?, open.request))
    }

    fn lock(&self) -> MutexGuard<'_, Entries<OpenSignIn>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_same_browser(id: &str, cookie: &str, headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.any(|(name, value)| name.strip_prefix(COOKIE) == Some(id) && token::same(value.as_bytes(), cookie.as_bytes()))
}
