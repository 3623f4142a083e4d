//! The stage of the fence: a request of a caller that is kept to organizations names only what is inside.
//!
//! All that it names in path, query and body is looked up; before a write NinjaOne is asked anew. What is outside and what
//! is not there get the same answer. What passes is sent with the target that asks for the organizations inside, and its
//! answer goes through [`super::enclosed_answer`].

use std::collections::HashMap;
use std::rc::Rc;

use http::Method;
use http::header::{
    ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, RANGE,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http_body::Body as _;
use tokio::time::Instant;

use super::Proxy;
use super::caller_context::CallerContext;
use super::fulfillment::HeldBody;
use super::lookup::Lookups;
use super::response::Rejection;
use crate::net::body::{self, ReadBody};
use crate::net::listener::RequestBody;
use crate::proxy::fence::directory::{Asked, InsideSet};
use crate::proxy::fence::{FenceError, request};
use crate::proxy::policy::body::JsonBody;
use crate::proxy::policy::catalog::{AnswerCheck, EntityKind, FenceRules, RequestCheck};
use crate::proxy::policy::{ChosenPermit, is_write};
use crate::proxy::upstream::UpstreamError;

/// What the headers of a request may not ask for: a part of an answer, or a comparison with all of it.
const ABOUT_WHOLE_ANSWERS: [HeaderName; 6] =
    [RANGE, IF_RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];

/// Of more things of a kind than this, whose they are is read from lists.
const MANY: usize = 8;

/// What is inside for a request, and what of its answer may pass.
pub(super) struct Enclosure {
    pub(super) inside: InsideSet,
    pub(super) answer: AnswerCheck,
    /// Whether NinjaOne was asked for what is inside only: then it should have left out the rest.
    pub(super) is_narrowed: bool,
    pub(super) lookups: Lookups,
}

impl Proxy {
    /// Lets a request pass whose caller is kept to organizations, if all that it names is inside. Where there is no
    /// fence it passes as it is.
    pub(super) async fn enclose(
        self: &Rc<Self>,
        chosen: ChosenPermit,
        context: &CallerContext,
        head: &Parts,
        body: HeldBody,
    ) -> Result<(ChosenPermit, HeldBody, Option<Box<Enclosure>>), Rejection> {
        let Some(organizations) = chosen.permit().fence().cloned() else { return Ok((chosen, body, None)) };
        let operation = chosen.permit().operation().and_then(|id| context.policy.catalog().get(id));
        let Some((operation, rules)) = operation.and_then(|known| Some((known, known.fencing.rules.as_ref()?))) else {
            return Err(FenceError::Outside.into());
        };
        if *chosen.permit().method() == Method::HEAD && !request::may_leave_out_body(rules) {
            return Err(FenceError::Unjudged.into());
        }
        let (body, judged) = self.read_enclosed(&chosen, head, body).await?;
        let mut named = request::named(operation, rules, chosen.permit().target())?;
        match &judged {
            Some(bytes) => {
                let json = JsonBody::read(&head.headers, bytes).map_err(FenceError::BodyUnreadable)?;
                named.extend(request::named_in_body(rules, &json)?);
            }
            None => {
                if let Some(pointer) = request::needed_in_body(rules) {
                    return Err(FenceError::BodyMissing(pointer.to_owned()).into());
                }
            }
        }
        let lookups = Lookups::of(self, chosen.permit());
        let read = {
            let lookups = lookups.clone();
            async move |target: PathAndQuery| lookups.read(target).await
        };
        let since = is_write(chosen.permit().method()).then(Instant::now);
        let mut counts = HashMap::<EntityKind, usize>::new();
        named.iter().for_each(|(kind, _)| *counts.entry(*kind).or_default() += 1);
        for (kind, id) in named {
            // One read for each of a few, one list for many.
            let is_one_of_many = counts.get(&kind).is_some_and(|count| *count > MANY);
            let asked = Asked { kind, id, since, is_one_of_many };
            if !self.directory.contains(asked, &organizations, &read).await.map_err(FenceError::from)? {
                return Err(FenceError::Outside.into());
            }
        }
        let inside = self.directory.inside(&needed(rules), &organizations, &read).await;
        let inside = inside.map_err(FenceError::from)?;
        let narrowed = request::narrowed(rules, chosen.permit().target(), &organizations);
        let enclosure = Enclosure { inside, answer: rules.answer.clone(), is_narrowed: narrowed.is_some(), lookups };
        let target = narrowed.unwrap_or_else(|| chosen.permit().target().clone());
        Ok((chosen.enclosed(target, judged), body, Some(Box::new(enclosure))))
    }

    /// The body, all of it; `None` if there is none.
    async fn read_enclosed(
        &self,
        chosen: &ChosenPermit,
        head: &Parts,
        held: HeldBody,
    ) -> Result<(HeldBody, Option<bytes::Bytes>), Rejection> {
        if let Some(read) = chosen.permit().body() {
            return Ok((held, Some(read.clone()).filter(|read| !read.is_empty())));
        }
        if held.body.is_end_stream() {
            return Ok((held, None));
        }
        let limit = self.body_limits.judged;
        let mut room = self.body_limits.reserve(&held.body, limit)?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let read = body::read_up_to(held.body, head.version, self.body_limits.wait, most).await;
        let ReadBody { read, rest } = read.map_err(UpstreamError::Upload)?;
        if rest.is_some() || read.len() as u64 > limit {
            return Err(FenceError::BodyTooLarge(limit).into());
        }
        if let Some(room) = &mut room {
            room.shrink_to(read.len() as u64);
        }
        let body = HeldBody { body: RequestBody::begun(read.clone(), None), room };
        Ok((body, Some(read).filter(|read| !read.is_empty())))
    }
}

impl Enclosure {
    /// Takes out of a request's headers what asks for another form of the answer: it is judged as it is.
    pub(super) fn clean_request(headers: &mut HeaderMap) {
        for name in ABOUT_WHOLE_ANSWERS {
            headers.remove(name);
        }
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
}

/// What a relation of something may lead to, of which there are lists.
const RELATED: [EntityKind; 6] = [
    EntityKind::Location,
    EntityKind::EndUser,
    EntityKind::Contact,
    EntityKind::Document,
    EntityKind::Checklist,
    EntityKind::Article,
];

/// The kinds that an answer may name. Devices may be named in any.
fn needed(rules: &FenceRules) -> Vec<EntityKind> {
    match &rules.answer {
        AnswerCheck::Empty | AnswerCheck::Opaque => Vec::new(),
        answer @ (AnswerCheck::Object { .. } | AnswerCheck::Rows { .. }) => {
            let own = answer.key().map(|key| key.kind).filter(|kind| *kind != EntityKind::Device);
            let is_of_any_kind = rules.request.iter().any(|check| matches!(check, RequestCheck::PathEntity { .. }));
            let related = RELATED.into_iter().filter(|_| is_of_any_kind);
            [EntityKind::Device].into_iter().chain(own).chain(related).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::policy::catalog::{Catalog, Operation};

    fn needed_by(template: &str) -> Vec<EntityKind> {
        let catalog = Catalog::built_in().expect("good");
        let is_it = |known: &&Operation| known.template == template;
        let operation = catalog.operations().iter().find(is_it).expect("known");
        needed(operation.fencing.rules.as_ref().expect("open"))
    }

    #[test]
    fn lists_are_read_of_the_kinds_that_an_answer_may_name() {
        assert_eq!(needed_by("/v2/device/{id}/disks"), [EntityKind::Device]);
        assert_eq!(needed_by("/v2/contacts"), [EntityKind::Device, EntityKind::Organization]);
        assert_eq!(needed_by("/v2/device/{id}/dashboard-url"), []);
        let related = needed_by("/v2/related-items/with-entity/{entityType}/{entityId}");
        assert!(RELATED.iter().all(|kind| related.contains(kind)), "{related:?}");
    }
}
