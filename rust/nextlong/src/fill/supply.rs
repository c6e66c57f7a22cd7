//! The remaining supply: what sequences can still take when `max_reuse` limits the uses of a chunk.
//!
//! There may be more documents than the chunks suffice for; near the end, each would be searched
//! through the whole corpus. So the supply is counted from time to time: deeper searches leave out
//! exhausted chunks, and documents that cannot be filled are dropped before they are searched.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pass::{Pass, State};
use crate::config::{Length, OnShort};
use crate::hash::BuildIntHasher;
use crate::store::{ChunkStore, TokenCache};
use crate::strategy::nextlong::identity;

/// Maximum number of remaining chunks that are scanned exactly. Above it, a search among all chunks
/// that skips exhausted ones is faster.
const FEW: u64 = 1 << 17;

/// Maximum number of distinct texts counted exactly; above it the count is extrapolated from a
/// sample.
const TEXTS: usize = 1 << 20;

/// Uses of each chunk by documents that are not finished.
type Held = HashMap<u32, u32, BuildIntHasher>;

/// The supply when it was last counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supply {
    /// Negatives of all sequences up to then.
    negatives: u64,
    /// Remaining uses of all chunks; chunks of equal text count once.
    places: u64,
    /// Chunks that are not exhausted.
    chunks: u64,
    /// Tokens of all remaining texts with separators: an upper bound for one sequence.
    tokens: u64,
    /// `tokens` when pending documents were last pruned.
    #[serde(rename = "sifted")]
    pruned: Option<u64>,
}

impl Pass {
    /// Counts the supply if it may have shrunk much, or for the first time. `states` are those of all
    /// open documents: the chunks they hold may be given back.
    pub(super) fn update_supply<'a>(
        &mut self,
        states: impl Iterator<Item = &'a State>,
        store: &ChunkStore,
        tokens: &TokenCache,
    ) {
        let Some(most) = self.settings.max_reuse else { return };
        if self.is_due(store) {
            self.count(most, states, store, tokens);
        }
        if self.tally.supply.is_some() {
            self.ledger.track_exhausted(store.len());
        }
        // The supply says whether they are few: a run that is resumed must find the same.
        let few = self.tally.supply.is_some_and(|supply| supply.chunks <= FEW);
        if few && self.remaining.is_none() {
            self.remaining = Some(Arc::new(self.left(most, &Held::default(), store).collect()));
        }
    }

    /// The chunks that are not exhausted, including those that open documents hold, rising.
    fn left(&self, most: u32, held: &Held, store: &ChunkStore) -> impl Iterator<Item = u32> {
        (0..store.len() as u32).filter(move |&chunk| self.places_of(chunk, most, held) > 0)
    }

    /// Remaining uses of a chunk, if held chunks are given back.
    fn places_of(&self, chunk: u32, most: u32, held: &Held) -> u32 {
        let uses = self.ledger.uses(chunk);
        most.saturating_sub(uses - held.get(&chunk).copied().unwrap_or(0).min(uses))
    }

    fn count<'a>(
        &mut self,
        most: u32,
        states: impl Iterator<Item = &'a State>,
        store: &ChunkStore,
        tokens: &TokenCache,
    ) {
        let mut held = Held::default();
        let mut hold = |chunk| *held.entry(chunk).or_insert(0) += 1;
        for state in states {
            match state {
                State::Filling(draft) => draft.selections.iter().for_each(|one| hold(one.chunk)),
                State::LayingOut(segments) => {
                    let negatives = segments.iter().filter(|segment| !segment.is_meta());
                    negatives.for_each(|segment| hold(segment.chunk));
                }
                State::Measuring | State::Planned(_) | State::Dropped => {}
            }
        }
        let chunks = self.left(most, &held, store).count();
        let parts = chunks.div_ceil(TEXTS).max(1) as u64;
        let (places, tokens) = self.texts(most, &held, store, tokens, parts);
        let supply = Supply {
            negatives: self.tally.negatives,
            places,
            chunks: chunks as u64,
            tokens,
            pruned: self.tally.supply.and_then(|supply| supply.pruned),
        };
        self.tally.supply = Some(supply);
        self.remaining =
            (supply.chunks <= FEW).then(|| Arc::new(self.left(most, &held, store).collect()));
    }

    /// Remaining uses and tokens of all texts, extrapolated from one of `parts` samples.
    fn texts(
        &self,
        most: u32,
        held: &Held,
        store: &ChunkStore,
        tokens: &TokenCache,
        parts: u64,
    ) -> (u64, u64) {
        let mut places = HashMap::<u64, u32, BuildIntHasher>::default();
        let mut sum = 0;
        for chunk in self.left(most, held, store) {
            let hash = identity(&self.settings, store, chunk);
            if !hash.is_multiple_of(parts) {
                continue;
            }
            let left = self.places_of(chunk, most, held);
            match places.entry(hash) {
                Entry::Vacant(place) => {
                    place.insert(left);
                    sum += tokens_at_most(chunk as usize, store, tokens)
                        + self.special_tokens.separator.len() as u64;
                }
                Entry::Occupied(mut place) => {
                    *place.get_mut() = place.get().saturating_add(left).min(most);
                }
            }
        }
        (places.into_values().map(u64::from).sum::<u64>() * parts, sum * parts)
    }

    fn is_due(&self, store: &ChunkStore) -> bool {
        let (chunks, negatives) = (store.len() as u64, self.tally.negatives);
        let Some(supply) = self.tally.supply else {
            let places = chunks * u64::from(self.settings.max_reuse.unwrap_or(0));
            return self.tally.dropped_short + self.tally.shortened > 0 || negatives >= places / 2;
        };
        let taken = negatives - supply.negatives;
        // Counting looks at every chunk.
        taken > 0 && taken >= supply.places.min(chunks) / 16
    }

    /// True if the supply cannot fill `capacity` tokens, and sequences must be full.
    pub(super) fn is_out_of_supply(&self, capacity: i64) -> bool {
        let separator = self.special_tokens.separator.len() as i64;
        self.settings.on_short == OnShort::Drop
            && self.tally.supply.is_some_and(|supply| capacity - separator > supply.tokens as i64)
    }

    /// Drops pending `documents` that the supply cannot fill and counts them as `no_chunks_left`; None
    /// if (nearly) all can be filled.
    ///
    /// A document that was never tokenized is assumed to have at most one token per byte.
    pub fn prune(
        &mut self,
        documents: &[u32],
        store: &ChunkStore,
        tokens: &TokenCache,
    ) -> Option<Vec<u32>> {
        self.update_supply(std::iter::empty(), store, tokens);
        let supply = self.tally.supply.filter(|_| self.settings.length == Length::Exact)?;
        let most = self.settings.seq_len;
        let seen = supply.pruned.is_some_and(|before| supply.tokens > before / 2);
        if seen || !self.is_out_of_supply(self.special_tokens.capacity(most, 1)) {
            return None;
        }
        self.tally.supply = Some(Supply { pruned: Some(supply.tokens), ..supply });
        let can_be_filled = |&document: &u32| {
            let chunks = store.document_chunks(document as usize);
            let own: u64 = chunks.clone().map(|chunk| tokens_at_most(chunk, store, tokens)).sum();
            !self.is_out_of_supply(self.special_tokens.capacity(most, chunks.len()) - own as i64)
        };
        let rest: Vec<u32> = documents.iter().copied().filter(can_be_filled).collect();
        self.tally.no_chunks_left += (documents.len() - rest.len()) as u64;
        Some(rest)
    }
}

