//! The buffer of a block, used again by the thread that is through with it: fresh memory costs a page
//! fault every 4 KiB, as much as parsing what is read into it.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// Larger ones, those of very long lines, are given back.
const MAX_RECYCLED: usize = 32 << 20;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An empty vector with room for `capacity` bytes, the one that was dropped here last if it fits.
pub(super) fn take(capacity: usize) -> Vec<u8> {
    let mut buffer = BUFFER.take();
    buffer.clear();
    if buffer.capacity() < capacity {
        buffer = Vec::with_capacity(capacity);
    }
    buffer
}

/// Bytes whose memory is kept for the next [`take`] when they are dropped.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Recycled(pub Vec<u8>);

impl Deref for Recycled {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Recycled {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Recycled {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.0);
        if bytes.capacity() <= MAX_RECYCLED {
            // A thread that ends has none any more.
            let _ = BUFFER.try_with(|buffer| {
                let before = buffer.take();
                buffer.set(if before.capacity() < bytes.capacity() { bytes } else { before });
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_taken_again_unless_it_is_large() {
        let mut one = take(1 << 16);
        one.extend_from_slice(b"bytes");
        let place = one.as_ptr();
        drop(Recycled(one));
        let again = take(1 << 10);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        drop(Recycled(again));
        let larger = take(1 << 17);
        assert_ne!(larger.as_ptr(), place, "too small, and gone");
        drop(Recycled(Vec::with_capacity(MAX_RECYCLED + 1)));
        assert_eq!(BUFFER.take().capacity(), 0);
    }
}
