//! A limit on waits that are nearly always short: set for every one of them, and it costs nothing until it runs out.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is set again before it runs out, most of the time. The runtime's timer behind it stays as it is then,
/// and is looked at when it runs out.
#[derive(Debug, Default)]
pub struct Timer {
    deadline: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// It runs out at `deadline`.
    pub fn set(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// It does not run out.
    pub fn clear(&mut self) {
        self.deadline = None;
    }

    /// Whether it may run out.
    pub fn is_set(&self) -> bool {
        self.deadline.is_some()
    }

    /// Ends when it has run out.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn timer_runs_out_when_it_was_set_last() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut timer = Timer::default();
        // Set to later, to earlier, and again after it ran out.
        for (first, last) in [(3, 5), (8, 7), (9, 9)] {
            timer.set(start + first * second);
            assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx))).await.is_pending());
            timer.set(start + last * second);
            poll_fn(|cx| timer.poll(cx)).await;
            assert_eq!(Instant::now().duration_since(start).as_secs(), u64::from(last));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn timer_that_is_not_set_never_runs_out() {
        let mut timer = Timer::default();
        timer.set(Instant::now() + Duration::from_secs(1));
        timer.clear();
        let ended = tokio::time::timeout(Duration::from_secs(3600), poll_fn(|cx| timer.poll(cx))).await;
        assert!(ended.is_err() && !timer.is_set());
    }
}
