//! Whose turn it is to look through what waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long to wait for others to end theirs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Turns: few at a time, and of each login one.
pub(super) struct Turns {
    all: Arc<Semaphore>,
    /// Logins that have a turn or wait for one: never more than there are calls.
    logins: Mutex<BTreeMap<Arc<str>, Line>>,
}

/// Calls of one login.
struct Line {
    turn: Arc<Semaphore>,
    /// How many there are.
    calls: usize,
}

/// A turn, which ends when this goes away.
pub(super) struct Turn {
    _all: OwnedSemaphorePermit,
    _own: Option<(OwnedSemaphorePermit, Place)>,
}

/// A call's place in the line of its login.
struct Place {
    turns: Arc<Turns>,
    login: Arc<str>,
}

impl Turns {
    /// So many at a time.
    pub(super) fn new(most: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))), logins: Mutex::default() }
    }

    /// Waits for a turn of a login, or of somebody who may have several; `None` where others take too long.
    pub(super) async fn take(self: &Arc<Self>, login: Option<&Arc<str>>) -> Option<Turn> {
        tokio::time::timeout(PATIENCE, self.wait(login)).await.ok().flatten()
    }

    async fn wait(self: &Arc<Self>, login: Option<&Arc<str>>) -> Option<Turn> {
        // First its own: of the calls of one login one alone stands in the way of others.
        let own = match login {
            Some(login) => {
                let (place, turn) = self.join(login);
                Some((turn.acquire_owned().await.ok()?, place))
            }
            None => None,
        };
        Some(Turn { _all: Arc::clone(&self.all).acquire_owned().await.ok()?, _own: own })
    }

    fn join(self: &Arc<Self>, login: &Arc<str>) -> (Place, Arc<Semaphore>) {
        let mut logins = self.logins.lock();
        let line = logins.entry(Arc::clone(login)).or_insert_with(|| Line { turn: Arc::new(Semaphore::new(1)), calls: 0 });
        line.calls += 1;
        (Place { turns: Arc::clone(self), login: Arc::clone(login) }, Arc::clone(&line.turn))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut logins = self.turns.logins.lock();
        if let Some(line) = logins.get_mut(&self.login) {
            line.calls -= 1;
            if line.calls == 0 {
                logins.remove(&self.login);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_login_has_one_turn_at_a_time() {
        let turns = Arc::new(Turns::new(2));
        let [news, other]: [Arc<str>; 2] = ["news".into(), "other".into()];
        let first = turns.take(Some(&news)).await.unwrap();
        let mut second = Box::pin(turns.take(Some(&news)));
        assert!((&mut second).now_or_never().is_none(), "it waits for its own");
        drop(turns.take(Some(&other)).now_or_never().unwrap().unwrap());
        drop(first);
        drop(second.await.unwrap());
        assert!(turns.logins.lock().is_empty());
    }
}
