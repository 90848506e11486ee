//! The store in this process: a journal in files of its own, for one node.
//!
//! ```text
//! callers ── encode ──▶ inbox ──▶ writer: one write, one sync ──▶ index, cache ──▶ answers
//!                                     │
//!               spool/NNNNNNNN.seg    what was committed (record)
//!               spool/NNNNNNNN.sum    a sealed segment without content (summary)
//!               events/NNNNNNNN.log   the events of that segment, to be read in order (events)
//! ```
//!
//! - One thread writes ([`writer`]); whoever waits at that moment shares its sync. No lock is held meanwhile.
//! - Rows are found in memory ([`index`]), fresh messages too ([`cache`]), so that delivering new mail reads nothing.
//! - Old segments go when their time is over, the oldest first; what is queued in them is moved ([`reclaim`]).
//! - Without room a commit fails and leaves nothing behind; settling goes on into the reserve. Any other failure of the disk ends all writing until the
//!   next start, which finds out what is there ([`recovery`]).
//!
//! Limits: 1 GiB in one commit, `store.table_size` in the key-value table, rows as memory allows (about 200 octets each).

mod cache;
mod disk;
mod events;
mod inbox;
mod index;
mod journal;
mod line;
mod reclaim;
mod record;
mod recovery;
mod shared;
mod summary;
mod values;
mod writer;

#[cfg(test)]
mod faulty;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;

use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use self::disk::{Disk, RealDisk};
use self::inbox::{Inbox, Job, Order};
use self::reclaim::Reclaim;
use self::record::Frame;
use self::shared::{OpenFiles, Shared};
use self::writer::{Limits, Writer};
use super::{Batch, DueQueue, LoggedEvent, QueueName, Row, Sharers, Store, StoreError, StoredMessage, TableUsage, Usage};
use crate::clock::{Clock, Entropy, Timestamp};
use crate::config;
use crate::mail::message_id::{CopyId, MessageId};
use crate::telemetry::metric::Metrics;

/// Messages that are looked at for a listing while others wait.
const SCAN: usize = 4096;

/// Why the store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the folder is used by another process")]
    InUse,
    /// What is there is not what was written; nothing was changed. Only a person can say what to do.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The operating system does not let us.
    #[error("the store cannot be opened")]
    Io(#[from] io::Error),
}

/// What the embedded store needs to know.
#[derive(Clone, Copy, Debug)]
struct Settings {
    segment_size: u32,
    cache: u64,
    commit_queue: u32,
    limits: Limits,
}

impl Settings {
    fn new(config: &config::Store) -> Self {
        Self {
            // The configuration has a smaller limit.
            segment_size: u32::try_from(config.segment_size.0).unwrap_or(u32::MAX),
            cache: config.cache.0,
            commit_queue: config.commit_queue,
            limits: Limits {
                retention: config.retention,
                archive_size: config.archive_size.0,
                reserve: config.reserve.0,
                table_size: usize::try_from(config.table_size.0).unwrap_or(usize::MAX),
            },
        }
    }
}

/// The embedded store. Dropping it writes what waits, and ends it.
pub struct Embedded {
    shared: Arc<Shared>,
    reserve: u64,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Embedded {
    /// Opens the store below `data`, or makes it. Reads what is queued: on a thread that may wait.
    pub fn open(data: &Path, config: &config::Store, clock: Clock, entropy: Entropy, metrics: Metrics) -> Result<Self, OpenError> {
        let in_use = |error: io::Error| if error.kind() == io::ErrorKind::WouldBlock { OpenError::InUse } else { OpenError::Io(error) };
        let disk = RealDisk::open(data).map_err(in_use)?;
        Self::open_on(Arc::new(disk), Settings::new(config), clock, entropy, metrics)
    }

    fn open_on(disk: Arc<dyn Disk>, settings: Settings, clock: Clock, entropy: Entropy, metrics: Metrics) -> Result<Self, OpenError> {
        let recovered = recovery::recover(&disk, &settings, &clock, &entropy)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(recovered.state),
            disk,
            inbox: Inbox::new(settings.commit_queue),
            files: OpenFiles::default(),
            changed: Notify::new(),
            appended: Notify::new(),
            failure: OnceLock::new(),
            clock,
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            journal: recovered.journal,
            contents: recovered.contents,
            limits: settings.limits,
            entropy,
            metrics,
            reclaim: Reclaim::default(),
            told: None,
            free: None,
        };
        let writer = std::thread::Builder::new().name("store".to_owned()).spawn(move || writer.run())?;
        Ok(Self { shared, reserve: settings.limits.reserve, writer: Mutex::new(Some(writer)) })
    }

