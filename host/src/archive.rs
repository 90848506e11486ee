//! What was sent, and what became of it: the log and the spool put together again for those who look.
//!
//! [`follower`] keeps the search index up with the log; [`Archive`] answers the dashboard and the commands.

pub mod follower;
pub mod order;
pub mod trace;
pub mod view;

use std::sync::Arc;

use crate::clock::{Clock, Entropy, Timestamp};
use crate::event::index::{Found, IndexError, MessageIndex};
use crate::event::summary::Summary;
use crate::event::{Event, EventKind};
use crate::intake::Intake;
use crate::intake::dry_run::Content;
use crate::mail::content::Composition;
use crate::mail::envelope::{Envelope, ForwardPath};
use crate::mail::message_id::{CopyId, MessageId};
use crate::spool::entry::{Copy, CopyState};
use crate::spool::{Settlement, Spool};
use crate::store::{Row, StoreError};
use crate::submission::Submission;
use crate::submission::login::Logins;
use trace::TraceView;
use view::{MessageView, QueuedCopy, QueuedMessage};

/// Copies that one command changes at most.
pub const MOST_CHANGES: usize = 10_000;

/// Why the archive has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The search index failed, or the query makes no sense.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// What an operator looks at and steers.
#[derive(Clone)]
pub struct Archive {
    spool: Spool,
    index: MessageIndex,
    intake: Intake,
    logins: Logins,
    clock: Clock,
    entropy: Entropy,
}

/// Which copies a command means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All copies of a message.
    Message(MessageId),
    /// One copy.
    Copy(CopyId),
    /// Everything in the queue, at most [`MOST_CHANGES`] at a time.
    All,
}

impl Archive {
    /// An archive of what is in `spool`, found through `index`; `intake` runs chains again to show what plugins did.
    pub fn new(spool: Spool, index: MessageIndex, intake: Intake, logins: Logins, clock: Clock, entropy: Entropy) -> Self {
        Self { spool, index, intake, logins, clock, entropy }
    }

    /// Returns the intake, which shows what plugins do to a message.
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Returns the spool.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Finds messages; see [`MessageIndex::search`] for the language.
    pub async fn search(&self, query: &str, offset: usize, limit: usize) -> Result<Found, ArchiveError> {
        let (index, query) = (self.index.clone(), query.to_owned());
        let search = tokio::task::spawn_blocking(move || index.search(&query, offset, limit));
        Ok(search.await.map_err(|error| StoreError::Damaged(error.to_string().into()))??)
    }

    /// Returns copies that wait, in the order of their messages' age.
    pub async fn queue(&self, queue: Option<&str>, after: Option<CopyId>, limit: usize) -> Result<Vec<QueuedCopy>, ArchiveError> {
        let rows = self.spool.store().rows(queue, after, limit).await?;
        let mut copies = Vec::with_capacity(rows.len());
        let mut message: Option<(MessageId, QueuedMessage)> = None;
        for row in rows {
            if message.as_ref().is_none_or(|(id, _)| *id != row.copy.message) {
                message = Some((row.copy.message, self.queued_message(row.copy.message).await?));
            }
            if let (Some((_, known)), Some((copy, state))) = (&message, decoded(&row)) {
                copies.push(QueuedCopy::new(&row, copy, state, known.clone()));
            }
        }
        Ok(copies)
    }

    async fn queued_message(&self, id: MessageId) -> Result<QueuedMessage, ArchiveError> {
        let message = self.spool.message(id).await?;
        Ok(message.map_or_else(QueuedMessage::default, |(entry, ..)| QueuedMessage {
            login: entry.login.to_string(),
            reverse_path: entry.reverse_path.to_string(),
            subject: entry.subject,
        }))
    }

    /// Returns everything that is known of one message; `None` if nothing is.
    pub async fn message(&self, id: MessageId) -> Result<Option<MessageView>, ArchiveError> {
        let events = self.events_of(id).await?;
        let kept = self.spool.message(id).await?;
        if events.is_empty() && kept.is_none() {
            return Ok(None);
        }
        let mut summary: Option<Summary> = None;
        for (position, event) in &events {
            summary.get_or_insert_with(|| Summary::new(event)).add(*position, event);
        }
        let rows = self.spool.store().rows_of(id).await?;
        let queued = rows.iter().filter_map(|row| decoded(row).map(|(copy, state)| QueuedCopy::new(row, copy, state, QueuedMessage::default())));
        Ok(Some(MessageView {
            id,
            summary,
            entry: kept.map(|(entry, ..)| entry),
            queued: queued.collect(),
            events: events.into_iter().map(|(_, event)| event).collect(),
        }))
    }

