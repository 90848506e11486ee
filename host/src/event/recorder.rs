//! Puts events on the log: those that belong to a change of the queue with that change, others on their own.

use std::sync::Arc;

use crate::event::Event;
use crate::store::{Store, StoreError};

/// Appends events that stand alone: clicks, opens, rejections.
#[derive(Clone)]
pub struct Recorder {
    store: Arc<dyn Store>,
}

impl Recorder {
    /// Writes to `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }
    /// Appends `events` durably.
    pub async fn record(&self, events: Vec<Event>) -> Result<(), StoreError> {
        let _ = (&self.store, events);
        todo!()
    }
}
