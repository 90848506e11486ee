//! A store for tests of what stands in front of it: it remembers what was committed, and has nothing to give.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, pending, ready};
use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::mail::message_id::{CopyId, MessageId};
use crate::store::{Batch, DueQueue, LoggedEvent, QueueName, Row, Sharers, Store, StoreError, StoredMessage, TableUsage, Usage};

#[derive(Debug, Default)]
pub(crate) struct CommitLog(pub(crate) Mutex<Vec<Batch>>);

impl Store for CommitLog {
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), StoreError>> {
        self.0.lock().push(batch);
        ready(Ok(())).boxed()
    }
    fn due_queues(&self, _: Timestamp, _: usize) -> BoxFuture<'_, Result<Vec<DueQueue>, StoreError>> {
        ready(Ok(Vec::new())).boxed()
    }
    fn next_due(&self, _: Timestamp) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        ready(Ok(None)).boxed()
    }
    fn lease<'a>(&'a self, _: &'a str, _: Timestamp, _: Duration, _: NonZeroU32) -> BoxFuture<'a, Result<Vec<Row>, StoreError>> {
        ready(Ok(Vec::new())).boxed()
    }
    fn claim(&self, _: Vec<CopyId>, _: Duration) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
        ready(Ok(Vec::new())).boxed()
    }
    fn release(&self, _: Vec<CopyId>) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(Ok(())).boxed()
    }
    fn requeue(&self, _: Vec<(CopyId, QueueName)>) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(Ok(())).boxed()
    }
    fn hasten(&self, _: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(Ok(())).boxed()
    }
    fn rest(&self, _: &str, _: Duration) {}
    fn rouse(&self, _: Option<&str>) {}
    fn sharers(&self, _: &str, _: Timestamp, _: usize) -> Sharers {
        Sharers::default()
    }
    fn has_due(&self, _: &str, _: &str, _: Timestamp) -> bool {
        false
    }
    fn changed(&self) -> BoxFuture<'_, ()> {
        pending().boxed()
    }
    fn message(&self, _: MessageId) -> BoxFuture<'_, Result<Option<StoredMessage>, StoreError>> {
        ready(Ok(None)).boxed()
    }
    fn rows<'a>(&'a self, _: Option<&'a str>, _: Option<CopyId>, _: usize) -> BoxFuture<'a, Result<Vec<Row>, StoreError>> {
        ready(Ok(Vec::new())).boxed()
    }
    fn rows_of(&self, _: MessageId) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
        ready(Ok(Vec::new())).boxed()
    }
    fn events(&self, _: u64, _: usize) -> BoxFuture<'_, Result<Vec<LoggedEvent>, StoreError>> {
        ready(Ok(Vec::new())).boxed()
    }
    fn events_appended(&self) -> BoxFuture<'_, ()> {
        pending().boxed()
    }
    fn value<'a>(&'a self, _: &'a str, _: &'a [u8], _: Timestamp) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        ready(Ok(None)).boxed()
    }
    fn values<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a [u8]>,
        _: Timestamp,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<(Bytes, Bytes)>, StoreError>> {
        ready(Ok(Vec::new())).boxed()
    }
    fn table_usage<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<TableUsage, StoreError>> {
        ready(Ok(TableUsage::default())).boxed()
    }
    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        ready(Ok(Usage::default())).boxed()
    }
    fn health(&self) -> Result<(), StoreError> {
        Ok(())
    }
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(Ok(())).boxed()
    }
}
