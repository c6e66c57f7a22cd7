//! Spherical k-means in int8: which directions the lists of the clustered scan stand for.
//!
//! In: a seeded sample of the rows. Out: int8 centroids. Products and sums are whole numbers, so
//! the centroids are the same bytes on every processor and at any thread count.

use multiversion::multiversion;

use crate::error::Result;
use crate::index::fan;
use crate::index::product::{Packed, Rows, Scores};
use crate::index::quantize::Quantizer;
use crate::index::topk::Best;
use crate::progress::Progress;
use crate::seed;
use crate::vectors::Vectors;

/// Sampled rows for each centroid.
const SAMPLE: usize = 32;

/// The largest sample.
const SAMPLE_LIMIT: usize = 1 << 19;

/// Times that the sample is assigned and the centroids are moved.
const ROUNDS: usize = 6;

/// Centroids packed together.
const BLOCK: usize = 2048;

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
            .map(|block| Rows::of(block, dim)?.pack())
            .collect::<Result<_>>()?;
        Ok(Self { values, dim, packed })
    }

    /// `count` centroids of a seeded sample of the rows; as many as the sample when it is smaller.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Cancelled`] when asked to stop; [`crate::Error::Retrieval`] without memory.
    pub fn fit(
        vectors: &Vectors,
        quantizer: Quantizer,
        count: usize,
        seed: u64,
        threads: usize,
        progress: &Progress,
    ) -> Result<Self> {
        let dim = vectors.dim();
        let size = count.saturating_mul(SAMPLE).min(SAMPLE_LIMIT.max(count));
        let sample = seed::sample(seed, "clusters", vectors.len(), size);
        let sample: Vec<u32> = sample.into_iter().map(|row| row as u32).collect();
        let mut values = vec![0; sample.len() * dim];
        quantizer.gather(vectors, &sample, &mut values);
        let first: Vec<i8> = seed::sample(seed, "centroids", sample.len(), count)
            .into_iter()
            .flat_map(|row| values[row * dim..][..dim].iter().copied())
            .collect();
        let mut centroids = Self::new(first, dim)?;
        let mut last: Vec<u32> = Vec::new();
        for _ in 0..ROUNDS {
            let nearest = centroids.assign_all(&values, threads, progress)?;
            let lists: Vec<u32> = nearest.iter().map(|pair| pair.1).collect();
            if lists == last {
                break;
            }
            centroids = centroids.moved(&values, &nearest, quantizer)?;
            last = lists;
        }
        Ok(centroids)
    }

    /// The number of centroids.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.dim.max(1)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
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

    /// The `count` nearest centroids of each of some rows, nearest first, one row after the other.
    ///
    /// # Errors
    ///
    /// As [`Centroids::nearest`].
    pub fn nearest_some(&self, rows: &[i8], count: usize, progress: &Progress) -> Result<Vec<u32>> {
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
            all.extend(best.into_iter().flat_map(Best::into_ids));
        }
        Ok(all)
    }

    fn assign_all(
        &self,
        values: &[i8],
        threads: usize,
        progress: &Progress,
    ) -> Result<Vec<(i32, u32)>> {
        let tasks: Vec<&[i8]> = values.chunks(TASK * self.dim).collect();
        let parts = fan::out(tasks.len(), threads, |task| self.nearest(tasks[task], progress))?;
        Ok(parts.concat())
    }

    /// Each centroid in the direction of the sum of its rows; one without rows takes the row that
    /// lies worst where it is.
    fn moved(&self, values: &[i8], nearest: &[(i32, u32)], quantizer: Quantizer) -> Result<Self> {
        let dim = self.dim;
        let mut sums = vec![0i32; self.values.len()];
        let mut counts = vec![0u32; self.len()];
        for (row, &(_, list)) in values.chunks_exact(dim).zip(nearest) {
            counts[list as usize] += 1;
            let sum = &mut sums[list as usize * dim..][..dim];
            for (sum, &value) in sum.iter_mut().zip(row) {
                *sum += i32::from(value);
            }
        }
        let mut moved = self.values.clone();
        let mut direction = vec![0.0; dim];
        for (sum, out) in sums.chunks_exact(dim).zip(moved.chunks_exact_mut(dim)) {
            if sum.iter().any(|&value| value != 0) {
                for (value, &sum) in direction.iter_mut().zip(sum) {
                    *value = sum as f32;
                }
                quantizer.turned_row(&direction, out);
            }
        }
        let empty: Vec<usize> = (0..counts.len()).filter(|&list| counts[list] == 0).collect();
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

/// The largest score and its first place.
#[multiversion(targets = "simd")]
fn largest(scores: &[i32]) -> (i32, usize) {
    let max = scores.iter().fold(i32::MIN, |max, &score| max.max(score));
    (max, scores.iter().position(|&score| score == max).unwrap_or(0))
}
