//! Writes outcomes down: all that came in while the last commit was synced goes into the next one, so that no connection waits for a sync of its own.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::outcome::Settled;
use crate::spool::Spool;
use crate::store::StoreError;

/// Outcomes of transactions that one commit takes.
const COMMIT_SIZE: usize = 512;
/// How long to wait when there is no room.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// After the drain a full store is asked so many times more.
const LAST_TRIES: u32 = 3;

pub(super) struct Writer {
    spool: Spool,
    outcomes: mpsc::Receiver<Settled>,
    /// Ends delivery when nothing can be written down any more: all that were sent then would be sent again after the next start.
    stop: CancellationToken,
}

impl Writer {
    pub(super) fn new(spool: Spool, outcomes: mpsc::Receiver<Settled>, stop: CancellationToken) -> Self {
        Self { spool, outcomes, stop }
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
        }
    }

    async fn write(&self, mut settled: Settled, done: &CancellationToken) {
        let mut tries = 0;
        loop {
            let Settled { settlements, events, follow_up } = &settled;
            let error = match self.spool.settle(settlements.clone(), events.clone(), follow_up.clone()).await {
                Ok(()) => return,
                Err(error) => error,
            };
            tries += 1;
            if error == StoreError::Full && (!done.is_cancelled() || tries < LAST_TRIES) {
                // Delivery stands still meanwhile: what cannot be written down must not be sent either.
                if tries == 1 {
                    tracing::error!("no room to write down what was delivered: delivery waits");
                }
                tokio::time::sleep(FULL_PAUSE).await;
            } else if matches!(error, StoreError::Full | StoreError::Poisoned(_) | StoreError::Damaged(_)) || follow_up.is_empty() {
                self.stop.cancel();
                tracing::error!(
                    copies = settlements.len(),
                    "delivery stops: outcomes were not written down, these copies will be sent again: {error}"
                );
                return;
            } else {
                // What became of the copies matters more than the reports on it.
                tracing::error!(reports = follow_up.len(), "reports to senders are dropped, the store does not take them: {error}");
                settled.follow_up.clear();
            }
        }
    }
}
