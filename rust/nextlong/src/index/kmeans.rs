//! Spherical k-means in int8: which directions the lists of the clustered scan stand for.
//!
//! In: a seeded sample of the rows. Out: int8 centroids. Products and sums are whole numbers, so
//! the centroids are the same bytes on every processor and at any thread count.

use std::ops::Range;

use multiversion::multiversion;

use crate::error::Result;
use crate::index::near_centroids::NearCentroids;
use crate::index::product::{Packed, Rows, Scores};
use crate::index::quantize::Quantizer;
use crate::index::row_cache::RowCache;
use crate::index::topk::Best;
use crate::parallel;
use crate::progress::Progress;
use crate::seed;

/// Sampled rows for each centroid.
pub(super) const SAMPLE: usize = 32;

/// The largest sample.
const SAMPLE_LIMIT: usize = 1 << 19;

/// Times that the sample is assigned and the centroids are moved.
pub(super) const ROUNDS: usize = 3;

/// Fewest centroids that are looked for in two steps.
pub(super) const MANY: usize = 256;

/// Times that the groups of centroids are moved.
const GROUP_ROUNDS: usize = 3;

/// Centroids near a group of them that its rows are held against, in groups: those around it too.
pub(super) const GROUPS_AROUND: usize = 16;

/// Centroids near the one that was nearest before which may be nearest now.
pub(super) const STILL_NEAR: usize = 64;

/// Centroids packed together.
const BLOCK: usize = 2048;

/// Centroids of one task.
const SOME: usize = 64;

/// Rows of one task.
const TASK: usize = 4096;

/// Rows multiplied together.
const ROWS: usize = 64;

/// Directions, and what their products need.
pub struct Centroids {
    values: Vec<i8>,
    dim: usize,
    packed: Vec<Packed>,
}

impl Centroids {
    /// Packs centroids, `[count, dim]` row-major.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Retrieval`] without memory.
    pub fn new(values: Vec<i8>, dim: usize) -> Result<Self> {
        let packed = values
            .chunks(BLOCK * dim.max(1))
            .map(|block| {
                let mut rows = Rows::to_pack(block.len() / dim, dim)?;
                rows.values().copy_from_slice(block);
                rows.pack()
            })
            .collect::<Result<_>>()?;
        Ok(Self { values, dim, packed })
    }

    /// `count` centroids of a seeded sample of the rows; as many as the sample when it is smaller.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Cancelled`] when asked to stop; [`crate::Error::Retrieval`] without memory.
    pub(super) fn fit(
        row_cache: &RowCache<'_>,
        count: usize,
        seed: u64,
        threads: usize,
        progress: &Progress,
    ) -> Result<Self> {
        let (vectors, quantizer) = (row_cache.vectors(), row_cache.quantizer());
        let dim = vectors.dim();
        let size = count.saturating_mul(SAMPLE).min(SAMPLE_LIMIT.max(count));
        let sample = seed::sample(seed, "clusters", vectors.len(), size);
        let sample: Vec<u32> = sample.into_iter().map(|row| row as u32).collect();
        let mut values = vec![0; sample.len() * dim];
        row_cache.gather(&sample, &mut values);
        let first = seed::sample(seed, "centroids", sample.len(), count);
        let first = gathered(&values, dim, first.into_iter());
        let mut centroids = Self::new(first, dim)?;
        let mut nearest = {
            let finder = centroids.finder(quantizer, seed, threads, progress)?;
            in_tasks(&values, dim, threads, TASK, |rows, _| finder.nearest(rows, progress))?
        };
        // Rows that lie together are then moved together.
        (values, nearest) = by_list(&values, dim, &nearest);
        for round in 1..=ROUNDS {
            let moved = centroids.moved(&values, &nearest, quantizer, threads)?;
            if round == ROUNDS {
                return Ok(moved);
            }
            let last: Vec<u32> = nearest.iter().map(|pair| pair.1).collect();
            let near =
                NearCentroids::new(&moved, &centroids.values, STILL_NEAR, threads, progress)?;
            nearest = in_tasks(&values, dim, threads, TASK, |rows, range| {
                nearest_of(&near, rows, &last[range], progress)
            })?;
            drop(near);
            centroids = moved;
            if nearest.iter().map(|pair| pair.1).eq(last) {
                break;
            }
        }
        Ok(centroids)
    }

