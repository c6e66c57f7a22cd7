//! The next negative that a sequence may take, and giving back what it does not need.

use super::{Draft, Pick, Selector, paper_k};
use crate::config::{Collisions, Length};
use crate::mine::ahead::step;
use crate::mine::copies::Copies;
use crate::mine::{Candidate, List, Reason, document_characters, identity};
use crate::store::ChunkStore;

/// A list ends soon when it has fewer neighbours left to take.
const SOON: usize = 16;

/// What looking for one more negative came to.
pub(super) enum Next {
    Pick(Pick),
    Search,
    Exhausted,
}

impl Selector {
    /// The next negative in turn that no rule between sequences forbids.
    pub(super) fn next_pick(
        &mut self,
        candidate: &mut Candidate,
        draft: &mut Draft,
        store: &ChunkStore,
        deepest: u32,
    ) -> Next {
        let count = candidate.lists.len();
        let own = candidate.chunks.start as usize..candidate.chunks.end as usize;
        let k = || {
            let own_characters = document_characters(store, own.clone()) as f64;
            paper_k(&self.settings, own_characters, count).max(1)
        };
        let paper = (self.settings.length == Length::Paper).then(k);
        let limit = paper.into_iter().chain(self.settings.num_negatives).min();
        let quantum = match self.settings.collisions {
            Collisions::RoundRobin => 1,
            Collisions::FirstCome => limit.unwrap_or_else(k),
        };
        for _ in 0..=count {
            let meta = draft.turn;
            let taken = candidate.lists[meta].taken;
            if draft.taken_in_turn < quantum && limit.is_none_or(|limit| taken < limit) {
                if let Some((chunk, score)) = self.next_allowed(candidate, meta, draft, store) {
                    candidate.lists[meta].taken += 1;
                    draft.taken_in_turn += 1;
                    return Next::Pick(Pick { chunk, meta: meta as u32, score });
                }
                if !candidate.lists[meta].complete {
                    self.want_more(&mut candidate.lists, meta, deepest);
                    return Next::Search;
                }
            }
            draft.turn = (meta + 1) % count;
            draft.taken_in_turn = 0;
        }
        Next::Exhausted
    }

    /// Asks for a deeper search of list `meta`: of the chunks that may still be used, once they have
    /// become few. Then the other lists that end soon are searched with it, in one go.
    fn want_more(&self, lists: &mut [List], meta: usize, deepest: u32) {
        let hidden = self.hidden.as_ref().filter(|_| self.settings.range_max.is_none());
        let Some(hidden) = hidden else {
            let list = &mut lists[meta];
            list.wanted = list.depth.saturating_mul(2).max(64).min(deepest);
            return;
        };
        let open = |ids: &[u32]| ids.iter().filter(|&&id| !hidden.contains(id)).count();
        for (number, list) in lists.iter_mut().enumerate() {
            if number != meta && (list.complete || open(&list.ids[list.cursor..]) >= SOON) {
                continue;
            }
            let known = (open(&list.ids) + open(&list.refused)) as u32;
            list.open = true;
            list.fresh = list.fresh.saturating_mul(2).max(64);
            list.wanted = step(known.saturating_add(list.fresh)).min(deepest);
        }
    }

    fn next_allowed(
        &mut self,
        candidate: &mut Candidate,
        meta: usize,
        draft: &mut Draft,
        store: &ChunkStore,
    ) -> Option<(u32, f32)> {
        loop {
            let list = &mut candidate.lists[meta];
            let &chunk = list.ids.get(list.cursor)?;
            let score = list.scores[list.cursor];
            list.cursor += 1;
            let refused = self.refusal(candidate, chunk, draft, store).or_else(|| {
                let copies = candidate.copies.as_mut()?;
                (!copies.join(store, chunk)).then_some(Reason::Containment)
            });
            if let Some(reason) = refused {
                self.tally.refused[reason as usize] += 1;
                continue;
            }
            if self.settings.max_per_doc.is_some() {
                *draft.per_document.entry(store.document(chunk as usize) as u32).or_insert(0) += 1;
            }
            let uses = self.uses.entry(chunk).or_insert(0);
            *uses += 1;
            if self.settings.max_reuse == Some(*uses) {
                self.hide(chunk, true);
            }
            draft.taken.insert(identity(&self.settings, store, chunk), chunk);
            return Some((chunk, score));
        }
    }

    /// The rule between the chunks of a sequence, or between sequences, that forbids `chunk`; that
    /// about near-duplicates is not asked.
    fn refusal(
        &self,
        candidate: &mut Candidate,
        chunk: u32,
        draft: &Draft,
        store: &ChunkStore,
    ) -> Option<Reason> {
        let settings = &self.settings;
        if let Some(&same) = draft.taken.get(&identity(settings, store, chunk)) {
            return Some(if same == chunk { Reason::SameChunk } else { Reason::SameText });
        }
        let repeats = |copies: &mut Copies| copies.repeats_a_meta_chunk(store, chunk);
        if candidate.copies.as_mut().is_some_and(repeats) {
            return Some(Reason::SameText);
        }
        if self.is_used_up(chunk) {
            return Some(Reason::MaxReuse);
        }
        if let Some(most) = settings.max_per_doc {
            let document = store.document(chunk as usize) as u32;
            if draft.per_document.get(&document).is_some_and(|&siblings| siblings >= most) {
                return Some(Reason::MaxPerDoc);
            }
        }
        None
    }

    /// Whether `chunk` is a negative of as many sequences as it may be.
    fn is_used_up(&self, chunk: u32) -> bool {
        let most = self.settings.max_reuse;
        most.is_some_and(|most| self.uses.get(&chunk).is_some_and(|&uses| uses >= most))
    }

    pub(super) fn give_back(
        &mut self,
        candidate: &mut Candidate,
        draft: &mut Draft,
        pick: Pick,
        store: &ChunkStore,
    ) {
        self.release(pick.chunk);
        draft.taken.remove(&identity(&self.settings, store, pick.chunk));
        if let Some(copies) = &mut candidate.copies {
            copies.leave(pick.chunk);
        }
        candidate.lists[pick.meta as usize].taken -= 1;
        if self.settings.max_per_doc.is_some() {
            let document = store.document(pick.chunk as usize) as u32;
            if let Some(count) = draft.per_document.get_mut(&document) {
                *count -= 1;
            }
        }
    }

    pub(super) fn release(&mut self, chunk: u32) {
        if let Some(uses) = self.uses.get_mut(&chunk) {
            *uses = uses.saturating_sub(1);
            self.hide(chunk, false);
        }
    }

    fn hide(&self, chunk: u32, hidden: bool) {
        if let Some(rows) = &self.hidden {
            rows.set(chunk, hidden);
        }
    }
}
