//! The meta-chunks of a document take their negatives in turns.
//!
//! In: the candidates of the document and the ledger of the run. Out: the next negative that no rule
//! between the chunks of a sequence, or between sequences, forbids; negatives can be given back.

use std::collections::HashMap;

use super::candidates::{CandidateList, Source, identity};
use super::estimate::{document_characters, paper_k};
use super::near_duplicates::NearDuplicates;
use super::prefetch::step;
use crate::config::{Collisions, Length, Settings};
use crate::hash::BuildIntHasher;
use crate::store::ChunkStore;
use crate::strategy::{Ledger, Reason, Refusals};

/// A list that has fewer candidates left than this ends soon.
const FEW_LEFT: usize = 16;

/// A negative that a sequence took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Selection {
    pub chunk: u32,
    pub meta: u32,
    pub score: f32,
}

/// The outcome of looking for one more negative.
pub(crate) enum Next {
    /// This negative.
    Selected(Selection),
    /// A search is wanted first.
    Search,
    /// There is no further negative.
    End,
}

/// What a sequence has taken, and the turn of its meta-chunks.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Its negatives, by what makes two the same ([`identity`]).
    taken: HashMap<u64, u32, BuildIntHasher>,
    per_document: HashMap<u32, u32, BuildIntHasher>,
    turn: usize,
    taken_in_turn: u32,
}

impl Source {
    /// The next negative in turn that no rule between sequences forbids.
    pub fn next(
        &mut self,
        turns: &mut Turns,
        ledger: &mut Ledger,
        refused: &mut Refusals,
        store: &ChunkStore,
        settings: &Settings,
    ) -> Next {
        let count = self.lists.len();
        let own = self.chunks.start as usize..self.chunks.end as usize;
        let k = || {
            let own_characters = document_characters(store, own.clone()) as f64;
            paper_k(settings, own_characters, count).max(1)
        };
        let paper = (settings.length == Length::Paper).then(k);
        let limit = paper.into_iter().chain(settings.num_negatives).min();
        let quantum = match settings.collisions {
            Collisions::RoundRobin => 1,
            Collisions::FirstCome => limit.unwrap_or_else(k),
        };
        for _ in 0..=count {
            let meta = turns.turn;
            let taken = self.lists[meta].taken;
            if turns.taken_in_turn < quantum && limit.is_none_or(|limit| taken < limit) {
                let next = self.next_allowed(meta, turns, ledger, refused, store, settings);
                if let Some((chunk, score)) = next {
                    self.lists[meta].taken += 1;
                    turns.taken_in_turn += 1;
                    return Next::Selected(Selection { chunk, meta: meta as u32, score });
                }
                if !self.lists[meta].complete {
                    self.want_more(meta, ledger, settings);
                    return Next::Search;
                }
            }
            turns.turn = (meta + 1) % count;
            turns.taken_in_turn = 0;
        }
        Next::End
    }

    /// Returns `selection` back: its chunk is free for other sequences.
    pub fn give_back(
        &mut self,
        selection: Selection,
        turns: &mut Turns,
        ledger: &mut Ledger,
        store: &ChunkStore,
        settings: &Settings,
    ) {
        ledger.release(selection.chunk);
        turns.taken.remove(&identity(settings, store, selection.chunk));
        if let Some(near_duplicates) = &mut self.near_duplicates {
            near_duplicates.leave(selection.chunk);
        }
        self.lists[selection.meta as usize].taken -= 1;
        if settings.max_per_doc.is_some() {
            let document = store.document(selection.chunk as usize) as u32;
            if let Some(count) = turns.per_document.get_mut(&document) {
                *count -= 1;
            }
        }
    }

    /// Wants a deeper search of list `meta`: among the remaining chunks, once exhausted chunks are
    /// tracked. Then the other lists that end soon are searched with it, in one go.
    fn want_more(&mut self, meta: usize, ledger: &Ledger, settings: &Settings) {
        let max_depth = self.max_depth;
        let exhausted = ledger.exhausted().filter(|_| settings.range_max.is_none());
        let Some(exhausted) = exhausted else {
            let list = &mut self.lists[meta];
            list.wanted = list.depth.saturating_mul(2).max(64).min(max_depth);
            return;
        };
        let remaining = |ids: &[u32]| ids.iter().filter(|&&id| !exhausted.contains(id)).count();
        let ends_soon =
            |list: &CandidateList| remaining(&list.ids[list.cursor..]) < FEW_LEFT && !list.complete;
        for (number, list) in self.lists.iter_mut().enumerate() {
            if number != meta && !ends_soon(list) {
                continue;
            }
            let known = (remaining(&list.ids) + remaining(&list.refused)) as u32;
            list.remaining_only = true;
            list.fresh = list.fresh.saturating_mul(2).max(64);
            list.wanted = step(known.saturating_add(list.fresh)).min(max_depth);
        }
    }

    fn next_allowed(
        &mut self,
        meta: usize,
        turns: &mut Turns,
        ledger: &mut Ledger,
        refused: &mut Refusals,
        store: &ChunkStore,
        settings: &Settings,
    ) -> Option<(u32, f32)> {
        loop {
            let list = &mut self.lists[meta];
            let &chunk = list.ids.get(list.cursor)?;
            let score = list.scores[list.cursor];
            list.cursor += 1;
            let reason = self.refusal(chunk, turns, ledger, store, settings).or_else(|| {
                let near_duplicates = self.near_duplicates.as_mut()?;
                (!near_duplicates.join(store, chunk)).then_some(Reason::Containment)
            });
            if let Some(reason) = reason {
                refused[reason as usize] += 1;
                continue;
            }
            if settings.max_per_doc.is_some() {
                *turns.per_document.entry(store.document(chunk as usize) as u32).or_insert(0) += 1;
            }
            ledger.take(chunk);
            turns.taken.insert(identity(settings, store, chunk), chunk);
            return Some((chunk, score));
        }
    }

    /// The rule between the chunks of a sequence, or between sequences, that forbids `chunk`; the
    /// rule on near-duplicates is not checked.
    fn refusal(
        &mut self,
        chunk: u32,
        turns: &Turns,
        ledger: &Ledger,
        store: &ChunkStore,
        settings: &Settings,
    ) -> Option<Reason> {
        if let Some(&same) = turns.taken.get(&identity(settings, store, chunk)) {
            return Some(if same == chunk { Reason::SameChunk } else { Reason::SameText });
        }
        let repeats = |rule: &mut NearDuplicates| rule.repeats_a_meta_chunk(store, chunk);
        if self.near_duplicates.as_mut().is_some_and(repeats) {
            return Some(Reason::SameText);
        }
        if ledger.is_exhausted(chunk) {
            return Some(Reason::MaxReuse);
        }
        if let Some(most) = settings.max_per_doc {
            let document = store.document(chunk as usize) as u32;
            if turns.per_document.get(&document).is_some_and(|&siblings| siblings >= most) {
                return Some(Reason::MaxPerDoc);
            }
        }
        None
    }
}
