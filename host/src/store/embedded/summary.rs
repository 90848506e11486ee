//! What a sealed segment holds, without the content of messages: so that a start need not read the segment, and a message that is done with can
//! be found without keeping it in mind.
//!
//! ```text
//! summary = "TubeSum1" crc:u32 end:u32 sealed:u64 record_length:u32 record (id:[u8;16] offset:u32 length:u32)*
//! ```
//!
//! `record` (postcard of [`Record`]) is applied at start, in the order of segments. The table behind it has every message that was written in the segment, sorted by id.
//! `crc` covers all behind it; `end` is that of the segment. Summaries are not synced: one that is missing or torn is made again from the segment.

use std::collections::{HashMap, HashSet};
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::disk::{Disk, FileName};
use super::index::{Index, LiveMessage, Place, RowView};
use super::journal::WriteError;
use super::line::LineName;
use super::record::{Meta, Span, ValueRecord, long, number, put};
use crate::clock::Timestamp;
use crate::mail::message_id::{CopyId, MessageId};

const MAGIC: [u8; 8] = *b"TubeSum1";
const HEADER: usize = 28;
/// Octets of an entry of the table.
const ENTRY: usize = 24;
/// Messages that are looked up in the index at once, while others wait for it.
const LOOK_UP_AT_ONCE: usize = 512;

/// Every message in a segment, with where its content is; of one that was written twice, the later place.
pub(super) type Places = HashMap<MessageId, Span>;

/// What has been written in the segment that is not sealed yet, beside its messages.
#[derive(Default)]
pub(super) struct Contents {
    /// Messages that came from an older segment.
    moved: HashSet<MessageId>,
    /// The last change of each row that was changed and may still stand in an older segment.
    changes: HashMap<CopyId, Option<(Timestamp, Span)>>,
    /// The last change of each value.
    values: HashMap<(Arc<str>, Bytes), ValueRecord>,
}

impl Contents {
    /// Takes in a frame whose chunks start at `base`; its messages go to `places`.
    pub(super) fn add(&mut self, meta: &Meta, base: u32, places: &mut Places) {
        for message in &meta.messages {
            places.insert(message.id, message.content.at(base));
            if message.moved {
                self.moved.insert(message.id);
            }
        }
        for change in &meta.changes {
            // What becomes of this segment's own messages is in the index, or they are done with.
            if places.contains_key(&change.copy.message) && !self.moved.contains(&change.copy.message) {
                continue;
            }
            let last = self.changes.entry(change.copy).or_insert(Some(Default::default()));
            // What is done with stays so: a late worker may still ask for another attempt.
            if last.is_some() {
                *last = change.again.map(|(due, state)| (due, state.at(base)));
            }
        }
        for value in &meta.values {
            self.values.insert((Arc::clone(&value.table), value.key.clone()), value.clone());
        }
    }

    /// Makes the summary of the segment with messages at `places`, which ends at `end` and is sealed `now`. `live` finds out which of some messages are queued.
    pub(super) fn summarize(
        &self,
        places: &Places,
        segment: u32,
        end: u32,
        now: Timestamp,
        mut live: impl FnMut(&[(MessageId, Span)]) -> Vec<(MessageId, LiveMessage)>,
    ) -> Summary {
        let mut table: Vec<_> = places.iter().map(|(id, span)| (*id, *span)).collect();
        table.sort_unstable_by_key(|(id, _)| *id);
        let mut queued = Vec::new();
        for some in table.chunks(LOOK_UP_AT_ONCE) {
            queued.extend(live(some).into_iter().filter(|(_, message)| message.content.segment == segment).map(|(id, message)| {
                let rows = message.rows.into_iter().map(|(row, line)| Row {
                    recipient: row.copy.recipient,
                    due: row.due,
                    line,
                    payload: row.payload.span,
                    state: row.state.span,
                });
                Queued { id, content: message.content.span, rows: rows.collect() }
            }));
        }
        let own = |id: &MessageId| table.binary_search_by_key(id, |(known, _)| *known).is_ok();
        // What became of this segment's own messages is in `live`, or they are done with. A moved one may still stand in an older segment.
        let changes = self.changes.iter().filter(|(copy, _)| !own(&copy.message) || self.moved.contains(&copy.message));
        let mut changes: Vec<_> = changes.map(|(copy, again)| (*copy, *again)).collect();
        changes.sort_by_key(|(copy, _)| *copy);
        let mut values: Vec<_> = self.values.values().cloned().collect();
        for value in &mut values {
            // Not left out: it must still hide what an older segment says.
            value.value = value.value.take().filter(|_| value.expires > now);
        }
        values.sort_by(|one, other| (&one.table, &one.key).cmp(&(&other.table, &other.key)));
        Summary { segment, end, sealed: now, record: Record { live: queued, changes, values }, table }
    }
}

/// What is applied at start.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    live: Vec<Queued>,
    changes: Vec<(CopyId, Option<(Timestamp, Span)>)>,
    values: Vec<ValueRecord>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Queued {
    id: MessageId,
    content: Span,
    rows: Vec<Row>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    recipient: u32,
    due: Timestamp,
    line: LineName,
    payload: Span,
    /// In the same segment: nothing was written after it yet.
    state: Span,
}