    /// Runs `read` where waiting for the disk holds up nobody.
    async fn read<T: Send + 'static>(&self, read: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || read(&shared)).await;
        done.unwrap_or_else(|error| Err(StoreError::Damaged(format!("reading ended early: {error}").into())))
    }

    /// Opens a store for the tests of those who work with one.
    #[cfg(test)]
    pub(crate) fn small(folder: &Path, clock: &Clock) -> Self {
        use crate::config::unit::ByteSize;
        let config = config::Store {
            segment_size: ByteSize::mib(1),
            retention: Duration::from_hours(1),
            archive_size: ByteSize::gib(1),
            cache: ByteSize::mib(1),
            commit_queue: 64,
            reserve: ByteSize(0),
            table_size: ByteSize::mib(64),
        };
        Self::open(folder, &config, clock.clone(), Entropy::seeded(1), Metrics::new()).expect("a store of a test opens")
    }

    /// Looks after what is old, now instead of some time soon.
    #[cfg(test)]
    pub(crate) async fn maintain(&self) {
        let (answer, done) = oneshot::channel();
        self.shared.inbox.order(Order::Maintain(answer));
        let _ = done.await;
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let (answer, _) = oneshot::channel();
        self.shared.inbox.order(Order::Close(answer));
        if let Some(writer) = self.writer.lock().take() {
            let _ = writer.join();
        }
    }
}

