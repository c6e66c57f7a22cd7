//! Fits the model: the directions along which the texts of a sample differ most.
//!
//! A randomized singular value decomposition (Halko, Martinsson, Tropp, 2011) of the BM25-weighted
//! word matrix X, worked from the side of the words: W = Xᵀ × random, then W = orthonormal(Xᵀ (X W))
//! for every power iteration, then the right singular vectors of X W turn W into the rows.

use super::MAX_DIM;
use super::linear::{directions, orthonormalise, rotate};
use super::model::LsaModel;
use super::sparse::Sample;
use super::strips::{normal_product, product, sketched};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::seed;

use faer::Mat;

/// Directions followed beyond those asked for, at least; they make the last ones right.
const OVERSAMPLE: usize = 16;
/// The directions followed are a multiple of this, the width of the summing kernel.
const WIDTH_STEP: usize = 96;

/// How a model is fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitOptions {
    /// The values of a vector.
    pub dim: usize,
    /// Of the hashing and of the random start.
    pub seed: u64,
    /// A word's weight is its inverse document frequency to this power.
    pub idf_power: f64,
    /// More make the directions more exact: 1 or 2 are enough for text.
    pub power_iterations: usize,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self { dim: 256, seed: 0, idf_power: 1.5, power_iterations: 1 }
    }
}

impl LsaModel {
    /// Fits a model on `texts`; `progress` counts a unit for each text.
    ///
    /// Where the texts have fewer directions than `dim` (a small or repetitive sample), the last
    /// values of every vector are 0. The model is the same for any number of `threads`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for an option out of range, [`Error::Embedding`] when no text has a word,
    /// [`Error::Cancelled`].
    pub fn fit(
        texts: &[&str],
        options: FitOptions,
        threads: usize,
        progress: &Progress,
    ) -> Result<Self> {
        let FitOptions { dim, seed, idf_power, power_iterations } = options;
        if dim == 0 || dim > MAX_DIM {
            return Err(Error::Config(format!("dim ({dim}) must be from 1 to {MAX_DIM}")));
        }
        if !(0.0..=8.0).contains(&idf_power) {
            return Err(Error::Config(format!("idf_power ({idf_power}) must be from 0 to 8")));
        }
        let sample = Sample::new(texts, seed, idf_power, threads, progress)?;
        let matrix = &sample.matrix;
        // No more directions than texts or words: following others costs much and finds noise.
        let most = dim.min(matrix.rows()).min(sample.buckets.len());
        let width = (most + OVERSAMPLE).next_multiple_of(WIDTH_STEP);
        let random = |text| seed::bits(seed, "embed sketch", u64::from(text));
        let mut directions_of_words = sketched(matrix, width, random, threads, progress)?;
        for iteration in 0..power_iterations {
            // Float32 bears the spread of one iteration, not of two.
            if iteration > 0 {
                orthonormalise(&mut directions_of_words, threads, progress)?;
            }
            directions_of_words = normal_product(matrix, &directions_of_words, threads, progress)?;
        }
        orthonormalise(&mut directions_of_words, threads, progress)?;
        let of_texts = product(matrix, &directions_of_words, threads, progress)?;
        let (vectors, squares) = directions(&of_texts, threads, progress)?;
        let rotation = Mat::from_fn(width, dim, |row, column| {
            if column >= width || squares[column] == 0.0 {
                0.0
            } else {
                vectors[(row, column)] as f32
            }
        });
        let rows = rotate(&directions_of_words, &rotation, threads, progress)?;
        Self::from_rows(options, &sample, &rows, threads)
    }
}
