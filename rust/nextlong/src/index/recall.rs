//! How many of the true neighbours an engine finds, measured on a sample of distinct vectors;
//! widening the search until it suffices.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_128;

use crate::error::Result;
use crate::index::cosine::Queries;
use crate::index::{Neighbours, SearchWidth};
use crate::parallel;
use crate::seed;

/// Standard errors that a measured recall has to lie above `min_recall`, since the queries of the
/// sample may be easier than the others: 1 time in 44 the recall of all queries is lower.
const CONFIDENCE: f64 = 2.0;

/// Rows drawn for each one of the sample, at most, while copies of earlier ones are passed over.
const DRAWS: usize = 16;

/// A share of the true neighbours, measured on a sample of the queries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The share of the true neighbours of the sample that were found.
    pub recall: f64,
    /// The standard error of `recall` as an estimate for all queries; 0 where the sample is all.
    pub error: f64,
}

impl Measured {
    /// True if the recall of all queries is very probably at least `min_recall`.
    #[must_use]
    pub fn reaches(self, min_recall: f64) -> bool {
        self.recall - CONFIDENCE * self.error >= min_recall
    }

    /// True if the recall of all queries is very probably below `min_recall`.
    #[must_use]
    pub fn misses(self, min_recall: f64) -> bool {
        self.recall + CONFIDENCE * self.error < min_recall
    }
}

/// What was measured, and how wide the search has to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The share of the true neighbours that were found at `search_width`.
    pub measured: Measured,
    /// The width to search with: see [`super::Search::search`].
    pub search_width: SearchWidth,
    /// Every width that was tried and its recall, in the order of the trial.
    pub tried: Vec<(SearchWidth, f64)>,
    /// The number of queries in the sample.
    pub queries: usize,
}

/// Queries to measure recall on.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Their numbers, rising; no two have the same vector.
    pub numbers: Vec<usize>,
    /// The share of the rows drawn that were passed over as copies of others.
    pub copies: f64,
}

/// The number of queries, of `total`, that recall is measured on: at most 256, fewer if their
/// exact search takes long.
#[must_use]
pub fn sample_size(total: usize, rows: usize, dim: usize) -> usize {
    // About 100 G multiplications for the truth, a few seconds of one core.
    let affordable = (1e11 / (rows.max(1) as f64 * dim.max(1) as f64)) as usize;
    affordable.clamp(32, 256).min(total)
}

/// A seeded sample of `total` queries, of [`sample_size`] and rising.
#[must_use]
pub fn sample(seed: u64, total: usize, rows: usize, dim: usize) -> Vec<usize> {
    seed::sample(seed, "recall", total, sample_size(total, rows, dim))
}

/// A seeded sample of distinct vectors among `total` queries; `read` reads one by its number.
///
/// Any copy of a neighbour counts as found, so queries that have many copies say nothing of the
/// others. Smaller than [`sample_size`] where nearly all queries are copies of a few.
#[must_use]
pub fn distinct_sample(
    seed: u64,
    total: usize,
    rows: usize,
    dim: usize,
    mut read: impl FnMut(usize, &mut [f32]),
) -> Sample {
    let size = sample_size(total, rows, dim);
    let mut drawn = seed::sample(seed, "recall", total, size * DRAWS);
    drawn.sort_by_cached_key(|&number| seed::bits(seed, "recall order", number as u64));
    let (mut numbers, mut seen, mut passed) = (Vec::with_capacity(size), HashSet::new(), 0);
    let mut values = vec![0.0; dim];
    for number in drawn {
        if numbers.len() == size {
            break;
        }
        read(number, &mut values);
        if seen.insert(xxh3_128(bytemuck::cast_slice(&values))) {
            numbers.push(number);
        } else {
            passed += 1;
        }
    }
    numbers.sort_unstable();
    let copies = f64::from(passed) / (numbers.len() as f64 + f64::from(passed)).max(1.0);
    Sample { numbers, copies }
}

/// Searches wider and wider until recall@k is `enough`, of what was measured and of (found, wanted) of
/// each query: `found` searches at a given width, `wider` the next width if
/// there is one, `truth` the true neighbours, at least `k` of each. The queries are a sample of
/// `total`.
///
/// A neighbour as near as the last true one counts as found, regardless of its id.
///
/// # Errors
///
/// What `found` reports.
pub fn widen(
    truth: &Neighbours,
    total: usize,
    first: SearchWidth,
    found: impl Fn(SearchWidth) -> Result<Neighbours>,
    wider: impl Fn(SearchWidth) -> Option<SearchWidth>,
    enough: impl Fn(Measured, &[(usize, usize)]) -> bool,
) -> Result<Report> {
    let (mut search_width, mut tried) = (first, Vec::new());
    loop {
        let shares = shares(truth, &found(search_width)?);
        let measured = measured(shares.iter().copied(), total);
        tried.push((search_width, measured.recall));
        match wider(search_width) {
            Some(wider) if !enough(measured, &shares) => search_width = wider,
            _ => return Ok(Report { measured, search_width, tried, queries: shares.len() }),
        }
    }
}

/// The share of the nearest `found.k` neighbours in `truth` that `found` has, or others as near; 1
/// when there are none. The queries are a sample of `total`.
#[must_use]
pub fn recall(truth: &Neighbours, found: &Neighbours, total: usize) -> Measured {
    measured(shares(truth, found).into_iter(), total)
}

