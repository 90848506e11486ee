//! One queue that is worked on: copies that were leased, and the workers who take them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::mail::message_id::{CopyId, MessageId};
use crate::spool::Leased;
use crate::store::QueueName;

/// Copies of one message that were leased together.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) message: MessageId,
    /// At least one.
    pub(super) copies: Vec<Leased>,
    /// When the lease ends ([`Clock::monotonic`](crate::clock::Clock::monotonic)): nothing is begun after it.
    pub(super) until: Duration,
}

/// A queue with its workers.
pub(super) struct Destination {
    pub(super) queue: QueueName,
    /// The login that it is worked on for: it has the connections, whoever else has mail in the queue.
    pub(super) share: Arc<str>,
    pub(super) board: Mutex<Board>,
    /// Wakes one idle worker.
    pub(super) work: Notify,
    /// Who leases: one worker at a time.
    pub(super) leasing: tokio::sync::Mutex<()>,
}

/// What the workers of a destination share.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// Leased and not taken yet. Bounded by one lease, and what servers asked to send again at once.
    pub(super) jobs: VecDeque<Job>,
    /// The queue may have rows that are due.
    pub(super) may_have_more: bool,
    /// Workers, idle ones included.
    pub(super) workers: u32,
    /// Workers that wait for work.
    pub(super) idle: u32,
    /// Workers that have not connected yet: while there is one, no other is added.
    pub(super) connecting: u32,
    /// Workers that have a connection.
    pub(super) connected: u32,
    /// The next hop took no more connections beside those that there are: none is added before this time
    /// ([`Clock::monotonic`](crate::clock::Clock::monotonic)).
    pub(super) full_until: Duration,
}

impl Destination {
    pub(super) fn new(queue: QueueName, share: Arc<str>) -> Arc<Self> {
        Arc::new(Self { queue, share, board: Mutex::default(), work: Notify::new(), leasing: tokio::sync::Mutex::new(()) })
    }

    /// Takes all that nobody has taken.
    pub(super) fn take_all(&self) -> Vec<CopyId> {
        self.take_jobs().into_iter().flat_map(|job| job.copies).map(|leased| leased.copy).collect()
    }

    /// Takes all that nobody has taken, as it was leased.
    pub(super) fn take_jobs(&self) -> VecDeque<Job> {
        std::mem::take(&mut self.board.lock().jobs)
    }
}

/// Makes jobs of leased rows: neighbours of one message stay together, at most `size` of them.
pub(super) fn jobs(rows: Vec<Leased>, size: usize, until: Duration) -> impl Iterator<Item = Job> {
    let mut rows = rows.into_iter().peekable();
    std::iter::from_fn(move || {
        let first = rows.next()?;
        let message = first.copy.message;
        let mut copies = vec![first];
        while copies.len() < size
            && let Some(next) = rows.next_if(|next| next.copy.message == message)
        {
            copies.push(next);
        }
        Some(Job { message, copies, until })
    })
}
