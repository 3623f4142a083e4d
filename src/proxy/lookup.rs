//! Reads of the proxy's own, by the leave of a caller that is kept to organizations: whose something is, and the further
//! pages of a list.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};

use super::Proxy;
use super::response::Rejection;
use crate::net::body::Upload;
use crate::proxy::audit::Audited;
use crate::proxy::fence::FenceError;
use crate::proxy::fence::directory::LookupError;
use crate::proxy::policy::Permit;
use crate::proxy::upstream::{Outbound, UpstreamAnswer};

/// How large a list, or a page of one, may be that tells whose something is, in bytes.
const MAX_LIST: usize = 16 * 1024 * 1024;

/// What asks NinjaOne for a caller.
#[derive(Clone)]
pub(super) struct Lookups {
    proxy: Rc<Proxy>,
    permit: Rc<Permit>,
}

impl Lookups {
    /// Asks by the leave of a permitted request.
    pub(super) fn of(proxy: &Rc<Proxy>, permit: &Permit) -> Self {
        let permit = Rc::new(permit.continued(PathAndQuery::from_static("/v2/")));
        Self { proxy: Rc::clone(proxy), permit }
    }

    /// Reads what tells whose something is, with the machine's token; `None` if it is not there.
    pub(super) async fn read(&self, target: PathAndQuery) -> Result<Option<Bytes>, LookupError> {
        let failed = |error: Rejection| LookupError::Failed(Arc::new(error));
        let answer = self.send(self.permit.lookup(target.clone())).await.map_err(failed)?;
        match answer.head.status {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::OK => {}
            status => return Err(LookupError::Refused(target, status)),
        }
        let read = Limited::new(answer.body, MAX_LIST).collect().await;
        read.map(|body| Some(body.to_bytes())).map_err(|error| LookupError::Failed(error.into()))
    }

    /// Asks for a further page of what the caller asked for, with the token that its own request had.
    pub(super) async fn continued(&self, target: PathAndQuery) -> Result<UpstreamAnswer, Rejection> {
        self.send(self.permit.continued(target)).await
    }

    async fn send(&self, permit: Permit) -> Result<UpstreamAnswer, Rejection> {
        let Proxy { sender, authn, ids, .. } = &*self.proxy;
        let caller = authn.callers().get(permit.caller().id());
        let Some(caller) = caller else { return Err(FenceError::Outside.into()) };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut outbound = Outbound::new(&Method::GET, headers, Upload::Empty, &ids.mark);
        let Some(audited) = Audited::read_of_our_own(permit) else { return Err(FenceError::Outside.into()) };
        sender.read(caller.context.tokens(audited.permit()), &audited, &mut outbound).await
    }
}
