//! The event log: one file for each segment of the journal, with the events that were committed in it.
//!
//! ```text
//! file  = "TubeEvt1" number:u32 created:u64 check:u32 event*          (event as in `record`)
//! ```
//!
//! An event's position is the number of its file and its offset in it. The log has no events of its own: all of them stand in the journal, in the same
//! order, so that the end of the last file can be made again and positions never change.

use std::io;

use bytes::Bytes;

use super::disk::FileName;
use super::record::{EVENT_HEADER, event, event_length, long, number, put};
use super::shared::Shared;
use crate::clock::Timestamp;
use crate::store::{LoggedEvent, StoreError};

/// Octets before the first event.
pub(super) const HEADER: u64 = HEADER_OCTETS as u64;
pub(super) const HEADER_OCTETS: usize = 24;
const MAGIC: [u8; 8] = *b"TubeEvt1";
/// Octets after which an answer ends, whatever the limit is.
const ANSWER_OCTETS: usize = 4 << 20;
/// Octets that are read at once.
const READ_OCTETS: usize = 256 << 10;
/// Bits of a position that are the offset in the file.
const OFFSET_BITS: u32 = 32;

pub(super) fn head(file: u32, created: Timestamp) -> [u8; HEADER_OCTETS] {
    let mut octets = [0; HEADER_OCTETS];
    put(&mut octets, 0, MAGIC);
    put(&mut octets, 8, file.to_le_bytes());
    put(&mut octets, 12, created.as_millis().to_le_bytes());
    let check = crc32fast::hash(octets.get(..20).unwrap_or_default());
    put(&mut octets, 20, check.to_le_bytes());
    octets
}

/// Reads when a file was made; `None` where the header is not whole.
pub(super) fn created(head: &[u8; HEADER_OCTETS]) -> Option<Timestamp> {
    let whole = head.starts_with(&MAGIC) && number(head, 20)? == crc32fast::hash(head.get(..20)?);
    whole.then_some(Timestamp::from_millis(long(head, 12)?))
}

/// Returns the position of an octet of a file.
pub(super) fn place(file: u32, offset: u64) -> u64 {
    (u64::from(file) << OFFSET_BITS) | offset
}

impl Shared {
    /// Reads events from `position` on.
    pub(super) fn read_events(&self, position: u64, limit: usize) -> Result<Vec<LoggedEvent>, StoreError> {
        let first = u32::try_from(position >> OFFSET_BITS).unwrap_or(u32::MAX);
        let mut offset = position & ((1 << OFFSET_BITS) - 1);
        let files: Vec<_> = self.state.lock().events.range(first..).map(|(file, state)| (*file, state.end)).collect();
        let mut answer = Answer { events: Vec::new(), octets: 0, limit };
        for (file, end) in files {
            if file != first {
                offset = 0;
            }
            match self.read_event_file(file, offset, end, &mut answer) {
                Ok(()) => {}
                // Its time of retention ended just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if answer.events.is_empty() => {
                    let why = format!("event log {file}: {error}").into();
                    let broken = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
                    return Err(if broken { StoreError::Damaged(why) } else { StoreError::Unreadable(why) });
                }
                Err(_) => break,
            }
            if answer.is_full() {
                break;
            }
        }
        Ok(answer.events)
    }

    fn read_event_file(&self, file: u32, offset: u64, end: u64, answer: &mut Answer) -> io::Result<()> {
        if offset >= end {
            return Ok(());
        }
        let open = self.files.get(&*self.disk, FileName::Events(file))?;
        let read = |at: u64, length: usize| {
            let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
            let mut octets = vec![0; length.min(left)];
            open.read_at(at, &mut octets).map(|()| octets)
        };
        let whole_at = |at: u64| -> io::Result<Option<u64>> {
            let header = read(at, EVENT_HEADER)?;
            let Some(length) = event_length(&header).filter(|length| at + length <= end) else { return Ok(None) };
            let octets = read(at, usize::try_from(length).unwrap_or(usize::MAX))?;
            Ok(event(&octets).map(|_| at + length))
        };
        let mut at = HEADER;
        // A reader goes on one behind the last event that it had: find the next without reading the file from its start.
        if offset > HEADER
            && let Some(next) = whole_at(offset - 1)?
        {
            at = next;
        } else if offset > HEADER && whole_at(offset)?.is_some() {
            at = offset;
        }
        while at < end && !answer.is_full() {
            let mut octets = read(at, READ_OCTETS)?;
            if let Some(length) = event_length(&octets)
                && length > octets.len() as u64
            {
                octets = read(at, usize::try_from(length).unwrap_or(usize::MAX))?;
            }
            let octets = Bytes::from(octets);
            let mut start = 0;
            while let Some(content) = octets.get(start..).and_then(event) {
                let content_at = start + EVENT_HEADER;
                if at + start as u64 >= offset {
                    answer.push(file, at + start as u64, octets.slice(content_at..content_at + content.len()));
                }
                start = content_at + content.len();
                if answer.is_full() {
                    break;
                }
            }
            if start == 0 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the checksum at offset {at} is wrong")));
            }
            at += start as u64;
        }
        Ok(())
    }
}

struct Answer {
    events: Vec<LoggedEvent>,
    octets: usize,
    limit: usize,
}

impl Answer {
    fn is_full(&self) -> bool {
        self.events.len() >= self.limit || self.octets >= ANSWER_OCTETS
    }

    fn push(&mut self, file: u32, offset: u64, octets: Bytes) {
        self.octets += octets.len();
        self.events.push(LoggedEvent { position: place(file, offset), octets });
    }
}
