//! Bearers: the token that a request carries, and where each worker keeps its own copy of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::state::Grant;
use super::{NoToken, TokenError, Tokens};
use crate::base::clock::Clock;
use crate::proxy::policy::Permit;
use crate::proxy::policy::catalog::ScopeSet;

/// The proof that a request may be sent: a token that has not expired.
#[derive(Debug, Clone)]
pub struct Bearer(Rc<CachedGrant>);

impl Bearer {
    /// The value of `Authorization`.
    pub fn authorization(&self) -> HeaderValue {
        self.0.authorization.clone()
    }

    /// NinjaOne refused it: the next bearer is a new one. False if that happened too often of late: then a new one
    /// would not help either.
    pub fn refuse(&self) -> bool {
        self.0.grant.refuse((self.0.clock)())
    }
}

/// A worker's own copy of a grant: no count or header is shared between cores on the way of a request.
#[derive(Debug)]
struct CachedGrant {
    scopes: ScopeSet,
    authorization: HeaderValue,
    grant: Arc<Grant>,
    clock: Clock,
}

/// Where one worker gets the bearers of one listener, all of one instance.
#[derive(Debug)]
pub struct TokenSource {
    tokens: Arc<Tokens>,
    /// Those of a person's grant, whatever a request needs of them.
    granted: Option<ScopeSet>,
    held: RefCell<Option<Bearer>>,
}

impl TokenSource {
    /// A source of bearers from `tokens`.
    pub fn new(tokens: Arc<Tokens>) -> Self {
        Self { tokens, granted: None, held: RefCell::new(None) }
    }

    /// The same, for the tokens of a person who has signed in with these scopes.
    pub fn of_user(tokens: Arc<Tokens>, scopes: ScopeSet) -> Self {
        Self { granted: Some(scopes), ..Self::new(tokens) }
    }

    /// A bearer for a permitted request: the one at hand, or the current grant, or the one that a flight brings.
    pub async fn bearer(&self, permit: &Permit) -> Result<Bearer, NoToken> {
        self.bearer_of(self.granted.unwrap_or(permit.scopes())).await
    }

    /// As [`Self::bearer`], by the scopes: for a read of the proxy's own.
    pub async fn bearer_of(&self, scopes: ScopeSet) -> Result<Bearer, NoToken> {
        match self.at_hand(scopes) {
            Some(bearer) => Ok(bearer),
            // Boxed: it is seldom, and would make every request's state larger.
            None => Box::pin(self.fetch(scopes)).await,
        }
    }

    async fn fetch(&self, scopes: ScopeSet) -> Result<Bearer, NoToken> {
        let grant = self.tokens.grant(scopes).await?;
        // A copy of its own, so that no count is shared between cores.
        let copied = HeaderValue::from_bytes(grant.authorization.as_bytes());
        let mut authorization = copied.map_err(|_| NoToken::Failed {
            cause: Arc::new(TokenError::Unusable("it cannot be sent in a field")),
            retry_after: Duration::from_secs(1),
        })?;
        authorization.set_sensitive(true);
        let bearer = Bearer(Rc::new(CachedGrant { scopes, authorization, grant, clock: self.tokens.clock }));
        self.held.replace(Some(bearer.clone()));
        Ok(bearer)
    }

    /// The bearer of the last request, until it is time to look for a newer one.
    fn at_hand(&self, scopes: ScopeSet) -> Option<Bearer> {
        let held = self.held.borrow();
        let bearer = held.as_ref()?;
        let CachedGrant { scopes: own, grant, clock, .. } = &*bearer.0;
        (*own == scopes && grant.is_fresh(clock())).then(|| bearer.clone())
    }
}
