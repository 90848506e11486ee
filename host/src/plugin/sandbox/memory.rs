//! The memory that one call may have.

use wasmtime::ResourceLimiter;

use crate::plugin::engine::TABLE_ELEMENTS;

/// Counts over all memories of the call.
#[derive(Debug)]
pub(super) struct Memory {
    limit: u64,
    used: u64,
    refused: bool,
}

impl Memory {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, used: 0, refused: false }
    }

    /// Whether more was asked for than there was.
    pub(super) fn was_refused(&self) -> bool {
        self.refused
    }

    /// Returns the most that was in use: memories never shrink.
    pub(super) fn peak(&self) -> u64 {
        self.used
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = u64::try_from(desired.saturating_sub(current)).unwrap_or(u64::MAX);
        let used = self.used.saturating_add(more);
        if used > self.limit || maximum.is_some_and(|maximum| desired > maximum) {
            self.refused = true;
            return Ok(false);
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }
}
