//! Turns the text of a chunk into a vector whose direction says what the chunk is about.
//!
//! In: texts. Out: rows of `dim` values with length 1, or 0 for a text without a known word.
//!
//! The default, [`LsaModel`], is fitted on the corpus itself and needs no download:
//! [`words`] cuts and hashes, [`boilerplate`] leaves lines out, [`groups`] tells languages apart, [`fit`]
//! finds the directions of each group, [`model`] embeds, [`saved`] is the model's file.
//! [`StaticModel`] reads a model2vec folder: a row for every token id.

mod boilerplate;
mod counter;
mod fit;
mod groups;
mod leaders;
mod linear;
mod model;
mod names;
mod rows;
mod saved;
mod sparse;
mod static_model;
mod strips;
mod vocabulary;
mod words;

pub use fit::{CANDIDATES, FitOptions};
pub use model::{Encoder, LsaModel};
pub use static_model::{StaticEncoder, StaticModel, StaticOptions, StaticScratch, Tokenize};
pub use words::{BUCKETS, Words};

use std::ops::Range;
use std::path::Path;

use half::f16;

pub use crate::config::rules::MAX_DIM;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::store::ChunkStore;
use crate::store::vectors;

/// Chunks between two looks at the stop flag: about 10 ms of work.
const CHUNKS_PER_CHECK: usize = 512;

/// Embeds the chunks of `range` one by one and writes them as one float16 part.
fn write_part(
    store: &ChunkStore,
    range: Range<usize>,
    path: &Path,
    dim: usize,
    progress: &Progress,
    mut encode: impl FnMut(&str, &mut [f32]) -> Result<()>,
) -> Result<()> {
    if range.start > range.end || range.end > store.len() {
        return Err(Error::Config(format!(
            "chunks {} to {} were asked for, the store has {}",
            range.start,
            range.end,
            store.len()
        )));
    }
    let mut halves = Vec::with_capacity(range.len() * dim);
    let mut row = vec![0.0f32; dim];
    for (done, chunk) in range.enumerate() {
        if done % CHUNKS_PER_CHECK == 0 {
            progress.check()?;
        }
        encode(store.text(chunk), &mut row)?;
        halves.extend(row.iter().map(|&value| f16::from_f32(value)));
        progress.add(1);
    }
    vectors::write_npy(path, &halves, dim)
}

/// The rows of `values`, `dim` to a row, each scaled to length 1; rows of zeros stay.
///
/// # Errors
///
/// [`Error::Embedding`] for a value that is no finite number: it names the row.
pub fn normalised_rows(values: &[f32], dim: usize) -> Result<Vec<f32>> {
    if let Some(place) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::Embedding(format!(
            "row {} of the vectors holds {} in column {}; every value must be a finite number",
            place / dim,
            values[place],
            place % dim
        )));
    }
    let mut values = values.to_vec();
    for row in values.chunks_mut(dim.max(1)) {
        rows::normalise(row);
    }
    Ok(values)
}
