//! A buffer per thread, reused for the next block: fresh memory costs a page fault every 4 KiB, as much
//! as parsing the text that is read into it.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// Maximum size of a reused buffer; larger ones, of very long lines, are freed.
const MAX_RECYCLED: usize = 32 << 20;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An empty vector of at least `capacity` bytes: the last one dropped on this thread if it fits.
pub(super) fn take(capacity: usize) -> Vec<u8> {
    let mut buffer = BUFFER.take();
    buffer.clear();
    if buffer.capacity() < capacity {
        buffer = Vec::with_capacity(capacity);
    }
    buffer
}

/// Bytes whose buffer is reused by the next [`take`] on the thread that drops them.
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
            // A thread that is ending no longer has one.
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
