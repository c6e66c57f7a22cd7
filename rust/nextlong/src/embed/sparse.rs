//! Word matrices: the counts of many texts, and the weighted matrix of some of them.

use std::ops::Range;

use super::boilerplate::Boilerplate;
use super::counter::{Counter, hold, saturated};
use super::words::BUCKETS;
use crate::error::Result;
use crate::parallel;
use crate::progress::Progress;

/// The texts that one thread takes at a time.
const TEXTS: usize = 512;

/// The distinct words of some texts with their counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    offsets: Vec<usize>,
    words: Vec<u16>,
    repeats: Vec<u16>,
    lengths: Vec<u32>,
}

/// The words of one text.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextCounts<'a> {
    pub(super) words: &'a [u16],
    pub(super) counts: &'a [u16],
    /// The number of words, repeats included.
    pub(super) length: usize,
}

impl Counts {
    /// Counts the words of `texts`, boilerplate left out.
    pub(super) fn new(
        texts: &[&str],
        seed: u64,
        boilerplate: &Boilerplate,
        threads: usize,
        progress: &Progress,
    ) -> Result<Vec<Self>> {
        let ranges = (0..texts.len()).step_by(TEXTS);
        parallel::map_parts(ranges, threads, |_, start| {
            let mut counter = Counter::new(seed);
            let mut counts = Self { offsets: vec![0], ..Self::default() };
            for text in &texts[start..texts.len().min(start + TEXTS)] {
                progress.check()?;
                counter.count(boilerplate.rest(text));
                counts.push(&counter);
                progress.add(1);
            }
            Ok(counts)
        })
    }

    fn push(&mut self, counter: &Counter) {
        for (word, count) in counter.counts() {
            self.words.push(word);
            self.repeats.push(count);
        }
        self.offsets.push(self.words.len());
        self.lengths.push(counter.len() as u32);
    }

    fn len(&self) -> usize {
        self.lengths.len()
    }

    fn text(&self, row: usize) -> TextCounts<'_> {
        let range = self.offsets[row]..self.offsets[row + 1];
        TextCounts {
            words: &self.words[range.clone()],
            counts: &self.repeats[range],
            length: self.lengths[row] as usize,
        }
    }

    /// Keeps only the texts for which `keep` gives true.
    pub(super) fn retain(&mut self, keep: &[bool]) {
        let mut kept = Self { offsets: vec![0], ..Self::default() };
        for row in (0..self.len()).filter(|&row| keep[row]) {
            let text = self.text(row);
            kept.words.extend_from_slice(text.words);
            kept.repeats.extend_from_slice(text.counts);
            kept.offsets.push(kept.words.len());
            kept.lengths.push(text.length as u32);
        }
        *self = kept;
    }
}

/// All texts of `blocks`, in order.
pub(super) fn texts(blocks: &[Counts]) -> impl Iterator<Item = TextCounts<'_>> {
    blocks.iter().flat_map(|block| (0..block.len()).map(|row| block.text(row)))
}

/// Rows of (column, value), one after another.
pub(super) struct Sparse {
    offsets: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
    width: usize,
}

/// The weighted word matrix of the texts of one group, and what it says about the words.
pub(super) struct Sample {
    /// A row for each text, a column for each word that occurs, the frequent ones first.
    pub(super) matrix: Sparse,
    /// The bucket of each column.
    pub(super) buckets: Vec<u16>,
    /// The number of texts that have the word of each column.
    pub(super) frequency: Vec<u32>,
    /// The inverse document frequency of each column, to the power asked for.
    pub(super) weights: Vec<f32>,
    /// The words of an average text.
    pub(super) average_words: f32,
}

