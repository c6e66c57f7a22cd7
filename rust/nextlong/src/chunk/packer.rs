//! Fills chunks with pieces of a text, one after another.
//!
//! In: the units of a text, in order. Out: the spans of the chunks. A unit that is longer than a
//! chunk is taken apart into finer pieces ([`Level`]). With an overlap, a chunk begins with the last
//! pieces of the chunk before it.

use std::collections::VecDeque;
use std::ops::Range;

use super::cuts::Level;
use super::{Counter, Emit};
use crate::{Progress, Result};

/// A piece of the chunk that is being filled.
#[derive(Clone, Copy)]
struct Piece {
    end: usize,
    count: usize,
    /// True if its count and that of the text before it certainly add up.
    adds_up: bool,
}

/// How chunks are filled.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// The maximum count of a chunk.
    pub(super) size: usize,
    /// The maximum count of the text that two chunks share; less than `size`.
    pub(super) overlap: usize,
    /// True if counts are characters: sums are exact, and chunks are given with their count.
    pub(super) characters: bool,
}

/// Fills chunks with pieces, one after another.
pub(super) struct Packer<'a> {
    text: &'a str,
    limits: Limits,
    counter: &'a dyn Counter,
    progress: &'a Progress,
    emit: &'a mut Emit<'a>,
    /// The chunk being filled, and the sum of the counts of its pieces.
    pub(super) chunk: Range<usize>,
    pub(super) sum: usize,
    /// Where its text ends that the chunk before it holds too.
    shared_end: usize,
    /// Its pieces, the shared text as the first of them; left empty where no chunk looks back.
    pieces: Vec<Piece>,
    /// Pieces that are to be added, with their counts.
    waiting: VecDeque<(usize, usize)>,
}

