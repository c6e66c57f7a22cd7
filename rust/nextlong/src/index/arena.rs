//! One piece of large memory for all packed rows of an engine that stay.

#![allow(unsafe_code, reason = "numkong asks for memory by way of an unsafe trait")]

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::MmapRaw;
use numkong::tensor::{Allocator, Global};

use crate::error::Result;
use crate::store::huge_pages::HugePages;

/// Memory that is allocated from front to back and freed as a whole.
#[derive(Debug)]
pub struct Arena {
    memory: MmapRaw,
    used: AtomicUsize,
}

/// The memory of packed rows.
#[derive(Debug, Clone)]
pub enum Home {
    /// In memory of their own.
    Alone,
    /// With others.
    In(Arc<Arena>),
}

impl Arena {
    /// An arena of `bytes` bytes.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Retrieval`] when there is no memory.
    pub fn new(bytes: usize) -> Result<Arc<Self>> {
        let memory = HugePages::<u8>::zeros(bytes)?.into();
        Ok(Arc::new(Self { memory, used: AtomicUsize::new(0) }))
    }

    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        // Places are multiples of the alignment, as the memory begins with a page.
        let size = layout.size().checked_next_multiple_of(layout.align())?;
        let place = self.used.fetch_add(size, Ordering::Relaxed);
        let fits = place.checked_add(size).is_some_and(|end| end <= self.memory.len());
        if !fits || !place.is_multiple_of(layout.align()) {
            return None;
        }
        // SAFETY: the place is inside the memory.
        NonNull::new(unsafe { self.memory.as_mut_ptr().add(place) })
    }
}

// SAFETY: an arena never hands out a place twice and lives as long as one who has its `Arc`, so as
// long as what lies in it; all else is numkong's own allocator.
unsafe impl Allocator for Home {
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        match self {
            Self::Alone => Global.allocate(layout),
            Self::In(arena) => arena.allocate(layout),
        }
    }

    unsafe fn deallocate(&self, memory: NonNull<u8>, layout: Layout) {
        if let Self::Alone = self {
            // SAFETY: it came from there, with this layout.
            unsafe { Global.deallocate(memory, layout) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_apart_and_aligned_until_there_is_no_more() {
        let home = Home::In(Arena::new(1024).expect("memory"));
        let layout = |size| Layout::from_size_align(size, 64).expect("a layout");
        let first = home.allocate(layout(1)).expect("space").addr().get();
        let second = home.allocate(layout(100)).expect("space").addr().get();
        let third = home.allocate(layout(800)).expect("space").addr().get();
        assert_eq!((first % 64, second - first, third - first), (0, 64, 192));
        assert!(home.allocate(layout(64)).is_none());
        assert!(home.allocate(layout(usize::MAX / 2 - 64)).is_none());
    }
}
