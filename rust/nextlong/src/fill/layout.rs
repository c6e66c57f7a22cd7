//! The order of the segments of a sequence, and the cut at its end.

use std::collections::HashSet;

use super::batch::Document;
use super::pass::{Draft, Need, Pass, ROUND, State};
use crate::config::{Length, OnShort, Placement};
use crate::seed;
use crate::segment::Segment;
use crate::store::{ChunkStore, TokenCache};
use crate::strategy::nextlong::Selection;

impl Pass {
    /// Tokenizes segments in their order until the sequence is full; the rest is cut off.
    pub(super) fn lay_out(
        &mut self,
        mut segments: Vec<Segment>,
        store: &ChunkStore,
        tokens: &TokenCache,
        need: &mut Need,
    ) -> (State, bool) {
        let separator = self.special_tokens.separator.len() as i64;
        let capacity = self.special_tokens.capacity(self.settings.seq_len, 1);
        let (mut sum, mut bytes, mut at) = (0i64, 0usize, 0);
        while at < segments.len() && sum < capacity {
            let Some(count) = tokens.count(segments[at].chunk) else { break };
            sum += i64::from(count) + if at > 0 { separator } else { 0 };
            bytes += store.text(segments[at].chunk as usize).len();
            segments[at].tokens = count;
            at += 1;
        }
        if at < segments.len() && sum < capacity {
            let bytes_per_token = match sum {
                0 => self.settings.chars_per_token,
                sum => bytes as f64 / sum as f64,
            };
            let mut estimate = 0.0;
            for segment in &segments[at..] {
                let count = tokens.count(segment.chunk).map_or_else(
                    || {
                        need.tokens.push(segment.chunk);
                        store.text(segment.chunk as usize).len() as f64 / bytes_per_token
                    },
                    f64::from,
                );
                estimate += count;
                if estimate >= (capacity - sum) as f64 * ROUND {
                    break;
                }
            }
            return (State::LayingOut(segments), false);
        }
        for segment in segments.drain(at..).filter(|segment| !segment.is_meta()) {
            self.ledger.release(segment.chunk);
        }
        // The paper's rule discards any short sequence; a separator fills an exact sequence.
        let tolerance = match (self.settings.length, self.settings.on_short) {
            (Length::Paper, OnShort::Drop) => 0,
            _ => separator,
        };
        let short = capacity - sum > tolerance;
        if short && self.settings.on_short == OnShort::Drop {
            for segment in segments.iter().filter(|segment| !segment.is_meta()) {
                self.ledger.release(segment.chunk);
            }
            self.tally.dropped_short += 1;
            return (State::Dropped, false);
        }
        self.tally.shortened += u64::from(short);
        (State::Planned(self.cut(segments)), false)
    }

    pub(super) fn complete(
        &mut self,
        document: &Document,
        draft: &Draft,
        tokens: &TokenCache,
    ) -> State {
        let mut segments = self.arrange(document, draft);
        for segment in &mut segments {
            segment.tokens = tokens.count(segment.chunk).unwrap_or(0);
        }
        State::Planned(self.cut(segments))
    }

    /// Cuts what exceeds `seq_len` off the last negatives; counts the rest.
    fn cut(&mut self, mut segments: Vec<Segment>) -> Vec<Segment> {
        let spare_meta = self.settings.length == Length::Exact;
        let before: Vec<Segment> =
            segments.iter().filter(|segment| !segment.is_meta()).copied().collect();
        let cut = self.special_tokens.cut(&mut segments, self.settings.seq_len, spare_meta);
        let negatives = segments.iter().filter(|segment| !segment.is_meta());
        let kept: HashSet<u32> = negatives.map(|segment| segment.chunk).collect();
        for segment in before.iter().filter(|segment| !kept.contains(&segment.chunk)) {
            self.ledger.release(segment.chunk);
            self.tally.tokenized_unused += 1;
        }
        self.tally.cut_negatives += cut;
        let metas = segments.iter().filter(|segment| segment.is_meta()).count() as u64;
        self.tally.meta_chunks += metas;
        self.tally.negatives += segments.len() as u64 - metas;
        segments
    }

    /// The segments in their order: each meta-chunk among its negatives, as `placement` says.
    pub(super) fn arrange(&self, document: &Document, draft: &Draft) -> Vec<Segment> {
        let mut groups: Vec<Vec<Segment>> = vec![Vec::new(); document.source.meta_count()];
        for &Selection { chunk, meta, score } in &draft.selections {
            groups[meta as usize].push(Segment::negative(chunk, meta, score));
        }
        let mut segments = Vec::with_capacity(draft.selections.len() + groups.len());
        for (meta, (mut group, chunk)) in
            groups.into_iter().zip(document.source.chunks.clone()).enumerate()
        {
            let place = match self.settings.placement {
                Placement::Head => 0,
                Placement::Tail => group.len(),
                Placement::Random => {
                    let mut rng = seed::Rng::new(self.settings.seed, "placement", u64::from(chunk));
                    rng.below(group.len() as u64 + 1) as usize
                }
            };
            group.insert(place, Segment::meta_chunk(chunk, meta as u32));
            segments.append(&mut group);
        }
        segments
    }
}
