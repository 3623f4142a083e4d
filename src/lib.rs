//! `ninjaone-proxy`: an authenticating reverse proxy for the NinjaOne public API.
//!
//! Plain local HTTP goes in. The proxy decides whether the operation is allowed, adds a cached OAuth2
//! client-credentials bearer token, and forwards the request to NinjaOne over TLS.
//!
//! # The life of a request
//!
//! ```text
//! listener -> guard -> policy -> journal -> token -> upstream -> response
//!  Peer       Caller    Permit    Entered    Bearer   Answer      Response
//! ```
//!
//! Each stage consumes the proof that the stage before it made. A proof has private fields and one constructor, in its
//! own stage, so code in the wrong order does not compile. [`proxy`] is the spine, which reads like the line above.
//!
//! # Laws
//!
//! - What was judged is what is sent: the upstream target comes from the [`policy::Permit`] only.
//! - Fail closed: no valid token, no upstream request; an expired token is never sent.
//! - A non-idempotent request is never sent twice once any octet of it may have been processed.
//! - The proxy never calls itself: what leads back is refused beforehand ([`config`]), what comes back ends ([`headers`]).
//! - A secret has no way out: see [`secret::Secret`].
//! - Decisions ([`guard`], [`policy`], [`headers`]) are pure and synchronous; input and output live in [`listener`],
//!   [`token::endpoint`] and [`upstream`].
//!
//! # Rooms
//!
//! | room | holds |
//! |---|---|
//! | [`cli`], [`app`] | arguments to exit code; composition: bind, a worker for each core, run until shutdown |
//! | [`config`] | file as written -> settings of the stages |
//! | [`explain`] | what would happen to a request, and why: for the command line and the status page |
//! | [`doctor`] | tries all that the proxy needs, step by step, with the cure for what fails |
//! | [`listener`], [`tls`], [`shutdown`] | sockets, limits, timers, drain around a closure; trust anchors; signals |
//! | [`proxy`] | the spine |
//! | [`guard`] | who may call -> `Caller` |
//! | [`policy`] | canonical target, operation catalogue, rules -> `Permit` |
//! | [`token`] | one flight for each key, own expiry, refresh ahead -> `Bearer` |
//! | [`dial`] | the one way out: a server's name, its addresses, a proxy on the way, TLS, HTTP |
//! | [`journal`] | the audit log: every write and refusal, safe on the disk -> `Entered`; and its verification |
//! | [`rate`] | how fast requests go up, in order of arrival -> `Slot` |
//! | [`upstream`] | connections to NinjaOne, timeouts, replay rules -> `Answer` |
//! | [`headers`], [`body`] | what passes of a message's head; bodies in transit |
//! | [`response`] | relay or refuse; the only table from cause to status |
//! | [`admin`], [`audit`], [`metrics`], [`telemetry`] | health and status page, one record for each request, counters, log |
//! | [`traces`] | spans of sampled requests, for a collector |
//! | [`refusals`] | the last refusals, for the status page |
//! | [`supervisor`] | what systemd is told of the process's life |
//! | [`fence`] | keeps a panic to the request that it happens in |
//! | [`sandbox`] | an embedded NinjaOne with invented data: the default instance, and what tests talk to |
//! | [`secret`] | what must not be printed, and where it comes from |
//! | [`usage`] | which operations callers used, counted and kept in a file |
//! | [`mod@file`] | files read without waiting, within a limit, in each encoding; files replaced as a whole; locks |
//! | [`state`] | the folder for what must outlast a restart |
//! | [`plain`] | text of others' for logs and terminals: nothing in it is obeyed or ends a line |
//! | [`clock`] | wall clock and monotonic clock, read together |
//!
//! [`config`] knows the stages, the stages do not know it, and no stage imports a later one. The test
//! `rooms_import_only_what_the_plan_lets_them` holds the code against the plan.
//!
//! # Threads
//!
//! Each core has a worker with a current-thread runtime, its own sockets (`SO_REUSEPORT`, in a group that is closed to
//! other processes; one queue for all where a socket is a file or was passed), its own upstream connections and its own copy of the bearer, so that a request takes no lock.
//! Only where an instance has a limited rate do workers share something on the way of a request, see [`rate`].
//! Token flights (each on a connection of its own), the admin listener and the sandbox run on the main thread. There a reload makes what another
//! configuration asks for, beside what there is, and then sends each worker word of it: a request keeps what it began with.
//! The audit log has a thread of its own, for which only writes wait.

pub mod admin;
pub mod app;
pub mod audit;
pub mod body;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dial;
pub mod doctor;
pub mod explain;
pub mod fence;
pub mod file;
pub mod guard;
pub mod headers;
pub mod journal;
pub mod listener;
pub mod metrics;
pub mod plain;
pub mod policy;
pub mod proxy;
pub mod rate;
pub mod refusals;
pub mod response;
pub mod sandbox;
pub mod secret;
pub mod shutdown;
pub mod state;
pub mod supervisor;
pub mod telemetry;
pub mod tls;
pub mod token;
pub mod traces;
pub mod upstream;
pub mod usage;
