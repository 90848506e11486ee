//! Keeps the search index up with the event log, off the hot path: it may fall behind, it gives way to all that serves, and never takes more than a
//! share of one processor.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::nice_thread::{Ended, NiceThread};
use crate::clock::{Clock, Timestamp};
use crate::config::Search;
use crate::event::index::{IndexError, SearchIndex, SearchIndexWriter};
use crate::event::{Event, EventKind};
use crate::mail::content::{Composition, Draft};
use crate::mail::message_id::MessageId;
use crate::spool::Spool;
use crate::spool::entry::Entry;
use crate::store::{LoggedEvent, StoreError};

/// Events read from the log at a time.
pub const PAGE: usize = 2_000;
/// Pages that go into one commit of the index at most.
const PAGES_PER_COMMIT: usize = 5;
/// Octets of text after which a commit of the index takes no more messages in.
const TEXT_PER_COMMIT: usize = 4 << 20;
/// Octets of events after which it does not either.
const EVENTS_PER_COMMIT: usize = 8 << 20;
/// A message is read up to so many times the octets of text that can be found: markup and transfer encodings are most of it, attachments come last.
const READ_PER_TEXT: usize = 32;
/// After a failure of the index.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// How often it is looked whether the log has forgotten something, while nothing is added to it.
const FORGET: Duration = Duration::from_mins(1);

/// Follows the log until `shutdown`.
pub async fn run(spool: Spool, index: SearchIndex, settings: Search, clock: Clock, shutdown: CancellationToken) {
    let mut follower = Follower::new(spool.clone(), index, settings);
    loop {
        let appended = spool.store().events_appended();
        let began = clock.monotonic();
        let rest = match follower.step().await {
            Ok(true) => clock.monotonic().saturating_sub(began).saturating_mul(settings.rest).max(settings.gather),
            Ok(false) => {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = appended => {}
                    () = tokio::time::sleep(FORGET) => {}
                }
                settings.gather
            }
            Err(failure) => {
                // The mail itself is not touched by this: the index is built from the log whenever it works again.
                error!(error = &failure as &dyn std::error::Error, "the search index does not follow the log");
                AFTER_FAILURE
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(rest) => {}
        }
    }
}

struct Follower {
    spool: Spool,
    index: SearchIndex,
    settings: Search,
    /// Where the work is done.
    thread: Option<NiceThread>,
    writer: Option<SearchIndexWriter>,
    /// What the index knew before this is gone from it.
    forgotten: Timestamp,
}

impl Follower {
    fn new(spool: Spool, index: SearchIndex, settings: Search) -> Self {
        Self { spool, index, settings, thread: None, writer: None, forgotten: Timestamp::default() }
    }

    /// Indexes one batch, and removes what the log has forgotten; `false` if there was nothing to do.
    async fn step(&mut self) -> Result<bool, StepError> {
        let begins = self.spool.store().usage().await?.log_begins;
        let forget = (begins > self.forgotten).then_some(begins);
        let position = self.index.position();
        if forget.is_none() && self.spool.store().events(position, 1).await?.is_empty() {
            return Ok(false);
        }
        // One that failed is not used again, and its thread is gone.
        let mut thread = match self.thread.take() {
            Some(thread) => thread,
            None => NiceThread::start("search-index")?,
        };
        let mut batch = Batch::new(position);
        batch.gather(&self.spool, text_octets(self.settings), &mut thread).await?;
        let (writer, index, settings) = (self.writer.take(), self.index.clone(), self.settings);
        // The threads that the index writes and merges with are started here: they give way too.
        let work = thread.run(move || {
            let mut writer = match writer {
                Some(writer) => writer,
                None => index.writer(usize::try_from(settings.memory.0).unwrap_or(usize::MAX))?,
            };
            if let Some(begins) = forget {
                writer.forget(begins)?;
            }
            let count = batch.events.len();
            writer.add(&batch.events, batch.position, &mut |id| batch.texts.remove(&id).flatten())?;
            Ok::<_, StepError>((writer, count))
        });
        let (writer, count) = work.await??;
        (self.thread, self.writer) = (Some(thread), Some(writer));
        self.forgotten = begins;
        debug!(events = count, "indexed");
        Ok(true)
    }
}

fn text_octets(settings: Search) -> usize {
    usize::try_from(settings.text.0).unwrap_or(usize::MAX)
}

/// What goes into one commit of the index.
struct Batch {
    events: Vec<(u64, Event)>,
    /// The words of their messages, as far as they are still kept.
    texts: BTreeMap<MessageId, Option<String>>,
    /// Where on the log it ends.
    position: u64,
    event_octets: usize,
    text_octets: usize,
}

impl Batch {
    fn new(position: u64) -> Self {
        Self { events: Vec::new(), texts: BTreeMap::new(), position, event_octets: 0, text_octets: 0 }
    }

    fn is_full(&self) -> bool {
        self.text_octets >= TEXT_PER_COMMIT || self.event_octets >= EVENTS_PER_COMMIT
    }

    /// Reads events, and up to `most` octets of text of each of their messages. What takes the processor is done on `thread`.
    async fn gather(&mut self, spool: &Spool, most: usize, thread: &mut NiceThread) -> Result<(), StepError> {
        for _ in 0..PAGES_PER_COMMIT {
            let page = spool.store().events(self.position, PAGE).await?;
            let length = page.len();
            let read = |logged: LoggedEvent| (logged.position, logged.octets.len(), read(&logged));
            for (position, octets, event) in thread.run(move || page.into_iter().map(read).collect::<Vec<_>>()).await? {
                if self.is_full() {
                    return Ok(());
                }
                self.position = position + 1;
                self.event_octets += octets;
                let Some((position, event)) = event else { continue };
                if !self.texts.contains_key(&event.message) && !matches!(event.kind, EventKind::Rejected { .. } | EventKind::Spam { .. }) {
                    let text = match spool.message(event.message).await {
                        Ok(Some((entry, body, _))) => thread.run(move || text(&entry, body, most)).await?,
                        Ok(None) | Err(_) => None,
                    };
                    self.text_octets += text.as_ref().map_or(0, String::len);
                    self.texts.insert(event.message, text);
                }
                self.events.push((position, event));
            }
            if length < PAGE {
                break;
            }
        }
        Ok(())
    }
}

/// The words of a message that is still kept: its text part, or its HTML without the tags, up to `most` octets.
fn text(entry: &Entry, body: Bytes, most: usize) -> Option<String> {
    let content = Composition::decode(body)?.fill(&entry.plan.nonce, &entry.plan.slots, &mut |_| String::new());
    // What is displayed comes first. A message that ends early is read as far as it goes.
    let beginning = content.slice(..content.len().min(most.saturating_mul(READ_PER_TEXT)));
    let mut draft = Draft::new(beginning);
    let mut text = draft.text().or_else(|| draft.html().map(|html| mail_parser::decoders::html::html_to_text(&html)))?;
    text.truncate(text.floor_char_boundary(most));
    // It may have been cut off something much larger.
    text.shrink_to_fit();
    Some(text)
}

/// Reads an event off the log; one that cannot be read is passed over, with a line in the log for the operator.
pub fn read(logged: &LoggedEvent) -> Option<(u64, Event)> {
    match serde_json::from_slice(&logged.octets) {
        Ok(event) => Some((logged.position, event)),
        Err(failure) => {
            warn!(position = logged.position, %failure, "an event on the log cannot be read");
            None
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("indexing ended badly")]
    Ended(#[from] Ended),
    #[error("the system lets the search index have no thread")]
    Thread(#[from] std::io::Error),
}

#[cfg(test)]
mod tests;
