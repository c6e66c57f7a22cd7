//! The n-grams of chunks, as lists of hashes that all documents of a run share.
//!
//! In: a chunk. Out: a hash of 32 bits for each of its different n-grams, rising. To read the words of
//! a chunk takes far longer than to compare its n-grams, and neighbours are asked for again and again.
//! Where chunks are long, those n-grams stand for all whose hashes are divisible by a power of two: the
//! same ones in every chunk, so that the share that two chunks have in common is about that of all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::ngrams::grams;
use super::overlap::Overlap;
use crate::config::{ChunkUnit, Settings};
use crate::hash::BuildIntHasher;
use crate::parallel::lock;
use crate::store::ChunkStore;

/// Memory of the lists where the caller does not set it, in bytes.
const DEFAULT_BYTES: usize = 64 << 20;
/// Parts of the memory that threads lock one by one.
const SHARDS: usize = 256;
/// What a list takes beside its hashes, in bytes.
const LIST_BYTES: usize = 48;
/// Characters of a word, the space after it included, about.
const WORD_CHARACTERS: usize = 6;
/// N-grams of a full chunk that are enough to compare it by, at least.
const SAMPLE: usize = 128;

/// The n-grams of one chunk: different hashes above 0, rising.
pub(super) type Grams = Arc<[u32]>;

/// Lists of n-grams for all threads, kept as far as their memory suffices.
#[derive(Debug)]
pub struct GramLists {
    gram_words: usize,
    /// One n-gram of this number is compared; a power of two.
    stride: usize,
    /// Bytes of a list, about.
    list_bytes: usize,
    /// Bytes of a shard, at most.
    shard_bytes: usize,
    shards: Vec<Mutex<Shard>>,
    /// Memory of sequences that are finished.
    idle: Mutex<Vec<Overlap>>,
}

#[derive(Debug, Default)]
struct Shard {
    lists: HashMap<u32, Grams, BuildIntHasher>,
    bytes: usize,
}

impl GramLists {
    /// No lists yet, for chunks under `settings`.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let characters = match settings.chunk_unit {
            ChunkUnit::Chars => f64::from(settings.chunk_size),
            ChunkUnit::Tokens => f64::from(settings.chunk_size) * settings.chars_per_token,
        };
        let words = characters as usize / WORD_CHARACTERS;
        let stride = 1 << (words / SAMPLE).max(1).ilog2();
        let list_bytes = words / stride * size_of::<u32>() + LIST_BYTES;
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self {
            gram_words: settings.containment_words as usize,
            stride,
            list_bytes,
            shard_bytes: DEFAULT_BYTES / SHARDS,
            shards,
            idle: Mutex::default(),
        }
    }

    /// The same with at most `bytes` bytes; the list of a chunk that has no room is made each time
    /// it is asked for.
    #[must_use]
    pub fn within(mut self, bytes: usize) -> Self {
        self.shard_bytes = bytes / SHARDS;
        self
    }

    /// What the list of a chunk takes, in bytes, about.
    #[must_use]
    pub fn bytes_of_one(&self) -> usize {
        self.list_bytes
    }

    /// The n-grams of `chunk`.
    pub(super) fn of(&self, store: &ChunkStore, chunk: u32, buffer: &mut Vec<u64>) -> Grams {
        let shard = &self.shards[chunk as usize % SHARDS];
        if let Some(known) = lock(shard).lists.get(&chunk) {
            return Arc::clone(known);
        }
        grams(store.text(chunk as usize), self.gram_words, buffer);
        let list = distinct(buffer, self.stride as u64);
        let mut shard = lock(shard);
        let bytes = list.len() * size_of::<u32>() + LIST_BYTES;
        if shard.bytes + bytes <= self.shard_bytes && !shard.lists.contains_key(&chunk) {
            shard.bytes += bytes;
            shard.lists.insert(chunk, Arc::clone(&list));
        }
        list
    }

    /// An empty sequence.
    pub(super) fn overlap(&self) -> Overlap {
        lock(&self.idle).pop().unwrap_or_default()
    }

    /// Takes the memory of a sequence for the next one.
    pub(super) fn give_back(&self, mut overlap: Overlap) {
        overlap.clear();
        lock(&self.idle).push(overlap);
    }
}

/// The different ones of those n-grams whose hashes are divisible by `stride`, a power of two, by the
/// high bits of the hashes.
pub(super) fn distinct(grams: &[u64], stride: u64) -> Grams {
    // Written without a branch: which n-grams are kept cannot be predicted.
    let mut kept = vec![0u32; grams.len()];
    let mut count = 0;
    for &gram in grams {
        kept[count] = ((gram >> 32) as u32).max(1);
        count += usize::from(gram & (stride - 1) == 0);
    }
    kept.truncate(count);
    kept.sort_unstable();
    kept.dedup();
    kept.into()
}
