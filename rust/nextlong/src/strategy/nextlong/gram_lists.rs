//! A cache of the n-grams of chunks, shared by all documents of a run.
//!
//! In: a chunk. Out: a 32-bit hash of each distinct n-gram, rising. Reading the words of a chunk takes
//! far longer than comparing its n-grams, and the same chunks come up again and again. Long chunks are
//! compared by a sample: the n-grams whose hashes are divisible by a power of two, the same ones in every
//! chunk, so that the share two chunks have in common is about that of all n-grams.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::ngrams::grams;
use super::overlap::Overlap;
use crate::config::{ChunkUnit, Settings};
use crate::hash::BuildIntHasher;
use crate::parallel::lock;
use crate::store::ChunkStore;

/// Default size of the cache, in bytes.
const DEFAULT_BYTES: usize = 64 << 20;
/// Parts of the cache with a lock each.
const SHARDS: usize = 256;
/// Overhead of a list, in bytes.
const LIST_BYTES: usize = 48;
/// Approximate characters of a word with the space after it.
const WORD_CHARACTERS: usize = 6;
/// Minimum number of n-grams that a full chunk is compared by.
const SAMPLE: usize = 64;

/// The n-grams of one chunk: distinct hashes above 0, rising.
pub(super) type Grams = Arc<[u32]>;

/// A cache of lists of n-grams, shared by all threads, of limited size.
#[derive(Debug)]
pub struct GramLists {
    gram_words: usize,
    /// One n-gram in `stride` is compared; a power of two.
    stride: usize,
    /// Approximate bytes of a list.
    list_bytes: usize,
    /// Maximum bytes of a shard.
    shard_bytes: usize,
    shards: Vec<Mutex<Shard>>,
    /// Buffers of finished sequences, for reuse.
    idle: Mutex<Vec<Overlap>>,
}

#[derive(Debug, Default)]
struct Shard {
    lists: HashMap<u32, Grams, BuildIntHasher>,
    bytes: usize,
}

impl GramLists {
    /// An empty cache for chunks under `settings`.
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

    /// Limits the cache to `bytes`; a list that does not fit is rebuilt on each use.
    #[must_use]
    pub fn within(mut self, bytes: usize) -> Self {
        self.shard_bytes = bytes / SHARDS;
        self
    }

    /// Approximate bytes of the list of one chunk.
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

    /// The n-grams of an empty sequence.
    pub(super) fn overlap(&self) -> Overlap {
        lock(&self.idle).pop().unwrap_or_default()
    }

    /// Recycles the buffers of a finished sequence.
    pub(super) fn give_back(&self, mut overlap: Overlap) {
        overlap.clear();
        lock(&self.idle).push(overlap);
    }
}

/// The distinct n-grams whose hashes are divisible by `stride`, a power of two, as the high bits of
/// the hashes.
pub(super) fn distinct(grams: &[u64], stride: u64) -> Grams {
    // Branch-free: which n-grams are selected cannot be predicted.
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
