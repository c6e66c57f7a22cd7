//! Finds the hard negatives of every meta-chunk: which of its neighbours the rules allow.
//!
//! In: the neighbours of the meta-chunks of some documents. Out: for each meta-chunk the allowed
//! ones, in order of use, and how many were refused for which reason. Which of them a sequence
//! takes is decided by [`select`].

mod ahead;
pub mod copies;
mod gram_lists;
mod judge;
pub mod made;
pub mod ngrams;
mod overlap;
mod queue;
pub mod select;
mod used;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BooleanArray, Float32Builder, ListBuilder, RecordBatch, UInt32Array, UInt32Builder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use self::ahead::step;
use self::copies::Copies;
pub use self::gram_lists::GramLists;
use self::judge::Judge;
pub(crate) use self::ngrams::Hashed;
pub use self::queue::queue;
use self::select::add_since;
use crate::config::{Length, Sampling, Settings};
use crate::error::{Error, Result};
use crate::ipc;
use crate::progress::Progress;
use crate::store::ChunkStore;
use crate::vectors::Vectors;

/// Why a neighbour was refused, in the order in which the rules are asked.
pub const REASONS: [&str; 10] = [
    "range_min",
    "same_document",
    "min_score",
    "max_score",
    "margin",
    "same_chunk",
    "same_text",
    "max_reuse",
    "max_per_doc",
    "containment",
];

/// Neighbours asked for at first, for each negative that is needed.
const DEPTH_FACTOR: f64 = 3.0;

/// Ranks from which a random order draws where `range_max` is not set: those of the paper's ablation.
const RANDOM_WINDOW: u32 = 512;

/// How many neighbours were refused, by reason (as in [`REASONS`]).
pub type Refusals = [u64; REASONS.len()];

#[derive(Clone, Copy)]
enum Reason {
    RangeMin,
    SameDocument,
    MinScore,
    MaxScore,
    Margin,
    SameChunk,
    SameText,
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
    /// How many neighbours of each meta-chunk are asked for first.
    first: u32,
    /// The near-duplicate rule; none where the settings have none.
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
}

impl Wave {
    /// A wave of `documents`, with the first search of every meta-chunk wanted.
    #[must_use]
    pub fn new(store: &ChunkStore, settings: &Settings, documents: &[u32]) -> Self {
        Self::sharing(store, settings, documents, &Arc::new(GramLists::new(settings)))
    }

    /// As [`Wave::new`], with n-grams that other waves of the run use as well.
    #[must_use]
    pub fn sharing(
        store: &ChunkStore,
        settings: &Settings,
        documents: &[u32],
        lists: &Arc<GramLists>,
    ) -> Self {
        let others = store.len().saturating_sub(1).max(1) as u32;
        let deepest = settings.range_max.map_or(others, |range_max| range_max.min(others));
        let mean_chars = mean_characters(store);
        let documents = documents.iter().map(|&document| {
            let chunks = store.document_chunks(document as usize);
            let needed = needed(store, settings, chunks.clone(), mean_chars);
            let first = first_depth(settings, needed).min(deepest);
            let own = document_characters(store, chunks.clone()) as f64;
            let wanted =
                if select::may_be_too_long(settings, own, chunks.len()) { 0 } else { first };
            let needed = (needed * chunks.len() as f64).ceil() as u32;
            let chunks = chunks.start as u32..chunks.end as u32;
            Candidate {
                document,
                lists: vec![List { wanted, ..List::default() }; chunks.len()],
                needed,
                first,
                copies: Copies::new(settings, lists, chunks.clone()),
                chunks,
                state: select::State::Measuring,
                refused: [0; REASONS.len()],
            }
        });
        let documents = documents.collect();
        Self { documents, refused: [0; REASONS.len()], deeper: 0, deepest }
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
                // A random order is one of the whole rank window, which is searched at once.
                let random = settings.sampling_strategy == Sampling::Random;
                list.complete |= random || k as u32 >= self.deepest;
                if !list.open {
                    list.depth = k as u32;
                }
                list.wanted = 0;
            }
            add_since(&mut candidate.refused, &before, &self.refused);
            // Once the pass has begun with the document, it says itself what it wants.
            let waits = candidate.lists.iter().any(|list| list.wanted > 0);
            if judge.is_some() && !waits && matches!(candidate.state, select::State::Measuring) {
                self.deeper += candidate.look_ahead(store, settings, self.deepest, progress)?;
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
/// neighbours: on real text two of three were taken by another meta-chunk of the sequence. A random
/// order takes its whole window at once.
fn first_depth(settings: &Settings, needed: f64) -> u32 {
    let top = step((needed * DEPTH_FACTOR).ceil() as u32 + 16 + settings.range_min);
    match settings.sampling_strategy {
        Sampling::Top => top,
        Sampling::Random => settings
            .range_max
            .unwrap_or_else(|| settings.range_min.saturating_add(RANDOM_WINDOW).max(top)),
    }
}

/// What makes two negatives of a sequence the same: their text, or, where near-duplicates are
/// allowed, nothing but being the same chunk.
fn identity(settings: &Settings, store: &ChunkStore, chunk: u32) -> u64 {
    match settings.max_containment {
        Some(_) => store.text_hash(chunk as usize),
        // An odd factor: different for every chunk, and uniform as a hash.
        None => u64::from(chunk).wrapping_mul(0x9E37_79B9_7F4A_7C15),
    }
}

/// The characters of a document whose chunks are `chunks`.
fn document_characters(store: &ChunkStore, chunks: Range<usize>) -> i64 {
    if chunks.is_empty() { 0 } else { store.characters(chunks.end - 1).end }
}