impl Sample {
    /// The matrix of `texts`, at least one of which has a word. Words of fewer than `min_texts` texts
    /// are left out, unless all are.
    pub(super) fn new(
        texts: &[TextCounts<'_>],
        min_texts: u32,
        idf_power: f64,
        threads: usize,
    ) -> Result<Self> {
        let total: u64 = texts.iter().map(|text| text.length as u64).sum();
        let average_words = (total as f64 / texts.len() as f64) as f32;
        let frequency = frequencies(texts, threads)?;
        let least = if frequency.iter().any(|&with| with >= min_texts) { min_texts } else { 1 };
        let mut buckets: Vec<u16> =
            (0..=u16::MAX).filter(|&bucket| frequency[usize::from(bucket)] >= least).collect();
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
        let frequency: Vec<u32> =
            buckets.iter().map(|&bucket| frequency[usize::from(bucket)]).collect();
        // A word that is left out adds nothing to the first column.
        let mut column_of = vec![(0u32, 0.0f32); BUCKETS];
        for (column, (&bucket, &weight)) in buckets.iter().zip(&weights).enumerate() {
            column_of[usize::from(bucket)] = (column as u32, weight);
        }
        let matrix = Sparse::filled(texts, buckets.len(), threads, |text, columns, values| {
            let hold = hold(text.length, average_words);
            let places = columns.iter_mut().zip(values);
            for ((column, value), (&word, &count)) in places.zip(text.words.iter().zip(text.counts))
            {
                let weight;
                (*column, weight) = column_of[usize::from(word)];
                *value = saturated(f32::from(count), hold) * weight;
            }
        })?;
        Ok(Self { matrix, buckets, frequency, weights, average_words })
    }
}

/// How many of the texts have each word.
fn frequencies(texts: &[TextCounts<'_>], threads: usize) -> Result<Vec<u32>> {
    let group = texts.len().div_ceil(threads.max(1)).max(1);
    let counted = parallel::map_parts(texts.chunks(group), threads, |_, texts| {
        let mut frequency = vec![0u32; BUCKETS];
        for &bucket in texts.iter().flat_map(|text| text.words) {
            frequency[usize::from(bucket)] += 1;
        }
        Ok(frequency)
    })?;
    let mut frequency = vec![0u32; BUCKETS];
    for counted in &counted {
        frequency.iter_mut().zip(counted).for_each(|(sum, more)| *sum += more);
    }
    Ok(frequency)
}

impl Sparse {
    /// A row for each text, whose columns and values `fill` writes.
    fn filled(
        texts: &[TextCounts<'_>],
        width: usize,
        threads: usize,
        fill: impl Fn(&TextCounts<'_>, &mut [u32], &mut [f32]) + Sync,
    ) -> Result<Self> {
        let mut offsets = Vec::with_capacity(texts.len() + 1);
        offsets.push(0);
        offsets.extend(texts.iter().scan(0, |end, text| {
            *end += text.words.len();
            Some(*end)
        }));
        let entries = offsets[texts.len()];
        let (mut all_columns, mut all_values) = (vec![0; entries], vec![0.0; entries]);
        let (mut columns, mut values) = (&mut all_columns[..], &mut all_values[..]);
        let mut blocks = Vec::with_capacity(texts.len().div_ceil(TEXTS));
        for start in (0..texts.len()).step_by(TEXTS) {
            let rows: Range<usize> = start..texts.len().min(start + TEXTS);
            let entries = offsets[rows.end] - offsets[rows.start];
            let (first, later) = columns.split_at_mut(entries);
            let (second, others) = values.split_at_mut(entries);
            (columns, values) = (later, others);
            blocks.push((rows, first, second));
        }
        parallel::map_parts(blocks, threads, |_, (rows, mut columns, mut values)| {
            for text in &texts[rows] {
                let (first, later) = columns.split_at_mut(text.words.len());
                let (second, others) = values.split_at_mut(text.words.len());
                fill(text, first, second);
                (columns, values) = (later, others);
            }
            Ok(())
        })?;
        Ok(Self { offsets, columns: all_columns, values: all_values, width })
    }

    /// Rows given one by one.
    #[cfg(test)]
    pub(super) fn of_rows(rows: &[Vec<(u32, f32)>], width: usize) -> Self {
        let (mut offsets, mut columns, mut values) = (vec![0], Vec::new(), Vec::new());
        for row in rows {
            columns.extend(row.iter().map(|&(column, _)| column));
            values.extend(row.iter().map(|&(_, value)| value));
            offsets.push(columns.len());
        }
        Self { offsets, columns, values, width }
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
