//! Mail that is suspended: left alone while it is, and due again when it is not any more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::STORE_PAUSE;
use super::destination::{Destination, Job};
use super::hub::Hub;
use crate::clock::Timestamp;
use crate::mail::message_id::{CopyId, MessageId};
use crate::spool::entry::Entry;
use crate::spool::selector::{Selected, ascii};
use crate::spool::{Leased, Settlement, queue};
use crate::store::StoreError;

/// Rows that are looked at in one go for marks of a suspension that has ended.
const PAGE: usize = 1000;
/// How long it rests between two searches at least, and at most; else as long as the last one took: half of the time is others'.
const SHORTEST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_mins(5);
/// How long a search that failed is not tried again.
const FAILED_PAUSE: Duration = Duration::from_mins(5);
/// How long making them due may take: nobody else gets them meanwhile.
const CHANGE_TIME: Duration = Duration::from_mins(1);

/// Gives back all that was leased of a queue that is suspended as a whole, and was not taken; `false` where it is not.
pub(super) async fn leave_alone(hub: &Hub, destination: &Destination) -> bool {
    if hub.suspension(&destination.queue).is_none() {
        return false;
    }
    let copies = {
        let mut board = destination.board.lock();
        board.may_have_more = false;
        std::mem::take(&mut board.jobs)
    };
    hub.release(copies.into_iter().flat_map(|job| job.copies).map(|leased| leased.copy).collect()).await;
    true
}

/// Puts off what is suspended of `job` and of all others that wait at the destination, which is no attempt. Returns a job of what is left.
pub(super) async fn set_aside(hub: &Hub, destination: &Destination, job: Job) -> Option<Job> {
    let suspensions = hub.spool.suspensions();
    // In a box: it is rare, and a worker's own state is small.
    if suspensions.any_of_copies(hub.clock.now()) { Box::pin(set_aside_jobs(hub, destination, job)).await } else { Some(job) }
}

async fn set_aside_jobs(hub: &Hub, destination: &Destination, job: Job) -> Option<Job> {
    let suspensions = hub.spool.suspensions();
    // All with one commit: there may be very many.
    let jobs: Vec<Job> = std::iter::once(job).chain(destination.take_jobs()).collect();
    let _marking = suspensions.marking().await;
    let (mut left, mut settlements) = (VecDeque::new(), Vec::new());
    for job in jobs {
        if !hub.is_leased(job.until) {
            // Others may have them; what is begun is not our business.
            left.push_back(job);
            continue;
        }
        let entry = if suspensions.any_needs_entry(hub.clock.now()) { entry(hub, job.message).await } else { None };
        let Job { message, copies, until } = job;
        let others = sort_out(hub, destination, (message, entry.as_ref()), copies, &mut settlements);
        if !others.is_empty() {
            left.push_back(Job { message, copies: others, until });
        }
    }
    settle(hub, settlements).await;
    let first = left.pop_front();
    let mut board = destination.board.lock();
    for job in left.into_iter().rev() {
        board.jobs.push_front(job);
    }
    first
}

/// Puts off what is suspended by now of copies whose message was fetched; returns the others.
pub(super) async fn left_of(hub: &Hub, destination: &Destination, entry: &Entry, copies: Vec<Leased>) -> Vec<Leased> {
    let suspensions = hub.spool.suspensions();
    if suspensions.any_of_copies(hub.clock.now()) { Box::pin(set_aside_copies(hub, destination, entry, copies)).await } else { copies }
}

async fn set_aside_copies(hub: &Hub, destination: &Destination, entry: &Entry, copies: Vec<Leased>) -> Vec<Leased> {
    let suspensions = hub.spool.suspensions();
    let _marking = suspensions.marking().await;
    let mut settlements = Vec::new();
    let others = sort_out(hub, destination, (entry.id, Some(entry)), copies, &mut settlements);
    settle(hub, settlements).await;
    others
}

/// Makes settlements of the copies of one message that are suspended; returns the others.
fn sort_out(
    hub: &Hub,
    destination: &Destination,
    (message, entry): (MessageId, Option<&Entry>),
    copies: Vec<Leased>,
    settlements: &mut Vec<Settlement>,
) -> Vec<Leased> {
    let (route, _) = queue::split(&destination.queue);
    let now = hub.clock.now();
    let longest = now.plus(hub.spool.suspensions().limits().suspension_look);
    let mut others = Vec::with_capacity(copies.len());
    for leased in copies {
        let domain = ascii(leased.recipient.address.domain());
        match hub.spool.suspensions().of_copy(Selected { route, domain: &domain, message, entry }, now) {
            None => others.push(leased),
            Some(suspension) => {
                let due = suspension.until.map_or(longest, |until| until.min(longest));
                settlements.push(put_off(leased, due, Some(suspension.number)));
            }
        }
    }
    others
}

