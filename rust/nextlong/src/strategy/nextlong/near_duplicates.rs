//! The rule on near-duplicates: chunks of one sequence share few word n-grams.
//!
//! In: the meta-chunks of one document, and candidates for its sequence. Out: which of them may join.

use std::ops::Range;
use std::sync::Arc;

use super::gram_lists::{GramLists, Grams, distinct};
use super::ngrams::grams;
use super::overlap::Overlap;
use crate::config::Settings;
use crate::store::ChunkStore;

/// The near-duplicate rule for the sequence of one document.
///
/// For every chunk of the sequence, at most the share `max_containment` of its n-grams may occur in the
/// others: for a meta-chunk in the negatives, for a negative in the meta-chunks and the other negatives.
/// Chunks of the own document are not compared: as negatives they are intended repeats. Long chunks are
/// compared by a sample of n-grams ([`GramLists`]).
#[derive(Debug)]
pub(super) struct NearDuplicates {
    most: f32,
    lists: Arc<GramLists>,
    metas: Range<u32>,
    /// The hashes of their texts, rising; computed for the first chunk.
    texts: Vec<u64>,
    /// The negatives of the sequence, in the order in which they joined.
    held: Vec<u32>,
    /// The chunks that tried to join since the sequence had no negatives, in order; true if one joined.
    decided: Vec<(u32, bool)>,
    /// How many of these decisions the sequence has repeated; None after a negative left it.
    repeated: Option<usize>,
    /// The n-grams of the sequence, once they are needed.
    joined: Option<Joined>,
    buffer: Vec<u64>,
}

/// The n-grams of a sequence, and for each negative its place among them.
#[derive(Debug)]
struct Joined {
    overlap: Overlap,
    places: Vec<(u32, Grams)>,
}

impl NearDuplicates {
    /// The rule for a document whose chunks are `metas`; `None` if the settings have none.
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
            decided: Vec::new(),
            repeated: Some(0),
            joined: None,
            buffer: Vec::new(),
        })
    }

    /// True if `chunk`, of another document, has the text of a meta-chunk.
    pub(super) fn repeats_a_meta_chunk(&mut self, store: &ChunkStore, chunk: u32) -> bool {
        if self.texts.is_empty() {
            self.texts = self.metas.clone().map(|meta| store.text_hash(meta as usize)).collect();
            self.texts.sort_unstable();
        }
        !self.metas.contains(&chunk)
            && self.texts.binary_search(&store.text_hash(chunk as usize)).is_ok()
    }

    /// Adds `chunk` as a negative of the sequence, unless that makes a near-duplicate; true if it was
    /// added.
    pub(super) fn join(&mut self, store: &ChunkStore, chunk: u32) -> bool {
        if self.metas.contains(&chunk) {
            return true;
        }
        // The same chunks in the same order have the same outcome.
        let known = self.repeated.filter(|_| self.joined.is_none());
        let known = known.and_then(|at| self.decided.get(at)).filter(|&&(same, _)| same == chunk);
        let known = known.map(|&(_, joins)| joins);
        let joins = known.unwrap_or_else(|| self.compare(store, chunk));
        if let Some(at) = &mut self.repeated {
            if known.is_none() {
                self.decided.truncate(*at);
                self.decided.push((chunk, joins));
            }
            *at += 1;
        }
        if joins {
            self.held.push(chunk);
        }
        joins
    }

    /// Adds the n-grams of `chunk`, unless that is against the rule; true if they were added.
    fn compare(&mut self, store: &ChunkStore, chunk: u32) -> bool {
        let Self { lists, buffer, .. } = self;
        let joined = self.joined.get_or_insert_with(|| {
            let mut overlap = lists.overlap();
            for meta in self.metas.clone() {
                overlap.fix(&lists.of(store, meta, buffer));
            }
            let places = self.held.iter().filter_map(|&held| {
                let grams = lists.of(store, held, buffer);
                Some((overlap.join(&grams, 1.0)?, grams))
            });
            let places = places.collect();
            Joined { overlap, places }
        });
        let grams = lists.of(store, chunk, buffer);
        let place = joined.overlap.join(&grams, self.most);
        joined.places.extend(place.map(|place| (place, grams)));
        place.is_some()
    }

    /// Removes `chunk` from the negatives of the sequence.
    pub(super) fn leave(&mut self, chunk: u32) {
        let Some(at) = self.held.iter().rposition(|&held| held == chunk) else { return };
        self.held.remove(at);
        self.repeated = None;
        if let Some(Joined { overlap, places }) = &mut self.joined {
            let (place, grams) = places.remove(at);
            overlap.leave(place, &grams);
        }
    }

    /// Removes all negatives from the sequence.
    pub(super) fn clear(&mut self) {
        self.held.clear();
        self.repeated = Some(0);
        if let Some(Joined { overlap, .. }) = self.joined.take() {
            self.lists.give_back(overlap);
        }
    }
}

impl Drop for NearDuplicates {
    fn drop(&mut self) {
        self.clear();
    }
}

/// For each text, the share of its n-grams of `words` words that occur in the others.
#[must_use]
pub fn shares_in_the_others(texts: &[&str], words: usize) -> Vec<f32> {
    let mut found = Vec::new();
    let all: Vec<Grams> = texts
        .iter()
        .map(|text| {
            grams(text, words, &mut found);
            distinct(&found, 1)
        })
        .collect();
    let mut overlap = Overlap::default();
    // No share is above 1: each has a place.
    let places: Vec<u32> = all.iter().filter_map(|grams| overlap.join(grams, 1.0)).collect();
    places.into_iter().map(|place| overlap.share(place)).collect()
}
