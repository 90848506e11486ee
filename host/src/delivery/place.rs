//! A worker's place at its destination: what dispatcher and other workers know of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::destination::{Board, Destination};
use super::hub::{Hub, Registry};
use crate::mail::message_id::CopyId;

/// A worker's place at its destination; gives it back when dropped, whatever ended the worker.
pub(super) struct Place {
    pub(super) hub: Arc<Hub>,
    pub(super) destination: Arc<Destination>,
    state: State,
    /// It is counted among those that try a destination that failed.
    failing: bool,
    given_up: bool,
}

/// How far a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is new and has not tried, or is trying.
    Connecting,
    /// It has a connection.
    Connected,
    /// It has none.
    Apart,
}

impl Place {
    /// The place of a new worker, which the registry and the board have counted.
    pub(super) fn new(hub: Arc<Hub>, destination: Arc<Destination>, failing: bool) -> Self {
        Self { hub, destination, state: State::Connecting, failing, given_up: false }
    }

    /// The worker has its connection, or knows that it gets none.
    pub(super) fn connected(&mut self, success: bool) {
        let state = if success { State::Connected } else { State::Apart };
        if self.state == state {
            return;
        }
        {
            let mut board = self.destination.board.lock();
            self.uncount(&mut board);
            if success {
                board.connected += 1;
            }
        }
        self.state = state;
        if success && std::mem::take(&mut self.failing) {
            self.hub.registry.lock().failing -= 1;
            self.hub.freed.notify_one();
        }
        self.hub.add_worker_if_needed(&self.destination);
    }

    fn uncount(&self, board: &mut Board) {
        match self.state {
            State::Connecting => board.connecting -= 1,
            State::Connected => board.connected -= 1,
            State::Apart => {}
        }
    }

    /// Whether other workers of the destination have connections.
    pub(super) fn has_company(&self) -> bool {
        self.destination.board.lock().connected > u32::from(self.state == State::Connected)
    }

    /// The next hop takes no more connections than there are.
    pub(super) fn full(&self, until: Duration) {
        self.destination.board.lock().full_until = until;
    }

    /// Leaves for good, unless work has come meanwhile: then returns `false`.
    pub(super) fn give_up(&mut self) -> bool {
        let mut registry = self.hub.registry.lock();
        let mut board = self.destination.board.lock();
        let work = !board.jobs.is_empty() || board.may_have_more;
        // Others can do it, if there are any; while draining nobody does.
        if work && board.workers == 1 && !self.hub.draining.is_cancelled() {
            return false;
        }
        self.leave(&mut registry, &mut board);
        self.given_up = true;
        true
    }

    /// Leaves although there is work: others wait for a connection longer. Returns what was leased and not taken; the queue itself comes back to us.
    pub(super) fn give_way(&mut self) -> Vec<CopyId> {
        let mut registry = self.hub.registry.lock();
        let mut board = self.destination.board.lock();
        let jobs = if board.workers == 1 { std::mem::take(&mut board.jobs) } else { VecDeque::new() };
        self.leave(&mut registry, &mut board);
        self.given_up = true;
        jobs.into_iter().flat_map(|job| job.copies).map(|leased| leased.copy).collect()
    }

    fn leave(&self, registry: &mut Registry, board: &mut Board) {
        board.workers -= 1;
        self.uncount(board);
        registry.connections -= 1;
        registry.leave_login(&self.destination.share);
        registry.failing -= u32::from(self.failing);
        if board.workers == 0 {
            registry.destinations.remove(&self.destination.queue);
        }
        self.hub.metrics.delivery().set_destinations(registry.destinations.len());
        self.hub.freed.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.given_up {
            let mut registry = self.hub.registry.lock();
            let mut board = self.destination.board.lock();
            self.leave(&mut registry, &mut board);
        }
    }
}
