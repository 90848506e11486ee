//! What queued messages take on disk, by segment.

use super::super::record::Span;
use super::Index;

/// What queued messages take in one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Live {
    pub(in super::super) messages: u32,
    pub(in super::super) octets: u64,
}

impl Index {
    pub(super) fn count_live(&mut self, segment: u32, content: Span, more: bool) {
        let octets = u64::from(content.length);
        let live = self.live.entry(segment).or_default();
        if more {
            live.messages += 1;
            live.octets += octets;
            self.live_octets += octets;
        } else {
            live.messages -= 1;
            live.octets -= octets;
            self.live_octets -= octets;
            if live.messages == 0 {
                self.live.remove(&segment);
            }
        }
    }

    pub(in super::super) fn live(&self, segment: u32) -> Live {
        self.live.get(&segment).copied().unwrap_or_default()
    }

    pub(in super::super) fn live_octets(&self) -> u64 {
        self.live_octets
    }
}
