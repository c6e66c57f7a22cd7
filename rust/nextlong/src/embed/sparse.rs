//! The word matrix of the sample: a row for each chunk, its distinct words with their weights.

use std::ops::Range;

use super::words::{BUCKETS, Words};
use crate::error::{Error, Result};
use crate::fan;
use crate::progress::Progress;

/// How quickly more of the same word stops to count (BM25's k1).
const SATURATION: f32 = 1.2;
/// How far long texts are held back (BM25's b).
const LENGTH_SHARE: f32 = 0.75;

/// The texts that one thread takes at a time.
const TEXTS: usize = 512;

/// Counts the words of one text after another.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    words: Words,
    counts: Vec<u16>,
    /// The words of the last text.
    all: Vec<u16>,
    /// The distinct ones among them, in the order in which they came, in front.
    found: Vec<u16>,
    distinct: usize,
}

impl Counter {
    pub(super) fn new(seed: u64) -> Self {
        let counts = vec![0; BUCKETS];
        let found = vec![0; BUCKETS + 1];
        Self { words: Words::new(seed), counts, all: Vec::new(), found, distinct: 0 }
    }

    /// Counts the words of `text` and forgets the text before it.
    pub(super) fn count(&mut self, text: &str) {
        for &word in &self.found[..self.distinct] {
            self.counts[usize::from(word)] = 0;
        }
        self.all.clear();
        self.words.buckets(text, &mut self.all);
        let mut distinct = 0;
        for &word in &self.all {
            let count = &mut self.counts[usize::from(word)];
            // Without a branch: which word is new cannot be guessed.
            self.found[distinct] = word;
            distinct += usize::from(*count == 0);
            *count = count.saturating_add(1);
        }
        self.distinct = distinct;
    }

    /// The distinct words, in the order in which they came.
    fn found(&self) -> &[u16] {
        &self.found[..self.distinct]
    }

    /// The distinct words with BM25's weight of their counts, without the share of the word.
    pub(super) fn weights(&self, average_words: f32) -> impl Iterator<Item = (u16, f32)> + '_ {
        let hold = hold(self.all.len() as u64, average_words);
        let weights = self.found_counts().map(move |count| saturated(count, hold));
        self.found().iter().copied().zip(weights)
    }

    /// How often each word of `found` came.
    fn found_counts(&self) -> impl Iterator<Item = f32> + '_ {
        self.found().iter().map(|&word| f32::from(self.counts[usize::from(word)]))
    }
}

/// How much a text of `length` words is held back.
fn hold(length: u64, average_words: f32) -> f32 {
    let length = length as f32 / average_words;
    SATURATION * (1.0 - LENGTH_SHARE + LENGTH_SHARE * length)
}

/// BM25's weight of a count.
fn saturated(count: f32, hold: f32) -> f32 {
    count * (SATURATION + 1.0) / (count + hold)
}

/// Rows of (column, value), all behind one another.
pub(super) struct Sparse {
    offsets: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
    width: usize,
}

/// What the sample says about the words.
pub(super) struct Sample {
    /// A row for each text, a column for each word that occurs, the frequent ones first.
    pub(super) matrix: Sparse,
    /// The bucket of each column.
    pub(super) buckets: Vec<u16>,
    /// The inverse document frequency of each column, to the power asked for.
    pub(super) weights: Vec<f32>,
    /// The words of an average text.
    pub(super) average_words: f32,
}

