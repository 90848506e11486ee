//! What the writer and all readers look at, and reading.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::cache::Cache;
use super::disk::{Disk, DiskFile, FileName};
use super::inbox::Inbox;
use super::index::{Index, LiveMessage, Place, RowView};
use super::record::{CONTENT_HEADER, Span, decode_content, end_of_head, number};
use super::summary::{self, Places};
use super::values::Values;
use crate::clock::{Clock, Timestamp};
use crate::mail::message_id::MessageId;
use crate::store::{QueueName, Row, StoreError, StoredMessage};

/// Files that are kept open for reading.
const OPEN_FILES: usize = 64;
/// When a row that could not be read is tried again.
const READ_AGAIN: Duration = Duration::from_mins(1);
/// Octets that are read at once to get at a message's head: most are shorter.
const HEAD: usize = 4096;
/// How often a row or a message is looked for again, when it was moved between finding and reading it.
const TRIES: usize = 4;

/// What is known of the files and all that is in memory. Changed by the writer alone, except for leases.
pub(super) struct State {
    pub(super) index: Index,
    pub(super) cache: Cache,
    pub(super) values: Values,
    pub(super) sealed: BTreeMap<u32, Sealed>,
    pub(super) active: Active,
    /// Files of the event log by number; the last is that of the active segment.
    pub(super) events: BTreeMap<u32, EventFile>,
}

/// A segment that is written no more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sealed {
    /// Where its last frame ends.
    pub(super) end: u32,
    /// Of segment and summary.
    pub(super) octets: u64,
    pub(super) at: Timestamp,
    /// The least and the greatest id of its messages.
    pub(super) ids: Option<(MessageId, MessageId)>,
}

/// The segment that is written.
pub(super) struct Active {
    pub(super) number: u32,
    pub(super) created: Timestamp,
    /// Every message in it. Shared, so that the writer can look at it without holding up others.
    pub(super) messages: Arc<Places>,
    /// What is on disk and synced.
    pub(super) end: u32,
}

/// A file of the event log.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventFile {
    pub(super) created: Timestamp,
    /// What can be read.
    pub(super) end: u64,
}

impl State {
    /// Returns octets of segments and summaries.
    pub(super) fn archive_octets(&self) -> u64 {
        self.sealed.values().map(|sealed| sealed.octets).sum::<u64>() + u64::from(self.active.end)
    }

    pub(super) fn event_octets(&self) -> u64 {
        self.events.values().map(|file| file.end).sum()
    }
}

/// Everything that more than one thread sees.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) files: OpenFiles,
    pub(super) changed: Notify,
    pub(super) appended: Notify,
    /// Why nothing is written any more.
    pub(super) failure: OnceLock<Arc<str>>,
    pub(super) clock: Clock,
}

/// Why a chunk was not read.
enum ReadError {
    /// Its segment is gone: it was moved.
    Gone,
    /// What is there is not what was written.
    Broken(String),
    /// The disk does not give it: a bad sector, or a cable.
    Bad(String),
    /// The system does not let us; that may pass.
    Refused(String),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound {
            Self::Gone
        } else if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Broken(error.to_string())
        } else if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) {
            Self::Bad(error.to_string())
        } else {
            Self::Refused(error.to_string())
        }
    }
}

/// A row that was found, with what the cache had of it.
pub(super) struct Found {
    pub(super) view: RowView,
    pub(super) queue: QueueName,
    pub(super) cached: Option<(Bytes, Bytes)>,
}

impl Shared {
    /// Why the store takes nothing, if that is so.
    pub(super) fn refusal(&self) -> StoreError {
        StoreError::Poisoned(self.failure.get().map_or_else(|| "it is closed".into(), Arc::clone))
    }

    /// What is in memory, with leases that have run out taken back.
    pub(super) fn index_now(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        state.index.expire(self.clock.monotonic());
        state
    }

    /// Changes what is due in memory alone, and says so if `change` says that it did.
    pub(super) fn reorder(&self, change: impl FnOnce(&mut Index) -> bool) {
        // The lock is gone before anybody wakes.
        let changed = change(&mut self.state.lock().index);
        if changed {
            self.changed.notify_one();
        }
    }

