//! A guard around a request: a panic inside it ends that request, and nothing else.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

/// The panics outside of any guard, since the start.
static OUTSIDE: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread is inside a guard, whose owner tells of a panic.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    /// Where this thread panicked last: a hook learns the place, and only the guard knows the request.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What is left of a panic: its place in the source. Its message is not kept, as it may hold what must not be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panicked {
    place: Option<String>,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panic at {}", self.place.as_deref().unwrap_or("an unknown place"))
    }
}

impl std::error::Error for Panicked {}

/// Replaces what a panic prints, message and all: its place goes to the log, where there is a guard together with what
/// the guard's owner knows of the request.
pub fn install() {
    std::panic::set_hook(Box::new(record_location));
}

fn record_location(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string);
    if GUARDED.get() {
        PLACE.set(place);
    } else {
        OUTSIDE.fetch_add(1, Ordering::Relaxed);
        let thread = std::thread::current();
        tracing::error!(thread = thread.name(), error = %Panicked { place }, "a part of the proxy panicked");
    }
}

/// How many panics there were outside of any guard. Those inside are counted by the guard's owner.
pub fn outside() -> u64 {
    OUTSIDE.load(Ordering::Relaxed)
}

/// The output of `future`, or what is left of a panic in it. It is not polled again after that, and dropped.
pub async fn around<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match within(|| future.as_mut().poll(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

/// What `work` returns, or what is left of a panic in it. The caller sees to it that what `work` had borrowed is not
/// used again: it may be in the midst of a change.
pub fn within<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    let outer = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    result.map_err(|_| Panicked { place: PLACE.take() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn guard_lets_an_output_pass_and_turns_a_panic_into_an_error_at_any_poll() {
        assert_eq!(around(async { 7 }).await, Ok(7));
        let panics = around(async {
            tokio::task::yield_now().await;
            if GUARDED.get() {
                panic!("in the second poll");
            }
        });
        assert!(panics.await.is_err());
        assert!(!GUARDED.get(), "the guard is down again");
        assert_eq!(within(|| within(|| panic!("inside")) == Ok(())), Ok(false), "a guard in a guard");
        assert!(!GUARDED.get());
    }

    #[tokio::test]
    async fn guard_drops_what_panicked() {
        struct Held<'a>(&'a Cell<u32>);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let dropped = Cell::new(0);
        let (before, held) = (Held(&dropped), Held(&dropped));
        let panicked = around(async move {
            let _held = held;
            tokio::task::yield_now().await;
            drop(before);
            panic!("on the way");
        });
        assert!(panicked.await.is_err());
        assert_eq!(dropped.get(), 2);
    }

    #[test]
    fn guard_knows_the_place_and_not_the_message() {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            record_location(info);
            before(info);
        }));
        let counted = outside();
        let said = within(|| panic!("{}", "value")).expect_err("a panic").to_string();
        assert_eq!(outside(), counted, "the owner of the guard records it");
        assert!(std::thread::spawn(|| panic!("outside")).join().is_err());
        assert_eq!(outside(), counted + 1);
        let _ = std::panic::take_hook();
        assert!(said.starts_with("panic at src/base/panic_guard.rs:") && !said.contains("value"), "{said}");
    }
}
