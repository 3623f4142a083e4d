//! The signals of Unix: which are passed on to a command, and which have reached it already.

use std::io;
use std::task::Poll;

use rustix::process::{Pid, Signal, getpgid, getpgrp};
use tokio::signal::unix::{Signal as Caught, SignalKind, signal};

/// What is passed on.
const PASSED: [Signal; 6] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// Those that this process catches.
pub(super) struct Signals(Vec<(Signal, Caught)>);

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        let ignored = ignored();
        let wanted = PASSED.into_iter().filter(|signal| !is_in(ignored, *signal));
        let caught = wanted.map(|wanted| Ok((wanted, signal(SignalKind::from_raw(wanted.as_raw()))?)));
        caught.collect::<io::Result<_>>().map(Self)
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            let ready =
                |(signal, caught): &mut (Signal, Caught)| caught.poll_recv(context).is_ready().then_some(*signal);
            self.0.iter_mut().find_map(ready).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Whether the terminal has sent this signal to the process too: it does so to all that are in its foreground group.
/// A second one could end a program that puts things in order after the first.
pub(super) fn has_reached(signal: Signal, process: Pid) -> bool {
    let of_terminal = [Signal::INT, Signal::QUIT].contains(&signal);
    of_terminal && getpgid(Some(process)).is_ok_and(|group| group == getpgrp()) && is_in_foreground()
}

fn is_in_foreground() -> bool {
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true), crate::base::file::WITHOUT_WAITING);
    let group = options.open("/dev/tty").and_then(|terminal| Ok(rustix::termios::tcgetpgrp(terminal)?));
    group.is_ok_and(|group| group == getpgrp())
}

/// The signals that this process was told to ignore, a bit each; none where the system does not say.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

fn is_in(mask: u64, signal: Signal) -> bool {
    u32::try_from(signal.as_raw() - 1).is_ok_and(|bit| mask.checked_shr(bit).unwrap_or_default() & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_the_system_has_a_bit_for_each_signal() {
        assert!(is_in(1, Signal::HUP) && !is_in(1, Signal::INT));
        assert!(is_in(1 << 14, Signal::TERM) && !is_in(!(1 << 14), Signal::TERM));
    }
}
