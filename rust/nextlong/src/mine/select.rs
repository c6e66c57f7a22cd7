//! Decides which negatives every sequence takes: one pass, in the order of the sequences.
//!
//! In: waves of documents with their allowed neighbours, and the token ids of the chunks asked
//! for. Out: for each sequence its pieces in order. The pass asks for tokens in rounds: every
//! open sequence names the chunks it is sure to use, they are tokenized side by side, and the pass
//! goes on with their exact lengths. So only chunks that are used are tokenized, and the outcome
//! does not depend on how many threads tokenize.

mod by_group;
mod laying;
mod picks;
mod stock;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::by_group::ByGroup;
pub use self::by_group::GroupCounts;
pub(super) use self::by_group::add_since;
use self::picks::Next;
pub use self::stock::Stock;
use super::made::Made;
use super::ngrams::Hashed;
use super::{Candidate, List, REASONS, Reason, Refusals, Wave};
use crate::assemble::{Frame, Piece};
use crate::config::{Length, LongDocuments, OnShort, Settings};
use crate::index::Hidden;
use crate::store::ChunkStore;
use crate::tokens::TokenCache;

/// The share of the open budget that a round asks for by estimate, so that nothing is asked for in
/// vain when the chunks hold more tokens than estimated.
const ROUND: f64 = 0.85;

/// How many times longer than estimated a sequence may be before a document of that length is
/// tokenized first, and its neighbours searched later.
const LONGER: f64 = 1.25;

/// A negative that a sequence took.
#[derive(Debug, Clone, Copy)]
struct Pick {
    chunk: u32,
    meta: u32,
    score: f32,
}

/// How far a document has come on its way to a sequence.
#[derive(Debug)]
pub(super) enum State {
    /// Its own chunks are being tokenized.
    Measuring,
    /// Negatives are taken until the budget is reached.
    Filling(Draft),
    /// Pieces are laid down in their order until the sequence is full.
    Laying(Vec<Piece>),
    /// A sequence: its pieces in order.
    Made(Vec<Piece>),
    /// No sequence is made of it.
    Dropped,
}

/// What a sequence has taken so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    picks: Vec<Pick>,
    /// Its negatives, by what makes two the same ([`identity`]).
    taken: HashMap<u64, u32, Hashed>,
    per_document: HashMap<u32, u32, Hashed>,
    turn: usize,
    taken_in_turn: u32,
    /// Bytes a token of its own chunks.
    bytes_per_token: f64,
    waiting: bool,
}

/// Counts of what became of the documents and chunks, for the report.
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
    /// What was left when it was last counted.
    pub stock: Option<Stock>,
    /// The counts of the wave that was finished last, by group; empty without groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<(u16, GroupCounts)>,
}

/// The sequential pass over all waves.
pub struct Selector {
    settings: Settings,
    frame: Frame,
    uses: HashMap<u32, u32, Hashed>,
    tally: Tally,
    remaining: Option<u64>,
    /// The chunks that cannot be used any more, once they are to be left out of searches.
    hidden: Option<Arc<Hidden>>,
    /// Those that still can, once they are few: they and perhaps some that cannot.
    few: Option<Arc<Vec<u32>>>,
    by_group: ByGroup,
}

/// What a step needs before the pass can go on.
#[derive(Debug, Default)]
pub struct Need {
    /// Chunks to tokenize; none of them is in the cache.
    pub tokens: Vec<u32>,
    /// Whether the wave wants deeper searches ([`Wave::wanted`]).
    pub search: bool,
}

impl Selector {
    /// A pass under `settings`; `frame` has the special tokens and the separator.
    #[must_use]
    pub fn new(settings: Settings, frame: Frame) -> Self {
        let remaining = settings.num_sequences;
        let (uses, tally) = (HashMap::default(), Tally::default());
        let by_group = ByGroup::default();
        Self { settings, frame, uses, tally, remaining, hidden: None, few: None, by_group }
    }

