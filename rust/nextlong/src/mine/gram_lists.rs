//! The n-grams of chunks, as lists of hashes that all documents of a run share.
//!
//! In: a chunk. Out: a hash of 32 bits for each of its n-grams, in order. To read the words of a chunk
//! takes far longer than to compare its n-grams, and neighbours are asked for again and again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::ngrams::{Hashed, grams};
use crate::config::{ChunkUnit, Settings};
use crate::store::ChunkStore;

/// Memory of the lists where the caller does not set it, in bytes.
const DEFAULT_BYTES: usize = 64 << 20;
/// Parts of the memory that threads lock one by one.
const SHARDS: usize = 256;
/// What a list takes beside its hashes, in bytes.
const LIST_BYTES: usize = 48;
/// Characters of a word, the space after it included, about.
const WORD_CHARACTERS: usize = 6;

/// The n-grams of one chunk.
pub(super) type Grams = Arc<[u32]>;

/// Lists of n-grams for all threads, kept as far as their memory suffices.
#[derive(Debug)]
pub struct GramLists {
    gram_words: usize,
    /// Bytes of a list, about.
    list_bytes: usize,
    /// Bytes of a shard, at most.
    shard_bytes: usize,
    shards: Vec<Mutex<Shard>>,
}

#[derive(Debug, Default)]
struct Shard {
    lists: HashMap<u32, Grams, Hashed>,
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
        let list_bytes = characters as usize / WORD_CHARACTERS * size_of::<u32>() + LIST_BYTES;
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self {
            gram_words: settings.containment_words as usize,
            list_bytes,
            shard_bytes: DEFAULT_BYTES / SHARDS,
            shards,
        }
    }

    /// The same with at most so many bytes; the list of a chunk that has no room is made each time
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
        if let Some(known) = shard.lock().unwrap_or_else(PoisonError::into_inner).lists.get(&chunk)
        {
            return Arc::clone(known);
        }
        grams(store.text(chunk as usize), self.gram_words, buffer);
        let list: Grams = buffer.iter().map(|gram| (gram >> 32) as u32).collect();
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = list.len() * size_of::<u32>() + LIST_BYTES;
        if shard.bytes + bytes <= self.shard_bytes && !shard.lists.contains_key(&chunk) {
            shard.bytes += bytes;
            shard.lists.insert(chunk, Arc::clone(&list));
        }
        list
    }
}
