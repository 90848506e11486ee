//! Layout of the journal: frames in segments. All numbers are little-endian.
//!
//! ```text
//! segment = head frame* zeros
//! head    = "TubeSeg1" number:u32 salt:u64 previous_end:u32 created:u64 check:u32          (36 octets)
//! frame   = magic:u32 meta_length:u32 chunks_length:u32 group:u32 meta_crc:u32 check:u32 meta chunks
//! chunk   = crc:u32 octets
//! content = head_length:u32 body_length:u32 original_length:u32 head body original         (the octets of a message's chunk)
//! event   = length:u32 crc:u32 octets                                                      (the crc covers length and octets)
//! ```
//!
//! One caller's batch is one frame, so it is there or not. `meta` (postcard of [`Meta`]) says what the batch holds and where its chunks
//! lie, so that all can be known without reading content. `group` is the offset of the first frame that was written with the same
//! sync; what comes after it in the file but not behind it in a later group was never acknowledged. `check` covers the salt, the frame's own
//! offset and all of the header before it: neither the content of a mail nor an older frame is ever taken for a frame.
//!
//! A format that differs gets another number in the magic of the segment; this one is read for ever.

mod chunks;

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use self::chunks::{Chunks, Piece, copied_octets};
use super::line::{self, LineName};
use crate::clock::Timestamp;
use crate::mail::message_id::{CopyId, MessageId};
use crate::store::{Batch, Change, StoreError, StoredMessage};

/// Most octets of one frame.
pub(super) const FRAME_OCTETS: usize = 1 << 30;
/// Octets before a frame's meta.
pub(super) const FRAME_HEADER: usize = 24;
/// Octets before a segment's first frame.
pub(super) const SEGMENT_HEADER: usize = 36;
/// Octets before an event.
pub(super) const EVENT_HEADER: usize = 8;
/// Octets of a content before its head: the three lengths.
pub(super) const CONTENT_HEADER: usize = 12;

const SEGMENT_MAGIC: [u8; 8] = *b"TubeSeg1";
/// First octets of a frame.
pub(super) const FRAME_MAGIC: [u8; 4] = [0xb5, b'T', b'F', 0x01];
/// Length that says that there is no original.
const NO_ORIGINAL: u32 = u32::MAX;

/// Where a chunk lies: in a frame from the end of its meta, elsewhere from the segment's start. The length is that of its octets, without the
/// checksum that stands before them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Span {
    pub(super) offset: u32,
    pub(super) length: u32,
}

impl Span {
    /// The span in the segment, of one in a frame whose chunks start at `base`.
    pub(super) fn at(self, base: u32) -> Self {
        Self { offset: self.offset.saturating_add(base), length: self.length }
    }
}

/// What a batch holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) messages: Vec<MessageRecord>,
    pub(super) changes: Vec<ChangeRecord>,
    pub(super) values: Vec<ValueRecord>,
    /// Events one after the other; no chunk, as each has its own checksum.
    pub(super) events: Span,
}

impl Meta {
    /// Returns about how many octets it takes, rather more than less.
    fn estimate(&self) -> usize {
        let rows = self.messages.iter().flat_map(|message| &message.rows).map(|row| 36 + row.line.len());
        let values = self.values.iter().map(|value| 32 + value.table.len() + value.key.len() + value.value.as_ref().map_or(0, Bytes::len));
        64 + rows.chain(values).sum::<usize>() + 36 * self.messages.len() + 48 * self.changes.len()
    }
}

/// A message that came, or that was moved here from a segment that is to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MessageRecord {
    pub(super) id: MessageId,
    /// It was in an older segment: the rows here are all that are left, as they stand.
    pub(super) moved: bool,
    pub(super) content: Span,
    pub(super) rows: Vec<RowRecord>,
}

/// A row of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RowRecord {
    pub(super) recipient: u32,
    pub(super) due: Timestamp,
    pub(super) line: LineName,
    pub(super) payload: Span,
    pub(super) state: Span,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChangeRecord {
    pub(super) copy: CopyId,
    /// When it is due again and its state; `None` once it is done with.
    pub(super) again: Option<(Timestamp, Span)>,
}