/// The summary of a sealed segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Summary {
    segment: u32,
    end: u32,
    pub(super) sealed: Timestamp,
    record: Record,
    /// Sorted by id.
    table: Vec<(MessageId, Span)>,
}

impl Summary {
    fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        let record = postcard::to_stdvec(&self.record)?;
        let mut octets = Vec::with_capacity(HEADER + record.len() + self.table.len() * ENTRY);
        octets.extend_from_slice(&MAGIC);
        octets.extend_from_slice(&[0; 4]);
        octets.extend_from_slice(&self.end.to_le_bytes());
        octets.extend_from_slice(&self.sealed.as_millis().to_le_bytes());
        octets.extend_from_slice(&u32::try_from(record.len()).unwrap_or(u32::MAX).to_le_bytes());
        octets.extend_from_slice(&record);
        for (id, span) in &self.table {
            octets.extend_from_slice(&id.to_bytes());
            octets.extend_from_slice(&span.offset.to_le_bytes());
            octets.extend_from_slice(&span.length.to_le_bytes());
        }
        let crc = crc32fast::hash(octets.get(12..).unwrap_or_default());
        put(&mut octets, 8, crc.to_le_bytes());
        Ok(octets)
    }

    /// `None` where the octets are no whole summary of a segment with this end.
    pub(super) fn decode(segment: u32, end: u32, octets: &[u8]) -> Option<Self> {
        let Parts { sealed, record, table } = parts(octets).filter(|_| number(octets, 12) == Some(end))?;
        let record = postcard::from_bytes(record).ok()?;
        Some(Self { segment, end, sealed, record, table: table.iter().filter_map(entry).collect() })
    }

    /// Writes the summary; returns its octets. Where that fails, none is left: the segment can be read without it.
    pub(super) fn write(&self, disk: &dyn Disk) -> Result<u64, WriteError> {
        let name = FileName::Summary(self.segment);
        let octets = self.encode().map_err(|error| WriteError::new("a summary cannot be written", &io::Error::other(error)))?;
        let file = disk.create(name).map_err(|error| WriteError::not_made("a summary cannot be made", &error))?;
        if let Err(error) = file.write_at(0, &mut [IoSlice::new(&octets)]) {
            let _ = disk.remove(name);
            return Err(WriteError::new("a summary cannot be written", &error));
        }
        Ok(octets.len() as u64)
    }

    /// The least and the greatest id in the segment.
    pub(super) fn range(&self) -> Option<(MessageId, MessageId)> {
        self.table.first().zip(self.table.last()).map(|((first, _), (last, _))| (*first, *last))
    }

    /// The messages in the segment, in the order of ids.
    pub(super) fn messages(&self) -> impl DoubleEndedIterator<Item = MessageId> {
        self.table.iter().map(|(id, _)| *id)
    }

    /// Puts what the segment holds into `index` and `values`.
    pub(super) fn apply(&self, index: &mut Index, mut value: impl FnMut(&ValueRecord)) {
        let place = |span| Place { segment: self.segment, span };
        for message in &self.record.live {
            let rows = message.rows.iter().map(|row| {
                let copy = CopyId { message: message.id, recipient: row.recipient };
                (RowView::new(copy, row.due, place(row.payload), place(row.state)), Arc::clone(&row.line))
            });
            index.restore(message.id, &LiveMessage { content: place(message.content), rows: rows.collect() });
        }
        for (copy, again) in &self.record.changes {
            index.change(*copy, again.map(|(due, state)| (due, place(state))));
        }
        for record in &self.record.values {
            value(record);
        }
    }
}

/// A summary is not what was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken;

/// Looks a message up in an encoded summary.
pub(super) fn find(octets: &[u8], id: MessageId) -> Result<Option<Span>, Broken> {
    let Parts { table, .. } = parts(octets).ok_or(Broken)?;
    let found = table.binary_search_by_key(&id, |octets| MessageId::from_bytes(*octets.first_chunk().unwrap_or(&[0; 16])));
    Ok(found.ok().and_then(|place| entry(table.get(place)?)).map(|(_, span)| span))
}

struct Parts<'a> {
    sealed: Timestamp,
    record: &'a [u8],
    table: &'a [[u8; ENTRY]],
}

fn parts(octets: &[u8]) -> Option<Parts<'_>> {
    let whole = octets.starts_with(&MAGIC) && crc32fast::hash(octets.get(12..)?) == number(octets, 8)?;
    whole.then_some(())?;
    let (record, table) = octets.get(HEADER..)?.split_at_checked(number(octets, 24)? as usize)?;
    let (table, []) = table.as_chunks() else { return None };
    Some(Parts { sealed: Timestamp::from_millis(long(octets, 16)?), record, table })
}

fn entry(octets: &[u8; ENTRY]) -> Option<(MessageId, Span)> {
    Some((MessageId::from_bytes(*octets.first_chunk()?), Span { offset: number(octets, 16)?, length: number(octets, 20)? }))
}