    /// What was made and refused so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// How often each chunk is a negative, by chunk.
    #[must_use]
    pub fn uses(&self) -> Vec<(u32, u32)> {
        let mut uses: Vec<_> = self.uses.iter().map(|(&chunk, &count)| (chunk, count)).collect();
        uses.retain(|&(_, count)| count > 0);
        uses.sort_unstable();
        uses
    }

    /// Takes up where an earlier pass was after some waves: what they made, and its counts.
    pub fn restore(&mut self, made: &[Made], tally: Tally) {
        for piece in made.iter().flat_map(|(_, pieces)| pieces).filter(|piece| !piece.is_meta()) {
            *self.uses.entry(piece.chunk).or_insert(0) += 1;
        }
        self.remaining = self.remaining.map(|left| left.saturating_sub(made.len() as u64));
        self.tally = tally;
        self.add_groups();
        (self.hidden, self.few) = (None, None);
    }

    /// The chunks that open searches ([`super::Wanted`]) leave out; none before one is wanted.
    #[must_use]
    pub fn hidden(&self) -> Option<Arc<Hidden>> {
        self.hidden.clone()
    }

    /// The chunks among which all that may still be used are, rising, once they are few.
    #[must_use]
    pub fn few(&self) -> Option<Arc<Vec<u32>>> {
        self.few.clone()
    }

