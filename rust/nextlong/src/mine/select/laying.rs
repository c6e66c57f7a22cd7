//! The pieces of a sequence in their order, and what passes its end cut off.

use std::collections::HashSet;

use super::{Draft, Need, ROUND, Selector, State};
use crate::assemble::Piece;
use crate::config::{Length, OnShort, Placement};
use crate::mine::Candidate;
use crate::seed;
use crate::store::ChunkStore;
use crate::tokens::TokenCache;

impl Selector {
    /// Tokenizes pieces in their order until the sequence is full; what passes the end is cut off.
    pub(super) fn lay(
        &mut self,
        mut pieces: Vec<Piece>,
        store: &ChunkStore,
        tokens: &TokenCache,
        need: &mut Need,
    ) -> (State, bool) {
        let separator = self.frame.separator.len() as i64;
        let room = self.frame.room(self.settings.seq_len, 1);
        let (mut sum, mut bytes, mut at) = (0i64, 0usize, 0);
        while at < pieces.len() && sum < room {
            let Some(count) = tokens.count(pieces[at].chunk) else { break };
            sum += i64::from(count) + if at > 0 { separator } else { 0 };
            bytes += store.text(pieces[at].chunk as usize).len();
            pieces[at].tokens = count;
            at += 1;
        }
        if at < pieces.len() && sum < room {
            let bytes_per_token = match sum {
                0 => self.settings.chars_per_token,
                sum => bytes as f64 / sum as f64,
            };
            let mut estimate = 0.0;
            for piece in &pieces[at..] {
                let count = tokens.count(piece.chunk).map_or_else(
                    || {
                        need.tokens.push(piece.chunk);
                        store.text(piece.chunk as usize).len() as f64 / bytes_per_token
                    },
                    f64::from,
                );
                estimate += count;
                if estimate >= (room - sum) as f64 * ROUND {
                    break;
                }
            }
            return (State::Laying(pieces), false);
        }
        for piece in pieces.drain(at..).filter(|piece| !piece.is_meta()) {
            self.release(piece.chunk);
        }
        // The paper's rule discards what is short at all; a separator fills an exact sequence.
        let spare = match (self.settings.length, self.settings.on_short) {
            (Length::Paper, OnShort::Drop) => 0,
            _ => separator,
        };
        let short = room - sum > spare;
        if short && self.settings.on_short == OnShort::Drop {
            for piece in pieces.iter().filter(|piece| !piece.is_meta()) {
                self.release(piece.chunk);
            }
            self.tally.dropped_short += 1;
            return (State::Dropped, false);
        }
        self.tally.shortened += u64::from(short);
        (State::Made(self.cut(pieces)), false)
    }

    pub(super) fn complete(
        &mut self,
        candidate: &Candidate,
        draft: &Draft,
        tokens: &TokenCache,
    ) -> State {
        let mut pieces = self.arrange(candidate, draft);
        for piece in &mut pieces {
            piece.tokens = tokens.count(piece.chunk).unwrap_or(0);
        }
        State::Made(self.cut(pieces))
    }

    /// Cuts what passes `seq_len` off the last negatives; counts what is left.
    fn cut(&mut self, mut pieces: Vec<Piece>) -> Vec<Piece> {
        let spare_meta = self.settings.length == Length::Exact;
        let before: Vec<Piece> = pieces.iter().filter(|piece| !piece.is_meta()).copied().collect();
        let cut = self.frame.cut(&mut pieces, self.settings.seq_len, spare_meta);
        let negatives = pieces.iter().filter(|piece| !piece.is_meta());
        let kept: HashSet<u32> = negatives.map(|piece| piece.chunk).collect();
        for piece in before.iter().filter(|piece| !kept.contains(&piece.chunk)) {
            self.release(piece.chunk);
            self.tally.tokenized_unused += 1;
        }
        self.tally.cut_negatives += cut;
        let metas = pieces.iter().filter(|piece| piece.is_meta()).count() as u64;
        self.tally.meta_chunks += metas;
        self.tally.negatives += pieces.len() as u64 - metas;
        pieces
    }

    /// The pieces in their order: each meta-chunk among its negatives, as `placement` says.
    pub(super) fn arrange(&self, candidate: &Candidate, draft: &Draft) -> Vec<Piece> {
        let mut groups: Vec<Vec<Piece>> = vec![Vec::new(); candidate.lists.len()];
        for pick in &draft.picks {
            groups[pick.meta as usize].push(Piece::negative(pick.chunk, pick.meta, pick.score));
        }
        let mut pieces = Vec::with_capacity(draft.picks.len() + groups.len());
        for (meta, (mut group, chunk)) in
            groups.into_iter().zip(candidate.chunks.clone()).enumerate()
        {
            let place = match self.settings.placement {
                Placement::Head => 0,
                Placement::Tail => group.len(),
                Placement::Random => {
                    let mut rng = seed::Rng::new(self.settings.seed, "placement", u64::from(chunk));
                    rng.below(group.len() as u64 + 1) as usize
                }
            };
            group.insert(place, Piece::meta_chunk(chunk, meta as u32));
            pieces.append(&mut group);
        }
        pieces
    }
}
