//! Finding out at start what was written: summaries of sealed segments, then the frames of the last one.
//!
//! What was written last without being synced may be torn: it is cut off, as nobody was told that it is there. It ends where a frame is broken and no frame
//! follows that was written after a later sync. Anything else that is broken is damage, and the start fails: mail must not vanish in silence.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use super::cache::Cache;
use super::disk::{Disk, DiskFile, FileName};
use super::events;
use super::index::Index;
use super::journal::{Journal, WriteError, reserve_room};
use super::record::{FRAME_HEADER, FRAME_MAGIC, FrameHead, Meta, SEGMENT_HEADER, SegmentHead};
use super::shared::{Active, EventFile, Sealed, State, read_file};
use super::summary::{Contents, Places, Summary};
use super::values::Values;
use super::{OpenError, Settings};
use crate::clock::{Clock, Entropy};

/// Octets that are searched at once.
const SEARCH_OCTETS: usize = 1 << 20;

/// What a start found.
pub(super) struct Recovered {
    pub(super) journal: Journal,
    pub(super) contents: Contents,
    pub(super) state: State,
}

struct Recovery<'a> {
    disk: &'a Arc<dyn Disk>,
    settings: &'a Settings,
    clock: &'a Clock,
    index: Index,
    values: Values,
    sealed: BTreeMap<u32, Sealed>,
}

/// Reads what is on disk and makes it fit for being written again.
pub(super) fn recover(disk: &Arc<dyn Disk>, settings: &Settings, clock: &Clock, entropy: &Entropy) -> Result<Recovered, OpenError> {
    let names = disk.list()?;
    let mut heads = read_heads(&**disk, &names)?;
    let mut recovery = Recovery { disk, settings, clock, index: Index::default(), values: Values::default(), sealed: BTreeMap::new() };
    for pair in heads.windows(2) {
        if let [head, next] = pair {
            recovery.sealed_segment(head, next)?;
        }
    }
    let (journal, contents, places) = match heads.pop() {
        Some(head) => recovery.last_segment(head)?,
        None => (recovery.first_segment(&names, entropy)?, Contents::default(), Places::default()),
    };
    let (last, created) = (journal.head.number, journal.head.created);
    let mut events = BTreeMap::from([(last, EventFile { created, end: journal.events_end })]);
    for name in names {
        match name {
            FileName::Events(number) if number < last => {
                let file = disk.open(name)?;
                let created = event_file_created(&*file).unwrap_or(created);
                events.insert(number, EventFile { created, end: file.length()? });
            }
            // Left over from a segment that is gone, or was not yet there, when power went.
            FileName::Summary(number) if !recovery.sealed.contains_key(&number) => disk.remove(name)?,
            FileName::Events(number) if number > last => disk.remove(name)?,
            FileName::Segment(_) | FileName::Summary(_) | FileName::Events(_) => {}
        }
    }
    disk.sync_folders()?;
    let Recovery { index, mut values, sealed, .. } = recovery;
    values.purge(clock.now());
    let active = Active { number: last, created, messages: Arc::new(places), end: journal.end };
    let state = State { index, cache: Cache::new(settings.cache), values, sealed, active, events };
    Ok(Recovered { journal, contents, state })
}

/// Reads the heads of all segments, in order. A last one that was only being made is removed.
fn read_heads(disk: &dyn Disk, names: &[FileName]) -> Result<Vec<SegmentHead>, OpenError> {
    let segments = names.iter().filter_map(|name| if let FileName::Segment(number) = name { Some(*number) } else { None });
    let mut numbers: Vec<_> = segments.collect();
    numbers.sort_unstable();
    let mut heads: Vec<SegmentHead> = Vec::with_capacity(numbers.len());
    for number in &numbers {
        let file = disk.open(FileName::Segment(*number))?;
        let mut octets = [0; SEGMENT_HEADER];
        let whole = file.read_at(0, &mut octets).is_ok();
        match SegmentHead::decode(&octets).filter(|head| whole && head.number == *number) {
            Some(head) if heads.last().is_none_or(|last| last.number + 1 == *number) => heads.push(head),
            Some(_) => return Err(OpenError::Damaged(format!("segment {} is missing", number - 1))),
            // Nothing is written to a segment before its head is synced.
            None if numbers.last() == Some(number) && is_zero_behind_head(&*file)? => disk.remove(FileName::Segment(*number))?,
            None => return Err(OpenError::Damaged(format!("the head of segment {number} is broken"))),
        }
    }
    Ok(heads)
}

