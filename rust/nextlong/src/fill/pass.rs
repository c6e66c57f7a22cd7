//! The sequential pass: decides which negatives every sequence takes, in the order of the sequences.
//!
//! In: batches of documents with their candidates, and the token ids of the chunks asked for. Out: for
//! each sequence its segments in order. The pass asks for tokens in rounds: every open sequence names
//! the chunks it is sure to use, they are tokenized in parallel, and the pass goes on with their exact
//! lengths. So only chunks that are used are tokenized, and the outcome does not depend on the number
//! of threads.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::batch::{Batch, Document};
use super::by_group::{ByGroup, GroupCounts};
use super::planned::PlannedSequence;
use super::supply::Supply;
use crate::config::{Length, LongDocuments, OnShort, Settings};
use crate::index::Mask;
use crate::segment::{Segment, SpecialTokens};
use crate::store::{ChunkStore, TokenCache};
use crate::strategy::nextlong::{Next, Selection, Turns, document_characters, paper_k};
use crate::strategy::{Ledger, Refusals, add, add_since};

/// The share of the remaining budget that a round requests by estimate. Below 1, so that no chunk is
/// tokenized in vain if chunks have more tokens than estimated.
pub(super) const ROUND: f64 = 0.85;

/// The state of a document on its way to a sequence.
#[derive(Debug)]
pub(super) enum State {
    /// Its own chunks are being tokenized.
    Measuring,
    /// Negatives are taken until the budget is reached.
    Filling(Draft),
    /// Segments are laid out in their order until the sequence is full.
    LayingOut(Vec<Segment>),
    /// A sequence: its segments in order.
    Planned(Vec<Segment>),
    /// It does not become a sequence.
    Dropped,
}

/// What a sequence has taken so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub selections: Vec<Selection>,
    turns: Turns,
    /// Bytes per token of its own chunks.
    bytes_per_token: f64,
    waiting: bool,
}

/// Counts of documents and chunks by their outcome, for the report.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it; Python's report explains them")]
pub struct Tally {
    pub made: u64,
    pub shortened: u64,
    pub dropped_short: u64,
    pub no_chunks_left: u64,
    pub long_skipped: u64,
    pub long_passed: u64,
    pub cut_negatives: u64,
    pub meta_chunks: u64,
    pub negatives: u64,
    pub deeper_searches: u64,
    pub tokenized_unused: u64,
    pub refused: Refusals,
    /// The remaining supply when it was last counted.
    #[serde(rename = "stock")]
    pub supply: Option<Supply>,
    /// The counts of the batch that was finished last, by group; empty without groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<(u16, GroupCounts)>,
}

/// The sequential pass over all batches.
pub struct Pass {
    pub(super) settings: Settings,
    pub(super) special_tokens: SpecialTokens,
    pub(super) ledger: Ledger,
    pub(super) tally: Tally,
    /// Sequences still to be made; None for all documents.
    to_make: Option<u64>,
    /// The chunks that are not exhausted, once they are few: they and perhaps some that are.
    pub(super) remaining: Option<Arc<Vec<u32>>>,
    pub(super) by_group: ByGroup,
}

/// What a step needs before the pass can go on.
#[derive(Debug, Default)]
pub struct Need {
    /// Chunks to tokenize; none of them is in the cache.
    pub tokens: Vec<u32>,
    /// The batch wants deeper searches ([`Batch::wanted`]).
    pub search: bool,
}

impl Pass {
    /// A pass under `settings`, with the tokens around and between chunks.
    #[must_use]
    pub fn new(settings: Settings, special_tokens: SpecialTokens) -> Self {
        Self {
            ledger: Ledger::new(settings.max_reuse),
            tally: Tally::default(),
            to_make: settings.num_sequences,
            remaining: None,
            by_group: ByGroup::default(),
            settings,
            special_tokens,
        }
    }

    /// Counts so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The number of uses of each chunk that is used as a negative, by chunk.
    #[must_use]
    pub fn uses(&self) -> Vec<(u32, u32)> {
        self.ledger.all_uses()
    }

    /// Resumes after some batches of an earlier pass: the sequences they made, and its counts.
    pub fn restore(&mut self, planned: &[PlannedSequence], tally: Tally) {
        self.ledger.forget_exhausted();
        let segments = planned.iter().flat_map(|(_, segments)| segments);
        segments.filter(|segment| !segment.is_meta()).for_each(|one| self.ledger.take(one.chunk));
        self.to_make = self.to_make.map(|left| left.saturating_sub(planned.len() as u64));
        self.tally = tally;
        self.add_groups();
        self.remaining = None;
    }

    /// The exhausted chunks, which some searches leave out
    /// ([`crate::strategy::nextlong::SearchRequest`]); None before such a search is wanted.
    #[must_use]
    pub fn exhausted(&self) -> Option<Arc<Mask>> {
        self.ledger.exhausted().cloned()
    }

    /// A rising list that holds all chunks that are not exhausted, once they are few.
    #[must_use]
    pub fn remaining(&self) -> Option<Arc<Vec<u32>>> {
        self.remaining.clone()
    }

