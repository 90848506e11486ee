//! The binary: arguments in, exit code out.

use std::process::ExitCode;

/// A heap with a million queued copies in it makes glibc's allocator slow for all that comes beside them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tubepost::cli::main()
}
