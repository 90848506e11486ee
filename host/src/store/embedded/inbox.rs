//! Where callers leave what they want written, and the writer finds it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, oneshot};

use super::record::Frame;
use crate::store::{NewMessage, StoreError};

/// A batch on its way to the disk.
pub(super) struct Job {
    pub(super) frame: Frame,
    /// For the cache, once they are on disk.
    pub(super) messages: Vec<NewMessage>,
    pub(super) answer: oneshot::Sender<Result<(), StoreError>>,
}

/// A wish that is no batch.
pub(super) enum Order {
    /// Look after what is old, now, instead of some time soon.
    #[cfg(test)]
    Maintain(oneshot::Sender<()>),
    /// End, once all that came before is written.
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// What the writer takes at once.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) jobs: Vec<Job>,
    pub(super) orders: Vec<Order>,
}

/// The queue between many callers and one writer. Its length has a limit: callers beyond it wait, in order.
pub(super) struct Inbox {
    state: Mutex<State>,
    bell: Condvar,
    places: Semaphore,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    orders: Vec<Order>,
    closed: bool,
}

impl Inbox {
    pub(super) fn new(limit: u32) -> Arc<Self> {
        let places = Semaphore::new((limit.max(1) as usize).min(Semaphore::MAX_PERMITS));
        Arc::new(Self { state: Mutex::default(), bell: Condvar::new(), places })
    }

    /// Leaves a batch; waits for a place first. `false` once the inbox is closed.
    pub(super) async fn leave(&self, job: Job) -> bool {
        let Ok(place) = self.places.acquire().await else { return false };
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        // The writer gives it back when it takes the job.
        place.forget();
        state.jobs.push_back(job);
        drop(state);
        self.bell.notify_one();
        true
    }

    /// Leaves a wish. `false` once the inbox is closed.
    pub(super) fn order(&self, order: Order) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        state.orders.push(order);
        drop(state);
        self.bell.notify_one();
        true
    }

    /// Takes what is there: jobs of together at most `octets` (at least one), and wishes once no job is left. Where there is nothing, waits up to `wait` for it.
    pub(super) fn take(&self, octets: u64, wait: Duration) -> Taken {
        let mut state = self.state.lock();
        if state.jobs.is_empty() && state.orders.is_empty() && !state.closed && !wait.is_zero() {
            self.bell.wait_for(&mut state, wait);
        }
        let mut taken = Taken::default();
        let mut sum = 0;
        while let Some(job) = state.jobs.front() {
            sum += u64::from(job.frame.length());
            if sum > octets && !taken.jobs.is_empty() {
                break;
            }
            taken.jobs.extend(state.jobs.pop_front());
        }
        if state.jobs.is_empty() {
            taken.orders.append(&mut state.orders);
        }
        drop(state);
        self.places.add_permits(taken.jobs.len());
        taken
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Takes nothing more; what is left is dropped, and its callers hear that the store is closed.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.jobs.clear();
        state.orders.clear();
        drop(state);
        self.places.close();
        self.bell.notify_one();
    }
}