impl<'a> Packer<'a> {
    pub(super) fn new(
        text: &'a str,
        limits: Limits,
        counter: &'a dyn Counter,
        progress: &'a Progress,
        emit: &'a mut Emit<'a>,
    ) -> Self {
        Self {
            text,
            limits,
            counter,
            progress,
            emit,
            chunk: 0..0,
            sum: 0,
            shared_end: 0,
            pieces: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Goes on with a chunk that holds `chunk` and counts `sum`.
    pub(super) fn resume(&mut self, chunk: Range<usize>, sum: usize) {
        self.shared_end = chunk.start;
        (self.chunk, self.sum) = (chunk, sum);
    }

    fn count(&self, range: Range<usize>) -> Result<usize> {
        self.counter.count(&self.text[range])
    }

    /// The maximum count of a piece of a unit that is taken apart: what leaves room for the overlap.
    fn piece_limit(&self) -> usize {
        self.limits.size - self.limits.overlap
    }

    /// Takes a unit whole where it fits into a chunk, else in finer pieces.
    pub(super) fn take_unit(&mut self, range: Range<usize>) -> Result<()> {
        let count = self.count(range.clone())?;
        if count <= self.limits.size {
            return self.push(range.end, count);
        }
        self.take_apart(range, Level::Line)
    }

    fn take(&mut self, range: Range<usize>, level: Level) -> Result<()> {
        let count = self.count(range.clone())?;
        if count <= self.piece_limit() {
            return self.push(range.end, count);
        }
        self.take_apart(range, level)
    }

    /// Takes a piece that is too long in pieces of the next finer level that has any.
    pub(super) fn take_apart(&mut self, range: Range<usize>, mut level: Level) -> Result<()> {
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
        let count = self.count(range.clone())?;
        self.push(range.end, count)
    }

    /// Takes the longest prefix that fits, again and again: pieces of a word are too small to be
    /// counted one by one.
    fn take_prefixes(
        &mut self,
        mut start: usize,
        mut ends: impl Iterator<Item = usize>,
        level: Level,
    ) -> Result<()> {
        let limit = self.piece_limit();
        let mut ahead = VecDeque::new();
        loop {
            let (mut fitting, mut fitting_count, mut step) = (0, 0, 1);
            let mut too_long = loop {
                while ahead.len() < step {
                    let Some(end) = ends.next() else { break };
                    ahead.push_back(end);
                }
                step = step.min(ahead.len());
                if step == fitting {
                    break step + 1;
                }
                let count = self.count(start..ahead[step - 1])?;
                if count > limit {
                    break step;
                }
                (fitting, fitting_count, step) = (step, count, 2 * step);
            };
            if ahead.is_empty() {
                return Ok(());
            }
            while fitting + 1 < too_long {
                let middle = usize::midpoint(fitting, too_long);
                let count = self.count(start..ahead[middle - 1])?;
                if count > limit {
                    too_long = middle;
                } else {
                    (fitting, fitting_count) = (middle, count);
                }
            }
            let end = ahead[fitting.max(1) - 1];
            if fitting == 0 {
                self.take_apart(start..end, level)?;
            } else {
                self.push(end, fitting_count)?;
            }
            ahead.drain(..fitting.max(1));
            start = end;
        }
    }

    /// Adds the piece that ends at `end`, closing the chunk first where it would not fit.
    fn push(&mut self, end: usize, count: usize) -> Result<()> {
        self.waiting.push_back((end, count));
        self.settle()
    }

    /// Adds the waiting pieces.
    fn settle(&mut self) -> Result<()> {
        while let Some(&(end, count)) = self.waiting.front() {
            let fits = self.sum.saturating_add(count) <= self.limits.size;
            if !fits && self.holds_new_text() {
                self.close(count)?;
                continue;
            }
            if !fits {
                self.share_nothing();
            }
            self.waiting.pop_front();
            if !self.keeps_no_pieces() {
                let (before, piece) =
                    self.text[self.chunk.start..end].split_at(self.chunk.end - self.chunk.start);
                let adds_up = before.is_empty() || self.counter.adds_up(before, piece);
                self.pieces.push(Piece { end, count, adds_up });
            }
            self.chunk.end = end;
            self.sum = self.sum.saturating_add(count);
        }
        Ok(())
    }

    fn keeps_no_pieces(&self) -> bool {
        self.limits.characters && self.limits.overlap == 0
    }

    /// True if the chunk holds more than the end of the chunk before it.
    fn holds_new_text(&self) -> bool {
        self.chunk.end > self.shared_end
    }

    /// Leaves out of the chunk what the chunk before it holds.
    fn share_nothing(&mut self) {
        if self.chunk.start < self.shared_end {
            self.sum -= self.pieces.remove(0).count;
            self.chunk.start = self.shared_end;
            if let Some(first) = self.pieces.first_mut() {
                first.adds_up = true;
            }
        }
    }

    /// True if the sum of the first `kept` pieces is certainly the count of their text.
    fn add_up(&self, kept: usize) -> bool {
        self.limits.characters || self.pieces[..kept].iter().skip(1).all(|piece| piece.adds_up)
    }

    /// Returns the chunk away, before a piece of the count `next`; pieces that make it longer than
    /// their sum says begin the next.
    fn close(&mut self, next: usize) -> Result<()> {
        self.progress.check()?;
        if self.keeps_no_pieces() {
            (self.emit)(self.chunk.clone(), Some(self.sum));
            self.chunk.start = self.chunk.end;
            (self.shared_end, self.sum) = (self.chunk.end, 0);
            return Ok(());
        }
        let size = self.limits.size;
        let mut kept = self.pieces.len();
        let least = 1 + usize::from(self.chunk.start < self.shared_end);
        let too_long = |packer: &Self, kept: usize| -> Result<bool> {
            let span = packer.chunk.start..packer.pieces[kept - 1].end;
            Ok(!packer.add_up(kept) && packer.count(span)? > size)
        };
        while kept > least && too_long(self, kept)? {
            kept -= 1;
        }
        if kept == least && least == 2 && too_long(self, kept)? {
            self.share_nothing();
            kept = 1;
        }
        let rest = self.pieces.split_off(kept);
        let end = self.pieces[kept - 1].end;
        let counted = self.pieces.iter().map(|piece| piece.count).sum();
        (self.emit)(self.chunk.start..end, self.limits.characters.then_some(counted));
        let next = rest.first().map_or(next, |piece| piece.count);
        let shared = self.shared_with_the_next(size.saturating_sub(next))?;
        for piece in rest.into_iter().rev() {
            self.waiting.push_front((piece.end, piece.count));
        }
        self.pieces.clear();
        (self.chunk, self.sum, self.shared_end) = (end..end, 0, end);
        if let Some((start, count)) = shared {
            (self.chunk.start, self.sum) = (start, count);
            self.pieces.push(Piece { end, count, adds_up: true });
        }
        Ok(())
    }

    /// Where the next chunk begins in the pieces of this one, and the count from there on: whole
    /// pieces from the last back, or, where even the last is longer than the overlap, its last
    /// sentences, words, or clusters. None where nothing fits.
    fn shared_with_the_next(&self, room: usize) -> Result<Option<(usize, usize)>> {
        let limit = self.limits.overlap.min(room);
        if limit == 0 {
            return Ok(None);
        }
        let end = self.pieces[self.pieces.len() - 1].end;
        // Never the first piece: each chunk begins after the one before it.
        let (mut first, mut sum) = (self.pieces.len(), 0);
        while first > 1 && sum + self.pieces[first - 1].count <= limit {
            first -= 1;
            sum += self.pieces[first].count;
        }
        for first in first..self.pieces.len() {
            let start = self.pieces[first - 1].end;
            let count = if self.limits.characters { sum } else { self.count(start..end)? };
            if count <= limit {
                return Ok(Some((start, count)));
            }
            sum -= self.pieces[first].count;
        }
        let mut start = match self.pieces.len() {
            1 => self.chunk.start,
            count => self.pieces[count - 2].end,
        };
        let mut level = Level::Line;
        while let Some(finer) = level.finer().filter(|&level| level != Level::Character) {
            level = finer;
            let cuts: Vec<usize> =
                level.cuts(&self.text[start..end]).map(|cut| start + cut).collect();
            let (mut outside, mut inside) = (0, cuts.len());
            let mut found = None;
            while outside < inside {
                let middle = usize::midpoint(outside, inside);
                let count = self.count(cuts[middle]..end)?;
                if count <= limit {
                    found = Some((cuts[middle], count));
                    inside = middle;
                } else {
                    outside = middle + 1;
                }
            }
            if found.is_some() {
                return Ok(found);
            }
            start = cuts.last().copied().unwrap_or(start);
        }
        Ok(None)
    }

    pub(super) fn finish(mut self) -> Result<()> {
        while self.holds_new_text() {
            self.close(0)?;
            self.settle()?;
        }
        Ok(())
    }
}