    /// Events of one message, oldest first: those that the index leads to, and those that it has not come to yet.
    async fn events_of(&self, id: MessageId) -> Result<Vec<(u64, Event)>, ArchiveError> {
        let indexed = self.index.position();
        let known = self.index.message(id)?.map(|summary| summary.positions).unwrap_or_default();
        let mut events = Vec::new();
        for position in known {
            let found = self.spool.store().events(position, 1).await?;
            events.extend(found.into_iter().filter(|logged| logged.position == position).filter_map(|logged| follower::read(&logged)));
        }
        let mut position = indexed;
        loop {
            let page = self.spool.store().events(position, follower::PAGE).await?;
            let Some(last) = page.last() else { break };
            position = last.position + 1;
            events.extend(page.iter().filter_map(follower::read).filter(|(_, event)| event.message == id));
        }
        events.dedup_by_key(|(position, _)| *position);
        Ok(events)
    }

    /// Runs the chain of a message again on what came in, and shows what each plugin does; `None` if the message or its login is gone.
    pub async fn trace(&self, id: MessageId) -> Result<Option<TraceView>, ArchiveError> {
        let Some((entry, body, original)) = self.spool.message(id).await? else { return Ok(None) };
        let Some(login) = self.logins.by_name(&entry.login) else { return Ok(None) };
        let final_content = || Some(Composition::decode(body)?.fill(&entry.plan.nonce, &entry.plan.slots, &mut |_| String::new()));
        let Some(content) = original.or_else(final_content) else { return Ok(None) };
        let recipients = match self.index.message(id)? {
            Some(summary) => summary.recipients,
            None => self.message(id).await?.and_then(|view| view.summary).map(|summary| summary.recipients).unwrap_or_default(),
        };
        let mut envelope = Envelope::new(entry.reverse_path.clone());
        envelope.forward_paths = recipients.iter().filter_map(|text| text.parse().ok()).map(ForwardPath::new).collect();
        let options = serde_json::from_str(&entry.options).unwrap_or_default();
        let submission = Submission { id, login, received: entry.received, envelope, content, options };
        let run = self.intake.dry_run(submission, Content::Stored).await;
        let compared = tokio::task::spawn_blocking(move || TraceView::new(&run)).await;
        Ok(Some(compared.map_err(|error| StoreError::Damaged(error.to_string().into()))?))
    }

    /// Makes copies due now, held ones too; returns how many.
    pub async fn retry(&self, selection: Selection) -> Result<usize, ArchiveError> {
        let now = self.clock.now();
        let rows = self.select(selection).await?;
        let settlements: Vec<Settlement> = rows
            .iter()
            .filter_map(|row| {
                let (_, state) = decoded(row)?;
                Some(Settlement::Again { copy: row.copy, due: now, state: CopyState { held: None, ..state } })
            })
            .collect();
        let count = settlements.len();
        self.spool.settle(settlements, Vec::new(), Vec::new()).await?;
        Ok(count)
    }

    /// Takes copies out of the queue without a report to the sender; returns how many.
    pub async fn cancel(&self, selection: Selection) -> Result<usize, ArchiveError> {
        let now = self.clock.now();
        let rows = self.select(selection).await?;
        let mut events = Vec::with_capacity(rows.len());
        let mut login: (Option<MessageId>, Arc<str>) = (None, "".into());
        for row in &rows {
            if login.0 != Some(row.copy.message) {
                login = (Some(row.copy.message), self.queued_message(row.copy.message).await?.login.into());
            }
            events.push(Event {
                at: now,
                message: row.copy.message,
                login: login.1.clone(),
                recipient: Some(row.copy.recipient),
                address: decoded(row).map(|(copy, _)| copy.address.to_string()),
                tags: Vec::new(),
                kind: EventKind::Cancelled,
            });
        }
        let count = rows.len();
        self.spool.settle(rows.into_iter().map(|row| Settlement::Done(row.copy)).collect(), events, Vec::new()).await?;
        Ok(count)
    }

    async fn select(&self, selection: Selection) -> Result<Vec<Row>, ArchiveError> {
        let store = self.spool.store();
        Ok(match selection {
            Selection::Message(id) => store.rows_of(id).await?,
            Selection::Copy(copy) => store.rows_of(copy.message).await?.into_iter().filter(|row| row.copy == copy).collect(),
            Selection::All => store.rows(None, None, MOST_CHANGES).await?,
        })
    }

    /// Returns the time, for pages that say how long ago something was.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

fn decoded(row: &Row) -> Option<(Copy, CopyState)> {
    Spool::read(row)
}
