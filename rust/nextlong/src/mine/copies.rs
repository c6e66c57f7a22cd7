//! Which chunks are near-duplicates of what a sequence holds, by their words.
//!
//! In: the meta-chunks of one document, and the negatives that join and leave its sequence. Out:
//! whether a chunk may join. The n-grams of many chunks are compared at once, so whoever asks names
//! those that will be asked for next.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::gram_lists::{GramLists, Grams};
use super::ngrams::Hashed;
use super::overlap::Overlap;
use crate::config::Settings;
use crate::store::ChunkStore;

/// The near-duplicate rule for the sequence of one document.
///
/// Of every chunk of the sequence at most `max_containment` of its n-grams may stand in the others:
/// of a meta-chunk in the negatives, of a negative in the meta-chunks and the other negatives. Chunks
/// of the own document are not compared: as negatives they are wanted repeats.
#[derive(Debug)]
pub(super) struct Copies {
    most: f32,
    lists: Arc<GramLists>,
    metas: Range<u32>,
    /// The hashes of their texts, rising; made when the first chunk is asked for.
    texts: Vec<u64>,
    /// The negatives of the sequence, in the order in which they joined.
    held: Vec<u32>,
    /// The chunks whose n-grams are compared: meta-chunks, then others.
    places: HashMap<u32, u32, Hashed>,
    overlap: Overlap,
    buffer: Vec<u64>,
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
            places: HashMap::default(),
            overlap: Overlap::default(),
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

    /// Whether [`Copies::refuses`] can tell of `chunk`.
    pub(super) fn knows(&self, chunk: u32) -> bool {
        self.metas.contains(&chunk) || self.places.contains_key(&chunk)
    }

    /// Compares what the sequence holds and `chunks`, and forgets all others.
    pub(super) fn learn(&mut self, store: &ChunkStore, chunks: impl IntoIterator<Item = u32>) {
        self.places.clear();
        let mut all: Vec<Grams> = Vec::new();
        let held = std::mem::take(&mut self.held);
        for chunk in self.metas.clone().chain(held.iter().copied()).chain(chunks) {
            let place = self.places.len() as u32;
            if *self.places.entry(chunk).or_insert(place) == place {
                all.push(self.lists.of(store, chunk, &mut self.buffer));
            }
        }
        self.overlap = Overlap::new(&all, self.metas.len());
        held.into_iter().for_each(|chunk| self.join(chunk));
    }

    /// Whether `chunk`, which is known, is a near-duplicate of what the sequence holds.
    pub(super) fn refuses(&mut self, chunk: u32) -> bool {
        !self.metas.contains(&chunk)
            && self.places.get(&chunk).is_some_and(|&place| self.overlap.refuses(place, self.most))
    }

    /// Enters `chunk`, which is known, as a negative of the sequence.
    pub(super) fn join(&mut self, chunk: u32) {
        let place = self.places.get(&chunk).filter(|_| !self.metas.contains(&chunk));
        if let Some(&place) = place {
            self.overlap.join(place);
            self.held.push(chunk);
        }
    }

    /// Takes `chunk` out of the negatives of the sequence.
    pub(super) fn leave(&mut self, chunk: u32) {
        let Some(at) = self.held.iter().rposition(|&held| held == chunk) else { return };
        self.held.remove(at);
        if let Some(&place) = self.places.get(&chunk) {
            self.overlap.leave(place);
        }
    }

    /// Takes all negatives out of the sequence.
    pub(super) fn clear(&mut self) {
        while let Some(&chunk) = self.held.last() {
            self.leave(chunk);
        }
    }
}

/// Of each of some texts, the share of its n-grams of `words` words that stand in the others.
#[must_use]
pub fn shares_in_the_others(texts: &[&str], words: usize) -> Vec<f32> {
    let mut found = Vec::new();
    let all: Vec<Vec<u32>> = texts
        .iter()
        .map(|text| {
            super::ngrams::grams(text, words, &mut found);
            found.iter().map(|gram| (gram >> 32) as u32).collect()
        })
        .collect();
    let mut overlap = Overlap::new(&all, 0);
    let places = 0..texts.len() as u32;
    places.clone().for_each(|place| overlap.join(place));
    places.map(|place| overlap.share(place)).collect()
}
