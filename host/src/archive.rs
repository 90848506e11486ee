//! What was sent, and what became of it: the log and the spool put together again for those who look.
//!
//! [`follower`] keeps the search index up with the log; [`Archive`] answers the dashboard and the commands.

pub mod follower;
pub mod order;
pub mod trace;
pub mod view;

use std::sync::Arc;

use bytes::Bytes;

use crate::chain::rendering::Renderer;
use crate::clock::{Clock, Entropy, Timestamp};
use crate::event::index::{Found, IndexError, Indexed, SearchIndex};
use crate::event::search::Summary;
use crate::event::{Event, EventKind, search};
use crate::intake::Intake;
use crate::intake::dry_run::{Content, DryRun};
use crate::mail::address::EmailAddress;
use crate::mail::content::Composition;
use crate::mail::envelope::{Envelope, ForwardPath};
use crate::mail::message_id::{CopyId, MessageId};
use crate::spool::entry::{Copy, CopyState, Entry};
use crate::spool::{Settlement, Spool};
use crate::store::{Row, StoreError};
use crate::submission::Submission;
use crate::submission::login::Logins;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
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
    index: SearchIndex,
    intake: Intake,
    renderer: Renderer,
    logins: Logins,
    clock: Clock,
    entropy: Entropy,
}

/// What an archive works with.
pub struct ArchiveParts {
    /// Where messages are.
    pub spool: Spool,
    /// Finds them.
    pub index: SearchIndex,
    /// Runs chains again, to show what plugins did.
    pub intake: Intake,
    /// Makes copies as delivery does.
    pub renderer: Renderer,
    /// Knows whose messages they are.
    pub logins: Logins,
    /// Tells the time.
    pub clock: Clock,
    /// For the ids of messages that an operator hands over.
    pub entropy: Entropy,
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
    /// Puts an archive together.
    pub fn new(parts: ArchiveParts) -> Self {
        let ArchiveParts { spool, index, intake, renderer, logins, clock, entropy } = parts;
        Self { spool, index, intake, renderer, logins, clock, entropy }
    }

