//! The way of a permitted request to NinjaOne: token, turn, exchange; and what is sent again.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::observe::access_log::RequestLog;
use crate::observe::metrics::traffic::Replay;
use crate::proxy::audit::Audited;
use crate::proxy::rate_limit::RateLimiter;
use crate::proxy::response::Rejection;
use crate::proxy::token::TokenSource;
use crate::proxy::upstream::{Outbound, Upstream, UpstreamAnswer};

/// One worker's way to one instance, and the rate that is allowed there.
pub(super) struct RequestSender {
    pub(super) upstream: Rc<Upstream>,
    /// Where the instance's rate is limited.
    pub(super) rate_limiter: Option<Arc<RateLimiter>>,
}

impl RequestSender {
    /// Sends a request, in its turn where the instance's rate is limited.
    pub(super) async fn ask(
        &self,
        source: &TokenSource,
        permit: &Audited,
        outbound: &mut Outbound,
        log: &mut RequestLog,
    ) -> Result<UpstreamAnswer, Rejection> {
        let asked = match &self.rate_limiter {
            None => self.send(source, permit, outbound, log).await,
            Some(limiter) => Box::pin(self.ask_in_turn(limiter, source, permit, outbound, log)).await,
        };
        if outbound.was_resent() {
            log.set_replayed();
        }
        asked
    }

    /// Sends a read of the proxy's own, in its turn too.
    pub(super) async fn read(
        &self,
        source: &TokenSource,
        permit: &Audited,
        outbound: &mut Outbound,
    ) -> Result<UpstreamAnswer, Rejection> {
        let bearer = source.bearer(permit.permit()).await?;
        let slot = match &self.rate_limiter {
            Some(limiter) => Some(limiter.enter().await?),
            None => None,
        };
        let mut answer = self.upstream.send(permit, &bearer, outbound).await?;
        if answer.refuses_bearer() && bearer.refuse() && outbound.try_replay(permit.permit(), &answer) {
            let bearer = source.bearer(permit.permit()).await?;
            self.upstream.replays(Replay::TokenRefused);
            answer = self.upstream.send(permit, &bearer, outbound).await?;
        }
        if let (Some(limiter), Some(slot)) = (&self.rate_limiter, slot) {
            limiter.note_answer(answer.head.status, &answer.head.headers);
            answer.body.keep(slot);
        }
        Ok(answer)
    }

    async fn ask_in_turn(
        &self,
        limiter: &RateLimiter,
        source: &TokenSource,
        permit: &Audited,
        outbound: &mut Outbound,
        log: &mut RequestLog,
    ) -> Result<UpstreamAnswer, Rejection> {
        // Without a token there is nothing to wait for; and those who wait for one must not go up all at once.
        source.bearer(permit.permit()).await?;
        let slot = limiter.enter().await?;
        let answer = self.send(source, permit, outbound, log).await?;
        let mut answer = match limiter.note_answer(answer.head.status, &answer.head.headers) {
            Some(pause) => self.ask_again(limiter, source, permit, (answer, pause, outbound), log).await?,
            None => answer,
        };
        answer.body.keep(slot);
        Ok(answer)
    }

    /// Sends a read again that the instance has answered with 429, once it has been left alone for `pause`.
    async fn ask_again(
        &self,
        limiter: &RateLimiter,
        source: &TokenSource,
        permit: &Audited,
        (mut answer, pause, outbound): (UpstreamAnswer, Duration, &mut Outbound),
        log: &mut RequestLog,
    ) -> Result<UpstreamAnswer, Rejection> {
        if !outbound.try_replay(permit.permit(), &answer) {
            return Ok(answer);
        }
        answer.body.settle().await;
        if limiter.enter_again(pause).await.is_err() {
            return Ok(answer);
        }
        drop(answer);
        log.set_replayed();
        self.upstream.replays(Replay::Throttled);
        let answer = self.send(source, permit, outbound, log).await?;
        limiter.note_answer(answer.head.status, &answer.head.headers);
        Ok(answer)
    }

    /// Sends a request. If NinjaOne refuses the bearer, that is renewed, and a request that may be repeated sent again.
    async fn send(
        &self,
        source: &TokenSource,
        permit: &Audited,
        outbound: &mut Outbound,
        log: &mut RequestLog,
    ) -> Result<UpstreamAnswer, Rejection> {
        let bearer = source.bearer(permit.permit()).await?;
        let answer = self.upstream.send(permit, &bearer, outbound).await?;
        if answer.refuses_bearer() && bearer.refuse() {
            // Boxed: it is seldom, and would make every request's state larger.
            return Box::pin(self.send_again(source, permit, (answer, outbound), log)).await;
        }
        Ok(answer)
    }

    async fn send_again(
        &self,
        source: &TokenSource,
        permit: &Audited,
        (answer, outbound): (UpstreamAnswer, &mut Outbound),
        log: &mut RequestLog,
    ) -> Result<UpstreamAnswer, Rejection> {
        if !outbound.try_replay(permit.permit(), &answer) {
            return Ok(answer);
        }
        drop(answer);
        if let Some(limiter) = &self.rate_limiter {
            source.bearer(permit.permit()).await?;
            limiter.enter_again(Duration::ZERO).await?;
        }
        // It may have expired in the line.
        let bearer = source.bearer(permit.permit()).await?;
        log.set_replayed();
        self.upstream.replays(Replay::TokenRefused);
        Ok(self.upstream.send(permit, &bearer, outbound).await?)
    }
}
