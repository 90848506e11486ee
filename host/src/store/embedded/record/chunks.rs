//! Octets of a frame behind its meta, put together.

use bytes::Bytes;

use super::{EVENT_HEADER, NO_ORIGINAL, Span, event_crc, length_of, put};
use crate::store::{Batch, Change, NewMessage, StoreError};

/// Octets of content above which it is handed to the disk from where it is, instead of being copied into the frame.
const COPY_BELOW: usize = 16 << 10;

/// Octets of a frame: copied together, or taken from where they are.
#[derive(Debug)]
pub(super) enum Piece {
    Own(Vec<u8>),
    Shared(Bytes),
}

/// Chunks being put together.
pub(super) struct Chunks {
    pub(super) pieces: Vec<Piece>,
    length: usize,
}

/// Returns octets of the first piece of a batch's chunks.
pub(super) fn copied_octets(batch: &Batch) -> usize {
    let rows = batch.messages.iter().flat_map(|message| &message.rows).map(|row| 8 + row.payload.len() + row.state.len());
    let changes = batch.changes.iter().map(|change| match change {
        Change::Done(_) => 0,
        Change::Reschedule { state, .. } => 4 + state.len(),
    });
    let events = batch.events.iter().map(|event| EVENT_HEADER + event.len());
    let mut octets = rows.chain(changes).chain(events).sum();
    for message in &batch.messages {
        octets += 16;
        for piece in [Some(&message.head), Some(&message.body), message.original.as_ref()].into_iter().flatten() {
            if piece.len() >= COPY_BELOW {
                return octets;
            }
            octets += piece.len();
        }
    }
    octets
}

impl Chunks {
    pub(super) fn with_capacity(octets: usize) -> Self {
        let pieces = if octets == 0 { Vec::new() } else { vec![Piece::Own(Vec::with_capacity(octets))] };
        Self { pieces, length: 0 }
    }

    pub(super) fn length(&self) -> Result<u32, StoreError> {
        length_of(self.length)
    }

    fn open(&mut self) -> &mut Vec<u8> {
        if !matches!(self.pieces.last(), Some(Piece::Own(_))) {
            self.pieces.push(Piece::Own(Vec::new()));
        }
        match self.pieces.last_mut() {
            Some(Piece::Own(octets)) => octets,
            _ => unreachable!("one was just pushed"),
        }
    }

    fn append(&mut self, octets: &[u8]) {
        self.open().extend_from_slice(octets);
        self.length += octets.len();
    }

    fn share(&mut self, octets: &Bytes) {
        if octets.len() < COPY_BELOW {
            self.append(octets);
        } else {
            self.pieces.push(Piece::Shared(octets.clone()));
            self.length += octets.len();
        }
    }

    pub(super) fn push(&mut self, octets: &Bytes) -> Result<Span, StoreError> {
        let span = Span { offset: self.length()?, length: length_of(octets.len())? };
        self.append(&crc32fast::hash(octets).to_le_bytes());
        self.append(octets);
        Ok(span)
    }

    pub(super) fn push_event(&mut self, octets: &Bytes) -> Result<(), StoreError> {
        let length = length_of(octets.len())?.to_le_bytes();
        self.append(&length);
        self.append(&event_crc(length, octets).to_le_bytes());
        self.append(octets);
        Ok(())
    }

    pub(super) fn push_content(&mut self, message: &NewMessage) -> Result<Span, StoreError> {
        let offset = self.length()?;
        let original_length = message.original.as_ref().map_or(Ok(NO_ORIGINAL), |original| length_of(original.len()))?;
        let mut lengths = [0; 12];
        put(&mut lengths, 0, length_of(message.head.len())?.to_le_bytes());
        put(&mut lengths, 4, length_of(message.body.len())?.to_le_bytes());
        put(&mut lengths, 8, original_length.to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&lengths);
        crc.update(&message.head);
        crc.update(&message.body);
        if let Some(original) = &message.original {
            crc.update(original);
        }
        self.append(&crc.finalize().to_le_bytes());
        self.append(&lengths);
        self.share(&message.head);
        self.share(&message.body);
        if let Some(original) = &message.original {
            self.share(original);
        }
        Ok(Span { offset, length: self.length()? - offset - 4 })
    }
}
