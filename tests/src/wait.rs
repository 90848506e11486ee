//! Waiting for a state, with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long a test waits for anything before it fails. Long, as machines may be slow: a passing test does not wait.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// Asks `state` until it says something.
///
/// # Errors
/// If it says nothing within [`PATIENCE`].
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where tests look at the time: between two looks at a state that another process makes"
)]
pub fn wait_for<T>(what: &str, mut state: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = state() {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("waited {PATIENCE:?} for {what}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
