//! Old segments go, the oldest first. What is still queued in them is written again at the head of the journal before.
//!
//! As a row's changes are never in an older segment than its message, dropping the oldest never brings anything back.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::disk::FileName;
use super::index::LiveMessage;
use super::line;
use super::record::Frame;
use super::shared::{Found, Shared};
use super::summary::Summary;
use super::values::Key;
use super::writer::Writer;
use crate::mail::message_id::MessageId;
use crate::store::{Batch, NewMessage, NewRow, QueueName, StoreError};

/// Octets that are moved with one sync, unless one message is larger: callers wait for it.
const MOVE_OCTETS: usize = 1 << 20;

/// What is being moved.
#[derive(Default)]
pub(super) struct Reclaim {
    work: Option<Work>,
    /// Octets that are to be given back to a disk that is nearly full.
    wanted: u64,
    /// A segment that has to stay until the next start, as something queued in it cannot be read.
    stuck: Option<u32>,
}

struct Work {
    segment: u32,
    /// Messages of the segment that were not looked at yet, the last first.
    left: Vec<MessageId>,
    /// The last value that was moved: those before it were looked at.
    moved: Option<Key>,
}

impl Reclaim {
    pub(super) fn is_busy(&self) -> bool {
        self.work.is_some()
    }
}

impl Writer {
    /// Does all that there is to do now.
    #[cfg(test)]
    pub(super) fn maintain(&mut self) {
        self.look();
        while self.reclaim.is_busy() {
            self.reclaim_step();
        }
    }

    /// Looks what has grown old, and begins with the oldest segment.
    pub(super) fn look(&mut self) {
        if self.shared.failure.get().is_some() || self.reclaim.is_busy() {
            return;
        }
        let now = self.shared.clock.now();
        self.shared.state.lock().values.purge(now);
        // A segment of a quiet server is sealed before it is full, or its first messages would stay far longer than they should.
        let age = now.since(self.shared.state.lock().active.created);
        if !self.journal.is_empty() && age >= self.limits.retention / 8 {
            // Without room it goes on here all the same: this is what makes room.
            match self.seal() {
                Ok(()) => {}
                Err(error) => {
                    self.fail(error);
                }
            }
        }
        // What is kept of old mail must not keep new mail out.
        let enough = self.limits.reserve.saturating_mul(2);
        self.reclaim.wanted = self.shared.disk.free().map_or(0, |free| enough.saturating_sub(free));
        self.begin();
    }

    fn begin(&mut self) {
        if self.shared.failure.get().is_some() {
            return;
        }
        self.drop_event_files();
        let now = self.shared.clock.now();
        let state = self.shared.state.lock();
        let Some((segment, sealed)) = state.sealed.first_key_value() else { return };
        let octets = state.archive_octets();
        // Where most of it is queued, moving it about would win little: then the archive is larger than it should be.
        let too_many = (self.reclaim.wanted > 0 || octets + state.event_octets() > self.limits.archive_size)
            && (state.index.live(*segment).messages == 0 || octets > state.index.live_octets().saturating_mul(2));
        if self.reclaim.stuck == Some(*segment) || !(too_many || sealed.at.plus(self.limits.retention) <= now) {
            return;
        }
        let segment = *segment;
        let queued = state.index.live(segment).messages > 0;
        drop(state);
        match if queued { self.messages_of(segment) } else { Ok(Vec::new()) } {
            Ok(left) => self.reclaim.work = Some(Work { segment, left, moved: None }),
            Err(error) => tracing::warn!(segment, %error, "what an old segment holds cannot be read now"),
        }
    }

    /// Returns messages of a segment, the last first.
    fn messages_of(&self, segment: u32) -> io::Result<Vec<MessageId>> {
        let end = self.shared.state.lock().sealed.get(&segment).map_or(0, |sealed| sealed.end);
        let octets = match self.shared.read_file(FileName::Summary(segment)) {
            // Without a summary nothing is found, and the segment stays until the next start makes it again.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => Vec::new(),
            read => read?,
        };
        Ok(Summary::decode(segment, end, &octets).map(|summary| summary.messages().rev().collect()).unwrap_or_default())
    }

    /// Moves a little of the segment, or drops it when nothing is left in it.
    pub(super) fn reclaim_step(&mut self) {
        let Some(mut work) = self.reclaim.work.take() else { return };
        match self.step(&mut work) {
            Ok(true) => {}
            Ok(false) => self.reclaim.work = Some(work),
            Err(StoreError::Unreadable(why) | StoreError::BadDisk(why)) => {
                tracing::warn!(segment = work.segment, %why, "an old segment cannot be read now");
            }
            Err(StoreError::Full) => tracing::debug!(segment = work.segment, "no room to move queued mail out of an old segment"),
            Err(error) => {
                tracing::error!(segment = work.segment, %error, "an old segment stays until the next start");
                self.reclaim.stuck = Some(work.segment);
            }
        }
    }

