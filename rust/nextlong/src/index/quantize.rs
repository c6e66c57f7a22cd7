//! Vectors to int8: each row made a unit vector, then one scale for all.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::index::cosine::dot;
use crate::seed;
use crate::vectors::Vectors;

/// Rows that the scale is taken from.
const SAMPLE: usize = 2048;

/// Share of the values that the scale leaves below 127; the rest is cut off there.
const QUANTILE: f64 = 0.9999;

/// Rows that are read at once.
const READ: usize = 256;

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
    /// [`Error::Retrieval`] when a row of the sample holds a value that is no number.
    pub fn fit(vectors: &Vectors, seed: u64) -> Result<Self> {
        let dim = vectors.dim();
        let rows = seed::sample(seed, "quantize", vectors.len(), SAMPLE);
        let mut values = Vec::with_capacity(rows.len() * dim);
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
            for value in values {
                *value = if norm > 0.0 { value.abs() / norm } else { 0.0 };
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
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Turns one row of any length into int8; a row of zeros stays one.
    ///
    /// # Panics
    ///
    /// When `out` is shorter than `row`.
    pub fn row(&self, row: &[f32], out: &mut [i8]) {
        let norm = dot(row, row).sqrt();
        let scale = if norm > 0.0 { self.scale / norm } else { 0.0 };
        quantize(row, scale, &mut out[..row.len()]);
    }

    /// Turns the rows of `range` into int8, row after row.
    ///
    /// # Panics
    ///
    /// When `out` is not as long as the rows.
    pub fn rows(&self, vectors: &Vectors, range: Range<usize>, out: &mut [i8]) {
        let dim = vectors.dim();
        assert_eq!(out.len(), range.len() * dim, "`out` holds the rows of `range`");
        let mut values = vec![0.0; READ.min(range.len()) * dim];
        for (start, out) in range.clone().step_by(READ).zip(out.chunks_mut(READ * dim)) {
            let values = &mut values[..out.len()];
            vectors.read(start..(start + READ).min(range.end), values);
            for (row, out) in values.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
                self.row(row, out);
            }
        }
    }

    /// Turns the rows of those numbers into int8, row after row, reading them by rising number.
    ///
    /// # Panics
    ///
    /// When `out` is not as long as the rows.
    pub fn gather(&self, vectors: &Vectors, rows: &[u32], out: &mut [i8]) {
        let dim = vectors.dim();
        assert_eq!(out.len(), rows.len() * dim, "`out` holds the rows");
        let mut values = vec![0.0; dim];
        let mut take = |place: usize| {
            let row = rows[place] as usize;
            vectors.read(row..row + 1, &mut values);
            self.row(&values, &mut out[place * dim..][..dim]);
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
        *out = (value * scale).round_ties_even().clamp(-127.0, 127.0) as i8;
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
        assert_eq!(out, [95, -127, 95, -127, 0, 0]);
    }

    #[test]
    fn a_value_that_is_no_number_is_named() {
        let vectors = Vectors::from_f32(&[1.0, 2.0, f32::NAN, 0.0], 2).expect("vectors");
        let error = Quantizer::fit(&vectors, 0).expect_err("refused").to_string();
        assert!(error.contains("row 1"), "{error}");
    }

    #[test]
    fn nothing_has_a_scale_too() {
        let vectors = Vectors::from_f32(&[], 2).expect("vectors");
        assert_eq!(Quantizer::fit(&vectors, 0).expect("scale"), Quantizer { scale: 1.0 });
    }
}
