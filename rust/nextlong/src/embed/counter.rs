//! Counts the words of a text.
//!
//! In: the parts of a text that are embedded. Out: its distinct words (buckets) with their counts.

use super::words::{BUCKETS, Words};

/// How quickly repeats of a word stop to count (BM25's k1).
const SATURATION: f32 = 1.2;
/// How strongly the length of a text scales its counts (BM25's b).
const LENGTH_SHARE: f32 = 0.75;

/// Counts the words of one text after another.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    words: Words,
    counts: Vec<u16>,
    /// The words of the last text.
    all: Vec<u16>,
    /// The distinct ones among them, in order of appearance, at the front.
    found: Vec<u16>,
    distinct: usize,
}

impl Counter {
    pub(super) fn new(seed: u64) -> Self {
        let counts = vec![0; BUCKETS];
        let found = vec![0; BUCKETS + 1];
        Self { words: Words::new(seed), counts, all: Vec::new(), found, distinct: 0 }
    }

    /// Counts the words of a text, given in parts between which no word continues, and forgets the
    /// text before it.
    pub(super) fn count<'t>(&mut self, parts: impl IntoIterator<Item = &'t str>) {
        for &word in &self.found[..self.distinct] {
            self.counts[usize::from(word)] = 0;
        }
        self.all.clear();
        for part in parts {
            self.words.buckets(part, &mut self.all);
        }
        let mut distinct = 0;
        for &word in &self.all {
            let count = &mut self.counts[usize::from(word)];
            // Without a branch: which word is new cannot be predicted.
            self.found[distinct] = word;
            distinct += usize::from(*count == 0);
            *count = count.saturating_add(1);
        }
        self.distinct = distinct;
    }

    /// The number of words, repeats included.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The distinct words in order of appearance, each with its count.
    pub(super) fn counts(&self) -> impl Iterator<Item = (u16, u16)> + Clone + '_ {
        self.found[..self.distinct].iter().map(|&word| (word, self.counts[usize::from(word)]))
    }

    /// The distinct words with BM25's weight of their counts, without the inverse document frequency.
    pub(super) fn weights(&self, average_words: f32) -> impl Iterator<Item = (u16, f32)> + '_ {
        let hold = hold(self.all.len(), average_words);
        self.counts().map(move |(word, count)| (word, saturated(f32::from(count), hold)))
    }
}

/// BM25's length term of a text of `length` words.
pub(super) fn hold(length: usize, average_words: f32) -> f32 {
    let length = length as f32 / average_words;
    SATURATION * (1.0 - LENGTH_SHARE + LENGTH_SHARE * length)
}

/// BM25's weight of a count.
pub(super) fn saturated(count: f32, hold: f32) -> f32 {
    count * (SATURATION + 1.0) / (count + hold)
}