/// Writes down what is put off, not by way of those who write outcomes: when this returns, the marks can be found.
async fn settle(hub: &Hub, settlements: Vec<Settlement>) {
    let copies = settlements.len();
    if copies > 0
        && let Err(error) = hub.spool.settle(settlements, Vec::new(), Vec::new()).await
    {
        tracing::debug!(copies, "what is suspended cannot be put off, its leases run out: {error}");
    }
}

/// What is known of a message; nothing where it cannot be read, which whoever opens it says.
async fn entry(hub: &Hub, message: MessageId) -> Option<Entry> {
    hub.spool.entry(message).await.ok().flatten()
}

fn put_off(leased: Leased, due: Timestamp, suspended: Option<u64>) -> Settlement {
    let Leased { copy, mut state, .. } = leased;
    state.suspended = suspended;
    Settlement::Again { copy, due, state }
}

/// Makes due what bears the marks of suspensions that have ended, until `shutdown`. What is left then is found after the next start.
pub(super) async fn release_ended(hub: Arc<Hub>, shutdown: CancellationToken) {
    loop {
        let ended = hub.spool.suspensions().ended(hub.clock.now());
        if ended.is_empty() {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = hub.spool.suspensions().one_ended() => continue,
            }
        }
        let begun = hub.clock.monotonic();
        let released = tokio::select! {
            () = shutdown.cancelled() => return,
            released = release(&hub, &ended) => released,
        };
        let took = hub.clock.monotonic().saturating_sub(begun);
        match &released {
            Ok(Released { copies, missed: 0 }) => tracing::info!(copies, "mail that was suspended is due again"),
            // Somebody else has them at this moment.
            Ok(Released { copies, missed }) => tracing::debug!(copies, missed, "some mail that was suspended is looked for again"),
            // Until then it comes by itself, `queue.suspension_look` after it was put off at the latest.
            Err(error) => tracing::warn!("mail that was suspended cannot be made due, it is tried again: {error}"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(rest(took, &released)) => {}
        }
    }
}

/// How long nobody searches after a search. What ends meanwhile is found by the next one.
fn rest(took: Duration, released: &Result<Released, StoreError>) -> Duration {
    let usual = took.clamp(SHORTEST_REST, LONGEST_REST);
    match released {
        Ok(Released { missed: 0, .. }) => usual,
        Ok(_) => usual.max(STORE_PAUSE),
        Err(_) => usual.max(FAILED_PAUSE),
    }
}

/// What a search for marks brought.
#[derive(Clone, Copy, Debug, Default)]
struct Released {
    /// Copies that are due again.
    copies: usize,
    /// Copies that somebody else had.
    missed: usize,
}

/// Makes due what bears one of these marks. Where that is all of it, the marks are forgotten.
async fn release(hub: &Hub, ended: &[u64]) -> Result<Released, StoreError> {
    let store = hub.spool.store();
    let bears = |leased: &Leased| leased.state.suspended.is_some_and(|number| ended.contains(&number));
    let (mut released, mut after) = (Released::default(), None::<CopyId>);
    loop {
        let now = hub.clock.now();
        let rows = store.rows(None, after, PAGE).await?;
        let is_last = rows.len() < PAGE;
        after = rows.last().map(|row| row.copy);
        let waiting = rows.into_iter().filter(|row| row.due > now).filter_map(|row| Leased::decode(row).ok());
        let copies: Vec<_> = waiting.filter(bears).map(|leased| leased.copy).collect();
        if !copies.is_empty() {
            let wanted = copies.len();
            let claimed = store.claim(copies, hub.clock.monotonic() + CHANGE_TIME).await?;
            released.missed += wanted - claimed.len();
            let (marked, others): (Vec<_>, Vec<_>) = claimed.into_iter().filter_map(|row| Leased::decode(row).ok()).partition(bears);
            store.release(others.into_iter().map(|leased| leased.copy).collect()).await?;
            let copies: Vec<_> = marked.iter().map(|leased| leased.copy).collect();
            released.copies += copies.len();
            let settlements = marked.into_iter().map(|leased| put_off(leased, now, None)).collect();
            if let Err(error) = hub.spool.settle(settlements, Vec::new(), Vec::new()).await {
                store.release(copies).await?;
                return Err(error);
            }
        }
        if is_last {
            break;
        }
    }
    if released.missed == 0 {
        for number in ended {
            hub.spool.forget_suspension(*number).await?;
        }
    }
    Ok(released)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_leave_time_to_others() {
        let (all, some) = (Released::default(), Released { missed: 1, ..Released::default() });
        let after = |seconds, released: Released| rest(Duration::from_secs(seconds), &Ok(released)).as_secs();
        assert_eq!([0, 40, 4000].map(|took| after(took, all)), [1, 40, 300]);
        assert_eq!([0, 40].map(|took| after(took, some)), [5, 40]);
        assert_eq!(rest(Duration::ZERO, &Err(StoreError::Full)), FAILED_PAUSE);
    }
}
