//! The program. Everything is in the library; see `segvault::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    segvault::cli::main()
}
