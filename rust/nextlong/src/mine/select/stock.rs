//! What is left for sequences to take where `max_reuse` limits how often a chunk is used.
//!
//! Documents may be more than the chunks suffice for. Near the end each would be searched through
//! the whole corpus, and all that are open at once would take from each other what one of them
//! needs. So what is left is counted from time to time: no more documents are open than can be
//! filled, those that cannot be filled any more are not searched for, and deeper searches leave out
//! what cannot be used any more.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Selector, State};
use crate::config::{Length, OnShort};
use crate::index::Hidden;
use crate::mine::ngrams::Hashed;
use crate::store::ChunkStore;
use crate::tokens::TokenCache;

/// Chunks are few if they are no more: an exact scan of so many takes less than a search among all
/// that has to pass what is used up.
const FEW: u64 = 1 << 17;

/// So many texts are told apart at once.
const TEXTS: usize = 1 << 22;

/// What sequences had left to take when it was counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    /// The negatives of all sequences by then, and the documents dropped for want of them.
    negatives: u64,
    dropped_short: u64,
    /// How often a chunk may still be used, of all chunks; of equal texts as often as of one.
    places: u64,
    /// The chunks that may still be used.
    chunks: u64,
    /// The tokens of all texts that may still be used, separators too: no sequence can take more.
    tokens: u64,
    /// What `tokens` was when the queue was last looked through.
    sifted: Option<u64>,
}

