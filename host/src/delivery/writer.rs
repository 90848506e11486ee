//! Writes outcomes down: all that came in while the last commit was synced goes into the next one, so that no connection waits for a sync of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::flow::Flow;
use super::hub::Hub;
use super::outcome::Settled;
use crate::spool::Spool;
use crate::store::{Batch, StoreError};

/// Outcomes of transactions that one commit takes.
const COMMIT_SIZE: usize = 512;
/// How long to wait when there is no room.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// After the drain a full store is asked so many times more.
const LAST_TRIES: u32 = 3;

pub(super) struct Writer {
    spool: Spool,
    outcomes: mpsc::Receiver<Settled>,
    flow: Arc<Flow>,
    /// Ends delivery when nothing can be written down any more: all that were sent then would be sent again after the next start.
    stop: CancellationToken,
    /// The drain is over: a full store is not waited for any more.
    cut_off: CancellationToken,
}

impl Writer {
    pub(super) fn new(hub: &Hub, outcomes: mpsc::Receiver<Settled>) -> Self {
        Self { spool: hub.spool.clone(), outcomes, flow: hub.flow.clone(), stop: hub.draining.clone(), cut_off: hub.cut_off.clone() }
    }

    /// Writes until `done`, and then what is left.
    pub(super) async fn run(mut self, done: CancellationToken) {
        let mut taken = Vec::with_capacity(COMMIT_SIZE);
        loop {
            let count = tokio::select! {
                biased;
                count = self.outcomes.recv_many(&mut taken, COMMIT_SIZE) => count,
                () = done.cancelled(), if !self.outcomes.is_closed() => {
                    self.outcomes.close();
                    continue;
                }
            };
            if count == 0 {
                return;
            }
            let mut settled = Settled::default();
            for outcome in taken.drain(..) {
                settled.append(outcome);
            }
            self.write(settled, &done).await;
            self.flow.leave(count);
        }
    }

    async fn write(&self, settled: Settled, done: &CancellationToken) {
        let Settled { settlements, events, follow_up } = settled;
        let copies = settlements.len();
        // Encoded once, however often it has to be tried: a clone shares the octets.
        let outcomes = self.spool.settling(settlements, &events, Vec::new());
        let mut reports = self.spool.settling(Vec::new(), &[], follow_up);
        let mut tries = 0;
        loop {
            let mut batch = outcomes.clone();
            batch.messages.clone_from(&reports.messages);
            batch.events.extend_from_slice(&reports.events);
            let error = match self.spool.store().commit(batch).await {
                Ok(()) => return,
                Err(error) => error,
            };
            tries += 1;
            let is_last = (done.is_cancelled() || self.cut_off.is_cancelled()) && tries >= LAST_TRIES;
            if error == StoreError::Full && !is_last {
                // Delivery stands still meanwhile: what cannot be written down must not be sent either.
                self.flow.stall();
                if tries == 1 {
                    tracing::error!("no room to write down what was delivered: delivery waits");
                }
                tokio::time::sleep(FULL_PAUSE).await;
            } else if matches!(error, StoreError::Full | StoreError::Poisoned(_) | StoreError::Damaged(_)) || reports.messages.is_empty() {
                self.stop.cancel();
                tracing::error!(copies, "delivery stops: outcomes were not written down, these copies will be sent again: {error}");
                return;
            } else {
                // What became of the copies matters more than the reports on it.
                tracing::error!(reports = reports.messages.len(), "reports to senders are dropped, the store does not take them: {error}");
                reports = Batch::default();
            }
        }
    }
}
