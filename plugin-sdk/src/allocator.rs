//! Memory for an instance that lives for one call, and has one thread.
//!
//! Blocks are cut from the end of what is in use, in sizes that are powers of two and the middle between two of them. What is given back
//! goes on a list of its size, from which it is taken again; the last block is simply taken back, and grows and shrinks where it is. Nothing
//! is ever split or joined: what that wastes is gone with the instance, and what it would cost is paid by every message.
//!
//! The memory grows in large steps, because each step is a call of the host and of its kernel. It begins with what the linker left between
//! the data and the end of the first memory (`--initial-memory`).
#![allow(unsafe_code, reason = "an allocator hands out addresses")]

use std::alloc::Layout;
use std::ptr::null_mut;

/// Octets of the smallest block, and what all are aligned to.
const SMALLEST: usize = 16;
/// Octets of the largest block. No memory of a plugin is that large.
const LARGEST: usize = 1 << 30;
/// Two for each doubling.
const CLASSES: usize = 64;

/// Blocks in use up to `next`, room up to `end`, and lists of blocks that were given back.
#[derive(Debug)]
pub(crate) struct Heap {
    next: usize,
    end: usize,
    /// Addresses of the first of each list, by class; 0 ends a list.
    free: [usize; CLASSES],
}

/// The number of a size's class, and the octets of its blocks; nothing where it is too large.
fn class(size: usize) -> Option<(usize, usize)> {
    if size > LARGEST {
        return None;
    }
    if size <= SMALLEST {
        return Some((0, SMALLEST));
    }
    // 2^doubling < size <= 2^(doubling + 1); below 32 there is no middle that keeps the alignment.
    let doubling = (size - 1).ilog2() as usize;
    let middle = 3 << (doubling - 1);
    if doubling > 4 && size <= middle { Some((2 * doubling - 7, middle)) } else { Some((2 * doubling - 6, 2 << doubling)) }
}

impl Heap {
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        Self { next: start, end, free: [0; CLASSES] }
    }

    /// Returns a block, or null. `grow` makes at least so many octets more behind the end, and says how many it made.
    ///
    /// # Safety
    /// What lies between `next` and `end` belongs to this heap, and so does what `grow` makes.
    pub(crate) unsafe fn allocate(&mut self, layout: Layout, grow: impl FnOnce(usize) -> Option<usize>) -> *mut u8 {
        let Some((class, octets)) = class(layout.size()) else { return null_mut() };
        if layout.align() <= SMALLEST
            && let Some(first) = self.free.get_mut(class)
            && *first != 0
        {
            let block = *first as *mut usize;
            // SAFETY: what is on a list is a block of ours that nobody uses; `release` wrote the next one's address into it.
            *first = unsafe { block.read() };
            return block.cast();
        }
        let align = layout.align().max(SMALLEST);
        let start = self.next.next_multiple_of(align);
        if self.reserve(start, octets, grow) { start as *mut u8 } else { null_mut() }
    }

    /// Takes up to `start + octets` in use.
    fn reserve(&mut self, start: usize, octets: usize, grow: impl FnOnce(usize) -> Option<usize>) -> bool {
        let Some(next) = start.checked_add(octets) else { return false };
        if next > self.end {
            let Some(made) = grow(next - self.end) else { return false };
            self.end += made;
        }
        self.next = next;
        true
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// `block` is of `allocate` or `resize` with this layout, and is not used any more.
    pub(crate) unsafe fn release(&mut self, block: *mut u8, layout: Layout) {
        let Some((class, octets)) = class(layout.size()) else { return };
        if block as usize + octets == self.next {
            self.next = block as usize;
        } else if let Some(first) = self.free.get_mut(class) {
            #[allow(clippy::cast_ptr_alignment, reason = "all blocks are aligned to 16")]
            // SAFETY: the block has at least 16 octets, is aligned to 16, and is ours again.
            unsafe {
                block.cast::<usize>().write(*first);
            }
            *first = block as usize;
        }
    }

    /// Returns whether a block has room for `size` octets where it is, and makes that room if it is the last one.
    ///
    /// # Safety
    /// As for [`Heap::allocate`] and [`Heap::release`].
    pub(crate) unsafe fn resize(&mut self, block: *mut u8, layout: Layout, size: usize, grow: impl FnOnce(usize) -> Option<usize>) -> bool {
        let (Some((_, old)), Some((_, new))) = (class(layout.size()), class(size)) else { return false };
        if block as usize + old == self.next {
            return self.reserve(block as usize, new, grow);
        }
        // Given back as a smaller one, it is one.
        new <= old
    }
}

#[cfg(all(target_arch = "wasm32", feature = "bump-alloc"))]
mod global {
    use std::alloc::{GlobalAlloc, Layout};
    use std::arch::wasm32::{memory_grow, memory_size};
    use std::cell::UnsafeCell;

    use super::Heap;

    const PAGE: usize = 64 * 1024;
    /// Pages by which the memory grows: 1 MiB.
    const STEP: usize = 16;

    unsafe extern "C" {
        /// Where the linker ends what it placed.
        static __heap_base: u8;
    }

    struct Allocator(UnsafeCell<Option<Heap>>);

    // SAFETY: wasm32 without the feature `atomics` has one thread.
    unsafe impl Sync for Allocator {}

