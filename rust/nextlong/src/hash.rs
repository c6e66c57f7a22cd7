//! A hasher for maps whose keys are numbers.

use std::hash::{BuildHasherDefault, Hasher};

/// Builds [`IntHasher`]s.
pub(crate) type BuildIntHasher = BuildHasherDefault<IntHasher>;

/// Hashes integers fast: 64-bit keys are taken for hashes and used as they are, 32-bit keys are
/// spread by one multiplication.
#[derive(Default)]
pub(crate) struct IntHasher(u64);

impl Hasher for IntHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 << 8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = u64::from(value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
