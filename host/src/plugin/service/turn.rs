//! Turns on the processors: as many calls compute at one moment as there are processors, and where more want to, the login goes first that had
//! least of late. So a login whose plugins compute all the time makes others wait for one turn, and not for all of its calls.
//!
//! A turn lasts until the engine's next tick, or until the call waits for something; most calls are over in their first.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::clock::Clock;

/// All turns.
#[derive(Clone)]
pub struct Turns(Arc<Shared>);

struct Shared {
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    free: usize,
    /// Time that each login has had, counted from where the one began that had least when it came: who was away gains nothing by it.
    had: HashMap<Arc<str>, Duration>,
    /// Those that wait, by what their login has had; there is never an empty queue in it.
    waiting: BTreeMap<(Duration, Arc<str>), VecDeque<oneshot::Sender<Turn>>>,
    /// What the login had that got the last turn.
    floor: Duration,
}

/// A turn; dropping it lets the next one have it.
pub struct Turn {
    turns: Arc<Shared>,
    login: Arc<str>,
    began: Duration,
}

impl Turns {
    /// Turns on `processors`, at least one.
    pub fn new(processors: usize, clock: Clock) -> Self {
        let state = State { free: processors.max(1), had: HashMap::new(), waiting: BTreeMap::new(), floor: Duration::ZERO };
        Self(Arc::new(Shared { clock, state: Mutex::new(state) }))
    }

    /// Waits for a turn of `login`.
    pub async fn take(&self, login: &Arc<str>) -> Turn {
        loop {
            let waiting = {
                let mut state = self.0.state.lock();
                if state.free > 0 {
                    state.free -= 1;
                    return self.0.turn(login);
                }
                let had = state.had_by(login);
                let (given, waiting) = oneshot::channel();
                state.waiting.entry((had, Arc::clone(login))).or_default().push_back(given);
                waiting
            };
            // The sender is kept until it gives; were it dropped, the turn is asked for again.
            if let Ok(turn) = waiting.await {
                return turn;
            }
        }
    }

    /// Whether anybody waits.
    pub fn is_wanted(&self) -> bool {
        !self.0.state.lock().waiting.is_empty()
    }
}

impl Shared {
    fn turn(self: &Arc<Self>, login: &Arc<str>) -> Turn {
        Turn { turns: Arc::clone(self), login: Arc::clone(login), began: self.clock.monotonic() }
    }
}

impl State {
    fn had_by(&self, login: &Arc<str>) -> Duration {
        self.had.get(login).copied().unwrap_or_default().max(self.floor)
    }

    /// Takes out the one that is next.
    fn next(&mut self) -> Option<(Arc<str>, oneshot::Sender<Turn>)> {
        let mut entry = self.waiting.first_entry()?;
        let (had, login) = entry.key().clone();
        let next = entry.get_mut().pop_front();
        if entry.get().is_empty() {
            entry.remove();
        }
        self.floor = self.floor.max(had);
        next.map(|next| (login, next))
    }

    /// Counts what a login has had, and keeps its others in their place.
    fn count(&mut self, login: &Arc<str>, time: Duration) {
        let before = self.had_by(login);
        let after = before + time;
        if let Some(mine) = self.waiting.remove(&(before, Arc::clone(login))) {
            self.waiting.entry((after, Arc::clone(login))).or_default().extend(mine);
        }
        self.had.insert(Arc::clone(login), after);
    }

    /// Nobody is in anybody's way: all begin anew.
    fn forget(&mut self) {
        if !self.had.is_empty() {
            self.had.clear();
        }
        self.floor = Duration::ZERO;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.state.lock();
        if state.waiting.is_empty() {
            state.forget();
        } else {
            let time = self.turns.clock.monotonic().saturating_sub(self.began);
            state.count(&self.login, time);
        }
        while let Some((login, next)) = state.next() {
            if next.is_closed() {
                continue;
            }
            let turn = self.turns.turn(&login);
            drop(state);
            // One that has gone in between gives the turn back by dropping it.
            drop(next.send(turn));
            return;
        }
        state.free += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use futures_util::FutureExt;

    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn who_had_least_is_next() {
        let clock = Clock::manual(Timestamp::from_millis(0));
        let turns = Turns::new(1, clock.clone());
        let [busy, idle] = ["busy", "idle"].map(Arc::<str>::from);
        let first = turns.take(&busy).now_or_never().unwrap();
        assert!(!turns.is_wanted());
        let mut others: Vec<_> = (0..3).map(|_| Box::pin(turns.take(&busy))).collect();
        assert!(others.iter_mut().all(|other| other.now_or_never().is_none()));
        clock.advance(Duration::from_millis(5));
        drop(first);
        let second = others.remove(0).now_or_never().unwrap();
        let mut late = Box::pin(turns.take(&idle));
        assert!(late.as_mut().now_or_never().is_none() && turns.is_wanted());
        clock.advance(Duration::from_millis(5));
        drop(second);
        let third = late.now_or_never();
        assert!(third.is_some(), "the login that had less goes before those that waited longer");
        assert!(others.iter_mut().all(|other| other.now_or_never().is_none()));
        drop(third);
        // One that gives up is passed over.
        drop(others.remove(0));
        let last = others.remove(0).now_or_never().unwrap();
        drop(last);
        assert!(turns.take(&idle).now_or_never().is_some() && !turns.is_wanted());
    }
}
