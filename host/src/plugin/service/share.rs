//! What one login may take of the machine, so that none is in another's way: places in the pool, lines in the log, requests under way.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Clock;
use crate::config::{LoginShares, PluginRuntime};

/// How long a login's lines count.
const MINUTE: Duration = Duration::from_mins(1);
/// Logins that are remembered without a call under way.
const MOST_IDLE: usize = 10_000;

/// The shares of all logins.
pub struct Shares {
    clock: Clock,
    limits: LoginShares,
    instances: u32,
    logins: Mutex<HashMap<Arc<str>, Arc<Share>>>,
}

/// The share of one login.
#[derive(Debug)]
pub struct Share {
    calls: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    lines: Mutex<Lines>,
}

/// Lines in the minute that began at `since`.
#[derive(Debug)]
struct Lines {
    since: Duration,
    count: u32,
}

impl Shares {
    pub(super) fn new(clock: Clock, runtime: &PluginRuntime) -> Self {
        Self { clock, limits: runtime.logins, instances: runtime.instances.max(1), logins: Mutex::default() }
    }

    /// Returns the share of a login.
    pub fn of(&self, login: &Arc<str>) -> Arc<Share> {
        let mut logins = self.logins.lock();
        if let Some(share) = logins.get(login) {
            return Arc::clone(share);
        }
        if logins.len() >= MOST_IDLE {
            // Who has nothing under way loses no more than the count of his lines.
            logins.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let permits = |number: u32| Arc::new(Semaphore::new(usize::try_from(number.max(1)).unwrap_or(1)));
        let share = Arc::new(Share {
            calls: permits(self.limits.instances.min(self.instances)),
            requests: permits(self.limits.http_at_once),
            lines: Mutex::new(Lines { since: self.clock.monotonic(), count: 0 }),
        });
        logins.insert(Arc::clone(login), Arc::clone(&share));
        share
    }

    /// Counts a line; returns whether the login may log it.
    pub fn may_log(&self, share: &Share) -> bool {
        let now = self.clock.monotonic();
        let mut lines = share.lines.lock();
        if now.saturating_sub(lines.since) >= MINUTE {
            *lines = Lines { since: now, count: 0 };
        }
        lines.count = lines.count.saturating_add(1);
        lines.count <= self.limits.log_lines
    }
}

impl Share {
    /// Waits for one of the login's places among running plugins.
    pub async fn call(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed.
        Arc::clone(&self.calls).acquire_owned().await.ok()
    }

    /// Waits for one of the login's places among requests.
    pub async fn request(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.requests).acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[tokio::test]
    async fn a_login_waits_for_itself_and_for_nobody_else() {
        let mut runtime = PluginRuntime::default();
        runtime.logins.instances = 2;
        let shares = Shares::new(Clock::system(), &runtime);
        let (busy, other) = (shares.of(&"busy".into()), shares.of(&"other".into()));
        let _held = [busy.call().await.unwrap(), busy.call().await.unwrap()];
        assert!(tokio::time::timeout(Duration::ZERO, shares.of(&"busy".into()).call()).await.is_err());
        assert!(other.call().await.is_some());
    }

    #[test]
    fn lines_are_counted_by_the_minute() {
        let clock = Clock::manual(crate::clock::Timestamp::from_millis(0));
        let mut runtime = PluginRuntime::default();
        runtime.logins.log_lines = 2;
        let shares = Shares::new(clock.clone(), &runtime);
        let share = shares.of(&"a".into());
        assert_eq!([(); 3].map(|()| shares.may_log(&share)), [true, true, false]);
        assert!(shares.may_log(&shares.of(&"b".into())));
        clock.advance(MINUTE);
        assert!(shares.may_log(&share));
    }
}