/// The number of tokens of a chunk, or of its bytes if it was never tokenized.
fn tokens_at_most(chunk: usize, store: &ChunkStore, tokens: &TokenCache) -> u64 {
    tokens.count(chunk as u32).map_or_else(|| store.text(chunk).len() as u64, u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::segment::SpecialTokens;
    use crate::store::{Origin, PartWriter};

    const SETTINGS: &str = r#"{
        "seq_len": 256, "num_sequences": null, "seed": 3, "text_column": "text", "id_column": null,
        "score_column": null, "source_column": null, "max_document_bytes": 1000000, "max_error_rate": 0.01,
        "chunk_size": 64, "chunk_unit": "chars", "chunk_mode": "lossless", "embedder": "lsa",
        "dim": 4, "idf_power": 1.5, "fit_chunks": 100, "boilerplate_share": 0.01, "index": "exact", "min_recall": 0.95,
        "range_min": 0, "range_max": null, "min_score": null, "max_score": 0.95,
        "absolute_margin": null, "relative_margin": null, "exclude_same_doc": true,
        "max_containment": 0.5, "containment_words": 4, "num_negatives": null, "max_reuse": 3,
        "max_per_doc": null, "sampling_strategy": "top", "collisions": "round-robin",
        "min_meta_chunks": 2, "long_documents": "skip", "length": "exact", "chars_per_token": 4.0,
        "length_factor": 1.5, "on_short": "drop", "placement": "head", "chunk_separator": "\n",
        "bos": null, "eos": null
    }"#;

    #[test]
    fn a_sample_of_texts_stands_for_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("part.arrow");
        let mut writer = PartWriter::default();
        for row in 0..6000 {
            // Of each text two, but for the longest.
            let text = format!("text {}", row.min(5900) / 2);
            let origin = Origin { doc_id: "a", input: 0, row, score: None, source: None };
            writer.document(origin, [(text.as_str(), 0..text.len() as u64)]).expect("added");
        }
        writer.write(&path).expect("written");
        let store = ChunkStore::open(&[path]).expect("opened");
        let settings = Settings::from_json(SETTINGS).expect("settings");
        let mut pass = Pass::new(settings, SpecialTokens::default());
        for chunk in 0..1000 {
            (0..3).for_each(|_| pass.ledger.take(chunk));
        }
        let held = Held::from_iter([(0, 1)]);
        let count = |parts| pass.texts(3, &held, &store, &TokenCache::default(), parts);
        // Texts 0 (held, one place) and 500 to 2950, of which two chunks have three places, no more.
        let (places, tokens) = count(1);
        assert_eq!(places, 1 + 2451 * 3);
        let bytes = |text: u64| format!("text {text}").len() as u64;
        assert_eq!(tokens, bytes(0) + (500..=2950).map(bytes).sum::<u64>());
        for parts in [2, 5, 16] {
            let (some_places, some_tokens) = count(parts);
            assert!(some_places.abs_diff(places) < places / 5, "{some_places} of {places}");
            assert!(some_tokens.abs_diff(tokens) < tokens / 5, "{some_tokens} of {tokens}");
        }
    }
}