/// How many of the nearest `found.k` neighbours of each query were found, and how many there are.
fn shares(truth: &Neighbours, found: &Neighbours) -> Vec<(usize, usize)> {
    let rows = truth.scores.chunks_exact(truth.k.max(1));
    let share = |(truth, found): (&[f32], &[f32])| {
        let truth = &truth[..found.len().min(truth.len())];
        let count = truth.iter().take_while(|score| score.is_finite()).count();
        let last = count.checked_sub(1).map_or(f32::INFINITY, |last| truth[last]);
        (found.iter().take_while(|&&score| score >= last).count().min(count), count)
    };
    rows.zip(found.scores.chunks_exact(found.k.max(1))).map(share).collect()
}

/// The share of those found, from (found, wanted) of each query of a sample of `total`.
pub(super) fn measured(
    shares: impl Iterator<Item = (usize, usize)> + Clone,
    total: usize,
) -> Measured {
    let sum = |sums: (f64, f64, f64), (found, wanted): (usize, usize)| {
        (sums.0 + found as f64, sums.1 + wanted as f64, sums.2 + 1.0)
    };
    let (found, wanted, count) = shares.clone().fold((0.0, 0.0, 0.0), sum);
    if wanted == 0.0 {
        return Measured { recall: 1.0, error: 0.0 };
    }
    let recall = found / wanted;
    // The error of a quotient of sums.
    let square = |(found, wanted)| (found as f64 - recall * wanted as f64).powi(2);
    let squares: f64 = shares.map(square).sum();
    let left = (1.0 - count / (total as f64).max(count)).max(0.0);
    let error = (squares * count / (count - 1.0).max(1.0) * left).sqrt() / wanted;
    Measured { recall, error }
}

/// Runs `task` on even parts of the queries, one a thread, and joins the results in order.
pub(super) fn in_parts(
    queries: &Queries,
    threads: usize,
    k: usize,
    task: impl Fn(&Queries) -> Result<Neighbours> + Sync,
) -> Result<Neighbours> {
    let parts = threads.clamp(1, queries.len().max(1));
    let bounds: Vec<usize> = (0..=parts).map(|part| part * queries.len() / parts).collect();
    let parts =
        parallel::map(parts, parts, |part| task(&queries.part(bounds[part]..bounds[part + 1])))?;
    let mut all = Neighbours::with_capacity(queries.len(), k);
    for part in parts {
        all.ids.extend(part.ids);
        all.scores.extend(part.scores);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbours(scores: &[f32], k: usize) -> Neighbours {
        Neighbours { ids: vec![0; scores.len()], scores: scores.to_vec(), k }
    }

    #[test]
    fn what_is_as_near_counts_and_what_is_missing_does_not() {
        let none = f32::NEG_INFINITY;
        let truth = neighbours(&[0.9, 0.5, 0.8, 0.5, 0.7, none], 2);
        let found = neighbours(&[0.9, 0.4, 0.8, 0.5, none, none], 2);
        assert!((recall(&truth, &found, 3).recall - 3.0 / 5.0).abs() < 1e-12);
        assert!((recall(&truth, &truth, 3).recall - 1.0).abs() < 1e-12);
        assert_eq!(recall(&truth, &found, 3).error.to_bits(), 0);
        let alone = neighbours(&[none], 1);
        assert!((recall(&alone, &alone, 1).recall - 1.0).abs() < 1e-12);
        // Of the two nearest of three known neighbours.
        let deeper = neighbours(&[0.9, 0.5, 0.1, 0.8, 0.5, 0.1, 0.7, none, none], 3);
        assert_eq!(recall(&deeper, &found, 3), recall(&truth, &found, 3));
    }

    #[test]
    fn a_sample_is_less_certain_than_all() {
        let shares = || [(9usize, 10usize), (10, 10), (8, 10), (9, 10)].into_iter();
        let (all, some) = (measured(shares(), 4), measured(shares(), 1000));
        assert!((all.recall - 0.9).abs() < 1e-12 && all.recall == some.recall);
        assert!(all.reaches(0.9) && !all.reaches(0.91) && !all.misses(0.9) && all.misses(0.91));
        // The deviation is .0816, the error half of it.
        assert!((some.error - 0.0408).abs() < 1e-3, "{some:?}");
        assert!(!some.reaches(0.9) && some.reaches(0.81) && !some.misses(0.91));
    }

    #[test]
    fn copies_are_drawn_once() {
        let value = |number: usize| if number.is_multiple_of(5) { number as f32 } else { 0.5 };
        let sample = distinct_sample(3, 5000, 5000, 2, |number, out| out.fill(value(number)));
        assert_eq!(sample.numbers.len(), 256);
        assert!((0.7..0.9).contains(&sample.copies), "{}", sample.copies);
        assert!(sample.numbers.is_sorted());
        assert_eq!(sample.numbers.iter().filter(|&&number| number % 5 != 0).count(), 1);
        let same = distinct_sample(3, 5000, 5000, 2, |_, out| out.fill(1.0));
        assert_eq!(same.numbers.len(), 1);
        let none = distinct_sample(3, 0, 0, 2, |_, _| ());
        assert_eq!(none, Sample { numbers: Vec::new(), copies: 0.0 });
    }

    #[test]
    fn the_sample_shrinks_with_the_cost_of_the_truth() {
        assert_eq!(sample(0, 1000, 1000, 256).len(), 256);
        assert_eq!(sample(0, 10, 1000, 256).len(), 10);
        assert_eq!(sample(0, 1_000_000, 1_000_000_000, 256).len(), 32);
    }
}
