//! Where a line that is too long may be cut, coarse to fine.
//!
//! In: a piece of text and a level. Out: the cut positions inside it, rising.
//!
//! Every run of white space has at most one place to cut, so that the pieces tokenize like the
//! whole: after its last line break, or else before its last character (` word` begins the right
//! piece), and none where it begins or ends the piece. No cut lies inside a grapheme cluster. Only
//! the last two levels, for runs and clusters that are themselves too long, break these rules.

use std::ops::Range;

use unicode_segmentation::{GraphemeIndices, UnicodeSegmentation};

use super::sentences;

/// The units of a text, from coarse to fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// A line with the blank lines after it.
    Line,
    /// A sentence (UAX 29).
    Sentence,
    /// What stands between white space.
    Word,
    /// A word in the sense of UAX 29: an ideograph, a part of an address.
    Part,
    /// A grapheme cluster, white space kept with its neighbour.
    Cluster,
    /// A grapheme cluster, wherever it stands.
    Bare,
    /// A code point.
    Character,
}

impl Level {
    pub(super) const fn finer(self) -> Option<Self> {
        match self {
            Self::Line => Some(Self::Sentence),
            Self::Sentence => Some(Self::Word),
            Self::Word => Some(Self::Part),
            Self::Part => Some(Self::Cluster),
            Self::Cluster => Some(Self::Bare),
            Self::Bare => Some(Self::Character),
            Self::Character => None,
        }
    }

    /// The positions strictly inside `text` at which it may be cut on this level.
    pub(super) fn cuts(self, text: &str) -> Box<dyn Iterator<Item = usize> + '_> {
        let bounds: Box<dyn Iterator<Item = usize>> = match self {
            Self::Line => return Box::new(std::iter::empty()),
            Self::Sentence => Box::new(sentences::starts(text)),
            Self::Word => Box::new(word_starts(text)),
            Self::Part => Box::new(text.split_word_bound_indices().map(first)),
            Self::Cluster => Box::new(text.grapheme_indices(true).map(first)),
            Self::Bare => return Box::new(text.grapheme_indices(true).map(first).skip(1)),
            Self::Character => return Box::new(text.char_indices().map(|(at, _)| at).skip(1)),
        };
        let (mut blanks, mut clusters) = (Blanks::new(text), Clusters::new(text));
        let mut last = 0;
        Box::new(bounds.filter_map(move |bound| {
            let cut = blanks.settle(bound)?;
            if cut <= last || cut == text.len() || !clusters.begin_at(cut) {
                return None;
            }
            last = cut;
            Some(cut)
        }))
    }
}

fn first<T>((at, _): (usize, T)) -> usize {
    at
}

/// The position after every run of white space.
fn word_starts(text: &str) -> impl Iterator<Item = usize> + '_ {
    let mut after_blank = false;
    text.char_indices().filter_map(move |(at, character)| {
        let starts = after_blank && !character.is_whitespace();
        after_blank = character.is_whitespace();
        starts.then_some(at)
    })
}

/// The runs of white space of a text, visited from left to right.
struct Blanks<'a> {
    text: &'a str,
    run: Range<usize>,
    cut: Option<usize>,
}

impl<'a> Blanks<'a> {
    fn new(text: &'a str) -> Self {
        let mut blanks = Self { text, run: 0..0, cut: None };
        blanks.visit(0);
        blanks
    }

    /// Moves a bound that touches white space to the one place where that run may be cut.
    fn settle(&mut self, bound: usize) -> Option<usize> {
        let known = self.run.start <= bound && bound <= self.run.end;
        if !known && !self.visit(bound) {
            return Some(bound);
        }
        self.cut
    }

    /// Finds the run that touches `bound`; false if there is none.
    fn visit(&mut self, bound: usize) -> bool {
        let (left, right) = self.text.split_at(bound);
        let start = left.trim_end().len();
        let end = bound + (right.len() - right.trim_start().len());
        let run = &self.text[start..end];
        let Some(last) = run.chars().next_back() else {
            return false;
        };
        self.cut = if start == 0 || end == self.text.len() {
            None
        } else if let Some(line_break) = memchr::memrchr2(b'\n', b'\r', run.as_bytes()) {
            Some(start + line_break + 1)
        } else {
            Some(end - last.len_utf8())
        };
        self.run = start..end;
        true
    }
}

/// The grapheme clusters of a text, asked for from left to right.
struct Clusters<'a> {
    text: &'a str,
    base: usize,
    ahead: std::iter::Peekable<GraphemeIndices<'a>>,
}

impl<'a> Clusters<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, base: 0, ahead: text.grapheme_indices(true).peekable() }
    }

    /// True if a cluster begins at `at`.
    fn begin_at(&mut self, at: usize) -> bool {
        let bytes = self.text.as_bytes();
        if at > 0 && bytes[at - 1].is_ascii() && bytes[at].is_ascii() {
            if bytes[at - 1] == b'\r' && bytes[at] == b'\n' {
                return false;
            }
            // Between two ASCII characters always: the clusters between need no look.
            self.base = at;
            self.ahead = self.text[at..].grapheme_indices(true).peekable();
            return true;
        }
        while let Some(&(place, _)) = self.ahead.peek() {
            if self.base + place >= at {
                return self.base + place == at;
            }
            self.ahead.next();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(level: Level, text: &str) -> Vec<&str> {
        let mut start = 0;
        let mut pieces: Vec<&str> = Vec::new();
        for cut in level.cuts(text).chain([text.len()]) {
            pieces.push(&text[start..cut]);
            start = cut;
        }
        pieces
    }

    #[test]
    fn a_word_takes_one_blank_before_it() {
        assert_eq!(pieces(Level::Word, "  one  two\tthree \n"), ["  one ", " two", "\tthree \n"]);
        assert_eq!(pieces(Level::Word, "one\r\n\n  two"), ["one\r\n\n", "  two"]);
    }

    #[test]
    fn sentences_end_after_their_mark() {
        assert_eq!(
            pieces(Level::Sentence, "Is it? Yes.  It is.\n"),
            ["Is it?", " Yes. ", " It is.\n"]
        );
        assert_eq!(pieces(Level::Sentence, "他来了。他走了。"), ["他来了。", "他走了。"]);
        assert_eq!(pieces(Level::Sentence, "वह आया। वह गया।"), ["वह आया।", " वह गया।"]);
    }

    #[test]
    fn no_cut_lies_inside_a_cluster() {
        assert_eq!(pieces(Level::Cluster, "e\u{301}👩‍🚀\r\nx"), ["e\u{301}", "👩‍🚀\r\n", "x"]);
        // The number sign takes the space into its cluster.
        assert_eq!(pieces(Level::Word, "a \u{600} b"), ["a", " \u{600} b"]);
        assert_eq!(pieces(Level::Bare, "\u{600} \n\n"), ["\u{600} ", "\n", "\n"]);
    }

    #[test]
    fn line_breaks_stay_with_the_piece_before_them() {
        assert_eq!(pieces(Level::Cluster, "ab\n\ncd\n\n"), ["a", "b\n\n", "c", "d\n\n"]);
        assert_eq!(pieces(Level::Cluster, "\n\nab"), ["\n\na", "b"]);
    }
}