fn is_zero_behind_head(file: &dyn DiskFile) -> io::Result<bool> {
    let mut found = false;
    windows(file, SEGMENT_HEADER as u64, 0, |_, octets| {
        found |= octets.iter().any(|octet| *octet != 0);
        Ok(!found)
    })?;
    Ok(!found)
}

impl Recovery<'_> {
    fn first_segment(&self, names: &[FileName], entropy: &Entropy) -> Result<Journal, OpenError> {
        // Positions on the event log never come again, even if the spool was taken away.
        let last = names.iter().map(|name| match name {
            FileName::Segment(number) | FileName::Summary(number) | FileName::Events(number) => *number,
        });
        let number = last.max().unwrap_or(0).saturating_add(1);
        let salt = u64::from_le_bytes(entropy.array());
        let head = SegmentHead { number, salt, previous_end: 0, created: self.clock.now() };
        let created = Journal::create(Arc::clone(self.disk), head, self.settings.segment_size, self.settings.limits.reserve);
        created.map_err(|error| match error {
            WriteError::Full => io::Error::from(io::ErrorKind::StorageFull).into(),
            WriteError::NotMade(why) | WriteError::Failed(why) => io::Error::other(why).into(),
        })
    }

    /// Takes in a segment that is written no more, by its summary if there is one.
    fn sealed_segment(&mut self, head: &SegmentHead, next: &SegmentHead) -> Result<(), OpenError> {
        let (number, end) = (head.number, next.previous_end);
        let name = FileName::Summary(number);
        let octets = self.disk.open(name).and_then(|file| read_file(&*file)).unwrap_or_default();
        let summary = if let Some(summary) = Summary::decode(number, end, &octets) {
            summary.apply(&mut self.index, |value| self.values.apply(value, number));
            summary
        } else {
            tracing::info!(segment = number, "the summary is missing and is made again");
            let file = self.disk.open(FileName::Segment(number))?;
            let (mut contents, mut places) = (Contents::default(), Places::default());
            let found = scan(&*file, head, Some(end), |base, meta, _| {
                self.take(number, base, meta, &mut contents, &mut places);
                Ok(())
            })?;
            if found != end {
                return Err(OpenError::Damaged(format!("segment {number} is broken at offset {found}")));
            }
            let live = |some: &[_]| some.iter().filter_map(|(id, _)| Some((*id, self.index.live_message(*id)?))).collect();
            let summary = contents.summarize(&places, number, end, next.created, live);
            if let Err(error) = summary.write(&**self.disk) {
                tracing::warn!(segment = number, ?error, "a summary cannot be written");
            }
            summary
        };
        let octets = self.disk.open(name).and_then(|file| file.length()).unwrap_or(0) + u64::from(end);
        self.sealed.insert(number, Sealed { end, octets, at: next.created, ids: summary.range() });
        Ok(())
    }

    /// Takes in the segment that was being written, cuts off what is torn, and brings the event log to its end.
    fn last_segment(&mut self, head: SegmentHead) -> Result<(Journal, Contents, Places), OpenError> {
        let number = head.number;
        let file = self.disk.open(FileName::Segment(number))?;
        let mut log = EventLogEnd::open(&**self.disk, &head)?;
        let (mut contents, mut places) = (Contents::default(), Places::default());
        let end = scan(&*file, &head, None, |base, meta, chunks| {
            self.take(number, base, meta, &mut contents, &mut places);
            let start = meta.events.offset as usize;
            log.extend(chunks.get(start..start + meta.events.length as usize).unwrap_or_default())
        })?;
        if let Some(offset) = later_group(&*file, &head, end)? {
            let what = format!("segment {number} is broken at offset {end}, but goes on at offset {offset}");
            return Err(OpenError::Damaged(what));
        }
        let (events, events_end) = log.finish()?;
        file.set_length(end.into())?;
        reserve_room(&**self.disk, &*file, self.settings.segment_size, self.settings.limits.reserve);
        // What a killed process had written but not yet synced counts from now on.
        file.sync()?;
        let (segment_size, reserve) = (self.settings.segment_size, self.settings.limits.reserve);
        let disk = Arc::clone(self.disk);
        Ok((Journal { disk, head, file, end, events, events_end, segment_size, reserve }, contents, places))
    }

    fn take(&mut self, segment: u32, base: u32, meta: &Meta, contents: &mut Contents, places: &mut Places) {
        self.index.apply(meta, segment, base);
        contents.add(meta, base, places);
        for value in &meta.values {
            self.values.apply(value, segment);
        }
    }
}

