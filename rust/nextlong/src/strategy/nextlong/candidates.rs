//! The candidates of one document: for each meta-chunk the neighbours that the rules allow.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::estimate::{document_characters, first_depth, may_be_too_long, needed};
use super::gram_lists::GramLists;
use super::near_duplicates::NearDuplicates;
use super::rules::Rules;
use crate::config::{Sampling, Settings};
use crate::error::{Error, Result};
use crate::hash::BuildIntHasher;
use crate::progress::Progress;
use crate::store::{ChunkStore, Vectors};
use crate::strategy::Refusals;

/// The allowed neighbours of one meta-chunk.
#[derive(Debug, Default, Clone)]
pub(crate) struct CandidateList {
    pub ids: Vec<u32>,
    pub scores: Vec<f32>,
    /// Neighbours searched for so far; 0 before the first search.
    pub depth: u32,
    /// Neighbours to search for next; 0 if no search is wanted.
    pub wanted: u32,
    /// Searches leave exhausted chunks out, and look for `fresh` more than are known.
    pub remaining_only: bool,
    pub fresh: u32,
    /// The neighbours that the rules refused.
    pub refused: Vec<u32>,
    /// No deeper search can find more.
    pub complete: bool,
    /// The next allowed neighbour to look at, and the number of neighbours taken.
    pub cursor: usize,
    pub taken: u32,
    /// Chunks of the own document that the searches left out.
    pub own_left_out: u64,
}

/// A search that a document wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchRequest {
    /// The number of neighbours of each meta-chunk.
    pub k: u32,
    /// The meta-chunks.
    pub chunks: Vec<u32>,
    /// Leave out the exhausted chunks ([`crate::fill::Pass::exhausted`]).
    pub remaining_only: bool,
}

/// The neighbours that a search found for some meta-chunks.
pub struct SearchResult<'a> {
    /// The meta-chunks that were searched for.
    pub chunks: &'a [u32],
    /// The number of neighbours of each.
    pub k: usize,
    /// `[chunks, k]`, best first; negative where there were fewer.
    pub ids: &'a [i64],
    /// `[chunks, k]` cosine similarities.
    pub scores: &'a [f32],
}

impl SearchResult<'_> {
    /// The result by meta-chunk.
    ///
    /// # Errors
    ///
    /// [`Error::Retrieval`] if the arrays do not fit together.
    pub(crate) fn by_chunk(&self) -> Result<Found<'_>> {
        if self.ids.len() != self.chunks.len() * self.k || self.scores.len() != self.ids.len() {
            return Err(Error::Retrieval(format!(
                "shape mismatch: expected [{}, {}] ids and scores, got {} and {}",
                self.chunks.len(),
                self.k,
                self.ids.len(),
                self.scores.len()
            )));
        }
        let rows = self.chunks.iter().enumerate().map(|(row, &chunk)| (chunk, row)).collect();
        Ok(Found { result: self, rows })
    }
}

/// A checked search result, by meta-chunk.
pub(crate) struct Found<'a> {
    result: &'a SearchResult<'a>,
    rows: HashMap<u32, usize, BuildIntHasher>,
}

impl Found<'_> {
    /// The ids and scores of the neighbours of `chunk`; None if it was not searched for.
    fn get(&self, chunk: u32) -> Option<(&[i64], &[f32])> {
        let k = self.result.k;
        let row = *self.rows.get(&chunk)?;
        Some((&self.result.ids[row * k..][..k], &self.result.scores[row * k..][..k]))
    }
}

/// What one document can take: its meta-chunks and their candidates.
#[derive(Debug)]
pub(crate) struct Source {
    /// The meta-chunks.
    pub chunks: Range<u32>,
    /// The candidates of each meta-chunk.
    pub lists: Vec<CandidateList>,
    /// The estimated number of negatives of the sequence.
    pub(super) needed: u32,
    /// Depth of the first search.
    first_depth: u32,
    /// Maximum depth of a search.
    pub(super) max_depth: u32,
    /// The near-duplicate rule; None if the settings have none, or after [`Source::close`].
    pub(super) near_duplicates: Option<NearDuplicates>,
}

impl Source {
    /// The document whose chunks are `chunks`, with the first search of every meta-chunk wanted.
    pub fn new(
        store: &ChunkStore,
        settings: &Settings,
        lists: &Arc<GramLists>,
        chunks: Range<usize>,
        mean_chars: f64,
        max_depth: u32,
    ) -> Self {
        let needed = needed(store, settings, chunks.clone(), mean_chars);
        let first_depth = first_depth(settings, needed).min(max_depth);
        let own = document_characters(store, chunks.clone()) as f64;
        let wanted = if may_be_too_long(settings, own, chunks.len()) { 0 } else { first_depth };
        let needed = (needed * chunks.len() as f64).ceil() as u32;
        let chunks = chunks.start as u32..chunks.end as u32;
        Self {
            lists: vec![CandidateList { wanted, ..CandidateList::default() }; chunks.len()],
            needed,
            first_depth,
            max_depth,
            near_duplicates: NearDuplicates::new(settings, lists, chunks.clone()),
            chunks,
        }
    }

    /// The number of meta-chunks.
    pub fn meta_count(&self) -> usize {
        self.lists.len()
    }

    /// True if a search is wanted.
    pub fn wants_search(&self) -> bool {
        self.lists.iter().any(|list| list.wanted > 0)
    }

    /// Wants the first search of all meta-chunks that had none; true if there is one.
    pub fn want_first_search(&mut self) -> bool {
        let mut waits = false;
        for list in self.lists.iter_mut().filter(|list| list.depth == 0 && !list.complete) {
            list.wanted = self.first_depth;
            waits = true;
        }
        waits
    }

    /// Adds the neighbours that the rules allow, if `found` has some of the meta-chunks; true if it
    /// has. If the request left exhausted chunks out, `found` may lack them.
    pub fn add(
        &mut self,
        found: &Found<'_>,
        store: &ChunkStore,
        vectors: &Vectors,
        settings: &Settings,
        refused: &mut Refusals,
        progress: &Progress,
    ) -> Result<bool> {
        let k = found.result.k;
        let mut rules: Option<Rules<'_>> = None;
        for (meta, chunk) in self.chunks.clone().enumerate() {
            let Some((ids, scores)) = found.get(chunk) else { continue };
            progress.check()?;
            let rules = rules
                .get_or_insert_with(|| Rules::new(store, vectors, settings, self.chunks.clone()));
            let list = &mut self.lists[meta];
            rules.extend(list, meta, ids, scores, refused)?;
            // A random order is one of the whole rank window, which is searched at once.
            let random = settings.sampling_strategy == Sampling::Random;
            list.complete |= random || k as u32 >= self.max_depth;
            if !list.remaining_only {
                list.depth = k as u32;
            }
            list.wanted = 0;
        }
        Ok(rules.is_some())
    }

    /// Frees the memory of the near-duplicate rule.
    pub fn close(&mut self) {
        self.near_duplicates = None;
    }
}

/// What makes two negatives of a sequence the same: their text, or, if near-duplicates are allowed,
/// only being the same chunk.
pub(crate) fn identity(settings: &Settings, store: &ChunkStore, chunk: u32) -> u64 {
    match settings.max_containment {
        Some(_) => store.text_hash(chunk as usize),
        // An odd factor: different for every chunk, and uniform as a hash.
        None => u64::from(chunk).wrapping_mul(0x9E37_79B9_7F4A_7C15),
    }
}