    /// Whether all sequences that were asked for are made.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.remaining == Some(0)
    }

    /// Takes every open document of the wave as far as it comes without more tokens or a deeper
    /// search. When nothing is needed any more, the wave is complete.
    pub fn step(&mut self, wave: &mut Wave, store: &ChunkStore, tokens: &TokenCache) -> Need {
        self.take_stock(wave.documents.iter().map(|candidate| &candidate.state), store, tokens);
        let mut need = Need::default();
        let mut asked = HashSet::new();
        // Only as many documents are open at once as sequences are still wanted: no document that
        // is not needed takes negatives away or is tokenized.
        let mut open = self.remaining.unwrap_or(u64::MAX);
        let deepest = wave.deepest;
        for candidate in &mut wave.documents {
            if open == 0 {
                break;
            }
            let before = need.tokens.len();
            let refused = self.tally.refused;
            self.advance(candidate, store, tokens, deepest, &mut need);
            add_since(&mut candidate.refused, &refused, &self.tally.refused);
            need.search |= candidate.lists.iter().any(|list| list.wanted > 0);
            let fresh = need.tokens.split_off(before);
            need.tokens.extend(fresh.into_iter().filter(|&chunk| asked.insert(chunk)));
            if !matches!(candidate.state, State::Dropped) {
                open -= 1;
            }
        }
        need
    }

    /// The sequences of a complete wave: (document, pieces), in order.
    pub fn finish(&mut self, wave: &mut Wave) -> Vec<Made> {
        let mut made = Vec::new();
        let mut tried = 0;
        for candidate in &mut wave.documents {
            if self.remaining == Some(0) {
                break;
            }
            tried += 1;
            if let State::Made(pieces) = std::mem::replace(&mut candidate.state, State::Dropped) {
                self.remaining = self.remaining.map(|remaining| remaining - 1);
                self.tally.made += 1;
                made.push((candidate.document, pieces));
            }
        }
        for (sum, count) in self.tally.refused.iter_mut().zip(wave.refused()) {
            *sum += count;
        }
        self.tally.deeper_searches += wave.deeper;
        self.count_groups(&wave.documents, tried);
        made
    }

    fn advance(
        &mut self,
        candidate: &mut Candidate,
        store: &ChunkStore,
        tokens: &TokenCache,
        deepest: u32,
        need: &mut Need,
    ) {
        loop {
            let state = std::mem::replace(&mut candidate.state, State::Dropped);
            let (state, go_on) = match state {
                State::Measuring => self.measure(candidate, store, tokens, need),
                State::Filling(draft) if self.settings.length == Length::Paper => {
                    self.take_k(candidate, draft, store, deepest)
                }
                State::Filling(draft) => self.fill(candidate, draft, store, tokens, deepest, need),
                State::Laying(pieces) => self.lay(pieces, store, tokens, need),
                done => (done, false),
            };
            candidate.state = state;
            if matches!(candidate.state, State::Made(_) | State::Dropped) {
                candidate.copies = None;
            }
            if !go_on {
                return;
            }
        }
    }

    /// Tokenizes the document's own chunks, as far as they can fit.
    fn measure(
        &mut self,
        candidate: &mut Candidate,
        store: &ChunkStore,
        tokens: &TokenCache,
        need: &mut Need,
    ) -> (State, bool) {
        let chunks = candidate.chunks.clone();
        let paper = self.settings.length == Length::Paper;
        if paper && !self.has_no_negatives(candidate, store) {
            return (State::Filling(Draft::default()), true);
        }
        let room = self.frame.room(self.settings.seq_len, chunks.len());
        let mut sum = 0i64;
        let mut bytes = 0usize;
        let mut known = 0;
        while let Some(count) = chunks.clone().nth(known).and_then(|chunk| tokens.count(chunk)) {
            sum += i64::from(count);
            bytes += store.text(chunks.start as usize + known).len();
            known += 1;
            if sum > room {
                if self.settings.long_documents == LongDocuments::Skip {
                    self.tally.tokenized_unused += known as u64;
                }
                return (self.too_long(candidate), true);
            }
        }
        if known == chunks.len() && paper {
            return (State::Laying(meta_pieces(candidate)), true);
        }
        if known == chunks.len() {
            let unsearched = |list: &&mut List| list.depth == 0 && !list.complete;
            let mut waits = false;
            for list in candidate.lists.iter_mut().filter(unsearched) {
                list.wanted = candidate.first;
                waits = true;
            }
            if waits {
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
            if estimate > room as f64 * 1.05 {
                break;
            }
        }
        (State::Measuring, false)
    }

    fn too_long(&mut self, candidate: &Candidate) -> State {
        if self.settings.long_documents == LongDocuments::Skip {
            self.tally.long_skipped += 1;
            return State::Dropped;
        }
        self.tally.long_passed += 1;
        State::Laying(meta_pieces(candidate))
    }

    /// Whether the paper's formula leaves the document no negatives.
    fn has_no_negatives(&self, candidate: &Candidate, store: &ChunkStore) -> bool {
        let chunks = candidate.chunks.start as usize..candidate.chunks.end as usize;
        let own = super::document_characters(store, chunks.clone()) as f64;
        paper_k(&self.settings, own, chunks.len()) == 0
    }

    /// The default: negatives in turns until the sequence is full to the token.
    fn fill(
        &mut self,
        candidate: &mut Candidate,
        mut draft: Draft,
        store: &ChunkStore,
        tokens: &TokenCache,
        deepest: u32,
        need: &mut Need,
    ) -> (State, bool) {
        let separator = self.frame.separator.len() as i64;
        let chunks = candidate.chunks.clone();
        let own: i64 = chunks.clone().filter_map(|chunk| tokens.count(chunk)).map(i64::from).sum();
        let room = self.frame.room(self.settings.seq_len, chunks.len()) - own;
        if self.is_out_of_stock(room) {
            return (self.short(candidate, draft, store, tokens), false);
        }
        loop {
            // All picks are known here: count exactly.
            let mut left = room;
            let mut used = 0;
            for pick in &draft.picks {
                if left <= separator {
                    break;
                }
                left -= i64::from(tokens.count(pick.chunk).unwrap_or(0)) + separator;
                used += 1;
            }
            for pick in draft.picks.split_off(used) {
                self.give_back(candidate, &mut draft, pick, store);
                self.tally.tokenized_unused += 1;
            }
            // What a separator can fill needs no further negative.
            if left <= separator {
                return (self.complete(candidate, &draft, tokens), false);
            }
            let mut estimate = 0.0;
            let mut unknown = false;
            let mut exhausted = false;
            let before = draft.picks.len();
            // One more of the mean length must still fit into the round.
            while draft.picks.len() == before
                || estimate * (1.0 + 1.0 / (draft.picks.len() - before) as f64)
                    < left as f64 * ROUND
            {
                match self.next_pick(candidate, &mut draft, store, deepest) {
                    Next::Pick(pick) => {
                        let count = tokens.count(pick.chunk).map_or_else(
                            || {
                                unknown = true;
                                need.tokens.push(pick.chunk);
                                store.text(pick.chunk as usize).len() as f64 / draft.bytes_per_token
                            },
                            f64::from,
                        );
                        estimate += count + separator as f64;
                        draft.picks.push(pick);
                    }
                    Next::Search => {
                        self.tally.deeper_searches += u64::from(!draft.waiting);
                        draft.waiting = true;
                        return (State::Filling(draft), false);
                    }
                    Next::Exhausted => {
                        exhausted = true;
                        break;
                    }
                }
                draft.waiting = false;
            }
            if unknown {
                return (State::Filling(draft), false);
            }
            if exhausted && draft.picks.len() == before {
                return (self.short(candidate, draft, store, tokens), false);
            }
        }
    }

    /// The paper's rule: k negatives a meta-chunk, whatever their length.
    fn take_k(
        &mut self,
        candidate: &mut Candidate,
        mut draft: Draft,
        store: &ChunkStore,
        deepest: u32,
    ) -> (State, bool) {
        loop {
            match self.next_pick(candidate, &mut draft, store, deepest) {
                Next::Pick(pick) => draft.picks.push(pick),
                Next::Search => {
                    self.tally.deeper_searches += u64::from(!draft.waiting);
                    draft.waiting = true;
                    return (State::Filling(draft), false);
                }
                Next::Exhausted => break,
            }
            draft.waiting = false;
        }
        (State::Laying(self.arrange(candidate, &draft)), true)
    }

    fn short(
        &mut self,
        candidate: &mut Candidate,
        mut draft: Draft,
        store: &ChunkStore,
        tokens: &TokenCache,
    ) -> State {
        if self.settings.on_short == OnShort::Shorten {
            self.tally.shortened += 1;
            return self.complete(candidate, &draft, tokens);
        }
        self.tally.dropped_short += 1;
        self.tally.tokenized_unused += candidate.lists.len() as u64;
        for pick in std::mem::take(&mut draft.picks) {
            self.give_back(candidate, &mut draft, pick, store);
            self.tally.tokenized_unused += 1;
        }
        State::Dropped
    }
}