    fn read_chunk(&self, place: Place) -> Result<Bytes, ReadError> {
        let Place { segment, span: Span { offset, length } } = place;
        let file = self.files.get(&*self.disk, FileName::Segment(segment))?;
        let mut octets = vec![0; length as usize + 4];
        file.read_at(offset.into(), &mut octets)?;
        let octets = Bytes::from(octets);
        let content = octets.slice(4..);
        if number(&octets, 0) == Some(crc32fast::hash(&content)) {
            Ok(content)
        } else {
            Err(ReadError::Broken(format!("segment {segment}, offset {offset}: the checksum is wrong")))
        }
    }

    /// Reads the head of a message's content, of which the checksum says nothing without the rest.
    fn read_content_head(&self, place: Place) -> Result<Bytes, ReadError> {
        let Place { segment, span: Span { offset, length } } = place;
        let file = self.files.get(&*self.disk, FileName::Segment(segment))?;
        let start = u64::from(offset) + 4;
        let mut octets = vec![0; HEAD.min(length as usize)];
        file.read_at(start, &mut octets)?;
        let end = end_of_head(&octets, length);
        let end = end.ok_or_else(|| ReadError::Broken(format!("segment {segment}, offset {offset}: the lengths do not fit")))?;
        let read = octets.len();
        octets.resize(end, 0);
        if let Some(rest) = octets.get_mut(read..) {
            file.read_at(start + read as u64, rest)?;
        }
        Ok(Bytes::from(octets).slice(CONTENT_HEADER..))
    }

    fn read_row(&self, view: &RowView) -> Result<(Bytes, Bytes), ReadError> {
        Ok((self.read_chunk(view.payload)?, self.read_chunk(view.state)?))
    }

    /// Reads what the cache does not have of a row. `None` if it was done with in the meantime.
    pub(super) fn complete(&self, found: Found) -> Result<Option<Row>, StoreError> {
        Ok(self.try_to_complete(found)?)
    }

    fn try_to_complete(&self, found: Found) -> Result<Option<Row>, ReadError> {
        let Found { mut view, queue, cached } = found;
        let mut read = cached.map_or_else(|| self.read_row(&view), Ok);
        for _ in 0..TRIES {
            if !matches!(read, Err(ReadError::Gone)) {
                break;
            }
            let Some(now) = self.state.lock().index.view(view.copy) else { return Ok(None) };
            view = now;
            read = self.read_row(&view);
        }
        let (payload, state) = read?;
        Ok(Some(Row { copy: view.copy, due: view.due, queue, payload, state }))
    }

