//! Eight ways of one request through the proxy: the configuration, the instance, the request, and the right answer of
//! each.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::callers::{self, Line, request, request_to, write};
use crate::instance::{ALERTS, HTTP1, HTTP2, Instance, Size};
use crate::proxy::{Proxy, Setup};

/// The name that the listener of a tunnel intercepts.
const INTERCEPTED: &str = "eu.ninjarmm.com";
const SCRIPT: &str = "/v2/device/7/script/run";

/// One of the ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    /// A read from an instance that offers HTTP/2 only: from one that offers both, a single caller is served over
    /// HTTP/1.1.
    ReadH2,
    /// A read from an instance that offers HTTP/1.1 only.
    ReadH1,
    /// A write that is in the audit log before it is sent, and before it is answered.
    Write,
    /// What no rule opens, so that the proxy answers 403.
    Refusal,
    /// A read from a caller that speaks TLS.
    Tls,
    /// A read inside a CONNECT that ends at the proxy, many on one tunnel.
    Tunnel,
    /// A list of which half of the rows are outside the organizations of the listener.
    Fence,
    /// A write that is open under conditions on its body.
    Condition,
}

impl Way {
    pub(crate) const ALL: [Self; 8] =
        [Self::ReadH2, Self::ReadH1, Self::Write, Self::Refusal, Self::Tls, Self::Tunnel, Self::Fence, Self::Condition];

    /// Its name in the record, and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ReadH2 => "read-h2",
            Self::ReadH1 => "read-h1",
            Self::Write => "write",
            Self::Refusal => "refusal",
            Self::Tls => "tls",
            Self::Tunnel => "tunnel",
            Self::Fence => "fence",
            Self::Condition => "condition",
        }
    }

    /// The instance that it needs.
    pub(crate) fn instance(self) -> Result<Instance> {
        match self {
            Self::ReadH2 => Instance::offering(&[HTTP2]),
            Self::ReadH1 => Instance::offering(&[HTTP1]),
            Self::Write | Self::Refusal | Self::Tls | Self::Tunnel | Self::Fence | Self::Condition => {
                Instance::offering(&[HTTP2, HTTP1])
            }
        }
    }

    /// The proxy that it needs.
    pub(crate) fn setup(self, binary: &Path) -> Setup {
        let (listener, tables) = match self {
            Self::ReadH2 | Self::ReadH1 | Self::Refusal => ("", ""),
            Self::Write => ("scopes = [\"monitoring\", \"management\"]\n", "[audit]\nfile = \"audit.jsonl\"\n"),
            Self::Tls => ("tls = \"local-ca\"\n", ""),
            Self::Tunnel => ("intercept = [\"eu.ninjarmm.com\"]\n", ""),
            Self::Fence => ("organizations = [5]\n", ""),
            Self::Condition => (
                "scopes = [\"monitoring\", \"management\"]\nallow = [{ rule = \"POST /v2/device/{id}/script/run\", \
                 body = { \"/id\" = [12, 13], \"/runAs\" = \"SYSTEM\" }, reason = \"patch week\" }]\n",
                "",
            ),
        };
        Setup { listener, tables, ..Setup::plain(binary.to_owned()) }
    }

    fn request(self) -> Vec<u8> {
        match self {
            Self::ReadH2 | Self::ReadH1 | Self::Tls => request(Size::Small.target(), ""),
            Self::Tunnel => request_to(INTERCEPTED, "GET", Size::Small.target(), ""),
            Self::Refusal => request("/v2/users", ""),
            Self::Fence => request(ALERTS, ""),
            Self::Write => write(
                "PUT",
                "/v2/device/7/maintenance",
                r#"{"disabledFeatures":["ALERTS"],"start":1790000000,"end":1790003600}"#,
            ),
            Self::Condition => write("POST", SCRIPT, r#"{"type":"SCRIPT","id":12,"parameters":"","runAs":"SYSTEM"}"#),
        }
    }

    /// The status of the answer, and what is in it.
    fn answer(self) -> (u16, &'static str) {
        match self {
            Self::ReadH2 | Self::ReadH1 | Self::Tls | Self::Tunnel | Self::Write | Self::Condition => {
                (200, r#"[{"id":1,"name":"Organization 1","#)
            }
            Self::Refusal => (403, r#""code":"group-not-open""#),
            Self::Fence => (200, r#""deviceId":2,"#),
        }
    }

    /// A caller that goes this way, once the first answer was the right one: all others must be as long.
    pub(crate) fn line(self, proxy: &Proxy) -> Result<Line> {
        let door = *proxy.doors.first().context("a listener")?;
        let (status, text) = self.answer();
        let mut line = Line { status, ..Line::plain(door, [self.request()].into(), 0) };
        match self {
            Self::Tls => line.tls = Some(callers::tls(&proxy.local_ca()?)?),
            Self::Tunnel => {
                line.tls = Some(callers::tls(&proxy.local_ca()?)?);
                line.tunnel = Some(INTERCEPTED);
            }
            Self::ReadH2 | Self::ReadH1 | Self::Write | Self::Refusal | Self::Fence | Self::Condition => {}
        }
        let first = callers::once(&line).with_context(|| self.name())?;
        ensure!(first.text.contains(text), "{}: the first answer lacks {text}: {}", self.name(), first.text);
        let is_whole = first.bytes == Size::Small.bytes();
        match self {
            Self::Refusal => {}
            Self::Fence => ensure!(!is_whole, "the list was not filtered"),
            Self::ReadH2 | Self::ReadH1 | Self::Tls | Self::Tunnel | Self::Write | Self::Condition => {
                ensure!(is_whole, "{}: an answer of {} bytes", self.name(), first.bytes);
            }
        }
        Ok(Line { bytes: first.bytes, ..line })
    }
}
