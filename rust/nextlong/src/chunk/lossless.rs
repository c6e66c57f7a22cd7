//! The default rule: whole lines, nothing lost, no chunk above the size.
//!
//! In: the text of one document. Out: byte spans that cover it without a gap.
//!
//! A *unit* is a line with its newline and the blank lines after it (and, for the first, those
//! before it): a unit ends after a newline when the white space that follows holds no line break.
//! Chunks take whole units as long as they fit. A unit longer than the size is taken in sentences,
//! a sentence longer than that in words, and so on down ([`Level`]). The law that this keeps: the
//! first piece of a chunk would not have fitted into the chunk before.

use std::ops::Range;

use super::cuts::Level;
use super::packer::{Limits, Packer};
use super::{Counter, Emit, characters};
use crate::{Progress, Result};

/// Counts characters.
struct Characters;

impl Counter for Characters {
    fn count(&self, text: &str) -> Result<usize> {
        Ok(characters::count(text.as_bytes()))
    }

    fn adds_up(&self, _: &str, _: &str) -> bool {
        true
    }
}

/// Cuts by characters: jumps a chunk ahead and looks back for the last end of a unit.
pub(super) fn by_characters(
    text: &str,
    size_characters: usize,
    progress: &Progress,
    emit: &mut Emit<'_>,
) -> Result<()> {
    let bytes = text.as_bytes();
    let units = Units::new(text);
    let count = |range: Range<usize>| characters::count(&bytes[range]);
    let limits = Limits { size: size_characters, overlap: 0, characters: true };
    let mut start = 0;
    // The characters from the start to here are known: no byte is counted again.
    let (mut at, mut known) = (0, 0);
    while start < bytes.len() {
        progress.check()?;
        let (limit, passed) = characters::advance(bytes, at, size_characters - known);
        let length = known + passed;
        if limit == bytes.len() {
            emit(start..limit, Some(length));
            return Ok(());
        }
        let unit = units.last_end(start, limit).unwrap_or(start)..units.next_end(limit);
        let kept = count(unit.start..limit);
        if unit.len() <= size_characters || kept + count(limit..unit.end) <= size_characters {
            emit(start..unit.start, Some(length - kept));
            (start, at, known) = (unit.start, limit, kept);
            continue;
        }
        let mut packer = Packer::new(text, limits, &Characters, progress, emit);
        packer.resume(start..unit.start, length - kept);
        packer.take_apart(unit, Level::Line)?;
        (start, at, known) = (packer.chunk.start, packer.chunk.end, packer.sum);
    }
    Ok(())
}

/// Cuts by characters, each chunk beginning with the end of the chunk before it.
pub(super) fn by_characters_overlapping(
    text: &str,
    size: usize,
    overlap: usize,
    progress: &Progress,
    emit: &mut Emit<'_>,
) -> Result<()> {
    pack(text, Limits { size, overlap, characters: true }, &Characters, progress, emit)
}

/// Cuts by any count, such as a tokenizer's: sums over units, checked chunk by chunk where they need
/// not add up.
pub(super) fn by_count(
    text: &str,
    size: usize,
    overlap: usize,
    counter: &dyn Counter,
    progress: &Progress,
    emit: &mut Emit<'_>,
) -> Result<()> {
    pack(text, Limits { size, overlap, characters: false }, counter, progress, emit)
}

fn pack(
    text: &str,
    limits: Limits,
    counter: &dyn Counter,
    progress: &Progress,
    emit: &mut Emit<'_>,
) -> Result<()> {
    let units = Units::new(text);
    let mut packer = Packer::new(text, limits, counter, progress, emit);
    let mut start = 0;
    while start < text.len() {
        let end = units.next_end(start);
        packer.take_unit(start..end)?;
        start = end;
    }
    packer.finish()
}

/// The ends of the units of a text.
struct Units<'a> {
    text: &'a str,
    /// Where the first character stands that is not white space.
    first_ink: usize,
}

impl<'a> Units<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, first_ink: text.len() - text.trim_start().len() }
    }

    /// True if a unit ends at `end`, which follows a newline.
    fn ends_at(&self, end: usize) -> bool {
        if end <= self.first_ink {
            return false;
        }
        for character in self.text[end..].chars() {
            if !character.is_whitespace() {
                return true;
            }
            if matches!(character, '\n' | '\r') {
                return false;
            }
        }
        false
    }

    /// The last end of a unit after `start`, at most `limit`.
    fn last_end(&self, start: usize, limit: usize) -> Option<usize> {
        let bytes = &self.text.as_bytes()[start..limit];
        memchr::memrchr_iter(b'\n', bytes)
            .map(|place| start + place + 1)
            .find(|&end| self.ends_at(end))
    }

    /// The first end of a unit after `start`; the end of the text at last.
    fn next_end(&self, start: usize) -> usize {
        memchr::memchr_iter(b'\n', &self.text.as_bytes()[start..])
            .map(|place| start + place + 1)
            .find(|&end| self.ends_at(end))
            .unwrap_or(self.text.len())
    }
}
