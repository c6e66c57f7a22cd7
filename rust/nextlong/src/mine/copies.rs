//! Which chunks are near-duplicates of what a sequence holds, by their words.
//!
//! In: the meta-chunks of one document, and the chunks that are to join its sequence. Out: which of
//! them may.

use std::ops::Range;
use std::sync::Arc;

use super::gram_lists::{GramLists, Grams, distinct};
use super::overlap::Overlap;
use crate::config::Settings;
use crate::store::ChunkStore;

/// The near-duplicate rule for the sequence of one document.
///
/// Of every chunk of the sequence at most `max_containment` of its n-grams may stand in the others:
/// of a meta-chunk in the negatives, of a negative in the meta-chunks and the other negatives. Chunks
/// of the own document are not compared: as negatives they are wanted repeats. Of long chunks the
/// n-grams are a sample ([`GramLists`]).
#[derive(Debug)]
pub(super) struct Copies {
    most: f32,
    lists: Arc<GramLists>,
    metas: Range<u32>,
    /// The hashes of their texts, rising; made when the first chunk is asked for.
    texts: Vec<u64>,
    /// The negatives of the sequence, in the order in which they joined.
    held: Vec<Held>,
    /// The n-grams of what the sequence holds; none before the first chunk is to join.
    overlap: Option<Overlap>,
    buffer: Vec<u64>,
}

#[derive(Debug)]
struct Held {
    chunk: u32,
    place: u32,
    grams: Grams,
}

impl Copies {
    /// The rule for a document whose chunks are `metas`; `None` where the settings have none.
    pub(super) fn new(
        settings: &Settings,
        lists: &Arc<GramLists>,
        metas: Range<u32>,
    ) -> Option<Self> {
        settings.max_containment.map(|most| Self {
            most,
            lists: Arc::clone(lists),
            metas,
            texts: Vec::new(),
            held: Vec::new(),
            overlap: None,
            buffer: Vec::new(),
        })
    }

    /// Whether `chunk`, of another document, has the text of a meta-chunk.
    pub(super) fn repeats_a_meta_chunk(&mut self, store: &ChunkStore, chunk: u32) -> bool {
        if self.texts.is_empty() {
            self.texts = self.metas.clone().map(|meta| store.text_hash(meta as usize)).collect();
            self.texts.sort_unstable();
        }
        !self.metas.contains(&chunk)
            && self.texts.binary_search(&store.text_hash(chunk as usize)).is_ok()
    }

    /// Enters `chunk` as a negative of the sequence, unless one of the two would be a near-duplicate
    /// of the other: whether it joined.
    pub(super) fn join(&mut self, store: &ChunkStore, chunk: u32) -> bool {
        if self.metas.contains(&chunk) {
            return true;
        }
        let overlap = self.overlap.get_or_insert_with(|| {
            let mut overlap = self.lists.overlap();
            for meta in self.metas.clone() {
                overlap.fix(&self.lists.of(store, meta, &mut self.buffer));
            }
            overlap
        });
        let grams = self.lists.of(store, chunk, &mut self.buffer);
        let place = overlap.join(&grams, self.most);
        self.held.extend(place.map(|place| Held { chunk, place, grams }));
        place.is_some()
    }

    /// Takes `chunk` out of the negatives of the sequence.
    pub(super) fn leave(&mut self, chunk: u32) {
        let at = self.held.iter().rposition(|held| held.chunk == chunk);
        if let (Some(at), Some(overlap)) = (at, &mut self.overlap) {
            let Held { place, grams, .. } = self.held.remove(at);
            overlap.leave(place, &grams);
        }
    }

    /// Takes all negatives out of the sequence.
    pub(super) fn clear(&mut self) {
        self.held.clear();
        if let Some(overlap) = self.overlap.take() {
            self.lists.give_back(overlap);
        }
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Of each of some texts, the share of its n-grams of `words` words that stand in the others.
#[must_use]
pub fn shares_in_the_others(texts: &[&str], words: usize) -> Vec<f32> {
    let mut found = Vec::new();
    let all: Vec<Grams> = texts
        .iter()
        .map(|text| {
            super::ngrams::grams(text, words, &mut found);
            distinct(&mut found)
        })
        .collect();
    let mut overlap = Overlap::default();
    // No share is above 1: each has a place.
    let places: Vec<u32> = all.iter().filter_map(|grams| overlap.join(grams, 1.0)).collect();
    places.into_iter().map(|place| overlap.share(place)).collect()
}
