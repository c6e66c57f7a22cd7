//! The runs of a text that words are made of: letters, digits and all beyond ASCII.
//!
//! A run starts and ends where an ASCII character that is neither letter nor digit stands, or the
//! text ends. Bytes are classed 64 at a time, a bit each.

use multiversion::multiversion;

/// Bytes that are classed together.
const BLOCK: usize = 64;

/// A run of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub start: usize,
    pub end: usize,
    /// True if it is all letters and digits: one word.
    pub ascii: bool,
}

/// Calls `see` with every run of `text`, in order.
#[inline]
pub(crate) fn each(text: &str, mut see: impl FnMut(Run)) {
    let bytes = text.as_bytes();
    let all_ascii = bytes.is_ascii();
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    // It ends with at least one zero, and so does the last run.
    let mut last = [0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    let (mut inside, mut start) = (0, 0);
    for (number, block) in blocks.iter().chain([&last]).enumerate() {
        let class = word_bytes(block);
        let before = class << 1 | inside;
        let (mut starts, mut ends) = (class & !before, !class & before);
        let mut next_start = || {
            let place = number * BLOCK + starts.trailing_zeros() as usize;
            starts &= starts.wrapping_sub(1);
            place
        };
        if inside == 0 {
            start = next_start();
        }
        while ends != 0 {
            let end = number * BLOCK + ends.trailing_zeros() as usize;
            ends &= ends - 1;
            let ascii = all_ascii || bytes[start..end].is_ascii();
            see(Run { start, end, ascii });
            start = next_start();
        }
        inside = class >> (BLOCK - 1);
    }
}

/// A bit for each byte that can stand in a word: letters, digits and all beyond ASCII.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn word_bytes(block: &[u8; BLOCK]) -> u64 {
    let mut class = [0u8; BLOCK];
    for (class, &byte) in class.iter_mut().zip(block) {
        let letter = u8::from((byte | 0x20).wrapping_sub(b'a') < 26);
        let digit = u8::from(byte.wrapping_sub(b'0') < 10);
        *class = letter | digit | byte >> 7;
    }
    let (eights, _) = class.as_chunks::<8>();
    // The product brings the low bits of eight bytes side by side.
    eights.iter().rev().fold(0, |bits, eight| {
        bits << 8 | u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_are_what_lies_between_ascii_gaps(
            text in "([a-zA-Z0-9]{0,70}|[ -~\\x00-\\x1f]{0,3}|[é\u{301}\u{ad}天カ\u{2019}]|.){0,20}"
        ) {
            let mut found = Vec::new();
            each(&text, |run| found.push((&text[run.start..run.end], run.ascii)));
            let gap = |character: char| character.is_ascii() && !character.is_ascii_alphanumeric();
            let expected: Vec<(&str, bool)> = text
                .split(gap)
                .filter(|part| !part.is_empty())
                .map(|part| (part, part.is_ascii()))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
