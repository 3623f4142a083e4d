//! What tests read of a log.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What was written.
#[derive(Clone, Default)]
pub(super) struct Sheet(Arc<Mutex<Vec<u8>>>);

impl Write for Sheet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sheet {
    /// What was written, once it is a whole line: the log's thread may be late, and the guard waits a second for it at
    /// most.
    pub(super) fn line(&self) -> String {
        let begun = Instant::now();
        loop {
            let text = String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text");
            if text.ends_with('\n') || begun.elapsed() > Duration::from_secs(30) {
                return text;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