    /// True once all sequences that were asked for are made.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.to_make == Some(0)
    }

    /// Advances every open document of the batch as far as possible without more tokens or a deeper
    /// search. When nothing is needed any more, the batch is complete.
    pub fn step(&mut self, batch: &mut Batch, store: &ChunkStore, tokens: &TokenCache) -> Need {
        self.update_supply(batch.documents.iter().map(|document| &document.state), store, tokens);
        let mut need = Need::default();
        let mut asked = HashSet::new();
        // Only as many documents are open at once as sequences are still wanted: no document that
        // is not needed takes negatives away or is tokenized.
        let mut open = self.to_make.unwrap_or(u64::MAX);
        for document in &mut batch.documents {
            if open == 0 {
                break;
            }
            let before = need.tokens.len();
            let refused = self.tally.refused;
            self.advance(document, store, tokens, &mut need);
            add_since(&mut document.refused, &refused, &self.tally.refused);
            need.search |= document.source.wants_search();
            let fresh = need.tokens.split_off(before);
            need.tokens.extend(fresh.into_iter().filter(|&chunk| asked.insert(chunk)));
            if !matches!(document.state, State::Dropped) {
                open -= 1;
            }
        }
        need
    }

    /// The sequences of a complete batch, in order.
    pub fn finish(&mut self, batch: &mut Batch) -> Vec<PlannedSequence> {
        let mut planned = Vec::new();
        let mut tried = 0;
        for document in &mut batch.documents {
            if self.to_make == Some(0) {
                break;
            }
            tried += 1;
            if let State::Planned(segments) = std::mem::replace(&mut document.state, State::Dropped)
            {
                self.to_make = self.to_make.map(|left| left - 1);
                self.tally.made += 1;
                planned.push((document.number, segments));
            }
        }
        add(&mut self.tally.refused, batch.refused());
        self.tally.deeper_searches += batch.deeper;
        self.count_groups(&batch.documents, tried);
        planned
    }

    fn advance(
        &mut self,
        document: &mut Document,
        store: &ChunkStore,
        tokens: &TokenCache,
        need: &mut Need,
    ) {
        loop {
            let state = std::mem::replace(&mut document.state, State::Dropped);
            let (state, go_on) = match state {
                State::Measuring => self.measure(document, store, tokens, need),
                State::Filling(draft) if self.settings.length == Length::Paper => {
                    self.take_k(document, draft, store)
                }
                State::Filling(draft) => self.fill(document, draft, store, tokens, need),
                State::LayingOut(segments) => self.lay_out(segments, store, tokens, need),
                done => (done, false),
            };
            document.state = state;
            if matches!(document.state, State::Planned(_) | State::Dropped) {
                document.source.close();
            }
            if !go_on {
                return;
            }
        }
    }

    /// Tokenizes the document's own chunks, as far as they can fit.
    fn measure(
        &mut self,
        document: &mut Document,
        store: &ChunkStore,
        tokens: &TokenCache,
        need: &mut Need,
    ) -> (State, bool) {
        let chunks = document.source.chunks.clone();
        let paper = self.settings.length == Length::Paper;
        if paper && !self.has_no_negatives(document, store) {
            return (State::Filling(Draft::default()), true);
        }
        let capacity = self.special_tokens.capacity(self.settings.seq_len, chunks.len());
        let mut sum = 0i64;
        let mut bytes = 0usize;
        let mut known = 0;
        while let Some(count) = chunks.clone().nth(known).and_then(|chunk| tokens.count(chunk)) {
            sum += i64::from(count);
            bytes += store.text(chunks.start as usize + known).len();
            known += 1;
            if sum > capacity {
                if self.settings.long_documents == LongDocuments::Skip {
                    self.tally.tokenized_unused += known as u64;
                }
                return (self.too_long(document), true);
            }
        }
        if known == chunks.len() && paper {
            return (State::LayingOut(meta_segments(document)), true);
        }
        if known == chunks.len() {
            if document.source.want_first_search() {
                return (State::Measuring, false);
            }
            let bytes_per_token = bytes as f64 / sum.max(1) as f64;
            return (State::Filling(Draft { bytes_per_token, ..Draft::default() }), true);
        }
        let mut estimate = sum as f64;
        for chunk in chunks.skip(known) {
            if tokens.count(chunk).is_none() {
                need.tokens.push(chunk);
            }
            estimate += store.text(chunk as usize).len() as f64 / self.settings.chars_per_token;
            if estimate > capacity as f64 * 1.05 {
                break;
            }
        }
        (State::Measuring, false)
    }

    fn too_long(&mut self, document: &Document) -> State {
        if self.settings.long_documents == LongDocuments::Skip {
            self.tally.long_skipped += 1;
            return State::Dropped;
        }
        self.tally.long_passed += 1;
        State::LayingOut(meta_segments(document))
    }

    /// True if the paper's formula leaves the document no negatives.
    fn has_no_negatives(&self, document: &Document, store: &ChunkStore) -> bool {
        let chunks = document.source.chunks.start as usize..document.source.chunks.end as usize;
        let own = document_characters(store, chunks.clone()) as f64;
        paper_k(&self.settings, own, chunks.len()) == 0
    }

    /// The default: negatives in turns until the sequence is full to the token.
    fn fill(
        &mut self,
        document: &mut Document,
        mut draft: Draft,
        store: &ChunkStore,
        tokens: &TokenCache,
        need: &mut Need,
    ) -> (State, bool) {
        let separator = self.special_tokens.separator.len() as i64;
        let chunks = document.source.chunks.clone();
        let own: i64 = chunks.clone().filter_map(|chunk| tokens.count(chunk)).map(i64::from).sum();
        let capacity = self.special_tokens.capacity(self.settings.seq_len, chunks.len()) - own;
        if self.is_out_of_supply(capacity) {
            return (self.short(document, draft, store, tokens), false);
        }
        loop {
            // All selections are known here: count exactly.
            let mut left = capacity;
            let mut used = 0;
            for selection in &draft.selections {
                if left <= separator {
                    break;
                }
                left -= i64::from(tokens.count(selection.chunk).unwrap_or(0)) + separator;
                used += 1;
            }
            for selection in draft.selections.split_off(used) {
                self.give_back(document, &mut draft, selection, store);
                self.tally.tokenized_unused += 1;
            }
            // A rest that a separator fills needs no further negative.
            if left <= separator {
                return (self.complete(document, &draft, tokens), false);
            }
            let mut estimate = 0.0;
            let mut unknown = false;
            let mut ended = false;
            let before = draft.selections.len();
            // One more of the mean length must still fit into the round.
            while draft.selections.len() == before
                || estimate * (1.0 + 1.0 / (draft.selections.len() - before) as f64)
                    < left as f64 * ROUND
            {
                match self.next_selection(document, &mut draft, store) {
                    Next::Selected(selection) => {
                        let count = tokens.count(selection.chunk).map_or_else(
                            || {
                                unknown = true;
                                need.tokens.push(selection.chunk);
                                store.text(selection.chunk as usize).len() as f64
                                    / draft.bytes_per_token
                            },
                            f64::from,
                        );
                        estimate += count + separator as f64;
                        draft.selections.push(selection);
                    }
                    Next::Search => {
                        self.tally.deeper_searches += u64::from(!draft.waiting);
                        draft.waiting = true;
                        return (State::Filling(draft), false);
                    }
                    Next::End => {
                        ended = true;
                        break;
                    }
                }
                draft.waiting = false;
            }
            if unknown {
                return (State::Filling(draft), false);
            }
            if ended && draft.selections.len() == before {
                return (self.short(document, draft, store, tokens), false);
            }
        }
    }

    /// The paper's rule: k negatives per meta-chunk, regardless of their length.
    fn take_k(
        &mut self,
        document: &mut Document,
        mut draft: Draft,
        store: &ChunkStore,
    ) -> (State, bool) {
        loop {
            match self.next_selection(document, &mut draft, store) {
                Next::Selected(selection) => draft.selections.push(selection),
                Next::Search => {
                    self.tally.deeper_searches += u64::from(!draft.waiting);
                    draft.waiting = true;
                    return (State::Filling(draft), false);
                }
                Next::End => break,
            }
            draft.waiting = false;
        }
        (State::LayingOut(self.arrange(document, &draft)), true)
    }

    /// The next negative of `document`.
    fn next_selection(
        &mut self,
        document: &mut Document,
        draft: &mut Draft,
        store: &ChunkStore,
    ) -> Next {
        let Self { settings, ledger, tally, .. } = self;
        document.source.next(&mut draft.turns, ledger, &mut tally.refused, store, settings)
    }

    fn give_back(
        &mut self,
        document: &mut Document,
        draft: &mut Draft,
        selection: Selection,
        store: &ChunkStore,
    ) {
        let Self { settings, ledger, .. } = self;
        document.source.give_back(selection, &mut draft.turns, ledger, store, settings);
    }

    fn short(
        &mut self,
        document: &mut Document,
        mut draft: Draft,
        store: &ChunkStore,
        tokens: &TokenCache,
    ) -> State {
        if self.settings.on_short == OnShort::Shorten {
            self.tally.shortened += 1;
            return self.complete(document, &draft, tokens);
        }
        self.tally.dropped_short += 1;
        self.tally.tokenized_unused += document.source.meta_count() as u64;
        for selection in std::mem::take(&mut draft.selections) {
            self.give_back(document, &mut draft, selection, store);
            self.tally.tokenized_unused += 1;
        }
        State::Dropped
    }
}

/// The meta-chunks of a document alone, in order.
fn meta_segments(document: &Document) -> Vec<Segment> {
    let metas = document.source.chunks.clone().enumerate();
    metas.map(|(meta, chunk)| Segment::meta_chunk(chunk, meta as u32)).collect()
}
