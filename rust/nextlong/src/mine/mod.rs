//! Finds the hard negatives of every meta-chunk: which of its neighbours the rules allow.
//!
//! In: the neighbours of the meta-chunks of some documents. Out: for each meta-chunk the allowed
//! ones, in order of use, and how many were refused for which reason. Which of them a sequence
//! takes is decided by [`select`].

mod ahead;
mod copies;
pub mod made;
pub mod ngrams;
mod queue;
pub mod select;
mod sketches;
mod used;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BooleanArray, Float32Builder, ListBuilder, RecordBatch, UInt32Array, UInt32Builder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use self::ahead::step;
use self::copies::Copies;
pub(crate) use self::ngrams::Hashed;
pub use self::queue::queue;
use self::select::add_since;
pub use self::sketches::Sketches;
use crate::config::{Length, Sampling, Settings};
use crate::error::{Error, Result};
use crate::index::cosine::dot;
use crate::progress::Progress;
use crate::store::ChunkStore;
use crate::vectors::Vectors;
use crate::{ipc, seed};

/// Why a neighbour was refused, in the order in which the rules are asked.
pub const REASONS: [&str; 9] = [
    "range_min",
    "same_document",
    "min_score",
    "max_score",
    "margin",
    "in_sequence",
    "max_reuse",
    "max_per_doc",
    "containment",
];

/// Neighbours asked for at first, for each negative that is needed.
const DEPTH_FACTOR: f64 = 3.0;

/// How many neighbours were refused, by reason (as in [`REASONS`]).
pub type Refusals = [u64; REASONS.len()];

#[derive(Clone, Copy)]
enum Reason {
    RangeMin,
    SameDocument,
    MinScore,
    MaxScore,
    Margin,
    InSequence,
    MaxReuse,
    MaxPerDoc,
    Containment,
}

/// The allowed neighbours of one meta-chunk.
#[derive(Debug, Default, Clone)]
struct List {
    ids: Vec<u32>,
    scores: Vec<f32>,
    /// How many neighbours were asked for so far; 0 before the first search.
    depth: u32,
    /// How many are to be asked for next; 0 when no search is wanted.
    wanted: u32,
    /// Of those that may still be used alone, as many as `fresh` more than are known.
    open: bool,
    fresh: u32,
    /// The neighbours that the rules refused.
    refused: Vec<u32>,
    /// No deeper search can find more.
    complete: bool,
    /// The next allowed neighbour to look at, and how many were taken.
    cursor: usize,
    taken: u32,
    /// Chunks of the own document that the searches passed over.
    own_passed: u64,
}

/// A document on its way to a sequence.
#[derive(Debug)]
struct Candidate {
    document: u32,
    chunks: Range<u32>,
    lists: Vec<List>,
    /// How many negatives the sequence should need.
    needed: u32,
    copies: Option<Copies>,
    state: select::State,
    /// Refused neighbours of its meta-chunks, by the searches and by the pass.
    refused: Refusals,
}

/// Some documents that are mined together: the unit of work of this stage.
pub struct Wave {
    documents: Vec<Candidate>,
    refused: Refusals,
    /// How many lists were too short for their sequence as it was looked ahead.
    deeper: u64,
    /// The most neighbours that a search can be asked for.
    deepest: u32,
    sketches: Arc<Sketches>,
}

impl Wave {
    /// A wave of `documents`, with the first search of every meta-chunk wanted.
    #[must_use]
    pub fn new(store: &ChunkStore, settings: &Settings, documents: &[u32]) -> Self {
        Self::sharing(store, settings, documents, Arc::new(Sketches::new(settings)))
    }

    /// As [`Wave::new`], with sketches that other waves of the run use as well.
    #[must_use]
    pub fn sharing(
        store: &ChunkStore,
        settings: &Settings,
        documents: &[u32],
        sketches: Arc<Sketches>,
    ) -> Self {
        let others = store.len().saturating_sub(1).max(1) as u32;
        let deepest = settings.range_max.map_or(others, |range_max| range_max.min(others));
        let mean_chars = mean_characters(store);
        let documents = documents.iter().map(|&document| {
            let chunks = store.document_chunks(document as usize);
            let needed = needed(store, settings, chunks.clone(), mean_chars);
            // A random order is one of the whole rank window, so it is searched at once.
            let window =
                settings.range_max.filter(|_| settings.sampling_strategy == Sampling::Random);
            let first = || window.unwrap_or_else(|| first_depth(settings, needed)).min(deepest);
            let own = document_characters(store, chunks.clone()) as f64;
            let wanted = if select::surely_too_long(settings, own) { 0 } else { first() };
            Candidate {
                document,
                lists: vec![List { wanted, ..List::default() }; chunks.len()],
                needed: (needed * chunks.len() as f64).ceil() as u32,
                copies: None,
                chunks: chunks.start as u32..chunks.end as u32,
                state: select::State::Measuring,
                refused: [0; REASONS.len()],
            }
        });
        let documents = documents.collect();
        Self { documents, refused: [0; REASONS.len()], deeper: 0, deepest, sketches }
    }

