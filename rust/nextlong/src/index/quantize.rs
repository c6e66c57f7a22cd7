//! Vectors to int8: each row made a unit vector and rotated, then one scale for all.
//!
//! All rows are rotated alike, which leaves their products as they are and spreads what stands in a
//! few large values over all of them. So one scale does them justice: of LSA vectors, whose first
//! values are the largest, the true k nearest are among the 2 k of the largest int8 products, but for
//! rows that are nearly the same text as many others.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::index::cosine::dot;
use crate::index::rotate::rotate;
use crate::index::topk::Keep;
use crate::index::{EXTRA, OVERFETCH};
use crate::seed;
use crate::store::Vectors;

/// Rows that the scale is taken from.
const SAMPLE: usize = 2048;

/// Share of the values that the scale leaves below 127; the rest is cut off there.
const QUANTILE: f64 = 0.9999;

/// Rows that are read at once.
const READ: usize = 256;

/// Candidates are ranked that lie so many standard deviations of a product's error below the last
/// of the best: of the true `k` nearest, 1 in 5,000 is missed with about 1.2 `k` ranked.
const DEVIATIONS: f32 = 6.0;

/// 1.5 times the number from which on f32 has no fractions.
const WHOLE: f32 = 12_582_912.0;

/// How a value becomes an int8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantizer {
    scale: f32,
}

impl Quantizer {
    /// Takes the scale from a seeded sample of the rows: 127 / the 0.9999 quantile of |x|.
    ///
    /// # Errors
    ///
    /// [`Error::Retrieval`] when a row of the sample holds a value that is not a number.
    pub fn fit(vectors: &Vectors, seed: u64) -> Result<Self> {
        let dim = vectors.dim();
        let rows = seed::sample(seed, "quantize", vectors.len(), SAMPLE);
        let mut values = Vec::with_capacity(rows.len() * dim);
        let mut buffer = Vec::new();
        for row in rows {
            let start = values.len();
            values.resize(start + dim, 0.0);
            let values = &mut values[start..];
            vectors.read(row..row + 1, values);
            let norm = dot(values, values).sqrt();
            if !norm.is_finite() {
                return Err(Error::Retrieval(format!(
                    "row {row} of the vectors holds a value that is no number; embed its text again"
                )));
            }
            let rotated = rotate(values, &mut buffer);
            for (value, rotated) in values.iter_mut().zip(rotated) {
                *value = if norm > 0.0 { rotated.abs() / norm } else { 0.0 };
            }
        }
        if values.is_empty() {
            return Ok(Self { scale: 1.0 });
        }
        let place = ((values.len() - 1) as f64 * QUANTILE).ceil() as usize;
        let (_, &mut quantile, _) = values.select_nth_unstable_by(place, f32::total_cmp);
        Ok(Self { scale: if quantile > 0.0 { 127.0 / quantile } else { 1.0 } })
    }

    /// What a value of a unit vector is multiplied by.
    #[must_use]
    pub fn scale(self) -> f32 {
        self.scale
    }

    /// The int8 product of a unit vector with itself, about.
    #[must_use]
    pub fn square(self) -> i32 {
        // Far below what an i32 holds where all values lie in a few dimensions.
        (f64::from(self.scale).powi(2) as i32).clamp(1, i32::MAX / 4)
    }

    /// The candidates to rank for the `k` nearest of `rows` rows: those that rounding may have put
    /// below the `k` best, at most `kept * k` and a few; all of these once `kept` is more than at
    /// first.
    #[must_use]
    pub(super) fn keep(self, k: usize, kept: usize, rows: usize) -> Keep {
        let most = k.saturating_mul(kept).saturating_add(EXTRA).min(rows);
        // Each value is off by up to 1/2, evenly, in both rows; a row's length is the scale.
        let margin = (DEVIATIONS * (1.0f32 / 6.0).sqrt() * self.scale).ceil() as i32;
        let margin = if kept > OVERFETCH || most == rows { i32::MAX } else { margin };
        Keep { sure: k.min(rows), most, margin }
    }

    /// Makes one row of any length int8, by way of `buffer`; a row of zeros stays one.
    ///
    /// # Panics
    ///
    /// When `out` is shorter than `row`.
    pub fn row(self, row: &[f32], buffer: &mut Vec<f32>, out: &mut [i8]) {
        let norm = dot(row, row).sqrt();
        let scale = if norm > 0.0 { self.scale / norm } else { 0.0 };
        quantize(rotate(row, buffer), scale, &mut out[..row.len()]);
    }

    /// As [`Quantizer::row`], for a row that is a sum of int8 rows and so rotated already.
    ///
    /// # Panics
    ///
    /// When `out` is shorter than `row`.
    pub fn rotated_row(self, row: &[f32], out: &mut [i8]) {
        let norm = dot(row, row).sqrt();
        let scale = if norm > 0.0 { self.scale / norm } else { 0.0 };
        quantize(row, scale, &mut out[..row.len()]);
    }

