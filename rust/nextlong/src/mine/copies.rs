//! Which chunks are copies of a meta-chunk by their words.
//!
//! In: the meta-chunks of one document and a chunk. Out: whether too many of its n-grams stand in one
//! of them, or the other way round. Sketches answer for nearly all chunks; only those that they
//! cannot tell apart are compared n-gram by n-gram.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::ngrams::{Hashed, MetaGrams};
use super::sketches::{Sketch, Sketches};
use crate::config::Settings;
use crate::store::ChunkStore;

/// Which chunks are copies of a meta-chunk of one document; each is asked for once.
#[derive(Debug)]
pub(super) struct Copies {
    most: f32,
    words: usize,
    sketches: Arc<Sketches>,
    metas: Option<Metas>,
    /// Made when the first chunk has to be compared n-gram by n-gram.
    grams: Option<MetaGrams>,
    known: HashMap<u32, bool, Hashed>,
    buffer: Vec<u64>,
}

/// The meta-chunks of the document.
#[derive(Debug)]
struct Metas {
    hashes: Vec<u64>,
    sketches: Vec<Sketch>,
}

impl Copies {
    /// Nothing known yet; `None` where the settings allow copies.
    pub(super) fn new(settings: &Settings, sketches: &Arc<Sketches>) -> Option<Self> {
        settings.max_containment.map(|most| Self {
            most,
            words: settings.containment_words as usize,
            sketches: Arc::clone(sketches),
            metas: None,
            grams: None,
            known: HashMap::default(),
            buffer: Vec::new(),
        })
    }

    /// Whether too much of `chunk` stands in one of the meta-chunks `metas`, or the other way round.
    pub(super) fn contains(&mut self, store: &ChunkStore, metas: &Range<u32>, chunk: u32) -> bool {
        if let Some(&known) = self.known.get(&chunk) {
            return known;
        }
        let found = self.compare(store, metas, chunk);
        self.known.insert(chunk, found);
        found
    }

    fn compare(&mut self, store: &ChunkStore, metas: &Range<u32>, chunk: u32) -> bool {
        let own = self.metas.get_or_insert_with(|| {
            let mut hashes: Vec<u64> =
                metas.clone().map(|meta| store.text_hash(meta as usize)).collect();
            hashes.sort_unstable();
            let sketches =
                metas.clone().map(|meta| self.sketches.of(store, meta, &mut self.buffer)).collect();
            Metas { hashes, sketches }
        });
        if own.hashes.binary_search(&store.text_hash(chunk as usize)).is_ok() {
            return true;
        }
        let most = self.most;
        if self.sketches.all_apart(store, chunk, &own.sketches, most, &mut self.buffer) {
            return false;
        }
        let words = self.words;
        let grams = self.grams.get_or_insert_with(|| {
            MetaGrams::new(metas.clone().map(|meta| store.text(meta as usize)), words)
        });
        grams.containment(store.text(chunk as usize)) > most
    }
}
