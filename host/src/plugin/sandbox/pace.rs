//! How a call gets on: what it has spent, and its turn on a processor.

use std::sync::Arc;

use parking_lot::Mutex;

use super::meter::Meter;
use crate::clock::Clock;
use crate::plugin::service::turn::{Turn, Turns};

/// The pace of one call.
pub(in crate::plugin) struct Pace {
    pub(super) meter: Meter,
    turns: Turns,
    login: Arc<str>,
    turn: Mutex<Option<Turn>>,
}

impl Pace {
    pub(super) fn new(clock: Clock, turns: Turns, login: Arc<str>) -> Self {
        Self { meter: Meter::new(clock), turns, login, turn: Mutex::new(None) }
    }

    /// Waits for the call's first turn, or the next one after it has rested.
    pub(in crate::plugin) async fn begin(&self) {
        let turn = self.turns.take(&self.login).await;
        *self.turn.lock() = Some(turn);
    }

    /// Lets others have the turn while the call waits for something.
    pub(in crate::plugin) fn rest(&self) {
        // Dropped outside of the lock: it may be handed on.
        let turn = self.turn.lock().take();
        drop(turn);
    }

    /// Lets others go first: those whose turn it is, and all else that the runtime has to do.
    pub(super) async fn give_way(&self) {
        if self.turns.is_wanted() {
            self.rest();
            self.begin().await;
        }
        // wasmtime's own way to yield wakes the task at once, and the runtime looks at sockets and timers only after some sixty such
        // turns; tokio's own lets everybody else have theirs first.
        tokio::task::yield_now().await;
    }
}