impl Selector {
    /// Counts what is left if it may be much less than it was, by far or for the first time. The
    /// `states` are those of all open documents: what they hold may be given back.
    pub(super) fn take_stock<'a>(
        &mut self,
        states: impl Iterator<Item = &'a State>,
        store: &ChunkStore,
        tokens: &TokenCache,
    ) {
        let Some(most) = self.settings.max_reuse else { return };
        if self.is_due(store) {
            self.count(most, states, store, tokens);
        }
        if self.tally.stock.is_some() && self.hidden.is_none() {
            let hidden = Hidden::none_of(store.len());
            let used_up = self.uses.iter().filter(|&(_, &uses)| uses >= most);
            used_up.for_each(|(&chunk, _)| hidden.set(chunk, true));
            self.hidden = Some(Arc::new(hidden));
        }
        // Whether they are few is what the stock says: a run that is taken up must find the same.
        let few = self.tally.stock.is_some_and(|stock| stock.chunks <= FEW);
        if few && self.few.is_none() {
            self.few = Some(Arc::new(self.left(most, &HashMap::default(), store)));
        }
    }

    /// The chunks that may still be used, those that open documents hold included.
    fn left(&self, most: u32, held: &HashMap<u32, u32, Hashed>, store: &ChunkStore) -> Vec<u32> {
        let left = |&chunk: &u32| self.places_of(chunk, most, held) > 0;
        (0..store.len() as u32).filter(left).collect()
    }

    /// How often a chunk may still be used, if what is held is given back.
    fn places_of(&self, chunk: u32, most: u32, held: &HashMap<u32, u32, Hashed>) -> u32 {
        let uses = self.uses.get(&chunk).copied().unwrap_or(0);
        most.saturating_sub(uses - held.get(&chunk).copied().unwrap_or(0).min(uses))
    }

    fn count<'a>(
        &mut self,
        most: u32,
        states: impl Iterator<Item = &'a State>,
        store: &ChunkStore,
        tokens: &TokenCache,
    ) {
        let mut held = HashMap::<u32, u32, Hashed>::default();
        let mut hold = |chunk| *held.entry(chunk).or_insert(0) += 1;
        for state in states {
            match state {
                State::Filling(draft) => draft.picks.iter().for_each(|pick| hold(pick.chunk)),
                State::Laying { pieces, .. } => {
                    let negatives = pieces.iter().filter(|piece| !piece.is_meta());
                    negatives.for_each(|piece| hold(piece.chunk));
                }
                State::Measuring | State::Made(_) | State::Dropped => {}
            }
        }
        let left = self.left(most, &held, store);
        let mut stock = Stock {
            negatives: self.tally.negatives,
            dropped_short: self.tally.dropped_short,
            sifted: self.tally.stock.and_then(|stock| stock.sifted),
            chunks: left.len() as u64,
            ..Stock::default()
        };
        let parts = left.len().div_ceil(TEXTS).max(1) as u64;
        for part in 0..parts {
            let mut places = HashMap::<u64, u32, Hashed>::default();
            for &chunk in &left {
                let hash = store.text_hash(chunk as usize);
                if hash % parts != part {
                    continue;
                }
                let left = self.places_of(chunk, most, &held);
                match places.entry(hash) {
                    Entry::Vacant(place) => {
                        place.insert(left);
                        stock.tokens += tokens_at_most(chunk as usize, store, tokens)
                            + self.frame.separator.len() as u64;
                    }
                    Entry::Occupied(mut place) => {
                        *place.get_mut() = place.get().saturating_add(left).min(most);
                    }
                }
            }
            stock.places += places.into_values().map(u64::from).sum::<u64>();
        }
        self.tally.stock = Some(stock);
        self.few = (stock.chunks <= FEW).then(|| Arc::new(left));
    }

    fn is_due(&self, store: &ChunkStore) -> bool {
        if self.settings.on_short != OnShort::Drop {
            return false;
        }
        let (negatives, dropped) = (self.tally.negatives, self.tally.dropped_short);
        let Some(stock) = self.tally.stock else {
            let places = store.len() as u64 * u64::from(self.settings.max_reuse.unwrap_or(0));
            return dropped > 0 || negatives >= places / 2;
        };
        let taken = negatives - stock.negatives;
        let share = if dropped > stock.dropped_short { 16 } else { 2 };
        // To count costs a look at every chunk.
        taken > 0 && taken >= (stock.places / share).min(store.len() as u64 / 16 + 64)
    }

    /// How often chunks may still be used, about.
    pub(super) fn places_left(&self) -> u64 {
        self.tally.stock.map_or(u64::MAX, |stock| {
            stock.places.saturating_sub(self.tally.negatives - stock.negatives)
        })
    }

    /// Whether all that is left does not fill so many tokens.
    pub(super) fn is_out_of_stock(&self, room: i64) -> bool {
        let separator = self.frame.separator.len() as i64;
        self.tally.stock.is_some_and(|stock| room - separator > stock.tokens as i64)
    }

    /// Those of `documents`, none of them open, that what is left can still fill; none while that
    /// is surely or nearly all of them. The others are counted as `no_chunks_left`.
    ///
    /// A token is taken to hold a byte at the least where a document was never tokenized.
    pub fn sift(
        &mut self,
        documents: &[u32],
        store: &ChunkStore,
        tokens: &TokenCache,
    ) -> Option<Vec<u32>> {
        self.take_stock(std::iter::empty(), store, tokens);
        let stock = self.tally.stock.filter(|_| self.settings.length == Length::Exact)?;
        let most = self.settings.seq_len;
        let seen = stock.sifted.is_some_and(|before| stock.tokens > before / 2);
        if seen || !self.is_out_of_stock(self.frame.room(most, 1)) {
            return None;
        }
        self.tally.stock = Some(Stock { sifted: Some(stock.tokens), ..stock });
        let can_be_filled = |&document: &u32| {
            let chunks = store.document_chunks(document as usize);
            let own: u64 = chunks.clone().map(|chunk| tokens_at_most(chunk, store, tokens)).sum();
            !self.is_out_of_stock(self.frame.room(most, chunks.len()) - own as i64)
        };
        let rest: Vec<u32> = documents.iter().copied().filter(can_be_filled).collect();
        self.tally.no_chunks_left += (documents.len() - rest.len()) as u64;
        Some(rest)
    }
}

/// The tokens of a chunk, or as many as it has bytes.
fn tokens_at_most(chunk: usize, store: &ChunkStore, tokens: &TokenCache) -> u64 {
    tokens.count(chunk as u32).map_or_else(|| store.text(chunk).len() as u64, u64::from)
}
