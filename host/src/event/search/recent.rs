//! The most recent messages, in memory: a [`MessageIndex`] without a disk of its own, for small servers, demonstrations and tests.
//!
//! It follows the log when it is asked, and forgets the oldest message when it holds too many.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use super::{MessageIndex, Page, Summary};
use crate::event::Event;
use crate::mail::message_id::MessageId;
use crate::store::{Store, StoreError};

/// Events read from the log at once.
const READ_AT_ONCE: usize = 1000;
/// Events kept of one message; later ones still count in its summary.
const MOST_EVENTS: usize = 1000;

/// The most recent messages of the log.
pub struct Recent {
    store: Arc<dyn Store>,
    most_messages: usize,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Where the log goes on.
    position: u64,
    messages: BTreeMap<MessageId, (Summary, Vec<Event>)>,
    /// In the order in which they became known: who is forgotten first.
    order: VecDeque<MessageId>,
}

impl Recent {
    /// Follows the log of `store`; keeps at most `most_messages`.
    pub fn new(store: Arc<dyn Store>, most_messages: usize) -> Self {
        Self { store, most_messages, known: Mutex::default() }
    }

    /// Reads what has come to the log since the last time.
    async fn catch_up(&self, known: &mut Known) -> Result<(), StoreError> {
        loop {
            let logged = self.store.events(known.position, READ_AT_ONCE).await?;
            let Some(last) = logged.last() else { return Ok(()) };
            known.position = last.position.saturating_add(1);
            for entry in logged {
                // What a newer version wrote and this one does not know is nothing to it.
                if let Ok(event) = serde_json::from_slice::<Event>(&entry.octets) {
                    known.take(event, self.most_messages);
                }
            }
        }
    }
}

impl Known {
    fn take(&mut self, event: Event, most_messages: usize) {
        let (summary, events) = self.messages.entry(event.message).or_insert_with(|| {
            self.order.push_back(event.message);
            (Summary::new(&event), Vec::new())
        });
        summary.apply(&event);
        if events.len() < MOST_EVENTS {
            events.push(event);
        }
        if self.order.len() > most_messages
            && let Some(oldest) = self.order.pop_front()
        {
            self.messages.remove(&oldest);
        }
    }
}

impl MessageIndex for Recent {
    fn search<'a>(&'a self, query: &'a str, offset: usize, limit: usize) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(async move {
            let mut known = self.known.lock().await;
            self.catch_up(&mut known).await?;
            let mut page = Page::default();
            // Ids sort by age.
            for (summary, _) in known.messages.values().rev().filter(|(summary, _)| summary.fits(query)) {
                if page.total >= offset && page.messages.len() < limit {
                    page.messages.push(summary.clone());
                }
                page.total += 1;
            }
            Ok(page)
        })
    }

    fn message(&self, id: MessageId) -> BoxFuture<'_, Result<Option<Summary>, StoreError>> {
        Box::pin(async move {
            let mut known = self.known.lock().await;
            self.catch_up(&mut known).await?;
            Ok(known.messages.get(&id).map(|(summary, _)| summary.clone()))
        })
    }

    fn events(&self, id: MessageId) -> BoxFuture<'_, Result<Vec<Event>, StoreError>> {
        Box::pin(async move {
            let mut known = self.known.lock().await;
            self.catch_up(&mut known).await?;
            Ok(known.messages.get(&id).map(|(_, events)| events.clone()).unwrap_or_default())
        })
    }
}

#[cfg(test)]
mod tests;
