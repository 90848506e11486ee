//! What waits to be written: commands as text, content as shared octets that are not copied.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Shared octets up to this size are copied behind the commands, so that a small message leaves in one plain write.
const COPY_LIMIT: usize = 2048;

/// A queue of octets for one vectored write after the other.
#[derive(Debug, Default)]
pub struct Output {
    pieces: VecDeque<Bytes>,
    /// What comes behind the pieces and may still grow.
    text: Vec<u8>,
    /// How much of `text` was written.
    written: usize,
}

impl Output {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.written == self.text.len()
    }

    /// Appends text.
    pub fn push_text(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
    }

    /// Appends octets without copying them, unless they are few.
    pub fn push_shared(&mut self, octets: Bytes) {
        if octets.len() <= COPY_LIMIT {
            self.push_text(&octets);
            return;
        }
        self.seal_text();
        self.pieces.push_back(octets);
    }

    fn seal_text(&mut self) {
        if self.written < self.text.len() {
            let mut text = Bytes::from(std::mem::take(&mut self.text));
            text.advance(self.written);
            self.pieces.push_back(text);
        }
        self.text.clear();
        self.written = 0;
    }

    /// Puts what waits into `slices`, as far as there is room, and returns how many of them are used.
    pub fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let text = self.text.get(self.written..).unwrap_or_default();
        let waiting = self.pieces.iter().map(|piece| &**piece).chain(std::iter::once(text)).filter(|piece| !piece.is_empty());
        let mut used = 0;
        for (slice, piece) in slices.iter_mut().zip(waiting) {
            *slice = IoSlice::new(piece);
            used += 1;
        }
        used
    }

    /// Forgets the first `count` octets: they were written.
    pub fn advance(&mut self, mut count: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
        self.written = (self.written + count).min(self.text.len());
        if self.written == self.text.len() {
            self.text.clear();
            self.written = 0;
        }
    }

    /// Forgets all that waits.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_leaves_in_order(pieces in proptest::collection::vec((any::<bool>(), 0_usize..5000), 0..8), step in 1_usize..3000) {
            let mut output = Output::default();
            let mut expected = Vec::new();
            for (number, (shared, length)) in (0_u8..).zip(&pieces) {
                let octets = vec![number; *length];
                expected.extend_from_slice(&octets);
                if *shared { output.push_shared(octets.into()) } else { output.push_text(&octets) }
            }
            let mut left = Vec::new();
            while !output.is_empty() {
                let mut slices = [IoSlice::new(&[]); 2];
                let used = output.fill(&mut slices);
                let all: Vec<u8> = slices[..used].iter().flat_map(|slice| slice.to_vec()).collect();
                let count = step.min(all.len());
                prop_assert!(count > 0);
                left.extend_from_slice(&all[..count]);
                output.advance(count);
            }
            prop_assert_eq!(left, expected);
        }
    }
}
