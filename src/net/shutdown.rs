//! Shutdown: one word from the process to every loop, once.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind as UnixSignal, signal};
use tokio::sync::watch;

/// The side that says it.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// The side that hears it; cloned into every loop.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// A new pair.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Says it; saying it again changes nothing.
    pub fn shut_down(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Ends when shutdown has begun, at once if it began before.
    pub async fn begun(mut self) {
        // An error says that the trigger is gone, and with it the owner of the loops.
        let _ = self.0.wait_for(|begun| *begun).await;
    }

    /// Whether it has begun, or the trigger is gone: where [`Self::begun`] ends, this is true.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

/// Calls `then` now, and whenever a child process has ended, for ever.
#[cfg(unix)]
pub async fn whenever_a_child_ends(then: impl Fn()) {
    match signal(UnixSignal::child()) {
        Ok(mut ended) => loop {
            then();
            ended.recv().await;
        },
        Err(error) => tracing::warn!(%error, "the end of child processes cannot be observed"),
    }
}

/// Other systems send no signal.
#[cfg(not(unix))]
pub async fn whenever_a_child_ends(_: impl Fn()) {}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownSignal {
    /// To end; the signal's name.
    End(&'static str),
    /// To read the configuration again.
    Reload,
}

/// The signals that end the process, and the one that reloads it.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    terminate: Signal,
    #[cfg(unix)]
    interrupt: Signal,
    #[cfg(unix)]
    hang_up: Signal,
}

impl Signals {
    /// Catches them from now on.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: signal(UnixSignal::terminate())?,
            #[cfg(unix)]
            interrupt: signal(UnixSignal::interrupt())?,
            #[cfg(unix)]
            hang_up: signal(UnixSignal::hangup())?,
        })
    }

    /// What the next one asks for. Of several that ask for a reload while nobody looks, one is reported.
    #[cfg(unix)]
    pub async fn next(&mut self) -> ShutdownSignal {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => ShutdownSignal::End("SIGTERM"),
            _ = self.interrupt.recv() => ShutdownSignal::End("SIGINT"),
            _ = self.hang_up.recv() => ShutdownSignal::Reload,
        }
    }

    /// What the next one asks for.
    #[cfg(not(unix))]
    pub async fn next(&mut self) -> ShutdownSignal {
        ShutdownSignal::End(self.end().await)
    }

    /// The name of the next one that ends the process.
    #[cfg(unix)]
    pub async fn end(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// The name of the next one.
    #[cfg(not(unix))]
    pub async fn end(&mut self) -> &'static str {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "Ctrl-C",
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutdown_has_begun_when_it_is_said_or_nobody_is_left_to_say_it() {
        let (trigger, shutdown) = channel();
        assert!(!shutdown.has_begun());
        trigger.shut_down();
        assert!(shutdown.has_begun());
        shutdown.begun().await;

        let (trigger, shutdown) = channel();
        drop(trigger);
        assert!(shutdown.has_begun(), "a loop that asks would spin else");
        shutdown.begun().await;
    }
}