/// A change of the key-value table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ValueRecord {
    pub(super) table: Arc<str>,
    pub(super) key: Bytes,
    pub(super) value: Option<Bytes>,
    pub(super) expires: Timestamp,
}

/// A batch ready to be written.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) meta: Meta,
    /// Header and meta.
    head: Vec<u8>,
    /// Chunks.
    pieces: Vec<Piece>,
    length: u32,
    chunks_at: u32,
}

impl Frame {
    /// Encodes a batch. `moved` marks its messages as moved.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] above [`FRAME_OCTETS`].
    pub(super) fn encode(batch: &Batch, moved: bool) -> Result<Self, StoreError> {
        let mut chunks = Chunks::with_capacity(copied_octets(batch));
        let mut meta = Meta::default();
        for message in &batch.messages {
            let mut rows = message
                .rows
                .iter()
                .map(|row| {
                    Ok(RowRecord {
                        recipient: row.recipient,
                        due: row.due,
                        line: line::name(&row.queue, &row.share, row.priority),
                        payload: chunks.push(&row.payload)?,
                        state: chunks.push(&row.state)?,
                    })
                })
                .collect::<Result<Vec<_>, StoreError>>()?;
            rows.sort_by_key(|row| row.recipient);
            rows.dedup_by_key(|row| row.recipient);
            meta.messages.push(MessageRecord { id: message.id, moved, content: Span::default(), rows });
        }
        for change in &batch.changes {
            meta.changes.push(match change {
                Change::Done(copy) => ChangeRecord { copy: *copy, again: None },
                Change::Reschedule { copy, due, state } => ChangeRecord { copy: *copy, again: Some((*due, chunks.push(state)?)) },
            });
        }
        for change in &batch.values {
            let (table, key, value) = (Arc::clone(&change.table), change.key.clone(), change.value.clone());
            meta.values.push(ValueRecord { table, key, value, expires: change.expires });
        }
        meta.events.offset = chunks.length()?;
        for event in &batch.events {
            chunks.push_event(event)?;
        }
        meta.events.length = chunks.length()? - meta.events.offset;
        for (message, record) in batch.messages.iter().zip(&mut meta.messages) {
            record.content = chunks.push_content(message)?;
        }
        Self::assemble(meta, chunks)
    }

    fn assemble(meta: Meta, chunks: Chunks) -> Result<Self, StoreError> {
        let chunks_length = chunks.length()?;
        let mut head = Vec::with_capacity(FRAME_HEADER + meta.estimate());
        head.resize(FRAME_HEADER, 0);
        // Writing to memory cannot fail, and these types are all plain.
        let mut head = postcard::to_extend(&meta, head).map_err(|error| StoreError::Damaged(error.to_string().into()))?;
        let meta_octets = head.get(FRAME_HEADER..).unwrap_or_default();
        let (meta_length, meta_crc) = (length_of(meta_octets.len())?, crc32fast::hash(meta_octets));
        put(&mut head, 0, FRAME_MAGIC);
        put(&mut head, 4, meta_length.to_le_bytes());
        put(&mut head, 8, chunks_length.to_le_bytes());
        put(&mut head, 16, meta_crc.to_le_bytes());
        let chunks_at = length_of(head.len())?;
        let length = length_of(chunks_at as usize + chunks_length as usize)?;
        Ok(Self { meta, head, pieces: chunks.pieces, length, chunks_at })
    }

    /// Returns octets of the whole frame.
    pub(super) fn length(&self) -> u32 {
        self.length
    }

    /// Returns the place of its first chunk, from the frame's start.
    pub(super) fn chunks_at(&self) -> u32 {
        self.chunks_at
    }

    /// Returns the events as they stand in the frame and on the log.
    pub(super) fn events(&self) -> &[u8] {
        let start = self.meta.events.offset as usize;
        self.first_piece().get(start..start + self.meta.events.length as usize).unwrap_or_default()
    }

