//! The ranges of `[limits]`.

use super::Config;
use super::mistake::ConfigMistake;

/// The range of `limits.head`; hyper takes no less.
const MIN_HEAD: u64 = 8 << 10;
const MAX_HEAD: u64 = 1 << 20;

/// The most of `limits.headers`: a map of fields has no room for 25,000, and its parser takes time for each that there
/// may be.
const MAX_HEADERS: u16 = 10_000;
/// The range of `limits.judged-body`.
const MIN_JUDGED: u64 = 1 << 10;
const MAX_JUDGED: u64 = 1 << 20;
/// The least of `limits.buffers`: room for some large bodies.
const MIN_BUFFERS: u64 = 4 << 20;

impl Config {
    pub(super) fn check_limits(&self) -> Result<(), ConfigMistake> {
        let head = &self.file.limits.head;
        if !(MIN_HEAD..=MAX_HEAD).contains(&head.get_ref().0) {
            return Err(self.mistake(
                head,
                format!("{:?} is out of range: a head may have 8KiB to 1MiB", head.get_ref().to_string()),
            ));
        }
        let headers = &self.file.limits.headers;
        if headers.get_ref().get() > MAX_HEADERS {
            return Err(self.mistake(headers, format!("a head may have at most {MAX_HEADERS} header fields")));
        }
        let judged = &self.file.limits.judged_body;
        if !(MIN_JUDGED..=MAX_JUDGED).contains(&judged.get_ref().0) {
            let text = judged.get_ref().to_string();
            return Err(self.mistake(judged, format!("{text:?} is out of range: a body is judged up to 1KiB to 1MiB")));
        }
        let buffers = &self.file.limits.buffers;
        if buffers.get_ref().0 < MIN_BUFFERS {
            return Err(
                self.mistake(buffers, format!("{:?} is too small: write 4MiB or more", buffers.get_ref().to_string()))
            );
        }
        Ok(())
    }
}