/// The meta-chunks of a document alone, in order.
fn meta_pieces(candidate: &Candidate) -> Vec<Piece> {
    let metas = candidate.chunks.clone().enumerate();
    metas.map(|(meta, chunk)| Piece::meta_chunk(chunk, meta as u32)).collect()
}

/// Whether a document of so many characters may be too long for a sequence. Only its tokens tell;
/// until they have, no neighbours are searched for it.
pub(super) fn may_be_too_long(settings: &Settings, characters: f64, chunks: usize) -> bool {
    match settings.length {
        Length::Exact => {
            characters > f64::from(settings.seq_len) * settings.chars_per_token * LONGER
        }
        Length::Paper => paper_k(settings, characters, chunks) == 0,
    }
}

/// The paper's number of negatives a meta-chunk, rounded up: k = (T·E·w − S) / (p·s), with T
/// `seq_len`, E `chars_per_token`, w `length_factor`, S the document's characters, p its chunks
/// and s `chunk_size` (method.md; worked example: T 131,072, S 20,000, p 10 gives 37.4).
#[must_use]
pub fn paper_k(settings: &Settings, characters: f64, chunks: usize) -> u32 {
    let target = f64::from(settings.seq_len) * settings.chars_per_token * settings.length_factor;
    let k = (target - characters) / (chunks as f64 * f64::from(settings.chunk_size));
    k.ceil().max(0.0) as u32
}

const _: () = assert!(REASONS.len() == Reason::Containment as usize + 1);
