//! Memory for many long-lived rows, in the largest pages that the system offers.
//!
//! Random access then causes fewer TLB misses, and first use fewer page faults.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use memmap2::{MmapMut, MmapRaw};

use crate::error::{Error, Result};
use crate::parallel;

/// Values that one thread copies at a time.
const PART: usize = 1 << 20;

/// An array in huge pages.
#[derive(Debug)]
pub struct HugePages<T> {
    memory: MmapMut,
    values: PhantomData<T>,
}

impl<T: Pod> HugePages<T> {
    /// `len` zeros.
    ///
    /// # Errors
    ///
    /// [`Error::Retrieval`] when there is no memory.
    pub fn zeros(len: usize) -> Result<Self> {
        let bytes = len.saturating_mul(size_of::<T>());
        let memory = MmapMut::map_anon(bytes).map_err(|error| {
            Error::Retrieval(format!(
                "no memory for {:.1} MB of rows: {error}; free some, or set memory_limit",
                bytes as f64 / 1e6
            ))
        })?;
        // A hint: without huge pages the rows are in small ones.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage);
        Ok(Self { memory, values: PhantomData })
    }

    /// A copy of `values`, made by `threads` threads: the first write to a page clears it.
    ///
    /// # Errors
    ///
    /// As [`HugePages::zeros`].
    pub fn of(values: &[T], threads: usize) -> Result<Self>
    where
        T: Send + Sync,
    {
        let mut large = Self::zeros(values.len())?;
        let parts = large.chunks_mut(PART).zip(values.chunks(PART));
        parallel::map_parts(parts, threads, |_, (to, from)| {
            to.copy_from_slice(from);
            Ok(())
        })?;
        Ok(large)
    }
}

impl<T: Pod> Deref for HugePages<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.memory)
    }
}

impl<T: Pod> DerefMut for HugePages<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.memory)
    }
}

impl<T> AsRef<[u8]> for HugePages<T> {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

/// For an arena that hands out parts of it.
impl<T> From<HugePages<T>> for MmapRaw {
    fn from(large: HugePages<T>) -> Self {
        large.memory.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_a_copy() {
        for len in [0, 1, 5, 3 << 20] {
            let values: Vec<f32> = (0..len).map(|value| value as f32).collect();
            let mut large = HugePages::of(&values, 1 + len % 3).expect("memory");
            assert_eq!(*large, values[..]);
            large.fill(-1.0);
            assert_eq!(large.as_ref(), [0, 0, 0x80, 0xbf].repeat(len));
            assert!(HugePages::<i8>::zeros(len).expect("memory").iter().all(|&value| value == 0));
        }
    }

    #[test]
    fn too_much_memory_is_an_error() {
        let error = HugePages::<f32>::zeros(1 << 60).expect_err("so much memory is nowhere");
        assert!(error.to_string().contains("memory"), "{error}");
        assert!(HugePages::<f32>::zeros(usize::MAX).is_err());
    }
}
