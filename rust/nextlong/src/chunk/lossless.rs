//! The default rule: whole lines, nothing lost, no chunk above the size.
//!
//! In: the text of one document. Out: byte spans that cover it without a gap.
//!
//! A *unit* is a line with its newline and the blank lines after it (and, for the first, those
//! before it): a unit ends after a newline when the white space that follows holds no line break.
//! Chunks take whole units as long as they fit. A unit longer than the size is taken in sentences,
//! a sentence longer than that in words, and so on down ([`Level`]). The law that this keeps: the
//! first piece of a chunk would not have fitted into the chunk before.

use std::collections::VecDeque;
use std::ops::Range;

use super::cuts::Level;
use super::{Emit, characters};
use crate::{Progress, Result};

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
    let measure = |piece: &str| characters::count(piece.as_bytes());
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
        let mut packer = Packer::new(text, size_characters, &measure, progress, emit);
        packer.sums_are_exact = true;
        (packer.chunk, packer.sum) = (start..unit.start, length - kept);
        packer.take_apart(unit, Level::Line)?;
        (start, at, known) = (packer.chunk.start, packer.chunk.end, packer.sum);
    }
    Ok(())
}

/// Cuts by any measure, such as a tokenizer's count: sums over units, checked chunk by chunk.
pub(super) fn by_measure(
    text: &str,
    size: usize,
    measure: &dyn Fn(&str) -> usize,
    progress: &Progress,
    emit: &mut Emit<'_>,
) -> Result<()> {
    let units = Units::new(text);
    let mut packer = Packer::new(text, size, measure, progress, emit);
    let mut start = 0;
    while start < text.len() {
        let end = units.next_end(start);
        packer.take(start..end, Level::Line)?;
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

    /// Whether a unit ends at `end`, which follows a newline.
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

/// Fills chunks with pieces, one after another.
struct Packer<'a> {
    text: &'a str,
    size: usize,
    measure: &'a dyn Fn(&str) -> usize,
    /// Whether the measure of joined pieces is the sum of theirs.
    sums_are_exact: bool,
    progress: &'a Progress,
    emit: &'a mut Emit<'a>,
    /// The chunk being filled, and the sum of its pieces' measures.
    chunk: Range<usize>,
    sum: usize,
    /// Its pieces, (end, measure), where the sums are not exact.
    pieces: Vec<(usize, usize)>,
}

impl<'a> Packer<'a> {
    fn new(
        text: &'a str,
        size: usize,
        measure: &'a dyn Fn(&str) -> usize,
        progress: &'a Progress,
        emit: &'a mut Emit<'a>,
    ) -> Self {
        let (chunk, pieces) = (0..0, Vec::new());
        Self { text, size, measure, sums_are_exact: false, progress, emit, chunk, sum: 0, pieces }
    }

    fn measure(&self, range: Range<usize>) -> usize {
        (self.measure)(&self.text[range])
    }

    /// Takes a piece whole where it fits into a chunk, else in finer pieces.
    fn take(&mut self, range: Range<usize>, level: Level) -> Result<()> {
        let measure = self.measure(range.clone());
        if measure <= self.size {
            return self.push(range.end, measure);
        }
        self.take_apart(range, level)
    }

    /// Takes a piece that is too long in pieces of the next finer level that has any.
    fn take_apart(&mut self, range: Range<usize>, mut level: Level) -> Result<()> {
        let text = self.text;
        while let Some(finer) = level.finer() {
            level = finer;
            let mut cuts = level.cuts(&text[range.clone()]).peekable();
            if cuts.peek().is_none() {
                continue;
            }
            let ends = cuts.map(|cut| range.start + cut).chain([range.end]);
            if matches!(level, Level::Sentence | Level::Word) {
                let mut start = range.start;
                for end in ends {
                    self.take(start..end, level)?;
                    start = end;
                }
                return Ok(());
            }
            return self.take_prefixes(range.start, ends, level);
        }
        // One code point: nothing is finer.
        let measure = self.measure(range.clone());
        self.push(range.end, measure)
    }

    /// Takes the longest prefix that fits, again and again: pieces of a word are too small to be
    /// measured one by one.
    fn take_prefixes(
        &mut self,
        mut start: usize,
        mut ends: impl Iterator<Item = usize>,
        level: Level,
    ) -> Result<()> {
        let mut ahead = VecDeque::new();
        loop {
            let (mut fitting, mut fitting_measure, mut step) = (0, 0, 1);
            let mut too_long = loop {
                while ahead.len() < step {
                    let Some(end) = ends.next() else { break };
                    ahead.push_back(end);
                }
                step = step.min(ahead.len());
                if step == fitting {
                    break step + 1;
                }
                let measure = self.measure(start..ahead[step - 1]);
                if measure > self.size {
                    break step;
                }
                (fitting, fitting_measure, step) = (step, measure, 2 * step);
            };
            if ahead.is_empty() {
                return Ok(());
            }
            while fitting + 1 < too_long {
                let middle = usize::midpoint(fitting, too_long);
                let measure = self.measure(start..ahead[middle - 1]);
                if measure > self.size {
                    too_long = middle;
                } else {
                    (fitting, fitting_measure) = (middle, measure);
                }
            }
            let end = ahead[fitting.max(1) - 1];
            if fitting == 0 {
                self.take_apart(start..end, level)?;
            } else {
                self.push(end, fitting_measure)?;
            }
            ahead.drain(..fitting.max(1));
            start = end;
        }
    }

    /// Adds the piece that ends at `end`, closing the chunk first where it would not fit.
    fn push(&mut self, end: usize, measure: usize) -> Result<()> {
        while !self.chunk.is_empty() && self.sum + measure > self.size {
            self.close()?;
        }
        self.chunk.end = end;
        self.sum += measure;
        if !self.sums_are_exact {
            self.pieces.push((end, measure));
        }
        Ok(())
    }

    /// Gives the chunk away; pieces that make it longer than their sum promised begin the next.
    fn close(&mut self) -> Result<()> {
        self.progress.check()?;
        let mut kept = self.pieces.len();
        while kept > 1 && self.measure(self.chunk.start..self.pieces[kept - 1].0) > self.size {
            kept -= 1;
        }
        let end = if kept == 0 { self.chunk.end } else { self.pieces[kept - 1].0 };
        (self.emit)(self.chunk.start..end, self.sums_are_exact.then_some(self.sum));
        self.pieces.drain(..kept);
        self.sum = self.pieces.iter().map(|&(_, measure)| measure).sum();
        self.chunk.start = end;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        while !self.chunk.is_empty() {
            self.close()?;
        }
        Ok(())
    }
}
