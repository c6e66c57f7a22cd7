//! What each fuzz target does with some bytes: under libFuzzer (`targets/`), with what it found
//! before (`seeds/`, replayed by the core's tests) and with proptest's chance.

#![allow(dead_code, reason = "each user takes some of it")]

pub mod assemble;
pub mod chunk;
pub mod jsonl;
pub mod ngrams;
pub mod trust;
pub mod write;

/// Settings and values, taken from the front of some bytes; zeros behind their end.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// A number below `end`, at most 255.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    /// The next bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let (now, rest) = self.0.split_at(N.min(self.0.len()));
        self.0 = rest;
        let mut all = [0; N];
        all[..now.len()].copy_from_slice(now);
        all
    }

    /// A small number, or any.
    pub fn number(&mut self) -> i32 {
        match self.byte() {
            byte if byte < 200 => i32::from(byte % 9),
            _ => i32::from_le_bytes(self.array()),
        }
    }

    /// None, or a number below `end`.
    pub fn maybe(&mut self, end: usize) -> Option<u32> {
        self.below(end + 1).checked_sub(1).map(|number| number as u32)
    }
}
