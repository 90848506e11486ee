//! The memory that one call may have.

use wasmtime::ResourceLimiter;

use crate::plugin::engine::{CORE_INSTANCES, MEMORIES, TABLE_ELEMENTS, TABLES};

/// Octets of an element of a table.
const ELEMENT: usize = size_of::<usize>();

/// Counts over all memories and tables of the call.
///
/// How many of each a component may have is what the pool gives: without a pool it is no more.
#[derive(Debug)]
pub(super) struct Memory {
    limit: u64,
    memories: u64,
    tables: u64,
    refused: bool,
}

impl Memory {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, memories: 0, tables: 0, refused: false }
    }

    /// Whether more was asked for than there was.
    pub(super) fn was_refused(&self) -> bool {
        self.refused
    }

    /// Returns the most that memories had: they never shrink.
    pub(super) fn peak(&self) -> u64 {
        self.memories
    }

    /// Returns whether `more` octets fit beside what is in use.
    fn fits(&mut self, more: u64) -> bool {
        let fits = self.memories.saturating_add(self.tables).saturating_add(more) <= self.limit;
        self.refused |= !fits;
        fits
    }
}

fn octets(current: usize, desired: usize, size: usize) -> u64 {
    u64::try_from(desired.saturating_sub(current).saturating_mul(size)).unwrap_or(u64::MAX)
}

fn count(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = octets(current, desired, 1);
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let fits = self.fits(more);
        if fits {
            self.memories += more;
        }
        Ok(fits)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = octets(current, desired, ELEMENT);
        let fits = desired <= TABLE_ELEMENTS && self.fits(more);
        if fits {
            self.tables += more;
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        count(CORE_INSTANCES)
    }

    fn tables(&self) -> usize {
        count(TABLES)
    }

    fn memories(&self) -> usize {
        count(MEMORIES)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut memory = Memory::new(1 << 16);
        assert!(memory.table_growing(0, 1_000, None).unwrap());
        assert!(!memory.table_growing(1_000, TABLE_ELEMENTS + 1, None).unwrap() && !memory.was_refused());
        assert!(!memory.memory_growing(0, 1 << 16, None).unwrap());
        assert!(memory.was_refused());
        assert!(memory.memory_growing(0, (1 << 16) - 1_000 * ELEMENT, None).unwrap());
        assert_eq!(memory.peak(), u64::try_from((1 << 16) - 1_000 * ELEMENT).unwrap());
        assert!(!memory.table_growing(1_000, 1_001, None).unwrap());
    }

    #[test]
    fn a_component_has_no_more_than_the_pool_would_give() {
        let memory = Memory::new(0);
        assert_eq!((memory.instances(), memory.tables(), memory.memories()), (16, 4, 2));
    }
}
