//! How many negatives a sequence needs, as far as characters tell.

use std::ops::Range;

use super::prefetch::step;
use crate::config::{Length, Sampling, Settings};
use crate::store::ChunkStore;

/// Neighbours searched for at first, for each negative that is needed.
const DEPTH_FACTOR: f64 = 3.0;

/// Ranks from which a random order draws if `range_max` is not set: those of the paper's ablation.
const RANDOM_WINDOW: u32 = 512;

/// How many times longer than estimated a sequence may be before a document of that length is
/// tokenized first, and its neighbours searched later.
const LONGER: f64 = 1.25;

/// The mean number of characters of a chunk, from at most 1,000 chunks spread over the corpus.
pub(crate) fn mean_characters(store: &ChunkStore) -> f64 {
    let step = store.len().div_ceil(1000).max(1);
    let lengths = (0..store.len()).step_by(step).map(|chunk| {
        let characters = store.characters(chunk);
        (characters.end - characters.start) as f64
    });
    let (sum, count) = lengths.fold((0.0, 0.0), |(sum, count), length| (sum + length, count + 1.0));
    if count == 0.0 { 1.0 } else { f64::max(sum / count, 1.0) }
}

/// The estimated number of negatives of each meta-chunk of a sequence.
pub(super) fn needed(
    store: &ChunkStore,
    settings: &Settings,
    chunks: Range<usize>,
    mean_chars: f64,
) -> f64 {
    let own = document_characters(store, chunks.clone()) as f64;
    match (settings.num_negatives, settings.length) {
        (Some(most), _) => f64::from(most),
        (None, Length::Paper) => f64::from(paper_k(settings, own, chunks.len())),
        (None, Length::Exact) => {
            let left = f64::from(settings.seq_len) * settings.chars_per_token - own;
            left.max(0.0) / (chunks.len() as f64 * mean_chars)
        }
    }
}

/// The depth of the first search. The meta-chunks of a document are alike and so are their
/// neighbours: on real text two of three were taken by another meta-chunk of the sequence. A random
/// order takes its whole window at once.
pub(super) fn first_depth(settings: &Settings, needed: f64) -> u32 {
    let top = step((needed * DEPTH_FACTOR).ceil() as u32 + 16 + settings.range_min);
    match settings.sampling_strategy {
        Sampling::Top => top,
        Sampling::Random => settings
            .range_max
            .unwrap_or_else(|| settings.range_min.saturating_add(RANDOM_WINDOW).max(top)),
    }
}

/// True if a document of `characters` characters may be too long for a sequence. Only its tokens
/// tell; until they are counted, no neighbours are searched for it.
pub(super) fn may_be_too_long(settings: &Settings, characters: f64, chunks: usize) -> bool {
    match settings.length {
        Length::Exact => {
            characters > f64::from(settings.seq_len) * settings.chars_per_token * LONGER
        }
        Length::Paper => paper_k(settings, characters, chunks) == 0,
    }
}

/// The paper's number of negatives per meta-chunk, rounded up: k = (T·E·w − S) / (p·s), with T
/// `seq_len`, E `chars_per_token`, w `length_factor`, S the document's characters, p its chunks
/// and s `chunk_size` (method.md; worked example: T 131,072, S 20,000, p 10 gives 37.4).
#[must_use]
pub fn paper_k(settings: &Settings, characters: f64, chunks: usize) -> u32 {
    let target = f64::from(settings.seq_len) * settings.chars_per_token * settings.length_factor;
    let k = (target - characters) / (chunks as f64 * f64::from(settings.chunk_size));
    k.ceil().max(0.0) as u32
}

/// The number of characters of a document whose chunks are `chunks`.
pub(crate) fn document_characters(store: &ChunkStore, chunks: Range<usize>) -> i64 {
    if chunks.is_empty() { 0 } else { store.characters(chunks.end - 1).end }
}
