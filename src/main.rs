//! The binary: see the library's documentation for its rooms.

use std::process::ExitCode;

/// Gives memory that a burst took back to the system within seconds, see `Cargo.toml`.
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    ninjaone_proxy::cli::main()
}
