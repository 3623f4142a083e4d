//! The proxy as its callers, its administrators and NinjaOne see it.

mod bodies;
mod command_line;
mod configuration;
mod harness;
mod headers;
mod listener;
mod property;
mod rooms;
mod target;
mod tls;
mod token;
mod upstream;
mod watch;