impl Sample {
    pub(super) fn new(
        texts: &[&str],
        seed: u64,
        idf_power: f64,
        threads: usize,
        progress: &Progress,
    ) -> Result<Self> {
        let ranges =
            || (0..texts.len()).step_by(TEXTS).map(|start| start..texts.len().min(start + TEXTS));
        let counted = fan::over(ranges(), threads, |_, range: Range<usize>| {
            let mut counter = Counter::new(seed);
            let mut part = Sparse::empty(BUCKETS);
            let mut lengths = Vec::with_capacity(range.len());
            for text in &texts[range] {
                progress.check()?;
                counter.count(text);
                part.columns.extend(counter.found().iter().map(|&word| u32::from(word)));
                part.values.extend(counter.found_counts());
                part.offsets.push(part.columns.len());
                lengths.push(counter.all.len() as u64);
                progress.add(1);
            }
            Ok((part, lengths))
        })?;
        let (mut parts, lengths): (Vec<_>, Vec<_>) = counted.into_iter().unzip();
        let total: u64 = lengths.iter().flatten().sum();
        if total == 0 {
            return Err(Error::Embedding(format!(
                "none of the {} texts to fit on has a word; give texts with letters or digits",
                texts.len()
            )));
        }
        let average_words = (total as f64 / texts.len() as f64) as f32;
        let group = parts.len().div_ceil(threads.max(1));
        let counted = fan::over(parts.chunks(group), threads, |_, parts| {
            let mut frequency = vec![0u32; BUCKETS];
            for &bucket in parts.iter().flat_map(|part| &part.columns) {
                frequency[bucket as usize] += 1;
            }
            Ok(frequency)
        })?;
        let mut frequency = vec![0u32; BUCKETS];
        for counted in &counted {
            frequency.iter_mut().zip(counted).for_each(|(sum, more)| *sum += more);
        }
        let mut buckets: Vec<u16> =
            (0..=u16::MAX).filter(|&bucket| frequency[usize::from(bucket)] > 0).collect();
        // Frequent words first: their rows lie together and stay in the cache.
        buckets.sort_by_key(|&bucket| std::cmp::Reverse(frequency[usize::from(bucket)]));
        let weights: Vec<f32> = buckets
            .iter()
            .map(|&bucket| {
                let with = f64::from(frequency[usize::from(bucket)]);
                let without = texts.len() as f64 - with;
                (1.0 + (without + 0.5) / (with + 0.5)).ln().powf(idf_power) as f32
            })
            .collect();
        let mut column_of = vec![0u32; BUCKETS];
        for (column, &bucket) in buckets.iter().enumerate() {
            column_of[usize::from(bucket)] = column as u32;
        }
        // The average is known when all are counted: now the counts become weights.
        fan::over(parts.iter_mut().zip(&lengths), threads, |_, (part, lengths)| {
            for (bounds, &length) in part.offsets.windows(2).zip(lengths) {
                let hold = hold(length, average_words);
                let columns = part.columns[bounds[0]..bounds[1]].iter_mut();
                for (column, value) in columns.zip(&mut part.values[bounds[0]..bounds[1]]) {
                    *column = column_of[*column as usize];
                    *value = saturated(*value, hold) * weights[*column as usize];
                }
            }
            Ok(())
        })?;
        let matrix = Sparse::joined(&parts, buckets.len(), threads)?;
        Ok(Self { matrix, buckets, weights, average_words })
    }
}

impl Sparse {
    fn empty(width: usize) -> Self {
        Self { offsets: vec![0], columns: Vec::new(), values: Vec::new(), width }
    }

    fn joined(parts: &[Self], width: usize, threads: usize) -> Result<Self> {
        let entries = parts.iter().map(|part| part.columns.len()).sum();
        let mut whole = Self::empty(width);
        (whole.columns, whole.values) = (vec![0; entries], vec![0.0; entries]);
        let (mut columns, mut values) = (&mut whole.columns[..], &mut whole.values[..]);
        let mut places = Vec::with_capacity(parts.len());
        let mut start = 0;
        for part in parts {
            whole.offsets.extend(part.offsets[1..].iter().map(|&offset| start + offset));
            let held = part.columns.len();
            start += held;
            let (first, rest) = columns.split_at_mut(held);
            let (second, others) = values.split_at_mut(held);
            (columns, values) = (rest, others);
            places.push((part, first, second));
        }
        fan::over(places, threads, |_, (part, columns, values)| {
            columns.copy_from_slice(&part.columns);
            values.copy_from_slice(&part.values);
            Ok(())
        })?;
        Ok(whole)
    }

    /// Rows made by hand.
    #[cfg(test)]
    pub(super) fn of_rows(rows: &[Vec<(u32, f32)>], width: usize) -> Self {
        let mut whole = Self::empty(width);
        for row in rows {
            whole.columns.extend(row.iter().map(|&(column, _)| column));
            whole.values.extend(row.iter().map(|&(_, value)| value));
            whole.offsets.push(whole.columns.len());
        }
        whole
    }

    /// The number of rows.
    pub(super) fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The columns and values of `row`.
    pub(super) fn entries(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[row]..self.offsets[row + 1];
        (&self.columns[range.clone()], &self.values[range])
    }

    /// The number of columns.
    pub(super) fn columns(&self) -> usize {
        self.width
    }
}