/// Reads frames until one is broken, or `end` or the end of the file is reached; `visit` hears where its chunks start, and what is in it. Returns where it
/// stopped.
fn scan(
    file: &dyn DiskFile,
    head: &SegmentHead,
    end: Option<u32>,
    mut visit: impl FnMut(u32, &Meta, &[u8]) -> io::Result<()>,
) -> io::Result<u32> {
    let there = file.length()?;
    let length = end.map_or(there, |end| there.min(end.into()));
    let mut offset = u32::try_from(SEGMENT_HEADER).unwrap_or_default();
    let mut octets = Vec::new();
    loop {
        let mut header = [0; FRAME_HEADER];
        if u64::from(offset) + FRAME_HEADER as u64 > length {
            return Ok(offset);
        }
        file.read_at(offset.into(), &mut header)?;
        let frame = FrameHead::decode(&header, head.salt, offset).filter(|frame| u64::from(offset) + frame.length() <= length);
        let Some(frame) = frame else { return Ok(offset) };
        let rest = usize::try_from(frame.length()).unwrap_or(usize::MAX) - FRAME_HEADER;
        octets.resize(rest, 0);
        file.read_at(u64::from(offset) + FRAME_HEADER as u64, &mut octets)?;
        let Some(meta) = frame.decode_rest(&octets) else { return Ok(offset) };
        let chunks_at = u32::try_from(FRAME_HEADER).unwrap_or_default() + frame.meta_length;
        visit(offset + chunks_at, &meta, octets.get(frame.meta_length as usize..).unwrap_or_default())?;
        let next = u64::from(offset) + frame.length();
        let Ok(next) = u32::try_from(next) else { return Ok(offset) };
        offset = next;
    }
}

/// Looks behind a broken frame at `broken` for one that was written after it had been synced.
fn later_group(file: &dyn DiskFile, head: &SegmentHead, broken: u32) -> io::Result<Option<u32>> {
    let mut found = None;
    windows(file, broken.into(), FRAME_HEADER - 1, |start, octets| {
        for place in memchr::memmem::find_iter(octets, &FRAME_MAGIC) {
            let Ok(offset) = u32::try_from(start + place as u64) else { return Ok(false) };
            let frame = FrameHead::decode(octets.get(place..).unwrap_or_default(), head.salt, offset);
            if frame.is_some_and(|frame| frame.group > broken) {
                found = Some(offset);
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    Ok(found)
}

/// Reads a file from `start` in windows that overlap by `overlap` octets, until `visit` says no.
fn windows(file: &dyn DiskFile, start: u64, overlap: usize, mut visit: impl FnMut(u64, &[u8]) -> io::Result<bool>) -> io::Result<()> {
    let length = file.length()?;
    let mut at = start;
    while at < length {
        let size = usize::try_from(length - at).unwrap_or(usize::MAX).min(SEARCH_OCTETS);
        let mut octets = vec![0; size];
        file.read_at(at, &mut octets)?;
        if !visit(at, &octets)? || at + size as u64 == length {
            break;
        }
        at += (size - overlap) as u64;
    }
    Ok(())
}

fn event_file_created(file: &dyn DiskFile) -> Option<crate::clock::Timestamp> {
    let mut head = [0; events::HEADER_OCTETS];
    file.read_at(0, &mut head).ok()?;
    events::created(&head)
}

/// The last file of the event log, which is compared with what stands in the journal and goes on from where it differs.
struct EventLogEnd {
    file: Arc<dyn DiskFile>,
    length: u64,
    at: u64,
    same: bool,
}

impl EventLogEnd {
    fn open(disk: &dyn Disk, head: &SegmentHead) -> io::Result<Self> {
        let name = FileName::Events(head.number);
        let file = match disk.open(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(name)?,
            opened => opened?,
        };
        let mut this = Self { length: file.length()?, file, at: 0, same: true };
        this.extend(&events::head(head.number, head.created))?;
        Ok(this)
    }

    fn extend(&mut self, octets: &[u8]) -> io::Result<()> {
        let next = self.at + octets.len() as u64;
        if self.same {
            let mut there = vec![0; octets.len()];
            self.same = next <= self.length && self.file.read_at(self.at, &mut there).is_ok() && there == octets;
        }
        if !self.same && !octets.is_empty() {
            self.file.write_at(self.at, &mut [IoSlice::new(octets)])?;
        }
        self.at = next;
        Ok(())
    }

    fn finish(self) -> io::Result<(Arc<dyn DiskFile>, u64)> {
        self.file.set_length(self.at)?;
        Ok((self.file, self.at))
    }
}