    /// Completes rows for who goes through them: one that is damaged, or that the disk does not give, does not keep him from the others. Where the system
    /// refuses, it refuses all of them, and nobody is to believe that there are none.
    pub(super) fn complete_readable(&self, found: Vec<Found>) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::with_capacity(found.len());
        let (mut first, mut count) = (None, 0_usize);
        for found in found {
            let copy = found.view.copy;
            match self.try_to_complete(found) {
                Ok(row) => rows.extend(row),
                Err(error @ ReadError::Refused(_)) => return Err(error.into()),
                Err(error @ (ReadError::Gone | ReadError::Broken(_) | ReadError::Bad(_))) => {
                    count += 1;
                    first.get_or_insert((copy, StoreError::from(error)));
                }
            }
        }
        if let Some((copy, error)) = first {
            tracing::error!(message.id = %copy, %error, count, "queued copies cannot be read: this is the first of them");
        }
        Ok(rows)
    }

    /// Finds rows in cache and index.
    pub(super) fn found(state: &State, views: Vec<RowView>) -> Vec<Found> {
        let found = views.into_iter().map(|view| Found { view, queue: state.index.name(&view), cached: state.cache.row(view.copy) });
        found.collect()
    }

    /// Completes rows that were leased. Those that cannot be read are set aside, so that they do not stand in the way of the others.
    pub(super) fn complete_leased(&self, found: Vec<Found>) -> Vec<Row> {
        let mut rows = Vec::with_capacity(found.len());
        for found in found {
            let copy = found.view.copy;
            match self.complete(found) {
                Ok(row) => rows.extend(row),
                Err(error @ (StoreError::Unreadable(_) | StoreError::BadDisk(_))) => {
                    tracing::error!(message.id = %copy, %error, "a queued copy cannot be read now");
                    self.state.lock().index.set_aside(copy, self.clock.monotonic().saturating_add(READ_AGAIN));
                }
                Err(error) => {
                    tracing::error!(message.id = %copy, %error, "a queued copy cannot be read and is held until the next start");
                    self.state.lock().index.set_aside(copy, Duration::MAX);
                }
            }
        }
        rows
    }

    /// Returns those of some messages that are queued.
    pub(super) fn live_messages(&self, some: &[(MessageId, Span)]) -> Vec<(MessageId, LiveMessage)> {
        let state = self.state.lock();
        some.iter().filter_map(|(id, _)| Some((*id, state.index.live_message(*id)?))).collect()
    }

    /// Looks for a message where it can be found without reading.
    pub(super) fn cached_message(&self, id: MessageId) -> Option<StoredMessage> {
        self.state.lock().cache.content(id)
    }

    /// The same for its head alone.
    pub(super) fn cached_head(&self, id: MessageId) -> Option<Bytes> {
        self.state.lock().cache.head(id)
    }

    /// Finds and reads a message.
    pub(super) fn read_message(&self, id: MessageId) -> Result<Option<StoredMessage>, StoreError> {
        let damaged = || ReadError::Broken(format!("message {id}: its lengths do not fit"));
        let read = |place| decode_content(&self.read_chunk(place)?).ok_or_else(damaged);
        self.find_message(id, |cache| cache.content(id), read)
    }

    /// Finds a message and reads its head alone.
    pub(super) fn read_head(&self, id: MessageId) -> Result<Option<Bytes>, StoreError> {
        self.find_message(id, |cache| cache.head(id), |place| self.read_content_head(place))
    }

    fn find_message<T>(
        &self,
        id: MessageId,
        cached: impl Fn(&Cache) -> Option<T>,
        read: impl Fn(Place) -> Result<T, ReadError>,
    ) -> Result<Option<T>, StoreError> {
        for _ in 0..TRIES {
            let (place, archived) = {
                let state = self.state.lock();
                if let Some(found) = cached(&state.cache) {
                    return Ok(Some(found));
                }
                let active = || state.active.messages.get(&id).map(|span| Place { segment: state.active.number, span: *span });
                let place = state.index.place(id).or_else(active);
                let covers = |sealed: &Sealed| sealed.ids.is_some_and(|(first, last)| first <= id && id <= last);
                let archived = state.sealed.iter().rev().filter(|(_, sealed)| covers(sealed)).map(|(number, _)| *number);
                (place, if place.is_none() { archived.collect() } else { Vec::new() })
            };
            let place = match place {
                Some(place) => place,
                None => match self.find_archived(&archived, id)? {
                    Some(place) => place,
                    None => return Ok(None),
                },
            };
            match read(place) {
                Ok(found) => return Ok(Some(found)),
                Err(ReadError::Gone) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    fn find_archived(&self, segments: &[u32], id: MessageId) -> Result<Option<Place>, StoreError> {
        for segment in segments {
            let octets = match self.read_file(FileName::Summary(*segment)) {
                Ok(octets) => octets,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(ReadError::from(error).into()),
            };
            let damaged =
                || StoreError::Damaged(format!("the summary of segment {segment} is broken; the next start makes it again").into());
            if let Some(span) = summary::find(&octets, id).map_err(|_| damaged())? {
                return Ok(Some(Place { segment: *segment, span }));
            }
        }
        Ok(None)
    }

    pub(super) fn read_file(&self, name: FileName) -> io::Result<Vec<u8>> {
        read_file(&*self.files.get(&*self.disk, name)?)
    }
}

/// Reads a whole file; only summaries, which are small, are read so.
pub(super) fn read_file(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.length()?).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut octets = vec![0; length];
    file.read_at(0, &mut octets)?;
    Ok(octets)
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Gone => Self::Damaged("a segment is missing".into()),
            ReadError::Broken(why) => Self::Damaged(why.into()),
            ReadError::Bad(why) => Self::BadDisk(why.into()),
            ReadError::Refused(why) => Self::Unreadable(why.into()),
        }
    }
}

/// The files that were read last, open.
#[derive(Default)]
pub(super) struct OpenFiles {
    /// The one used last is first.
    files: Mutex<Vec<(FileName, Arc<dyn DiskFile>)>>,
}

impl OpenFiles {
    pub(super) fn get(&self, disk: &dyn Disk, name: FileName) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.files.lock();
        if let Some(place) = files.iter().position(|(known, _)| *known == name) {
            let entry = files.remove(place);
            let file = Arc::clone(&entry.1);
            files.insert(0, entry);
            return Ok(file);
        }
        let file = disk.open(name)?;
        files.insert(0, (name, Arc::clone(&file)));
        files.truncate(OPEN_FILES);
        Ok(file)
    }

    pub(super) fn forget(&self, name: FileName) {
        self.files.lock().retain(|(known, _)| *known != name);
    }
}