impl Store for Embedded {
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            values::check(&batch.values)?;
            let frame = Frame::encode(&batch, false)?;
            let (answer, done) = oneshot::channel();
            // A failed store answers at once; so does one that is closed.
            let job = Job { frame, messages: batch.messages, answer };
            if self.shared.failure.get().is_some() || !self.shared.inbox.leave(job).await {
                return Err(self.shared.refusal());
            }
            done.await.unwrap_or_else(|_| Err(self.shared.refusal()))
        })
    }

    fn due_queues(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<DueQueue>, StoreError>> {
        Box::pin(async move { Ok(self.shared.index_now().index.due_queues(now, limit)) })
    }

    fn next_due(&self, now: Timestamp) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        Box::pin(async move {
            // What has ended by now is not taken back here: then nobody would look for it.
            let state = self.shared.state.lock();
            Ok(state.index.next_due(now, self.shared.clock.monotonic()))
        })
    }

    fn lease<'a>(
        &'a self,
        queue: &'a str,
        now: Timestamp,
        until: Duration,
        limit: NonZeroU32,
    ) -> BoxFuture<'a, Result<Vec<Row>, StoreError>> {
        Box::pin(async move {
            let found = {
                let mut state = self.shared.index_now();
                let views = state.index.lease(queue, now, until, limit.get() as usize);
                Shared::found(&state, views)
            };
            if found.iter().all(|found| found.cached.is_some()) {
                return Ok(self.shared.complete_leased(found));
            }
            self.read(|shared| Ok(shared.complete_leased(found))).await
        })
    }

    fn claim(&self, copies: Vec<CopyId>, until: Duration) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
        Box::pin(async move {
            let found = {
                let mut state = self.shared.index_now();
                let views = copies.into_iter().filter_map(|copy| state.index.claim(copy, until)).collect();
                Shared::found(&state, views)
            };
            self.read(|shared| Ok(shared.complete_leased(found))).await
        })
    }

    fn release(&self, copies: Vec<CopyId>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.shared.reorder(|index| {
                let mut any = false;
                for copy in copies {
                    any |= index.give_back(copy);
                }
                any
            });
            Ok(())
        })
    }

    fn requeue(&self, moves: Vec<(CopyId, QueueName)>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.shared.reorder(|index| {
                let mut any = false;
                for (copy, queue) in &moves {
                    any |= index.requeue(*copy, queue);
                }
                any
            });
            Ok(())
        })
    }

    fn hasten(&self, latest: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.shared.reorder(|index| index.hasten(latest));
            Ok(())
        })
    }

    fn rest(&self, queue: &str, until: Duration) {
        self.shared.state.lock().index.rest(queue, until);
    }

    fn sharers(&self, queue: &str, now: Timestamp, limit: usize) -> Sharers {
        self.shared.state.lock().index.sharers(queue, now, limit)
    }

    fn has_due(&self, queue: &str, share: &str, now: Timestamp) -> bool {
        self.shared.state.lock().index.has_due(queue, share, now)
    }

    fn rouse(&self, queue: Option<&str>) {
        self.shared.reorder(|index| index.rouse(queue));
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.changed.notified())
    }

    fn message(&self, id: MessageId) -> BoxFuture<'_, Result<Option<StoredMessage>, StoreError>> {
        Box::pin(async move {
            if let Some(message) = self.shared.cached_message(id) {
                return Ok(Some(message));
            }
            self.read(move |shared| shared.read_message(id)).await
        })
    }

    fn head(&self, id: MessageId) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move {
            if let Some(head) = self.shared.cached_head(id) {
                return Ok(Some(head));
            }
            self.read(move |shared| shared.read_head(id)).await
        })
    }

    fn rows<'a>(&'a self, queue: Option<&'a str>, after: Option<CopyId>, limit: usize) -> BoxFuture<'a, Result<Vec<Row>, StoreError>> {
        let queue = queue.map(QueueName::from);
        Box::pin(self.read(move |shared| {
            let mut rows = Vec::new();
            let mut after = after;
            loop {
                let wanted = limit - rows.len();
                let (found, next) = {
                    let state = shared.state.lock();
                    let (views, next) = state.index.rows(queue.as_deref(), after, wanted, SCAN);
                    // Some of them may not come: those that are done with meanwhile, or cannot be read.
                    let last = views.last().filter(|_| views.len() == wanted).map(|view| view.copy);
                    (Shared::found(&state, views), next.or(last))
                };
                rows.extend(shared.complete_readable(found)?);
                match next {
                    Some(next) if rows.len() < limit => after = Some(next),
                    _ => return Ok(rows),
                }
            }
        }))
    }

    fn rows_of(&self, id: MessageId) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
        Box::pin(self.read(move |shared| {
            let found = {
                let state = shared.state.lock();
                let views = state.index.live_message(id).map(|live| live.rows.into_iter().map(|(view, _)| view).collect());
                Shared::found(&state, views.unwrap_or_default())
            };
            shared.complete_readable(found)
        }))
    }

    fn events(&self, position: u64, limit: usize) -> BoxFuture<'_, Result<Vec<LoggedEvent>, StoreError>> {
        Box::pin(self.read(move |shared| shared.read_events(position, limit)))
    }

    fn events_appended(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.appended.notified())
    }

    fn value<'a>(&'a self, table: &'a str, key: &'a [u8], now: Timestamp) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move { Ok(self.shared.state.lock().values.get(table, key, now)) })
    }

    fn values<'a>(
        &'a self,
        table: &'a str,
        after: Option<&'a [u8]>,
        now: Timestamp,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Bytes, Bytes)>, StoreError>> {
        Box::pin(async move { Ok(self.shared.state.lock().values.list(table, after, now, limit)) })
    }

    fn table_usage<'a>(&'a self, table: &'a str) -> BoxFuture<'a, Result<TableUsage, StoreError>> {
        Box::pin(async move { Ok(self.shared.state.lock().values.usage(table)) })
    }

    fn health(&self) -> Result<(), StoreError> {
        if self.shared.failure.get().is_some() || self.shared.inbox.is_closed() {
            return Err(self.shared.refusal());
        }
        // Where it cannot be told, writing will show.
        if self.shared.disk.free().is_ok_and(|free| free < self.reserve) { Err(StoreError::Full) } else { Ok(()) }
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        Box::pin(async move {
            let state = self.shared.state.lock();
            Ok(Usage {
                rows: state.index.row_count(),
                leased: state.index.leased(),
                octets: state.archive_octets() + state.event_octets(),
                oldest: state.index.oldest(),
                log_ends: state.events.last_key_value().map(|(file, state)| events::place(*file, state.end)).unwrap_or_default(),
                log_begins: state.events.first_key_value().map(|(_, file)| file.created).unwrap_or_default(),
            })
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let (answer, done) = oneshot::channel();
            if !self.shared.inbox.order(Order::Close(answer)) {
                return if self.shared.failure.get().is_some() { Err(self.shared.refusal()) } else { Ok(()) };
            }
            done.await.unwrap_or_else(|_| Err(self.shared.refusal()))
        })
    }
}
