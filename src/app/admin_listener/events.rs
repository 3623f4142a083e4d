//! Server-sent events for open status pages, and the samples that their charts are made of.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use http_body_util::Either;
use http_body_util::channel::Channel;
use tokio::time::{sleep, timeout};

use super::{AdminState, Body};
use crate::net::shutdown::Shutdown;
use crate::tools::admin;

/// How often open pages get the state.
const BEAT: Duration = Duration::from_secs(1);
/// The most pages that get it at a time: the admin listener has connections for other things too.
pub(super) const PAGES: usize = 8;
/// How long a page may take to read an event.
const STALL: Duration = Duration::from_secs(30);

impl AdminState {
    /// Server-sent events: what the page shows, now and as it changes.
    pub(super) async fn stream_events(&self, closed: Shutdown) -> Response<Body> {
        let Ok(slot) = Arc::clone(&self.pages).try_acquire_owned() else {
            return admin::too_many().map(Either::Left);
        };
        let (mut page, body) = Channel::new(1);
        let mut events = self.events.subscribe();
        let mut event = admin::event(&self.view().await);
        tokio::task::spawn_local(async move {
            let _slot = slot;
            let telling = async {
                // Ends when the page is left, or does not read.
                while let Ok(Ok(())) = timeout(STALL, page.send_data(event)).await {
                    if events.changed().await.is_err() {
                        return;
                    }
                    event = events.borrow_and_update().clone();
                }
            };
            tokio::select! {
                () = closed.begun() => {}
                () = telling => {}
            }
        });
        admin::events(Either::Right(body))
    }

    /// Takes samples for the charts, and sends open pages the state; never ends.
    pub(super) async fn beat(&self) {
        loop {
            self.history.borrow_mut().sample(Instant::now(), || self.metrics.tally().total());
            if self.events.receiver_count() > 0 {
                self.events.send_replace(admin::event(&self.view().await));
            }
            sleep(BEAT).await;
        }
    }
}