    #[global_allocator]
    static ALLOCATOR: Allocator = Allocator(UnsafeCell::new(None));

    impl Allocator {
        #[allow(clippy::mut_from_ref, reason = "there is one thread, and none of the functions that use it calls another")]
        fn heap(&self) -> &mut Heap {
            // SAFETY: there is one thread, and whoever gets the heap is done with it before anybody else asks.
            let heap = unsafe { &mut *self.0.get() };
            heap.get_or_insert_with(|| Heap::new(&raw const __heap_base as usize, memory_size::<0>() * PAGE))
        }
    }

    /// A large step, or, where that is more than there is, what is needed.
    fn grow(octets: usize) -> Option<usize> {
        let needed = octets.div_ceil(PAGE);
        let pages = [needed.max(STEP), needed].into_iter().find(|pages| memory_grow::<0>(*pages) != usize::MAX)?;
        Some(pages * PAGE)
    }

    // SAFETY: blocks do not overlap, have the size and the alignment that is asked for, and stay where they are until they are given back.
    unsafe impl GlobalAlloc for Allocator {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the memory behind the heap's base is nobody else's; what grows is behind it.
            unsafe { self.heap().allocate(layout, grow) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the caller's promise is the same.
            unsafe { self.heap().release(block, layout) }
        }

        unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            // SAFETY: the caller's promises are the same; the new block is another one, and is copied to no further than both reach.
            unsafe {
                if self.heap().resize(block, layout, size, grow) {
                    return block;
                }
                let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                if !moved.is_null() {
                    std::ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                    self.dealloc(block, layout);
                }
                moved
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn blocks_are_large_enough_and_classes_differ() {
        let mut before = (0, 16);
        for size in 0..100_000 {
            let (class, octets) = class(size).unwrap();
            assert!(octets >= size && octets <= size.max(11) * 2 && octets % 16 == 0, "{size}: {octets}");
            assert!((class, octets) == before || (class > before.0 && octets > before.1), "{size}");
            before = (class, octets);
        }
        assert!(class(LARGEST).unwrap().0 < CLASSES);
        assert_eq!(class(LARGEST + 1), None);
    }

    /// Every block holds what was written to it, whatever was done to the others.
    #[test]
    fn blocks_never_overlap() {
        let mut room = vec![0_u128; 1 << 16];
        let start = room.as_mut_ptr() as usize;
        let middle = start + (1 << 16);
        let end = start + (1 << 20);
        let mut heap = Heap::new(start, middle);
        let mut blocks: Vec<(*mut u8, Layout, u8)> = Vec::new();
        let mut random = 1_u64;
        let mut given = 0;
        for turn in 0..20_000_u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (random >> 33) as usize;
            let grow =
                |heap_end: usize, needed: usize| (heap_end + needed.next_multiple_of(4_096) <= end).then(|| needed.next_multiple_of(4_096));
            let heap_end = heap.end;
            let mark = turn.to_le_bytes()[0];
            // SAFETY: the room is the heap's alone, and blocks are used as they were given.
            unsafe {
                if blocks.len() < 40 && !number.is_multiple_of(3) {
                    let layout = Layout::from_size_align(1 + number % 3_000, 1 << (number % 7)).unwrap();
                    let block = heap.allocate(layout, |needed| grow(heap_end, needed));
                    if !block.is_null() {
                        assert_eq!(block as usize % layout.align(), 0);
                        block.write_bytes(mark, layout.size());
                        blocks.push((block, layout, mark));
                        given += 1;
                    }
                } else if !blocks.is_empty() {
                    let (block, layout, mark) = blocks.swap_remove(number % blocks.len());
                    assert!(std::slice::from_raw_parts(block, layout.size()).iter().all(|octet| *octet == mark));
                    let size = 1 + number % 5_000;
                    if number.is_multiple_of(2) && heap.resize(block, layout, size, |needed| grow(heap_end, needed)) {
                        assert!(std::slice::from_raw_parts(block, layout.size().min(size)).iter().all(|octet| *octet == mark));
                        block.write_bytes(mark, size);
                        blocks.push((block, Layout::from_size_align(size, layout.align()).unwrap(), mark));
                    } else {
                        heap.release(block, layout);
                    }
                }
            }
        }
        assert!(given > 5_000 && heap.end <= end, "{given}");
    }

    #[test]
    fn the_last_block_grows_and_goes_where_it_is() {
        let mut room = vec![0_u128; 1 << 12];
        let start = room.as_mut_ptr() as usize;
        let mut heap = Heap::new(start, start + (1 << 16));
        let layout = |size| Layout::from_size_align(size, 1).unwrap();
        // SAFETY: the room is the heap's alone, and blocks are used as they were given.
        unsafe {
            let first = heap.allocate(layout(100), |_| None);
            let last = heap.allocate(layout(100), |_| None);
            assert!(heap.resize(last, layout(100), 10_000, |_| None));
            assert!(!heap.resize(first, layout(100), 10_000, |_| None));
            assert!(!heap.resize(last, layout(10_000), 100_000, |_| None), "there is no more");
            heap.release(last, layout(10_000));
            assert_eq!(heap.allocate(layout(50), |_| None), last);
            heap.release(first, layout(100));
            assert_eq!(heap.allocate(layout(128), |_| None), first, "what was given back is taken again");
        }
        drop(room);
    }
}