    /// The searches that are wanted; one for each k.
    #[must_use]
    pub fn wanted(&self) -> Vec<Wanted> {
        let mut by_depth = std::collections::BTreeMap::<(bool, u32), Vec<u32>>::new();
        for candidate in &self.documents {
            for (list, chunk) in candidate.lists.iter().zip(candidate.chunks.clone()) {
                if list.wanted > 0 {
                    by_depth.entry((list.open, list.wanted)).or_default().push(chunk);
                }
            }
        }
        let wanted = by_depth.into_iter();
        wanted.map(|((open, k), chunks)| Wanted { k, chunks, open }).collect()
    }

    /// Takes the `k` nearest neighbours of each meta-chunk of `chunks` (`[chunks, k]`, best first,
    /// padded with negative ids) and keeps those that the rules allow. Where chunks that cannot be
    /// used any more were wanted left out, they may have been.
    ///
    /// # Errors
    ///
    /// [`Error::Retrieval`] when the arrays do not fit together, [`Error::Cancelled`] when stopped.
    pub fn fill(
        &mut self,
        found: &Found<'_>,
        store: &ChunkStore,
        vectors: &Vectors,
        settings: &Settings,
        progress: &Progress,
    ) -> Result<()> {
        let (k, chunks) = (found.k, found.chunks);
        if found.ids.len() != chunks.len() * k || found.scores.len() != found.ids.len() {
            return Err(Error::Retrieval(format!(
                "{} ids and {} scores are no {k} neighbours of {} chunks",
                found.ids.len(),
                found.scores.len(),
                chunks.len()
            )));
        }
        let rows: HashMap<u32, usize, Hashed> =
            chunks.iter().enumerate().map(|(row, &chunk)| (chunk, row)).collect();
        for candidate in &mut self.documents {
            let before = self.refused;
            let mut judge: Option<Judge<'_>> = None;
            for (meta, chunk) in candidate.chunks.clone().enumerate() {
                let Some(&row) = rows.get(&chunk) else { continue };
                progress.check()?;
                let judge = judge.get_or_insert_with(|| {
                    Judge::new(store, vectors, settings, candidate.chunks.clone())
                });
                let ids = &found.ids[row * k..(row + 1) * k];
                let scores = &found.scores[row * k..(row + 1) * k];
                let list = &mut candidate.lists[meta];
                judge.extend(list, meta, ids, scores, &mut self.refused)?;
                list.complete |= k as u32 >= self.deepest;
                if !list.open {
                    list.depth = k as u32;
                }
                list.wanted = 0;
            }
            add_since(&mut candidate.refused, &before, &self.refused);
            // Once the pass has begun with the document, it says itself what it wants.
            let waits = candidate.lists.iter().any(|list| list.wanted > 0);
            if judge.is_some() && !waits && matches!(candidate.state, select::State::Measuring) {
                let copies = Copies::new(settings, &self.sketches);
                self.deeper +=
                    candidate.look_ahead(store, settings, copies, self.deepest, progress)?;
            }
        }
        Ok(())
    }

    /// Writes the allowed neighbours as an Arrow IPC file, a row a meta-chunk.
    ///
    /// # Errors
    ///
    /// What the file system reports.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut chunk = UInt32Builder::new();
        let mut depth = UInt32Builder::new();
        let mut complete = Vec::new();
        let mut ids = ListBuilder::new(UInt32Builder::new()).with_field(item(DataType::UInt32));
        let mut scores =
            ListBuilder::new(Float32Builder::new()).with_field(item(DataType::Float32));
        for candidate in &self.documents {
            for (list, number) in candidate.lists.iter().zip(candidate.chunks.clone()) {
                chunk.append_value(number);
                depth.append_value(list.depth);
                complete.push(list.complete);
                ids.values().append_slice(&list.ids);
                ids.append(true);
                scores.values().append_slice(&list.scores);
                scores.append(true);
            }
        }
        let chunk: UInt32Array = chunk.finish();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(chunk),
            Arc::new(depth.finish()),
            Arc::new(BooleanArray::from(complete)),
            Arc::new(ids.finish()),
            Arc::new(scores.finish()),
        ];
        let batch = RecordBatch::try_new(SCHEMA.clone(), columns)
            .map_err(|error| Error::Run(format!("{}: {error}", path.display())))?;
        ipc::write(path, &SCHEMA, &[batch])
    }

    /// How many neighbours were refused so far, by reason.
    #[must_use]
    pub fn refused(&self) -> &Refusals {
        &self.refused
    }
}

/// A search that a wave wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Neighbours of each.
    pub k: u32,
    /// The meta-chunks.
    pub chunks: Vec<u32>,
    /// Whether only chunks that may still be used are wanted: those not in
    /// [`select::Selector::hidden`].
    pub open: bool,
}

/// What a search found for some meta-chunks.
pub struct Found<'a> {
    /// The meta-chunks that were asked for.
    pub chunks: &'a [u32],
    /// How many neighbours each has.
    pub k: usize,
    /// `[chunks, k]`, best first; negative where there were fewer.
    pub ids: &'a [i64],
    /// `[chunks, k]` cosine similarities.
    pub scores: &'a [f32],
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("chunk", DataType::UInt32, false),
        Field::new("depth", DataType::UInt32, false),
        Field::new("complete", DataType::Boolean, false),
        Field::new("ids", DataType::List(item(DataType::UInt32)), false),
        Field::new("scores", DataType::List(item(DataType::Float32)), false),
    ]))
});