    /// Returns new states of rows.
    pub(super) fn states(&self) -> impl Iterator<Item = (CopyId, &[u8])> {
        let chunks = self.first_piece();
        let changes = self.meta.changes.iter();
        changes.filter_map(|change| change.again.map(|(_, state)| (change.copy, octets_of(chunks, state).unwrap_or_default())))
    }

    /// All but the content of messages comes first, and is always copied together.
    fn first_piece(&self) -> &[u8] {
        match self.pieces.first() {
            Some(Piece::Own(octets)) => octets,
            Some(Piece::Shared(_)) | None => &[],
        }
    }

    /// Says where the frame will stand.
    pub(super) fn place(&mut self, salt: u64, offset: u32, group: u32) {
        put(&mut self.head, 12, group.to_le_bytes());
        let check = frame_check(salt, offset, self.head.get(..20).unwrap_or_default());
        put(&mut self.head, 20, check.to_le_bytes());
    }

    /// Returns what is to be written, in order.
    pub(super) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Own(octets) => octets.as_slice(),
            Piece::Shared(octets) => octets,
        });
        std::iter::once(self.head.as_slice()).chain(pieces)
    }
}

/// Takes the octets of a message's chunk apart.
pub(super) fn decode_content(octets: &Bytes) -> Option<StoredMessage> {
    let head_length = number(octets, 0)? as usize;
    let body_length = number(octets, 4)? as usize;
    let original_length = number(octets, 8)?;
    let body_at = head_length.checked_add(CONTENT_HEADER)?;
    let original_at = body_at.checked_add(body_length)?;
    let end = if original_length == NO_ORIGINAL { original_at } else { original_at.checked_add(original_length as usize)? };
    (end == octets.len()).then(|| StoredMessage {
        head: octets.slice(CONTENT_HEADER..body_at),
        body: octets.slice(body_at..original_at),
        original: (original_length != NO_ORIGINAL).then(|| octets.slice(original_at..end)),
    })
}

/// Returns where in a content of `length` octets its head ends, by its first [`CONTENT_HEADER`] octets; `None` where the lengths do not fit.
pub(super) fn end_of_head(octets: &[u8], length: u32) -> Option<usize> {
    let (head_length, body_length) = (number(octets, 0)?, number(octets, 4)?);
    let original_length = Some(number(octets, 8)?).filter(|length| *length != NO_ORIGINAL).unwrap_or(0);
    let end = head_length.checked_add(u32::try_from(CONTENT_HEADER).ok()?)?;
    (end.checked_add(body_length)?.checked_add(original_length)? == length).then_some(end as usize)
}

/// Head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHead {
    pub(super) number: u32,
    /// Makes frames of this segment unlike all other octets.
    pub(super) salt: u64,
    /// Where the segment before it ends: all up to there was synced before this one was made. 0 where there is none.
    pub(super) previous_end: u32,
    pub(super) created: Timestamp,
}

impl SegmentHead {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut octets = [0; SEGMENT_HEADER];
        put(&mut octets, 0, SEGMENT_MAGIC);
        put(&mut octets, 8, self.number.to_le_bytes());
        put(&mut octets, 12, self.salt.to_le_bytes());
        put(&mut octets, 20, self.previous_end.to_le_bytes());
        put(&mut octets, 24, self.created.as_millis().to_le_bytes());
        let check = crc32fast::hash(octets.get(..32).unwrap_or_default());
        put(&mut octets, 32, check.to_le_bytes());
        octets
    }

    pub(super) fn decode(octets: &[u8; SEGMENT_HEADER]) -> Option<Self> {
        let known = octets.starts_with(&SEGMENT_MAGIC) && number(octets, 32)? == crc32fast::hash(octets.get(..32)?);
        known.then_some(())?;
        Some(Self {
            number: number(octets, 8)?,
            salt: long(octets, 12)?,
            previous_end: number(octets, 20)?,
            created: Timestamp::from_millis(long(octets, 24)?),
        })
    }
}

/// Header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) meta_length: u32,
    pub(super) chunks_length: u32,
    pub(super) group: u32,
    pub(super) meta_crc: u32,
}

