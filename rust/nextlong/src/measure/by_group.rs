//! The report by group: whether the negatives of each source or language are what they should be.
//!
//! In: the groups, the sequences and what the pass counted. Out: a [`GroupReport`] for each group.
//! Everything that is not counted exactly comes from seeded samples of bounded size.

use std::collections::BinaryHeap;
use std::ops::Range;

use serde::Serialize;

use super::same_document::{SameDocument, has_siblings, own_neighbours};
use super::similarity::cosine_of;
use crate::error::Result;
use crate::fill::{GroupCounts, PlannedSequence};
use crate::progress::Progress;
use crate::seed;
use crate::store::{ChunkStore, Groups, Vectors};
use crate::strategy::Refusals;

/// Neighbours among which chunks of the same document are looked for.
const NEAREST: usize = 10;
/// Maximum number of groups whose same-document recall is measured, the largest first.
const RECALL_GROUPS: usize = 64;
/// Maximum and minimum number of chunks of one group that it is measured on.
const RECALL_QUERIES: Range<usize> = 8..32;
/// Products that all these queries may take; each is compared with all vectors.
const RECALL_WORK: usize = 1 << 33;
/// Maximum number of meta-chunks of a group that are compared with random chunks, and how many
/// random chunks each is compared with.
const METAS: usize = 256;
const DRAWS: usize = 4;
/// Pairs of a meta-chunk and a random chunk of all groups, at most.
const PAIRS: usize = 1 << 18;
/// Chunks of a group from which random chunks of that group are drawn.
const POOL: usize = 512;

/// The input of the report.
pub struct Measured<'a> {
    /// The chunks.
    pub store: &'a ChunkStore,
    /// Their vectors.
    pub vectors: &'a Vectors,
    /// Their groups.
    pub groups: &'a Groups,
    /// The sequences.
    pub sequences: &'a [PlannedSequence],
    /// What the selecting pass counted by group.
    pub counts: &'a [GroupCounts],
    /// The seed of the run.
    pub seed: u64,
}

/// The chunks, sequences and negatives of one group. Documents and sequences belong to the group of
/// their document, meta-chunks and negatives to that of the meta-chunk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupReport {
    /// The group's name.
    pub name: String,
    /// Chunks of the corpus.
    pub chunks: u64,
    /// Documents of the corpus.
    pub documents: u64,
    /// Documents that became a sequence or were dropped.
    pub tried: u64,
    /// Sequences.
    pub sequences: u64,
    /// Meta-chunks of all sequences.
    pub meta_chunks: u64,
    /// Negatives of these meta-chunks.
    pub negatives: u64,
    /// Those of them that are chunks of the same group.
    pub same_group: u64,
    /// Refused neighbours, by reason (as in [`crate::strategy::REASONS`]).
    pub refused: Refusals,
    /// How often the nearest neighbours are of the same document, on a sample; None where it was not
    /// measured.
    pub same_document: Option<SameDocument>,
    /// Cosine similarity of the negatives to their meta-chunk, of all negatives.
    pub similarity: Option<Estimate>,
    /// Similarity of meta-chunks to random chunks of other documents, on a sample.
    pub random_similarity: Option<Estimate>,
    /// Similarity of meta-chunks to random chunks of other documents of the group, on a sample.
    pub random_in_group: Option<Estimate>,
}

/// A mean and its standard error. Pairs of one meta-chunk are not independent of each other, so the
/// error is that of as many pairs as there are meta-chunks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Its standard error.
    pub error: f64,
    /// The number of meta-chunks.
    pub meta_chunks: u64,
}

/// Reports every group of `measured`.
///
/// # Errors
///
/// [`crate::Error::Cancelled`] when stopped.
pub fn group_report(
    measured: &Measured<'_>,
    threads: usize,
    progress: &Progress,
) -> Result<Vec<GroupReport>> {
    let groups = measured.groups;
    let mut tallies: Vec<Tally> = (0..groups.len()).map(|_| Tally::default()).collect();
    let most_metas = METAS.min(PAIRS / DRAWS / groups.len().max(1));
    let mut metas = vec![Sample::new(most_metas); groups.len()];
    for (document, segments) in measured.sequences {
        progress.check()?;
        let chunks = measured.store.document_chunks(*document as usize);
        tallies[usize::from(groups.of_document(chunks.clone()))].sequences += 1;
        // The scores of the negatives of each meta-chunk.
        let mut sums = vec![Sums::default(); chunks.len()];
        for segment in segments {
            let meta = (chunks.start + segment.meta as usize) as u32;
            let group = usize::from(groups.of(meta));
            let tally = &mut tallies[group];
            if segment.is_meta() {
                tally.meta_chunks += 1;
                metas[group].offer(measured.seed, meta);
            } else {
                tally.negatives += 1;
                tally.same_group += u64::from(usize::from(groups.of(segment.chunk)) == group);
                sums[segment.meta as usize].add(f64::from(segment.score));
            }
        }
        for (meta, sums) in sums.iter().enumerate().filter(|(_, sums)| sums.count > 0) {
            let tally = &mut tallies[usize::from(groups.of((chunks.start + meta) as u32))];
            tally.scores.merge(sums);
            tally.scored += 1;
        }
    }
    let mut pools = vec![Sample::new(POOL); groups.len()];
    for (chunk, &group) in groups.of_chunks().iter().enumerate() {
        pools[usize::from(group)].offer(measured.seed, chunk as u32);
    }
    let pools: Vec<Vec<u32>> = pools.into_iter().map(Sample::chunks).collect();
    let own = same_document(measured, &pools, threads, progress)?;
    let mut reports = Vec::with_capacity(groups.len());
    let each = tallies.into_iter().zip(metas).zip(&pools).zip(own).enumerate();
    for (group, (((tally, metas), pool), same_document)) in each {
        progress.check()?;
        let (random, in_group) = random_similarities(measured, &metas.chunks(), pool);
        let counts = measured.counts.get(group).cloned().unwrap_or_default();
        reports.push(GroupReport {
            name: groups.names()[group].clone(),
            chunks: groups.chunks()[group],
            documents: groups.documents()[group],
            tried: counts.tried,
            sequences: tally.sequences,
            meta_chunks: tally.meta_chunks,
            negatives: tally.negatives,
            same_group: tally.same_group,
            refused: counts.refused,
            same_document,
            similarity: tally.scores.estimate(tally.scored),
            random_similarity: random,
            random_in_group: in_group,
        });
    }
    Ok(reports)
}