fn item(kind: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", kind, false))
}

/// Asks every rule that needs no text and does not depend on other sequences.
struct Judge<'a> {
    store: &'a ChunkStore,
    settings: &'a Settings,
    chunks: Range<u32>,
    own: OwnScores,
    /// The ceiling that the margins leave to each meta-chunk's negatives.
    ceilings: Vec<f32>,
}

impl<'a> Judge<'a> {
    fn new(
        store: &'a ChunkStore,
        vectors: &Vectors,
        settings: &'a Settings,
        chunks: Range<u32>,
    ) -> Self {
        let own = OwnScores::new(vectors, settings, chunks.clone());
        let ceilings = (0..chunks.len()).map(|meta| own.ceiling(meta, settings)).collect();
        Self { store, settings, chunks, own, ceilings }
    }

    fn extend(
        &self,
        list: &mut List,
        meta: usize,
        ids: &[i64],
        scores: &[f32],
        refused: &mut Refusals,
    ) -> Result<()> {
        let before = list.ids.len();
        let mut known: HashSet<u32, Hashed> = list.ids.iter().copied().collect();
        // Among the chunks that may still be used a neighbour has another rank than among all.
        let passed = if list.open { 0 } else { list.depth as usize };
        if list.open {
            known.extend(&list.refused);
        }
        let more = ids.len().saturating_sub(passed);
        list.ids.reserve(more);
        list.scores.reserve(more);
        let neighbours = ids.iter().zip(scores).enumerate();
        for (rank, (&id, &score)) in neighbours.skip(passed) {
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
            match self.refusal(meta, rank.max(list.depth as usize), id, score) {
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
            // The search left them out: those that stand before its last neighbour were refused.
            let last = scores.iter().rev().find(|score| score.is_finite());
            let full = ids.last().is_some_and(|&id| id >= 0);
            let floor = last.copied().filter(|_| full).unwrap_or(f32::NEG_INFINITY);
            let passed = self.own.of(meta).filter(|&score| score >= floor).count() as u64;
            refused[Reason::SameDocument as usize] += passed.saturating_sub(list.own_passed);
            list.own_passed = passed.max(list.own_passed);
        }
        if self.settings.sampling_strategy == Sampling::Random {
            self.shuffle(list, meta, before);
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

    fn shuffle(&self, list: &mut List, meta: usize, from: usize) {
        let chunk = u64::from(self.chunks.start) + meta as u64;
        let mut order: Vec<(u64, u32, f32)> = list.ids[from..]
            .iter()
            .zip(&list.scores[from..])
            .map(|(&id, &score)| {
                (seed::bits(self.settings.seed, "sample", chunk << 32 | u64::from(id)), id, score)
            })
            .collect();
        order.sort_unstable_by_key(|&(key, id, _)| (key, id));
        for (place, (_, id, score)) in order.into_iter().enumerate() {
            list.ids[from + place] = id;
            list.scores[from + place] = score;
        }
    }
}

/// How similar the chunks of one document are to each other; nothing where no rule asks.
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

/// The mean number of characters of a chunk, from at most 1,000 chunks spread over the corpus.
fn mean_characters(store: &ChunkStore) -> f64 {
    let step = store.len().div_ceil(1000).max(1);
    let lengths = (0..store.len()).step_by(step).map(|chunk| {
        let characters = store.characters(chunk);
        (characters.end - characters.start) as f64
    });
    let (sum, count) = lengths.fold((0.0, 0.0), |(sum, count), length| (sum + length, count + 1.0));
    if count == 0.0 { 1.0 } else { f64::max(sum / count, 1.0) }
}

/// How many negatives each meta-chunk of a sequence should need.
fn needed(store: &ChunkStore, settings: &Settings, chunks: Range<usize>, mean_chars: f64) -> f64 {
    let own = document_characters(store, chunks.clone()) as f64;
    match (settings.num_negatives, settings.length) {
        (Some(most), _) => f64::from(most),
        (None, Length::Paper) => f64::from(select::paper_k(settings, own, chunks.len())),
        (None, Length::Exact) => {
            let room = f64::from(settings.seq_len) * settings.chars_per_token - own;
            room.max(0.0) / (chunks.len() as f64 * mean_chars)
        }
    }
}

/// How many neighbours to ask for first. The meta-chunks of a document are alike and so are their
/// neighbours: on real text two of three were taken by another meta-chunk of the sequence.
fn first_depth(settings: &Settings, needed: f64) -> u32 {
    step((needed * DEPTH_FACTOR).ceil() as u32 + 16 + settings.range_min)
}

/// The characters of a document whose chunks are `chunks`.
fn document_characters(store: &ChunkStore, chunks: Range<usize>) -> i64 {
    if chunks.is_empty() { 0 } else { store.characters(chunks.end - 1).end }
}
