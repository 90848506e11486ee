//! Keeps the search index up with the event log, off the hot path: it may fall behind, and never takes more than a share of one processor.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::clock::Clock;
use crate::event::index::{IndexError, MOST_TEXT, SearchIndex, SearchIndexWriter};
use crate::event::{Event, EventKind};
use crate::mail::content::{Composition, Draft};
use crate::mail::message_id::MessageId;
use crate::spool::Spool;
use crate::store::LoggedEvent;

/// Events read from the log at a time.
pub const PAGE: usize = 2_000;
/// Pages that go into one commit of the index at most.
const PAGES_PER_COMMIT: usize = 5;
/// After work of a second, it rests for this many: the index takes a quarter of one processor at most.
const REST: u32 = 3;
/// How long events gather before they are indexed: what is sent and delivered within it is written once.
const GATHER: Duration = Duration::from_millis(500);
/// After a failure of the index.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// Follows the log until `shutdown`.
pub async fn run(spool: Spool, index: SearchIndex, clock: Clock, shutdown: CancellationToken) {
    let mut writer = None;
    loop {
        let appended = spool.store().events_appended();
        let began = clock.monotonic();
        let rest = match step(&spool, &index, &mut writer).await {
            Ok(true) => clock.monotonic().saturating_sub(began).saturating_mul(REST).max(GATHER),
            Ok(false) => {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = appended => {}
                }
                GATHER
            }
            Err(failure) => {
                // The mail itself is not touched by this: the index is built from the log whenever it works again.
                error!(error = &failure as &dyn std::error::Error, "the search index does not follow the log");
                writer = None;
                AFTER_FAILURE
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(rest) => {}
        }
    }
}

/// Indexes one batch; `false` if there is nothing to do.
async fn step(spool: &Spool, index: &SearchIndex, writer: &mut Option<SearchIndexWriter>) -> Result<bool, StepError> {
    let mut position = index.position();
    let mut events = Vec::new();
    for _ in 0..PAGES_PER_COMMIT {
        let page = spool.store().events(position, PAGE).await?;
        let Some(last) = page.last() else { break };
        position = last.position + 1;
        events.extend(page.iter().filter_map(read));
        if page.len() < PAGE {
            break;
        }
    }
    if position == index.position() {
        return Ok(false);
    }
    let mut texts = BTreeMap::new();
    for (_, event) in &events {
        if !texts.contains_key(&event.message) && !matches!(event.kind, EventKind::Rejected { .. }) {
            texts.insert(event.message, text(spool, event.message).await);
        }
    }
    let mut indexer = match writer.take() {
        Some(indexer) => indexer,
        None => index.writer()?,
    };
    let count = events.len();
    let work = tokio::task::spawn_blocking(move || {
        let done = indexer.add(&events, position, &mut |id| texts.remove(&id).flatten());
        (indexer, done)
    });
    let (indexer, done) = work.await?;
    done?;
    *writer = Some(indexer);
    debug!(events = count, "indexed");
    Ok(true)
}

/// The words of a message that is still kept: its text part, or its HTML without the tags.
async fn text(spool: &Spool, id: MessageId) -> Option<String> {
    let (entry, body, _) = spool.message(id).await.ok()??;
    let content = Composition::decode(body)?.fill(&entry.plan.nonce, &entry.plan.slots, &mut |_| String::new());
    let mut draft = Draft::new(content);
    let mut text = draft.text().or_else(|| draft.html().map(|html| mail_parser::decoders::html::html_to_text(&html)))?;
    text.truncate(text.floor_char_boundary(MOST_TEXT));
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
    Store(#[from] crate::store::StoreError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("indexing ended badly")]
    Ended(#[from] tokio::task::JoinError),
}