    /// What finds the nearest of many centroids fast: a row is held against groups of them first,
    /// and then against those in and around the nearest group.
    ///
    /// # Errors
    ///
    /// As [`Centroids::nearest`].
    pub fn finder(
        &self,
        quantizer: Quantizer,
        seed: u64,
        threads: usize,
        progress: &Progress,
    ) -> Result<Finder<'_>> {
        if self.len() < MANY {
            return Ok(Finder { centroids: self, groups: None });
        }
        let first = seed::sample(seed, "groups", self.len(), self.len().isqrt());
        let mut groups = Self::new(self.some(first.into_iter()), self.dim)?;
        for _ in 0..GROUP_ROUNDS {
            let nearest = in_tasks(&self.values, self.dim, threads, SOME, |rows, _| {
                groups.nearest(rows, progress)
            })?;
            groups = groups.moved(&self.values, &nearest, quantizer, threads)?;
        }
        let around = GROUPS_AROUND * self.len() / groups.len();
        let near = NearCentroids::new(self, &groups.values, around, threads, progress)?;
        Ok(Finder { centroids: self, groups: Some((groups, near)) })
    }

    /// The values of some of them, one after the other.
    #[must_use]
    pub fn some(&self, numbers: impl ExactSizeIterator<Item = usize>) -> Vec<i8> {
        gathered(&self.values, self.dim, numbers)
    }

    /// The number of values in a centroid.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The number of centroids.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.dim.max(1)
    }

    /// The values, row after row.
    #[must_use]
    pub fn values(&self) -> &[i8] {
        &self.values
    }

    /// The product with, and the number of, the nearest centroid of each of some rows; the lower
    /// number wins a tie.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Cancelled`] when asked to stop; [`crate::Error::Retrieval`] without memory.
    pub fn nearest(&self, rows: &[i8], progress: &Progress) -> Result<Vec<(i32, u32)>> {
        let mut all = vec![(i32::MIN, 0); rows.len() / self.dim];
        let mut scores = Scores::zeros(1, 1)?;
        for (rows, all) in rows.chunks(ROWS * self.dim).zip(all.chunks_mut(ROWS)) {
            progress.check()?;
            let rows = Rows::of(rows, self.dim)?;
            for (block, packed) in self.packed.iter().enumerate() {
                scores.fill(&rows, packed)?;
                for (row, nearest) in all.iter_mut().enumerate() {
                    let (score, place) = largest(scores.of(row));
                    if score > nearest.0 {
                        *nearest = (score, (block * BLOCK + place) as u32);
                    }
                }
            }
        }
        Ok(all)
    }

    /// The `count` nearest centroids of each of some rows, with their products, nearest first, one row
    /// after the other.
    ///
    /// # Errors
    ///
    /// As [`Centroids::nearest`].
    pub fn nearest_some(
        &self,
        rows: &[i8],
        count: usize,
        progress: &Progress,
    ) -> Result<Vec<(i32, u32)>> {
        let mut all = Vec::with_capacity(rows.len() / self.dim * count);
        let mut scores = Scores::zeros(1, 1)?;
        for rows in rows.chunks(ROWS * self.dim) {
            progress.check()?;
            let rows = Rows::of(rows, self.dim)?;
            let mut best = vec![Best::new(count); rows.len()];
            for (block, packed) in self.packed.iter().enumerate() {
                scores.fill(&rows, packed)?;
                for (row, best) in best.iter_mut().enumerate() {
                    let first = (block * BLOCK) as u32;
                    best.extend(scores.of(row), |place| first + place as u32, |_| false);
                }
            }
            all.extend(best.into_iter().flat_map(Best::into_pairs));
        }
        Ok(all)
    }

    /// Each centroid in the direction of the sum of its rows; one without rows takes the row that
    /// lies worst where it is.
    fn moved(
        &self,
        values: &[i8],
        nearest: &[(i32, u32)],
        quantizer: Quantizer,
        threads: usize,
    ) -> Result<Self> {
        let dim = self.dim;
        let (mut order, mut counts) = (vec![0u32; nearest.len()], vec![0usize; self.len() + 1]);
        for &(_, list) in nearest {
            counts[list as usize + 1] += 1;
        }
        for list in 0..self.len() {
            counts[list + 1] += counts[list];
        }
        let starts = counts.clone();
        for (row, &(_, list)) in nearest.iter().enumerate() {
            order[counts[list as usize]] = row as u32;
            counts[list as usize] += 1;
        }
        let mut moved = self.values.clone();
        parallel::map_parts(moved.chunks_mut(SOME * dim), threads, |part, out| {
            let (mut sums, mut direction) = (vec![0i32; dim], vec![0.0; dim]);
            for (list, out) in (part * SOME..).zip(out.chunks_exact_mut(dim)) {
                sums.fill(0);
                for &row in &order[starts[list]..starts[list + 1]] {
                    add(&mut sums, &values[row as usize * dim..][..dim]);
                }
                if sums.iter().any(|&value| value != 0) {
                    for (value, &sum) in direction.iter_mut().zip(&sums) {
                        *value = sum as f32;
                    }
                    quantizer.rotated_row(&direction, out);
                }
            }
            Ok(())
        })?;
        let empty: Vec<usize> =
            (0..self.len()).filter(|&list| starts[list] == starts[list + 1]).collect();
        if !empty.is_empty() {
            let mut worst: Vec<(i32, usize)> =
                nearest.iter().enumerate().map(|(row, pair)| (pair.0, row)).collect();
            worst.sort_unstable();
            for (list, (_, row)) in empty.into_iter().zip(worst) {
                moved[list * dim..][..dim].copy_from_slice(&values[row * dim..][..dim]);
            }
        }
        Self::new(moved, dim)
    }
}