    /// Makes the rows of `range` int8, row after row.
    ///
    /// # Panics
    ///
    /// When `out` is not as long as the rows.
    pub fn rows(self, vectors: &Vectors, range: Range<usize>, out: &mut [i8]) {
        let dim = vectors.dim();
        assert_eq!(out.len(), range.len() * dim, "`out` holds the rows of `range`");
        let mut values = vec![0.0; READ.min(range.len()) * dim];
        let mut buffer = Vec::new();
        for (start, out) in range.clone().step_by(READ).zip(out.chunks_mut(READ * dim)) {
            let values = &mut values[..out.len()];
            vectors.read(start..(start + READ).min(range.end), values);
            for (row, out) in values.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
                self.row(row, &mut buffer, out);
            }
        }
    }

    /// Makes the rows of those numbers int8, row after row, reading them by rising number.
    ///
    /// # Panics
    ///
    /// When `out` is not as long as the rows.
    pub fn gather(self, vectors: &Vectors, rows: &[u32], out: &mut [i8]) {
        let dim = vectors.dim();
        assert_eq!(out.len(), rows.len() * dim, "`out` holds the rows");
        let (mut values, mut buffer) = (vec![0.0; dim], Vec::new());
        let mut take = |place: usize| {
            let row = rows[place] as usize;
            vectors.read(row..row + 1, &mut values);
            self.row(&values, &mut buffer, &mut out[place * dim..][..dim]);
        };
        if rows.is_sorted() {
            (0..rows.len()).for_each(take);
        } else {
            let mut order: Vec<usize> = (0..rows.len()).collect();
            order.sort_unstable_by_key(|&place| rows[place]);
            order.into_iter().for_each(&mut take);
        }
    }
}

#[multiversion::multiversion(targets = "simd")]
fn quantize(row: &[f32], scale: f32, out: &mut [i8]) {
    for (out, &value) in out.iter_mut().zip(row) {
        let value = (value * scale).clamp(-127.0, 127.0);
        // Added to so large a number it is rounded to a whole one, ties to even, which then lies in
        // the lowest bits: a conversion that saturates is not vectorised as well.
        let whole = if value.is_nan() { 0 } else { (value + WHOLE).to_bits() };
        *out = whole as i8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_row_does_not_matter() {
        let rows = [3.0, -4.0, 300.0, -400.0, 0.0, 0.0];
        let vectors = Vectors::from_f32(&rows, 2).expect("vectors");
        let quantizer = Quantizer::fit(&vectors, 0).expect("scale");
        let mut out = [1; 6];
        quantizer.rows(&vectors, 0..3, &mut out);
        assert_eq!(out[..2], out[2..4]);
        assert_eq!(out[4..], [0, 0]);
        assert!(out[..2].iter().any(|&value| value.unsigned_abs() == 127), "{out:?}");
    }

    #[test]
    fn a_value_that_is_no_number_is_named() {
        let vectors = Vectors::from_f32(&[1.0, 2.0, f32::NAN, 0.0], 2).expect("vectors");
        let error = Quantizer::fit(&vectors, 0).expect_err("refused").to_string();
        assert!(error.contains("row 1"), "{error}");
    }

    #[test]
    fn a_few_large_values_do_not_cost_the_others_their_precision() {
        // As LSA has them: a large value in front, the others fading.
        let (rows, dim) = (400, 256);
        let mut rng = seed::Rng::new(1, "test", 0);
        let mut values = Vec::with_capacity(rows * dim);
        for _ in 0..rows {
            values.extend((0..dim).map(|place| {
                let size = if place == 0 { 3.0 } else { 1.0 / (place as f32).sqrt() };
                size * (rng.uniform() as f32 - 0.3)
            }));
        }
        let vectors = Vectors::from_f32(&values, dim).expect("vectors");
        let quantizer = Quantizer::fit(&vectors, 0).expect("scale");
        let mut exact = vec![0.0; rows * dim];
        vectors.read(0..rows, &mut exact);
        let mut made = [vec![0; rows * dim], vec![0; rows * dim]];
        quantizer.rows(&vectors, 0..rows, &mut made[0]);
        // Not rotated, the scale has to leave room for the large values.
        let unit = |row: &[f32]| row.iter().map(|value| value / dot(row, row).sqrt()).collect();
        let mut sizes: Vec<f32> = exact.chunks_exact(dim).flat_map::<Vec<f32>, _>(unit).collect();
        sizes.sort_unstable_by(|a, b| a.abs().total_cmp(&b.abs()));
        let plain = Quantizer { scale: 127.0 / sizes[sizes.len() - 5].abs() };
        for (row, out) in exact.chunks_exact(dim).zip(made[1].chunks_exact_mut(dim)) {
            plain.rotated_row(row, out);
        }
        let errors = [(quantizer, &made[0]), (plain, &made[1])].map(|(quantizer, made)| {
            let scale = f64::from(quantizer.scale()).powi(2);
            let squares = (0..rows - 1).map(|row| {
                let [a, b] = [row, row + 1].map(|row| &exact[row * dim..][..dim]);
                let cosine = f64::from(dot(a, b) / (dot(a, a) * dot(b, b)).sqrt());
                let [a, b] = [row, row + 1].map(|row| &made[row * dim..][..dim]);
                let sum: i32 = a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
                (f64::from(sum) / scale - cosine).powi(2)
            });
            squares.sum::<f64>().sqrt()
        });
        assert!(errors[0] * 2.0 < errors[1], "{errors:?}");
    }

    #[test]
    fn nothing_has_a_scale_too() {
        let vectors = Vectors::from_f32(&[], 2).expect("vectors");
        assert_eq!(Quantizer::fit(&vectors, 0).expect("scale"), Quantizer { scale: 1.0 });
    }
}
