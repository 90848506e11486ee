//! The binary: arguments in, exit code out, and the heap of both.

use std::ffi::c_long;
use std::process::ExitCode;

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

/// A heap with a million queued copies in it makes glibc's allocator slow for all that comes beside them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay`, which the bindings have no name for: milliseconds until memory that nobody uses goes back to the system.
const PURGE_DELAY: mi_option_t = 15;
/// Soon: what a wave of mail has taken is not kept for the next one.
const SOON: c_long = 10;

fn main() -> ExitCode {
    give_memory_back();
    tubepost::cli::main()
}

/// To be called before there are threads. `MIMALLOC_PURGE_DELAY` in the environment says otherwise.
#[expect(unsafe_code, reason = "the allocator is asked for a number of its own")]
fn give_memory_back() {
    // SAFETY: the call takes two numbers, checks the first one, and changes nothing but when memory is given back.
    unsafe { mi_option_set_default(PURGE_DELAY, SOON) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The allocator numbers its options without promising that they stay so. The delay is the only one with this default.
    #[test]
    #[expect(unsafe_code, reason = "the allocator is asked for a number of its own")]
    fn the_option_has_the_number_that_we_think() {
        let get = || {
            // SAFETY: the call takes a number and checks it.
            unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) }
        };
        assert_eq!(get(), 1000);
        give_memory_back();
        assert_eq!(get(), SOON);
    }
}