    /// Returns the intake, which shows what plugins do to a message.
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Returns the spool.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Finds messages; see [`SearchIndex::search`] for the language.
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
                copies.push(QueuedCopy::new(&row, &copy, state, known.clone()));
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
        let (known, events) = self.known(id).await?;
        let kept = self.spool.message(id).await?;
        if known.is_none() && kept.is_none() {
            return Ok(None);
        }
        let rows = self.spool.store().rows_of(id).await?;
        let queued =
            rows.iter().filter_map(|row| decoded(row).map(|(copy, state)| QueuedCopy::new(row, &copy, state, QueuedMessage::default())));
        Ok(Some(MessageView { id, summary: known, entry: kept.map(|(entry, ..)| entry), queued: queued.collect(), events }))
    }

    /// What the events of one message add up to, and the events, oldest first: those that the index leads to, and those that it has not come to yet.
    async fn known(&self, id: MessageId) -> Result<(Option<Summary>, Vec<Event>), ArchiveError> {
        let indexed = self.index.position();
        let mut known = self.index.message(id)?;
        let mut events = Vec::new();
        for position in known.as_ref().map_or(&[][..], |known| known.positions.as_slice()) {
            let position = *position;
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
        // The index may have come to some of the later ones in the meantime.
        events.sort_by_key(|(position, _)| *position);
        events.dedup_by_key(|(position, _)| *position);
        for (position, event) in &events {
            known.get_or_insert_with(|| Indexed::new(event)).add(*position, event);
        }
        Ok((known.map(|known| known.summary), events.into_iter().map(|(_, event)| event).collect()))
    }

    /// Runs the chain of a message again on what came in, and shows what each plugin does; `None` if the message is gone.
    ///
    /// # Errors
    /// Why that cannot be done, for people.
    pub async fn trace(&self, id: MessageId) -> Result<Option<TraceView>, String> {
        let found = self.spool.message(id).await.map_err(|error| error.to_string())?;
        let Some((entry, body, original)) = found else { return Ok(None) };
        let run = self.replay(entry, body, original).await?;
        tokio::task::spawn_blocking(move || Some(TraceView::new(&run))).await.map_err(|error| error.to_string())
    }

    /// Runs the chain of a message again on what came in. Nothing is kept, counted or sent.
    ///
    /// # Errors
    /// Why that cannot be done, for people.
    pub async fn replay(&self, entry: Entry, body: Bytes, original: Option<Bytes>) -> Result<DryRun, String> {
        let login = self.logins.by_name(&entry.login).ok_or_else(|| format!("there is no login {:?} any more", entry.login))?;
        let as_kept = || Some(Composition::decode(body)?.fill(&entry.plan.nonce, &entry.plan.slots, &mut |_| String::new()));
        let content = original.or_else(as_kept).ok_or("what was kept of the message cannot be read")?;
        let summary = self.message(entry.id).await.map_err(|error| error.to_string())?.and_then(|view| view.summary);
        let recipients = summary.map(|summary| summary.recipients).unwrap_or_default();
        let mut envelope = Envelope::new(entry.reverse_path);
        envelope.forward_paths = recipients.iter().filter_map(|text| text.parse().ok()).map(ForwardPath::new).collect();
        let options = serde_json::from_str(&entry.options).unwrap_or_default();
        let submission = Submission { id: entry.id, login, received: entry.received, envelope, content, options };
        Ok(self.intake.dry_run(submission, Content::Stored).await)
    }

    /// Returns one recipient's copy: what a capture route kept, else as delivery makes it, before DKIM.
    ///
    /// # Errors
    /// Why that cannot be done, for people.
    pub async fn render(&self, entry: Entry, body: Bytes, recipient: u32, address: EmailAddress) -> Result<Bytes, String> {
        let copy = CopyId { message: entry.id, recipient };
        if let Some(content) = self.spool.captured(copy).await.map_err(|error| error.to_string())? {
            return Ok(content);
        }
        let rendered = self.renderer.render(&entry.plan, body, copy, &address, "").await;
        rendered.map(|rendered| rendered.content).map_err(|error| error.to_string())
    }

    /// Makes copies due now, held ones too; returns how many.
    pub async fn retry(&self, selection: Selection) -> Result<usize, ArchiveError> {
        let now = self.clock.now();
        let rows = self.select(selection).await?;
        let settlements: Vec<Settlement> = rows
            .iter()
            .filter_map(|row| {
                let (_, state) = decoded(row)?;
                Some(Settlement::Again {
                    copy: row.copy,
                    due: now,
                    state: CopyState { released: state.released || state.held.is_some(), held: None, ..state },
                })
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

/// What the dashboard shows of messages.
impl search::MessageIndex for Archive {
    fn search<'a>(&'a self, query: &'a str, offset: usize, limit: usize) -> BoxFuture<'a, Result<search::Page, search::SearchError>> {
        async move {
            let found = Archive::search(self, query, offset, limit).await.map_err(|error| match error {
                ArchiveError::Index(IndexError::Query(wrong)) => search::SearchError::Query(wrong.to_string()),
                other @ (ArchiveError::Index(_) | ArchiveError::Store(_)) => as_store_error(other).into(),
            })?;
            Ok(search::Page { messages: found.messages, total: found.total })
        }
        .boxed()
    }

    fn message(&self, id: MessageId) -> BoxFuture<'_, Result<Option<Summary>, StoreError>> {
        async move { Ok(self.known(id).await.map_err(as_store_error)?.0) }.boxed()
    }

    fn events(&self, id: MessageId) -> BoxFuture<'_, Result<Vec<Event>, StoreError>> {
        async move { Ok(self.known(id).await.map_err(as_store_error)?.1) }.boxed()
    }
}

fn as_store_error(error: ArchiveError) -> StoreError {
    match error {
        ArchiveError::Store(error) => error,
        ArchiveError::Index(error) => StoreError::Damaged(error.to_string().into()),
    }
}
