//! Characters (Unicode code points) counted on bytes, without decoding.
//!
//! In: UTF-8 bytes. Out: counts and byte positions. A character is counted at its first byte, so a
//! slice may begin and end inside one.

use multiversion::multiversion;

/// The number of characters that begin in `bytes`.
///
/// Counts in blocks that 8-bit lanes can hold, which compilers turn into vector code.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
pub(super) fn count(bytes: &[u8]) -> usize {
    // Loops, not closures: only what is compiled into this function has its target features.
    let (blocks, rest) = bytes.as_chunks::<192>();
    let mut all = 0;
    for block in blocks {
        let mut begun = 0u8;
        for &byte in block {
            begun += u8::from(begins(byte));
        }
        all += usize::from(begun);
    }
    let mut begun = 0u8;
    for &byte in rest {
        begun += u8::from(begins(byte));
    }
    all + usize::from(begun)
}

/// The position `characters` characters after `start`, or the length where fewer are left, and how
/// many characters lie between.
///
/// `start` is the first byte of a character, and so is the position found.
pub(super) fn advance(bytes: &[u8], start: usize, characters: usize) -> (usize, usize) {
    let (mut at, mut left) = (start, characters);
    while left > 0 {
        // `n` bytes hold at most `n` characters: the step never goes too far.
        if left >= bytes.len() - at {
            return (bytes.len(), characters - left + count(&bytes[at..]));
        }
        let step = &bytes[at..at + left];
        at += left;
        left -= count(step);
    }
    while at < bytes.len() && !begins(bytes[at]) {
        at += 1;
    }
    (at, characters)
}

/// True if `byte` is the first of a character: any but `0b10xx_xxxx`.
#[inline]
const fn begins(byte: u8) -> bool {
    byte.cast_signed() >= -64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_counted_as_std_counts_them() {
        let text = "aé漢😀\n".repeat(301);
        for end in (0..=text.len()).filter(|&end| text.is_char_boundary(end)) {
            assert_eq!(count(&text.as_bytes()[..end]), text[..end].chars().count());
        }
    }

    #[test]
    fn advancing_lands_on_the_first_byte_of_the_character() {
        let text = "aé漢😀\n".repeat(7);
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        for (number, &start) in places.iter().enumerate() {
            for step in 0..40 {
                let expected = places.get(number + step).copied().unwrap_or(text.len());
                let passed = step.min(places.len() - number);
                assert_eq!(advance(text.as_bytes(), start, step), (expected, passed));
            }
        }
    }
}
