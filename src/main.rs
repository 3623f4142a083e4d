//! The binary: see the library's documentation for its rooms.

use std::process::ExitCode;

fn main() -> ExitCode {
    ninjaone_proxy::cli::main()
}
