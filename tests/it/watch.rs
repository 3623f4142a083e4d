//! A watch over the log of all tests: at trace level, no line may hold a secret or a token.

use std::io::Write;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use ninjaone_proxy::sandbox::TOKEN_MARK;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

/// The client secret of every test.
pub(crate) const SECRET: &str = "secret-of-all-tests-0123456789";
/// What the tokens of scripted servers begin with.
pub(crate) const SCRIPTED_TOKEN: &str = "scripted_token_";

static LINES: AtomicU64 = AtomicU64::new(0);

/// Whether a log line holds what must not be logged.
fn leaks(line: &str) -> bool {
    [SECRET, SCRIPTED_TOKEN, TOKEN_MARK].iter().any(|secret| line.contains(secret))
}

struct Watch;

impl Write for Watch {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        LINES.fetch_add(1, Ordering::Relaxed);
        let text = String::from_utf8_lossy(line);
        if leaks(&text) {
            eprintln!("a secret in the log: {text}");
            std::process::abort();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Logs everything that happens in this process to the watch.
pub(crate) fn begin() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        let layer = fmt::layer().with_writer(|| Watch).with_ansi(false).with_filter(LevelFilter::TRACE);
        tracing_subscriber::registry().with(layer).init();
    });
}

#[test]
fn watch_sees_the_trace_of_a_token_and_knows_a_leak() {
    begin();
    let before = LINES.load(Ordering::Relaxed);
    let proxy = crate::harness::Proxy::sandboxed("");
    assert_eq!(proxy.get("/v2/organizations").status, 200);
    assert!(LINES.load(Ordering::Relaxed) > before, "a grant leaves its trace");
    assert!(leaks(&format!("authorization: Bearer {TOKEN_MARK}x")));
    assert!(leaks(&format!("client_secret={SECRET}&x")));
    assert!(!leaks("GET /v2/organizations"));
}
