//! What waits: listed, made due, and taken out.

use std::sync::Arc;

use serde::Serialize;

use super::filter::{Filter, Status};
use super::view::{QueuedCopy, QueuedMessage};
use super::walk::{Bounds, Look, Met, Walk};
use super::{Archive, ArchiveError, CHANGE_TIME};
use crate::delivery::view::Ended;
use crate::event::{Event, EventKind};
use crate::mail::message_id::CopyId;
use crate::spool::entry::{CopyState, Entry};
use crate::spool::selector::{Selected, ascii};
use crate::spool::{Leased, Settlement, Spool, queue, to_the_end};
use crate::store::Row;

/// A part of what waits.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// Copies, in the order of their messages' age.
    pub copies: Vec<QueuedCopy>,
    /// There may be more behind the copy with this id; absent where there is nothing more.
    pub next: Option<String>,
}

/// What was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// How many copies.
    pub copies: usize,
    /// The time was over, or something failed: the same call goes on behind the copy with this id. Absent where all is done.
    pub next: Option<String>,
}

/// What is done to copies.
#[derive(Clone, Debug)]
enum Change {
    Retry,
    Cancel,
    /// Cancels, and tells the sender with this reason.
    Bounce(Arc<str>),
}

impl Archive {
    /// Returns copies that wait, in the order of their messages' age.
    ///
    /// # Errors
    /// If the store fails, or too many ask.
    pub async fn queue(&self, filter: &Filter, after: Option<CopyId>, limit: usize) -> Result<Listed, ArchiveError> {
        // None at all would go on from where it began.
        let limit = limit.max(1);
        let mut walk = self.walk(filter, after, Bounds::WITH_ENTRIES).await?;
        let (mut copies, mut last) = (Vec::new(), None);
        while let Some(page) = walk.page().await? {
            for met in page {
                // One more than asked for says that there are more.
                if copies.len() >= limit {
                    return Ok(Listed { copies, next: last.map(|copy: CopyId| copy.to_string()) });
                }
                last = Some(met.row.copy);
                copies.push(queued(met));
            }
        }
        Ok(Listed { copies, next: walk.next().map(|copy| copy.to_string()) })
    }

    /// Describes one copy that waits; `None` where it cannot be read.
    pub(super) fn queued(&self, row: &Row, entry: Option<&Entry>, message: QueuedMessage) -> Option<QueuedCopy> {
        let (copy, state) = Spool::read(row)?;
        let (route, domain) = (queue::split(&row.queue).0, ascii(copy.address.domain()));
        let selected = Selected { route, domain: &domain, message: row.copy.message, entry };
        let standing = self.standing(row, &state, selected);
        Some(QueuedCopy::new(row, &copy, state, standing, message))
    }

    /// What a copy waits for, and what was said where somebody wants it to.
    pub(super) fn standing(&self, row: &Row, state: &CopyState, selected: Selected<'_>) -> (Status, Option<String>) {
        let now = self.clock.now();
        let suspended = self.spool.suspensions().of_copy(selected, now).map(|suspension| suspension.to_text());
        (Status::of(row, state, suspended.is_some(), now), suspended)
    }

    /// Makes copies due now, held ones too. What is being sent at this moment is left alone, and what is suspended goes on to wait.
    ///
    /// # Errors
    /// If the store fails, or too many ask.
    pub async fn retry(&self, filter: &Filter, after: Option<CopyId>) -> Result<Changed, ArchiveError> {
        self.change(filter, after, Change::Retry).await
    }

    /// Takes copies out of the queue, without a report to the sender unless there is a `reason` to tell him. What is being sent at this moment is left
    /// alone.
    ///
    /// # Errors
    /// If the store fails, or too many ask.
    pub async fn cancel(&self, filter: &Filter, after: Option<CopyId>, reason: Option<&str>) -> Result<Changed, ArchiveError> {
        self.change(filter, after, reason.map_or(Change::Cancel, |reason| Change::Bounce(reason.into()))).await
    }

