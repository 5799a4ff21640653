//! The program. Everything is in the library; see `segvault::cli`.

use std::process::ExitCode;

#[global_allocator]
static HEAP: segvault::profile::SampledHeap = segvault::profile::SampledHeap;

fn main() -> ExitCode {
    segvault::cli::main()
}
