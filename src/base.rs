//! What needs nothing of the proxy: secrets, clocks, files, the state folder, panics, systemd, hexadecimal digits, and
//! warnings that would flood the log.

pub mod clock;
pub mod file;
pub mod hex;
pub mod panic_guard;
pub mod plain;
pub mod same;
pub mod secret;
pub mod state;
pub mod supervisor;
pub mod warn_limit;
