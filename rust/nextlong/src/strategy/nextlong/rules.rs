//! The rules on one neighbour: those that need no text and do not depend on other sequences.
//!
//! In: the neighbours that a search found for a meta-chunk. Out: those that the rules allow, appended to
//! its list in order of use.

use std::collections::HashSet;
use std::ops::Range;

use super::candidates::CandidateList;
use crate::config::{Sampling, Settings};
use crate::error::{Error, Result};
use crate::hash::BuildIntHasher;
use crate::index::cosine::dot;
use crate::seed;
use crate::store::{ChunkStore, Vectors};
use crate::strategy::{Reason, Refusals};

/// Checks every rule that needs no text and does not depend on other sequences.
pub(super) struct Rules<'a> {
    store: &'a ChunkStore,
    settings: &'a Settings,
    chunks: Range<u32>,
    own: OwnScores,
    /// The maximum score that the margins allow to negatives of each meta-chunk.
    ceilings: Vec<f32>,
}

impl<'a> Rules<'a> {
    pub(super) fn new(
        store: &'a ChunkStore,
        vectors: &Vectors,
        settings: &'a Settings,
        chunks: Range<u32>,
    ) -> Self {
        let own = OwnScores::new(vectors, settings, chunks.clone());
        let ceilings = (0..chunks.len()).map(|meta| own.ceiling(meta, settings)).collect();
        Self { store, settings, chunks, own, ceilings }
    }

    /// Adds the neighbours that a search found and the rules allow; counts the others.
    pub(super) fn extend(
        &self,
        list: &mut CandidateList,
        meta: usize,
        ids: &[i64],
        scores: &[f32],
        refused: &mut Refusals,
    ) -> Result<()> {
        let before = list.ids.len();
        // A deeper search may find a neighbour at any rank that the one before missed.
        let known: HashSet<u32, BuildIntHasher> =
            list.ids.iter().chain(&list.refused).copied().collect();
        let more = ids.len().saturating_sub(known.len());
        list.ids.reserve(more);
        list.scores.reserve(more);
        // Among the remaining chunks a neighbour has another rank than among all.
        let passed = if list.remaining_only { list.depth as usize } else { 0 };
        for (rank, (&id, &score)) in ids.iter().zip(scores).enumerate() {
            let Ok(id) = u32::try_from(id) else {
                list.complete = true;
                break;
            };
            if id as usize >= self.store.len() {
                return Err(Error::Retrieval(format!(
                    "neighbour {id} of a corpus of {} chunks",
                    self.store.len()
                )));
            }
            if known.contains(&id) {
                continue;
            }
            match self.refusal(meta, rank.max(passed), id, score) {
                None => {
                    list.ids.push(id);
                    list.scores.push(score);
                }
                Some(reason) => {
                    refused[reason as usize] += 1;
                    list.refused.push(id);
                    // Scores only fall from here.
                    list.complete |= matches!(reason, Reason::MinScore);
                }
            }
        }
        if self.settings.exclude_same_doc {
            // The search left them out: those that score above its last neighbour count as refused.
            let last = scores.iter().rev().find(|score| score.is_finite());
            let full = ids.last().is_some_and(|&id| id >= 0);
            let floor = last.copied().filter(|_| full).unwrap_or(f32::NEG_INFINITY);
            let passed = self.own.of(meta).filter(|&score| score >= floor).count() as u64;
            refused[Reason::SameDocument as usize] += passed.saturating_sub(list.own_left_out);
            list.own_left_out = passed.max(list.own_left_out);
        }
        let sorted = before == 0 && self.settings.sampling_strategy == Sampling::Top;
        if list.ids.len() > before && !sorted {
            self.order(list, meta);
        }
        Ok(())
    }

    fn refusal(&self, meta: usize, rank: usize, id: u32, score: f32) -> Option<Reason> {
        let settings = self.settings;
        if rank < settings.range_min as usize {
            return Some(Reason::RangeMin);
        }
        if settings.exclude_same_doc && self.chunks.contains(&id) {
            return Some(Reason::SameDocument);
        }
        if settings.min_score.is_some_and(|least| score < least) {
            return Some(Reason::MinScore);
        }
        if settings.max_score.is_some_and(|most| score > most) {
            return Some(Reason::MaxScore);
        }
        (score > self.ceilings[meta]).then_some(Reason::Margin)
    }

    /// Sorts the neighbours that were not looked at yet in order of use: falling score and rising
    /// number, or random.
    fn order(&self, list: &mut CandidateList, meta: usize) {
        let chunk = u64::from(self.chunks.start) + meta as u64;
        let rest = list.cursor..list.ids.len();
        let pairs = list.ids[rest.clone()].iter().zip(&list.scores[rest.clone()]);
        let mut order: Vec<(u32, f32)> = pairs.map(|(&id, &score)| (id, score)).collect();
        match self.settings.sampling_strategy {
            Sampling::Top => order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))),
            Sampling::Random => order.sort_by_cached_key(|&(id, _)| {
                (seed::bits(self.settings.seed, "sample", chunk << 32 | u64::from(id)), id)
            }),
        }
        for (place, (id, score)) in rest.zip(order) {
            list.ids[place] = id;
            list.scores[place] = score;
        }
    }
}

/// Similarities between the chunks of one document; empty if no rule needs them.
struct OwnScores {
    /// `[chunks, dim]`.
    rows: Vec<f32>,
    dim: usize,
}

impl OwnScores {
    fn new(vectors: &Vectors, settings: &Settings, chunks: Range<u32>) -> Self {
        let dim = vectors.dim();
        let margins = settings.absolute_margin.is_some() || settings.relative_margin.is_some();
        let asked = (margins || settings.exclude_same_doc) && chunks.len() > 1;
        let mut rows = vec![0.0; if asked { chunks.len() * dim } else { 0 }];
        if asked {
            vectors.read(chunks.start as usize..chunks.end as usize, &mut rows);
        }
        Self { rows, dim }
    }

    /// The scores of the other chunks against `meta`.
    fn of(&self, meta: usize) -> impl Iterator<Item = f32> {
        let own = self.rows.get(meta * self.dim..(meta + 1) * self.dim).unwrap_or_default();
        let others = self.rows.chunks_exact(self.dim).enumerate();
        others.filter(move |&(other, _)| other != meta).map(move |(_, row)| dot(own, row))
    }

    /// The highest score that the margins allow to negatives of `meta`: measured, as in
    /// sentence-transformers' `mine_hard_negatives`, from the score of the positive, here the most
    /// similar other chunk of the own document.
    fn ceiling(&self, meta: usize, settings: &Settings) -> f32 {
        let (absolute, relative) = (settings.absolute_margin, settings.relative_margin);
        if self.rows.is_empty() || (absolute.is_none() && relative.is_none()) {
            return f32::INFINITY;
        }
        let positive = self.of(meta).fold(f32::NEG_INFINITY, f32::max);
        let by_absolute = absolute.map_or(f32::INFINITY, |margin| positive - margin);
        let by_relative = relative.map_or(f32::INFINITY, |margin| positive * (1.0 - margin));
        by_absolute.min(by_relative)
    }
}
