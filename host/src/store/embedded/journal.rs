//! The segment that is written, and the file of the event log beside it.
//!
//! A group of frames is written and synced at once. Events stand in the frames too, which makes them durable with the rest; their own file
//! is synced when the segment is sealed, and until then a start makes its end again from the segment.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::disk::{Disk, DiskFile, FileName, is_full};
use super::events;
use super::record::{Frame, SEGMENT_HEADER, SegmentHead};
use crate::clock::{Entropy, Timestamp};

/// Why a group was not written.
#[derive(Debug)]
pub(super) enum WriteError {
    /// No room; nothing of it is left.
    Full,
    /// A file cannot be made, as where the process has too many open: nothing was written yet, and later it may work.
    NotMade(String),
    /// What is on disk is not known.
    Failed(String),
}

impl WriteError {
    pub(super) fn new(what: &str, error: &io::Error) -> Self {
        if is_full(error) { Self::Full } else { Self::failed(what, error) }
    }

    /// For what fails before anything is written.
    pub(super) fn not_made(what: &str, error: &io::Error) -> Self {
        if is_full(error) { Self::Full } else { Self::NotMade(format!("{what}: {error}")) }
    }

    fn failed(what: &str, error: &io::Error) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }
}

/// The end of the journal.
pub(super) struct Journal {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) head: SegmentHead,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) end: u32,
    pub(super) events: Arc<dyn DiskFile>,
    pub(super) events_end: u64,
    /// Octets that a segment is to have.
    pub(super) segment_size: u32,
    /// Octets of the disk that are not taken ahead.
    pub(super) reserve: u64,
}

impl Journal {
    /// Makes segment `head.number` with its event file. On disk when it returns; where there is no room, nothing of it is left.
    pub(super) fn create(disk: Arc<dyn Disk>, head: SegmentHead, segment_size: u32, reserve: u64) -> Result<Self, WriteError> {
        let create = |name| disk.create(name).map_err(|error| WriteError::not_made("a segment cannot be made", &error));
        let broken = |error: io::Error| WriteError::new("a segment cannot be made", &error);
        let files = || {
            let events = create(FileName::Events(head.number))?;
            events.write_at(0, &mut [IoSlice::new(&events::head(head.number, head.created))]).map_err(broken)?;
            events.sync().map_err(broken)?;
            let file = create(FileName::Segment(head.number))?;
            reserve_room(&*disk, &*file, segment_size, reserve);
            // Last, as with this the segment before it is sealed.
            file.write_at(0, &mut [IoSlice::new(&head.encode())]).map_err(broken)?;
            file.sync().map_err(broken)?;
            disk.sync_folders().map_err(broken)?;
            Ok((file, events))
        };
        let made: Result<_, WriteError> = files();
        let (file, events) = made.map_err(|error| match Self::unmake(&*disk, head.number) {
            Ok(()) => error,
            // It might come back after a power cut and seal a segment that went on.
            Err(error) => WriteError::failed("a segment that could not be made cannot be removed", &error),
        })?;
        let end = u32::try_from(SEGMENT_HEADER).unwrap_or_default();
        Ok(Self { disk, head, file, end, events, events_end: events::HEADER, segment_size, reserve })
    }

    fn unmake(disk: &dyn Disk, number: u32) -> io::Result<()> {
        for name in [FileName::Segment(number), FileName::Events(number)] {
            match disk.remove(name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        disk.sync_folders()
    }

    /// Whether nothing was written yet.
    pub(super) fn is_empty(&self) -> bool {
        self.end as usize == SEGMENT_HEADER
    }

    /// Whether so many octets more go in.
    pub(super) fn has_room_for(&self, octets: u64) -> bool {
        self.is_empty() || u64::from(self.end) + octets <= u64::from(self.segment_size)
    }

    /// Writes and syncs frames; returns where each of them starts.
    pub(super) fn append(&mut self, frames: &mut [&mut Frame]) -> Result<Vec<u32>, WriteError> {
        let (group, group_events) = (self.end, self.events_end);
        let mut offsets = Vec::with_capacity(frames.len());
        let (mut end, mut events_end) = (group, group_events);
        for frame in &mut *frames {
            offsets.push(end);
            frame.place(self.head.salt, end, group);
            end = end.checked_add(frame.length()).ok_or(WriteError::Full)?;
            events_end += frame.events().len() as u64;
        }
        let mut slices: Vec<_> = frames.iter().flat_map(|frame| frame.slices()).map(IoSlice::new).collect();
        let mut events: Vec<_> = frames.iter().map(|frame| frame.events()).filter(|events| !events.is_empty()).map(IoSlice::new).collect();
        let mut written = self.file.write_at(group.into(), &mut slices);
        if written.is_ok() && !events.is_empty() {
            written = self.events.write_at(group_events, &mut events);
        }
        match written {
            Ok(()) => {}
            Err(error) if is_full(&error) => {
                self.roll_back().map_err(|error| WriteError::failed("the journal cannot be cut", &error))?;
                return Err(WriteError::Full);
            }
            Err(error) => {
                let _ = self.roll_back();
                return Err(WriteError::failed("the journal cannot be written", &error));
            }
        }
        if let Err(error) = self.file.sync() {
            // Nobody knows what is on disk now. What can be done is done so that a next start does not find what was not acknowledged.
            let _ = self.roll_back();
            return Err(WriteError::failed("the journal cannot be synced", &error));
        }
        (self.end, self.events_end) = (end, events_end);
        Ok(offsets)
    }

    /// Cuts off what was written since the last group that is whole.
    fn roll_back(&self) -> io::Result<()> {
        self.file.set_length(self.end.into())?;
        self.events.set_length(self.events_end)?;
        reserve_room(&*self.disk, &*self.file, self.segment_size, self.reserve);
        // Before the callers hear that nothing was written: a power cut must not bring it back.
        self.file.sync()
    }

    /// Goes on in a new segment. The caller has written the summary of this one.
    pub(super) fn next(&mut self, now: Timestamp, entropy: &Entropy) -> Result<(), WriteError> {
        self.sync_events()?;
        let salt = u64::from_le_bytes(entropy.array());
        let head = SegmentHead { number: self.head.number.saturating_add(1), salt, previous_end: self.end, created: now };
        let next = Self::create(Arc::clone(&self.disk), head, self.segment_size, self.reserve)?;
        let sealed = std::mem::replace(self, next);
        // Gives back the room that was taken ahead; without it the file is only longer than it need be.
        if let Err(error) = sealed.file.set_length(sealed.end.into()) {
            tracing::debug!(%error, "a sealed segment keeps its length");
        }
        Ok(())
    }

    pub(super) fn sync_events(&self) -> Result<(), WriteError> {
        self.events.sync().map_err(|error| WriteError::failed("the event log cannot be synced", &error))
    }
}

/// Takes room ahead, unless that would eat up what is to stay free.
pub(super) fn reserve_room(disk: &dyn Disk, file: &dyn DiskFile, octets: u32, keep_free: u64) {
    if disk.free().is_ok_and(|free| free > keep_free.saturating_add(octets.into())) {
        file.reserve(octets.into());
    }
}