impl FrameHead {
    /// Reads the header of a frame at `offset`; `None` where none was written.
    pub(super) fn decode(octets: &[u8], salt: u64, offset: u32) -> Option<Self> {
        let octets = octets.get(..FRAME_HEADER)?;
        let valid = octets.starts_with(&FRAME_MAGIC) && number(octets, 20)? == frame_check(salt, offset, octets.get(..20)?);
        valid.then_some(())?;
        let (meta_length, chunks_length) = (number(octets, 4)?, number(octets, 8)?);
        Some(Self { meta_length, chunks_length, group: number(octets, 12)?, meta_crc: number(octets, 16)? })
    }

    /// Returns octets of the whole frame.
    pub(super) fn length(&self) -> u64 {
        FRAME_HEADER as u64 + u64::from(self.meta_length) + u64::from(self.chunks_length)
    }

    /// Reads meta and checks all chunks of a frame; `octets` are those behind the header. `None` where they are not what was written.
    pub(super) fn decode_rest(&self, octets: &[u8]) -> Option<Meta> {
        let (meta, chunks) = octets.split_at_checked(self.meta_length as usize)?;
        if chunks.len() != self.chunks_length as usize || crc32fast::hash(meta) != self.meta_crc {
            return None;
        }
        let meta: Meta = postcard::from_bytes(meta).ok()?;
        let rows = meta.messages.iter().flat_map(|message| &message.rows).flat_map(|row| [row.payload, row.state]);
        let states = meta.changes.iter().filter_map(|change| change.again.map(|(_, state)| state));
        let contents = meta.messages.iter().map(|message| message.content);
        let mut spans = rows.chain(states).chain(contents);
        spans.all(|span| chunk(chunks, span).is_some()).then_some(())?;
        let start = meta.events.offset as usize;
        let mut events = chunks.get(start..start + meta.events.length as usize)?;
        while !events.is_empty() {
            events = events.split_at_checked(EVENT_HEADER + event(events)?.len())?.1;
        }
        Some(meta)
    }
}

/// Returns the octets of a chunk in `octets`, if they are what was written.
pub(super) fn chunk(octets: &[u8], span: Span) -> Option<&[u8]> {
    let content = octets_of(octets, span)?;
    (crc32fast::hash(content) == number(octets, span.offset as usize)?).then_some(content)
}

fn octets_of(octets: &[u8], span: Span) -> Option<&[u8]> {
    octets.get((span.offset as usize).checked_add(4)?..)?.get(..span.length as usize)
}

/// Returns the event that `octets` start with, if it is whole.
pub(super) fn event(octets: &[u8]) -> Option<&[u8]> {
    let length = number(octets, 0)?;
    let content = octets.get(EVENT_HEADER..)?.get(..length as usize)?;
    (event_crc(length.to_le_bytes(), content) == number(octets, 4)?).then_some(content)
}

/// Covers the length too: or zeros would be an event without octets.
fn event_crc(length: [u8; 4], octets: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length);
    crc.update(octets);
    crc.finalize()
}

/// Returns octets that an event takes, by its header; it may not be whole.
pub(super) fn event_length(header: &[u8]) -> Option<u64> {
    number(header, 0).map(|length| EVENT_HEADER as u64 + u64::from(length))
}

fn frame_check(salt: u64, offset: u32, head: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_le_bytes());
    crc.update(&offset.to_le_bytes());
    crc.update(head);
    crc.finalize()
}

/// Checks a length against [`FRAME_OCTETS`].
fn length_of(octets: usize) -> Result<u32, StoreError> {
    u32::try_from(octets).ok().filter(|_| octets <= FRAME_OCTETS).ok_or(StoreError::TooLarge("1 GiB in one commit"))
}

pub(super) fn put<const N: usize>(octets: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = octets.get_mut(at..at + N) {
        place.copy_from_slice(&value);
    }
}

pub(super) fn number(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*octets.get(at..)?.first_chunk()?))
}

pub(super) fn long(octets: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*octets.get(at..)?.first_chunk()?))
}