    /// Returns whether the segment is gone.
    fn step(&mut self, work: &mut Work) -> Result<bool, StoreError> {
        let mut batch = Batch::default();
        let mut octets = 0;
        while octets < MOVE_OCTETS
            && let Some(id) = work.left.pop()
        {
            let live = self.shared.state.lock().index.live_message(id).filter(|live| live.content.segment == work.segment);
            if let Some(live) = live {
                let message = self.shared.read_live(id, live)?;
                octets += message.body.len() + message.original.as_ref().map_or(0, Bytes::len);
                batch.messages.push(message);
            }
        }
        if batch.messages.is_empty() {
            batch.values = self.shared.state.lock().values.in_segment(work.segment, work.moved.as_ref(), MOVE_OCTETS);
        }
        if !batch.messages.is_empty() || !batch.values.is_empty() {
            self.write_moved(&batch)?;
            if let Some(last) = batch.values.last() {
                work.moved = Some((Arc::clone(&last.table), last.key.clone()));
            }
            return Ok(false);
        }
        if work.moved.take().is_some() && self.shared.state.lock().values.are_in(work.segment) {
            // None should be left. What would be lost is looked for from the beginning.
            return Ok(false);
        }
        if self.shared.state.lock().index.live(work.segment).messages > 0 {
            return Err(StoreError::Damaged("not all that is queued in it was found".into()));
        }
        self.drop_segment(work.segment)?;
        Ok(true)
    }

    /// Removes a segment in which nothing is queued.
    fn drop_segment(&mut self, segment: u32) -> Result<(), StoreError> {
        let shared = &self.shared;
        // One after the other, on disk: an older segment must never outlive a newer one.
        let removed = shared.disk.remove(FileName::Segment(segment)).and_then(|()| shared.disk.sync_folders());
        removed.map_err(|error| StoreError::Damaged(format!("an old segment cannot be removed: {error}").into()))?;
        let sealed = shared.state.lock().sealed.remove(&segment);
        self.reclaim.wanted = self.reclaim.wanted.saturating_sub(sealed.map_or(0, |sealed| sealed.octets));
        for name in [FileName::Segment(segment), FileName::Summary(segment)] {
            shared.files.forget(name);
        }
        // A summary without its segment is removed by the next start, too.
        let _ = shared.disk.remove(FileName::Summary(segment));
        tracing::debug!(segment, "an old segment is gone");
        self.begin();
        Ok(())
    }

    /// Removes files of the event log whose time is over, and where there is no room for both, those of segments that are gone.
    fn drop_event_files(&mut self) {
        let now = self.shared.clock.now();
        loop {
            let state = self.shared.state.lock();
            let (events, all) = (state.event_octets(), state.event_octets() + state.archive_octets());
            let mut files = state.events.iter();
            let (Some((oldest, file)), Some((_, next))) = (files.next(), files.next()) else { return };
            let is_alone = state.sealed.first_key_value().is_none_or(|(segment, _)| oldest < segment);
            let too_many = events > self.limits.archive_size || is_alone && (self.reclaim.wanted > 0 || all > self.limits.archive_size);
            if !too_many && next.created.plus(self.limits.retention) > now {
                return;
            }
            let (oldest, octets) = (*oldest, file.end);
            drop(state);
            if let Err(error) = self.shared.disk.remove(FileName::Events(oldest)) {
                // The ones after it stay too: the log has no holes.
                tracing::warn!(%error, file = oldest, "an old file of the event log cannot be removed");
                return;
            }
            self.shared.state.lock().events.remove(&oldest);
            self.reclaim.wanted = self.reclaim.wanted.saturating_sub(octets);
            self.shared.files.forget(FileName::Events(oldest));
        }
    }

    fn write_moved(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut frame = Frame::encode(batch, true)?;
        // In a group of its own: nothing may change these rows between reading and showing them.
        self.write_frames(&mut [&mut frame], &mut [])
    }
}

impl Shared {
    /// Reads a queued message with its rows as they stand.
    fn read_live(&self, id: MessageId, live: LiveMessage) -> Result<NewMessage, StoreError> {
        let gone = || StoreError::Damaged(format!("message {id} cannot be found").into());
        let content = self.read_message(id)?.ok_or_else(gone)?;
        let rows = live.rows.into_iter().map(|(view, name)| {
            let (queue, share, priority) = line::split(&name);
            let (queue, share) = (QueueName::from(queue), share.into());
            let found = Found { view, queue: Arc::clone(&queue), cached: None };
            let row = self.complete(found)?.ok_or_else(gone)?;
            Ok(NewRow { recipient: view.copy.recipient, due: view.due, queue, share, priority, payload: row.payload, state: row.state })
        });
        let rows = rows.collect::<Result<_, StoreError>>()?;
        Ok(NewMessage { id, head: content.head, body: content.body, original: content.original, rows })
    }
}
