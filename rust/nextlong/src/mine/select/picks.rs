//! The next negative that a sequence may take, and giving back what it does not need.

use std::ops::Range;

use super::{Draft, Pick, Selector, paper_k};
use crate::config::{Collisions, Length};
use crate::mine::ahead::step;
use crate::mine::copies::Copies;
use crate::mine::{Candidate, List, Reason, document_characters};
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
            let (list, copies) = (&mut candidate.lists[meta], &mut candidate.copies);
            let own = &candidate.chunks;
            if draft.taken_in_turn < quantum && limit.is_none_or(|limit| list.taken < limit) {
                if let Some((chunk, score)) = self.next_allowed(list, copies, own, draft, store) {
                    list.taken += 1;
                    draft.taken_in_turn += 1;
                    return Next::Pick(Pick { chunk, meta: meta as u32, score });
                }
                if !list.complete {
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
        list: &mut List,
        copies: &mut Option<Copies>,
        own: &Range<u32>,
        draft: &mut Draft,
        store: &ChunkStore,
    ) -> Option<(u32, f32)> {
        while let Some(&chunk) = list.ids.get(list.cursor) {
            let score = list.scores[list.cursor];
            list.cursor += 1;
            let hash = store.text_hash(chunk as usize);
            if draft.taken.contains(&hash) {
                self.tally.refused[Reason::InSequence as usize] += 1;
                continue;
            }
            let uses = self.uses.get(&chunk).copied().unwrap_or(0);
            if self.settings.max_reuse.is_some_and(|most| uses >= most) {
                self.tally.refused[Reason::MaxReuse as usize] += 1;
                continue;
            }
            let document = self.settings.max_per_doc.map(|_| store.document(chunk as usize) as u32);
            let siblings = document.and_then(|document| draft.per_document.get(&document).copied());
            if self.settings.max_per_doc.is_some_and(|most| siblings.unwrap_or(0) >= most) {
                self.tally.refused[Reason::MaxPerDoc as usize] += 1;
                continue;
            }
            if copies.as_mut().is_some_and(|copies| copies.contains(store, own, chunk)) {
                self.tally.refused[Reason::Containment as usize] += 1;
                continue;
            }
            if let Some(document) = document {
                draft.per_document.insert(document, siblings.unwrap_or(0) + 1);
            }
            self.uses.insert(chunk, uses + 1);
            if self.settings.max_reuse == Some(uses + 1) {
                self.hide(chunk, true);
            }
            draft.taken.insert(hash);
            return Some((chunk, score));
        }
        None
    }

    pub(super) fn give_back(
        &mut self,
        candidate: &mut Candidate,
        draft: &mut Draft,
        pick: Pick,
        store: &ChunkStore,
    ) {
        self.release(pick.chunk);
        draft.taken.remove(&store.text_hash(pick.chunk as usize));
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