    /// Changes what is meant, page by page. A page that has begun is changed to its end, whatever becomes of the caller.
    async fn change(&self, filter: &Filter, after: Option<CopyId>, change: Change) -> Result<Changed, ArchiveError> {
        let bounds = if matches!(change, Change::Retry) { Bounds::ALL } else { Bounds::WITH_ENTRIES };
        let mut walk = self.walk(filter, after, bounds).await?;
        let mut count = 0;
        loop {
            let begin = walk.place();
            match self.change_next(&mut walk, &change).await {
                Ok(Some(changed)) => count += changed,
                Ok(None) => return Ok(Changed { copies: count, next: walk.next().map(|copy| copy.to_string()) }),
                // What is done is told. Who goes on hears why it fails, if it still does.
                Err(error) if count > 0 => {
                    tracing::warn!(%error, copies = count, "a change of what waits was cut short");
                    return Ok(Changed { copies: count, next: begin.map(|copy| copy.to_string()) });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Changes what is meant of the next page; `None` where there is no other, or no time for one.
    async fn change_next(&self, walk: &mut Walk, change: &Change) -> Result<Option<usize>, ArchiveError> {
        let Some(page) = walk.page().await? else { return Ok(None) };
        let copies: Vec<CopyId> = page.into_iter().map(|met| met.row.copy).collect();
        if copies.is_empty() {
            return Ok(Some(0));
        }
        let (archive, look, change) = (self.clone(), walk.look(), change.clone());
        to_the_end(async move { archive.change_copies(look, copies, change).await }).await.map(Some)
    }

    /// Changes what is still meant of some copies. A copy that a worker has would be sent a second time by the next one, and is left alone.
    async fn change_copies(&self, mut look: Look, copies: Vec<CopyId>, change: Change) -> Result<usize, ArchiveError> {
        let store = self.spool.store();
        let rows = store.claim(copies, self.clock.monotonic() + CHANGE_TIME).await?;
        let claimed: Vec<CopyId> = rows.iter().map(|row| row.copy).collect();
        let changed = async {
            let (mut meant, mut others) = (Vec::with_capacity(rows.len()), Vec::new());
            for row in rows {
                // As it stands now.
                let copy = row.copy;
                match look.at(row).await? {
                    // Nobody would be told; later somebody may.
                    Some(met) if met.is_unread && matches!(change, Change::Bounce(_)) => others.push(copy),
                    Some(met) => meant.push(met),
                    None => others.push(copy),
                }
            }
            Ok((self.change_page(meant, change).await?, others))
        };
        let (changed, kept) = match changed.await {
            Ok((count, others)) => (Ok(count), others),
            Err(error) => (Err(error), claimed),
        };
        store.release(kept).await?;
        changed
    }

    async fn change_page(&self, page: Vec<Met>, change: Change) -> Result<usize, ArchiveError> {
        let count = page.len();
        let (settlements, events, follow_up) = match change {
            Change::Retry => (self.retried(page), Vec::new(), Vec::new()),
            Change::Cancel => {
                let settlements = page.iter().map(|met| Settlement::Done(met.row.copy)).collect();
                (settlements, page.iter().map(|met| self.cancelled(met)).collect(), Vec::new())
            }
            Change::Bounce(reason) => self.bounced(page, &reason),
        };
        self.spool.settle(settlements, events, follow_up).await?;
        Ok(count)
    }

    fn retried(&self, page: Vec<Met>) -> Vec<Settlement> {
        let due = self.clock.now();
        let again = |Met { row, mut state, .. }: Met| {
            (state.released, state.held, state.suspended) = (state.released || state.held.is_some(), None, None);
            // Its turn has come, whatever it was told to wait for.
            state.first_attempt = state.first_attempt.or(Some(due));
            Settlement::Again { copy: row.copy, due, state }
        };
        page.into_iter().map(again).collect()
    }

    fn cancelled(&self, met: &Met) -> Event {
        Event {
            at: self.clock.now(),
            message: met.row.copy.message,
            login: met.entry.as_ref().map_or_else(|| "".into(), |entry| Arc::clone(&entry.login)),
            recipient: Some(met.row.copy.recipient),
            address: Some(met.copy.address.to_string()),
            tags: Vec::new(),
            kind: EventKind::Cancelled,
        }
    }

    /// Ends copies as if the next hop had refused them: one report for each message.
    fn bounced(&self, page: Vec<Met>, reason: &str) -> Ended {
        let mut all = Ended::default();
        let mut page = page.into_iter().peekable();
        while let Some(first) = page.next() {
            let Some((delivery, entry)) = self.delivery.as_ref().zip(first.entry.clone()) else {
                // Nobody is known who could be told.
                all.0.push(Settlement::Done(first.row.copy));
                all.1.push(self.cancelled(&first));
                continue;
            };
            let mut copies = vec![leased(first)];
            while let Some(next) = page.next_if(|next| next.row.copy.message == entry.id) {
                copies.push(leased(next));
            }
            let (mut settlements, mut events, mut follow_up) = delivery.bounce(&entry, copies, reason);
            all.0.append(&mut settlements);
            all.1.append(&mut events);
            all.2.append(&mut follow_up);
        }
        all
    }
}

fn leased(Met { row, copy, state, .. }: Met) -> Leased {
    Leased { copy: row.copy, recipient: copy, state, queue: row.queue }
}

fn queued(Met { row, copy, state, entry, status, suspended, .. }: Met) -> QueuedCopy {
    let message = entry.as_deref().map_or_else(QueuedMessage::default, QueuedMessage::of);
    QueuedCopy::new(&row, &copy, state, (status, suspended), message)
}
