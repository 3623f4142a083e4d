//! `ninjaone-proxy`: an authenticating reverse proxy for the NinjaOne public API.
//!
//! Plain local HTTP goes in. The proxy decides whether the operation is allowed, adds a cached OAuth2
//! client-credentials bearer token, and forwards the request to NinjaOne over TLS.
//!
//! # The life of a request
//!
//! ```text
//! listener -> authn -> policy -> [conditions, fence] -> quota -> audit -> token -> rate limit -> upstream -> response
//!  Peer       Caller    Permit     Permit                Within   Audited  Bearer   Slot          Answer      Response
//! ```
//!
//! Each stage consumes the proof that the stage before it made. A proof has private fields and one constructor, in its
//! own stage, so code in the wrong order does not compile. [`proxy`] is the spine, which reads like the line above. Only
//! a request that rules open under conditions passes the stage of these: body, uses, a person's approval. And only one whose
//! caller is kept to organizations passes the fence, which its answer passes too: see [`proxy::fence`].
//!
//! # Laws
//!
//! - What was judged is what is sent: the upstream target comes from the [`proxy::policy::Permit`] only, and so do the
//!   bytes of a body that was judged, or shown to a person.
//! - What was shown is what is approved: see [`proxy::approval`].
//! - Fail closed: no valid token, no upstream request; an expired token is never sent.
//! - A non-idempotent request is never sent twice once any byte of it may have been processed.
//! - One decision: [`proxy::policy::Policy::rule_on`]. What shows decisions (explain, routes, check, learn, the status page) asks
//!   the same policy.
//! - One refusal table: [`proxy::response::refusal_table`], for every listener.
//! - The proxy never calls itself: [`config`] refuses what leads back, [`proxy::headers::loops`] ends what comes back.
//! - A secret has no way out: see [`base::secret::Secret`].
//! - Decisions ([`proxy::authn`], [`proxy::policy`], [`proxy::headers`]) are pure and synchronous; input and output are in
//!   [`net`], [`proxy::token::endpoint`] and [`proxy::upstream`].
//!
//! # Rooms
//!
//! Each room imports only rooms below it; inside a room, each part only parts below it. The test
//! `rooms_import_only_what_is_below_them` holds this.
//!
//! | room | holds |
//! |---|---|
//! | [`cli`] | the command line: arguments to exit code, one file for each command |
//! | [`app`] | composition: binds, starts a worker for each core, reloads, drains |
//! | [`tools`] | what helps a person: explain, doctor, the sign-in, the status page |
//! | [`config`] | the file as written -> typed settings, with the line of every mistake |
//! | [`sandbox`] | an embedded NinjaOne with invented data: the default instance, and what tests talk to |
//! | [`proxy`] | the spine and its stages: authn, policy with the catalog, approval, quota, audit, token, rate limit, upstream, response |
//! | [`shared`] | what replicas share: a store (Redis or Valkey), and the keys that seal what is in it |
//! | [`observe`] | what is written about requests: access log, audit log, metrics, traces, recent refusals, usage |
//! | [`net`] | connections: listeners, TLS, dialing, bodies, shutdown |
//! | [`base`] | what needs nothing else: secrets, clocks, files, state folder, panic guard, systemd |
//!
//! # Threads
//!
//! Each core has a worker with a current-thread runtime, its own sockets (`SO_REUSEPORT`, in a group that is closed to
//! other processes; one queue for all where a socket is a file or was passed), its own upstream connections and its own copy of the bearer, so that a request takes no lock.
//! Only where an instance has a limited rate, or a listener a quota, do workers share something on the way of a request, see
//! [`proxy::rate_limit`] and [`proxy::quota`]; and requests that wait for a person, see [`proxy::approval`].
//! Token flights (each on a connection of its own), the admin listener and the sandbox run on the main thread. There a reload makes what another
//! configuration asks for, while the old one serves, and then tells each worker: a request keeps what it began with.
//! The audit log has a thread of its own, for which only writes wait.

pub mod app;
pub mod base;
pub mod cli;
pub mod config;
pub mod net;
pub mod observe;
pub mod proxy;
pub mod sandbox;
pub mod shared;
pub mod tools;