/// The same-document recall of the largest groups, on a few chunks of each.
fn same_document(
    measured: &Measured<'_>,
    pools: &[Vec<u32>],
    threads: usize,
    progress: &Progress,
) -> Result<Vec<Option<SameDocument>>> {
    let work_of_one = (measured.vectors.len() * measured.vectors.dim()).max(1);
    let most = (RECALL_WORK / work_of_one).max(RECALL_QUERIES.start * 8);
    let count = RECALL_GROUPS.min(most / RECALL_QUERIES.start).min(pools.len());
    let each = (most / count.max(1)).clamp(RECALL_QUERIES.start, RECALL_QUERIES.end);
    let mut rows = Vec::new();
    let mut ends = Vec::new();
    for pool in &pools[..count] {
        let asked = pool.iter().map(|&chunk| chunk as usize);
        rows.extend(asked.filter(|&row| has_siblings(measured.store, row)).take(each));
        ends.push(rows.len());
    }
    let found =
        own_neighbours(measured.store, measured.vectors, &rows, NEAREST, threads, progress)?;
    let mut start = 0;
    let mut own: Vec<Option<SameDocument>> = Vec::with_capacity(pools.len());
    for end in ends {
        own.push(SameDocument::mean(&found[start..end]));
        start = end;
    }
    own.resize(pools.len(), None);
    Ok(own)
}

/// Similarity of `metas` to random chunks of other documents: of the corpus, and of `pool`.
fn random_similarities(
    measured: &Measured<'_>,
    metas: &[u32],
    pool: &[u32],
) -> (Option<Estimate>, Option<Estimate>) {
    let dim = measured.vectors.dim();
    let (mut left, mut right) = (vec![0.0; dim], vec![0.0; dim]);
    let mut cosine =
        |a: u32, b: u32| f64::from(cosine_of(measured.vectors, [a, b], [&mut left, &mut right]));
    let (mut random, mut in_group) = (Sums::default(), Sums::default());
    let (mut metas_random, mut metas_in_group) = (0, 0);
    for &meta in metas {
        let own = measured.store.document_chunks(measured.store.document(meta as usize));
        let mut rng = seed::Rng::new(measured.seed, "group report", u64::from(meta));
        let others = measured.store.len() - own.len();
        for _ in 0..if others > 0 { DRAWS } else { 0 } {
            let draw = rng.below(others as u64) as usize;
            let chunk = if draw < own.start { draw } else { draw + own.len() };
            random.add(cosine(meta, chunk as u32));
        }
        metas_random += u64::from(others > 0);
        let before = in_group.count;
        for _ in 0..DRAWS {
            let chunk = pool[rng.below(pool.len() as u64) as usize];
            if !own.contains(&(chunk as usize)) {
                in_group.add(cosine(meta, chunk));
            }
        }
        metas_in_group += u64::from(in_group.count > before);
    }
    (random.estimate(metas_random), in_group.estimate(metas_in_group))
}

/// What the sequences hold of one group.
#[derive(Default)]
struct Tally {
    sequences: u64,
    meta_chunks: u64,
    negatives: u64,
    same_group: u64,
    scores: Sums,
    /// Meta-chunks that have negatives.
    scored: u64,
}

/// Sums of some similarities.
#[derive(Default, Clone, Copy)]
struct Sums {
    count: u64,
    sum: f64,
    squares: f64,
}

impl Sums {
    fn add(&mut self, value: f64) {
        self.merge(&Self { count: 1, sum: value, squares: value * value });
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
    }

    fn estimate(&self, meta_chunks: u64) -> Option<Estimate> {
        if self.count == 0 {
            return None;
        }
        let mean = self.sum / self.count as f64;
        let variance = (self.squares / self.count as f64 - mean * mean).max(0.0);
        Some(Estimate { mean, error: (variance / meta_chunks as f64).sqrt(), meta_chunks })
    }
}

/// A uniform sample of the chunks that were offered: those with the smallest hashes.
#[derive(Clone)]
struct Sample {
    most: usize,
    heap: BinaryHeap<(u64, u32)>,
}

impl Sample {
    fn new(most: usize) -> Self {
        Self { most, heap: BinaryHeap::new() }
    }

    fn offer(&mut self, seed: u64, chunk: u32) {
        let key = (seed::bits(seed, "group sample", u64::from(chunk)), chunk);
        if self.heap.len() < self.most {
            self.heap.push(key);
        } else if let Some(mut largest) = self.heap.peek_mut()
            && key < *largest
        {
            *largest = key;
        }
    }

    /// The chunks, in the order of their hashes.
    fn chunks(self) -> Vec<u32> {
        self.heap.into_sorted_vec().into_iter().map(|(_, chunk)| chunk).collect()
    }
}