/// See [`Centroids::finder`].
pub struct Finder<'a> {
    centroids: &'a Centroids,
    groups: Option<(Centroids, NearCentroids<'a>)>,
}

impl Finder<'_> {
    /// As [`Centroids::nearest`], but for the few rows whose nearest centroid lies far from the
    /// nearest group: they have the best of those near it.
    ///
    /// # Errors
    ///
    /// As [`Centroids::nearest`].
    pub fn nearest(&self, rows: &[i8], progress: &Progress) -> Result<Vec<(i32, u32)>> {
        let Some((groups, near)) = &self.groups else {
            return self.centroids.nearest(rows, progress);
        };
        let groups: Vec<u32> =
            groups.nearest(rows, progress)?.into_iter().map(|pair| pair.1).collect();
        nearest_of(near, rows, &groups, progress)
    }
}

/// The nearest of the centroids near each row's anchor; the lower number wins a tie.
fn nearest_of(
    near: &NearCentroids<'_>,
    rows: &[i8],
    anchors: &[u32],
    progress: &Progress,
) -> Result<Vec<(i32, u32)>> {
    let mut all = vec![(i32::MIN, 0); anchors.len()];
    near.products(rows, anchors, progress, |row, scores, ids| {
        let (score, place) = largest(scores);
        all[row] = (score, ids[place]);
    })?;
    Ok(all)
}

/// `task` for `size` rows at a time, with their numbers, on some threads.
pub(super) fn in_tasks<T: Send + Clone>(
    values: &[i8],
    dim: usize,
    threads: usize,
    size: usize,
    task: impl Fn(&[i8], Range<usize>) -> Result<Vec<T>> + Sync,
) -> Result<Vec<T>> {
    let tasks: Vec<&[i8]> = values.chunks(size * dim.max(1)).collect();
    let parts = parallel::map(tasks.len(), threads, |number| {
        let start = number * size;
        task(tasks[number], start..start + tasks[number].len() / dim)
    })?;
    Ok(parts.concat())
}

/// Some of the rows, one after the other.
fn gathered(values: &[i8], dim: usize, rows: impl ExactSizeIterator<Item = usize>) -> Vec<i8> {
    let mut some = Vec::with_capacity(rows.len() * dim);
    for row in rows {
        some.extend_from_slice(&values[row * dim..][..dim]);
    }
    some
}

/// The rows and what is nearest to each, list by list.
fn by_list(values: &[i8], dim: usize, nearest: &[(i32, u32)]) -> (Vec<i8>, Vec<(i32, u32)>) {
    let mut order: Vec<usize> = (0..nearest.len()).collect();
    order.sort_by_key(|&row| nearest[row].1);
    let rows = gathered(values, dim, order.iter().copied());
    (rows, order.into_iter().map(|row| nearest[row]).collect())
}

#[multiversion(targets = "simd")]
fn add(sums: &mut [i32], row: &[i8]) {
    for (sum, &value) in sums.iter_mut().zip(row) {
        *sum += i32::from(value);
    }
}

/// The largest score and its first place.
#[multiversion(targets = "simd")]
fn largest(scores: &[i32]) -> (i32, usize) {
    let max = scores.iter().fold(i32::MIN, |max, &score| max.max(score));
    (max, scores.iter().position(|&score| score == max).unwrap_or(0))
}
