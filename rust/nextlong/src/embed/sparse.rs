//! The word matrix of the sample: a row for each chunk, its distinct words with their weights.

use std::ops::Range;

use faer::Mat;

use super::linear::{blocks, in_parallel};
use super::rows::sum_floats;
use super::words::{BUCKETS, Words};
use crate::error::{Error, Result};
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
    /// The distinct words of the last text, in the order in which they came.
    found: Vec<u16>,
    length: u64,
}

impl Counter {
    pub(super) fn new(seed: u64) -> Self {
        let counts = vec![0; BUCKETS];
        Self { words: Words::new(seed), counts, found: Vec::new(), length: 0 }
    }

    /// Counts the words of `text` and forgets the text before it.
    pub(super) fn count(&mut self, text: &str) {
        for &word in &self.found {
            self.counts[usize::from(word)] = 0;
        }
        self.found.clear();
        self.length = 0;
        let Self { words, counts, found, length } = self;
        words.each(text, |word| {
            let count = &mut counts[usize::from(word)];
            if *count == 0 {
                found.push(word);
            }
            *count = count.saturating_add(1);
            *length += 1;
        });
    }

    /// The distinct words with BM25's weight of their counts, without the share of the word.
    pub(super) fn weights(&self, average_words: f32) -> impl Iterator<Item = (u16, f32)> + '_ {
        let length = self.length as f32 / average_words;
        let hold = SATURATION * (1.0 - LENGTH_SHARE + LENGTH_SHARE * length);
        self.found.iter().map(move |&word| {
            let count = f32::from(self.counts[usize::from(word)]);
            (word, count * (SATURATION + 1.0) / (count + hold))
        })
    }
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
        // Twice over the texts: the lengths' average must be known before the first weight.
        let ranges =
            || (0..texts.len()).step_by(TEXTS).map(|start| start..texts.len().min(start + TEXTS));
        let lengths = in_parallel(ranges().collect(), threads, |range: Range<usize>| {
            let mut words = Words::new(seed);
            let mut length = 0u64;
            for text in &texts[range] {
                progress.check()?;
                words.each(text, |_| length += 1);
            }
            Ok(length)
        })?;
        let total: u64 = lengths.iter().sum();
        if total == 0 {
            return Err(Error::Embedding(format!(
                "none of the {} texts to fit on has a word; give texts with letters or digits",
                texts.len()
            )));
        }
        let average_words = (total as f64 / texts.len() as f64) as f32;
        let parts = in_parallel(ranges().collect(), threads, |range: Range<usize>| {
            let mut counter = Counter::new(seed);
            let mut part = Sparse::empty(BUCKETS);
            for text in &texts[range] {
                progress.check()?;
                counter.count(text);
                for (word, weight) in counter.weights(average_words) {
                    part.columns.push(u32::from(word));
                    part.values.push(weight);
                }
                part.offsets.push(part.columns.len());
                progress.add(1);
            }
            Ok(part)
        })?;
        let mut matrix = Sparse::joined(parts);
        let mut frequency = vec![0u32; BUCKETS];
        for &bucket in &matrix.columns {
            frequency[bucket as usize] += 1;
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
        for (column, value) in matrix.columns.iter_mut().zip(&mut matrix.values) {
            *column = column_of[*column as usize];
            *value *= weights[*column as usize];
        }
        matrix.width = buckets.len();
        Ok(Self { matrix, buckets, weights, average_words })
    }
}

impl Sparse {
    fn empty(width: usize) -> Self {
        Self { offsets: vec![0], columns: Vec::new(), values: Vec::new(), width }
    }

    fn joined(parts: Vec<Self>) -> Self {
        let mut whole = Self::empty(BUCKETS);
        let entries = parts.iter().map(|part| part.columns.len()).sum();
        whole.columns.reserve_exact(entries);
        whole.values.reserve_exact(entries);
        for part in parts {
            let start = whole.columns.len();
            whole.offsets.extend(part.offsets[1..].iter().map(|&offset| start + offset));
            whole.columns.extend(part.columns);
            whole.values.extend(part.values);
        }
        whole
    }

    /// The number of rows.
    pub(super) fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    fn row(&self, row: usize) -> impl Iterator<Item = (u32, f32)> + Clone + '_ {
        let range = self.offsets[row]..self.offsets[row + 1];
        self.columns[range.clone()].iter().copied().zip(self.values[range].iter().copied())
    }

    /// Rows and columns exchanged; the entries of a new row keep the order of the old rows.
    pub(super) fn transposed(&self) -> Self {
        let mut offsets = vec![0usize; self.width + 1];
        for &column in &self.columns {
            offsets[column as usize + 1] += 1;
        }
        for row in 0..self.width {
            offsets[row + 1] += offsets[row];
        }
        let mut next = offsets.clone();
        let mut columns = vec![0u32; self.columns.len()];
        let mut values = vec![0.0f32; self.values.len()];
        for row in 0..self.rows() {
            for (column, value) in self.row(row) {
                let place = &mut next[column as usize];
                columns[*place] = row as u32;
                values[*place] = value;
                *place += 1;
            }
        }
        Self { offsets, columns, values, width: self.rows() }
    }

    /// This matrix times a dense one, whose rows, and those of the result, are columns of `Mat`.
    pub(super) fn times(
        &self,
        dense: &Mat<f32>,
        threads: usize,
        progress: &Progress,
    ) -> Result<Mat<f32>> {
        let mut product = Mat::zeros(dense.nrows(), self.rows());
        in_parallel(blocks(&mut product), threads, |(start, mut block)| {
            for number in 0..block.ncols() {
                if number % 64 == 0 {
                    progress.check()?;
                }
                let terms = self
                    .row(start + number)
                    .filter_map(|(row, value)| Some((slice(dense, row as usize)?, value)));
                if let Some(out) = block.as_mut().col_mut(number).try_as_col_major_mut() {
                    sum_floats(terms, out.as_slice_mut());
                }
            }
            Ok(())
        })?;
        Ok(product)
    }

    /// This matrix times a random one of `width` columns that has one 1 or -1 in each row.
    pub(super) fn sketched(&self, width: usize, random: impl Fn(u32) -> u64) -> Mat<f32> {
        let signs: Vec<(u32, f32)> = (0..self.width as u32)
            .map(|row| {
                let bits = random(row);
                let sign = if bits & 1 == 0 { 1.0 } else { -1.0 };
                ((((bits >> 32) * width as u64) >> 32) as u32, sign)
            })
            .collect();
        let mut product = Mat::zeros(width, self.rows());
        for row in 0..self.rows() {
            for (column, value) in self.row(row) {
                let (place, sign) = signs[column as usize];
                product[(place as usize, row)] += sign * value;
            }
        }
        product
    }
}

/// A column of `dense` as a slice: always there, a matrix of our own lies column by column.
fn slice(dense: &Mat<f32>, column: usize) -> Option<&[f32]> {
    Some(dense.col(column).try_as_col_major()?.as_slice())
}
