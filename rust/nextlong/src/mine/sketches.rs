//! Sketches of chunks: enough to say of most pairs that they share too few n-grams to be copies.
//!
//! In: a chunk. Out: a bit for each bucket that one of its n-grams falls into. Grams that two chunks
//! share lie in buckets that both have, one in each but for those that fall together: so the buckets
//! of both, and what fell together in one of them, are at least as many as the grams shared.

use std::sync::{Mutex, MutexGuard, PoisonError};

use multiversion::multiversion;

use super::ngrams::grams;
use crate::config::{ChunkUnit, Settings};
use crate::store::ChunkStore;

/// Memory of the sketches that are kept where nobody says more, in bytes.
const KEPT_BYTES: usize = 16 << 20;
/// Parts of the memory that threads lock one by one.
const SHARDS: usize = 256;
/// No chunk has this number.
const FREE: u32 = u32::MAX;

/// The n-grams of one chunk, roughly.
#[derive(Debug, Clone, Default)]
pub(super) struct Sketch {
    bits: Box<[u64]>,
    counts: Counts,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    /// The n-grams, repeated ones too.
    grams: u32,
    /// The buckets that they fall into.
    buckets: u32,
}

/// The sketches made last, for all threads.
#[derive(Debug)]
pub struct Sketches {
    gram_words: usize,
    /// Length of a sketch.
    words: usize,
    /// Sketches in a shard.
    slots: usize,
    shards: Vec<Mutex<Shard>>,
}

#[derive(Debug, Default)]
struct Shard {
    chunks: Vec<u32>,
    counts: Vec<Counts>,
    bits: Vec<u64>,
}

impl Sketches {
    /// No sketches yet, of the size that chunks under `settings` need.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let characters = match settings.chunk_unit {
            ChunkUnit::Chars => f64::from(settings.chunk_size),
            ChunkUnit::Tokens => f64::from(settings.chunk_size) * settings.chars_per_token,
        };
        Self::sized(settings.containment_words as usize, characters as usize)
    }

    /// The same, for n-grams of so many words in chunks of about so many characters.
    #[must_use]
    pub fn sized(gram_words: usize, characters: usize) -> Self {
        // A word in six characters: one bucket in six has a gram.
        let words = (characters / 64).next_power_of_two().clamp(16, 1024);
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { gram_words, words, slots: slots(words, KEPT_BYTES), shards }
    }

    /// Keeps the sketches of so many chunks, as far as these bytes suffice. Every chunk is asked for
    /// again and again: a sketch that was not kept is made again from the text.
    #[must_use]
    pub fn keeping(mut self, chunks: usize, bytes: usize) -> Self {
        self.slots = slots(self.words, bytes).min(chunks.div_ceil(SHARDS)).max(1);
        self
    }

    /// What the sketch of a chunk takes, in bytes.
    #[must_use]
    pub fn bytes_of_one(&self) -> usize {
        self.words * 8 + size_of::<Counts>() + size_of::<u32>()
    }

    /// Whether two chunks share at most `most` of the n-grams of the smaller of the two. "Yes" is
    /// certain; "no" means that it is not known.
    #[must_use]
    pub fn are_apart(&self, store: &ChunkStore, chunk: u32, other: u32, most: f32) -> bool {
        let mut buffer = Vec::new();
        let other = self.of(store, other, &mut buffer);
        self.all_apart(store, chunk, &[other], most, &mut buffer)
    }

    /// The sketch of `chunk`.
    pub(super) fn of(&self, store: &ChunkStore, chunk: u32, buffer: &mut Vec<u64>) -> Sketch {
        grams(store.text(chunk as usize), self.gram_words, buffer);
        let mut bits = vec![0u64; self.words].into_boxed_slice();
        for gram in &*buffer {
            bits[(gram >> 6) as usize & (self.words - 1)] |= 1 << (gram & 63);
        }
        let buckets = bits.iter().map(|word| word.count_ones()).sum();
        Sketch { bits, counts: Counts { grams: buffer.len() as u32, buckets } }
    }

    /// Whether `chunk` and each of `others` share at most `most` of the n-grams of the smaller of the
    /// two. "Yes" is certain; "no" means that it is not known.
    pub(super) fn all_apart(
        &self,
        store: &ChunkStore,
        chunk: u32,
        others: &[Sketch],
        most: f32,
        buffer: &mut Vec<u64>,
    ) -> bool {
        let all = |bits: &[u64], counts: Counts| {
            others.iter().all(|other| {
                are_apart(most, counts, other.counts, shared_buckets(bits, &other.bits))
            })
        };
        let (shard, slot) = self.place(chunk);
        let kept = self.lock(shard);
        if kept.chunks.get(slot) == Some(&chunk) {
            return all(&kept.bits[slot * self.words..][..self.words], kept.counts[slot]);
        }
        drop(kept);
        let sketch = self.of(store, chunk, buffer);
        let apart = all(&sketch.bits, sketch.counts);
        self.keep(chunk, &sketch);
        apart
    }

    fn keep(&self, chunk: u32, sketch: &Sketch) {
        let (shard, slot) = self.place(chunk);
        let mut kept = self.lock(shard);
        if kept.chunks.is_empty() {
            kept.chunks.resize(self.slots, FREE);
            kept.counts.resize(self.slots, Counts::default());
            kept.bits.resize(self.slots * self.words, 0);
        }
        kept.chunks[slot] = chunk;
        kept.counts[slot] = sketch.counts;
        kept.bits[slot * self.words..][..self.words].copy_from_slice(&sketch.bits);
    }

    fn place(&self, chunk: u32) -> (usize, usize) {
        (chunk as usize % SHARDS, chunk as usize / SHARDS % self.slots)
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Shard> {
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sketches of so many words that a shard has room for where all have so many bytes.
fn slots(words: usize, bytes: usize) -> usize {
    (bytes / (SHARDS * words * 8)).max(1)
}

/// Whether two chunks with `shared` buckets in common share at most `most` of the grams of the one
/// with fewer.
fn are_apart(most: f32, one: Counts, other: Counts, shared: u32) -> bool {
    let together = (one.grams - one.buckets).min(other.grams - other.buckets);
    let fewer = one.buckets.min(other.buckets);
    shared == 0 || f64::from(shared + together) <= f64::from(most) * f64::from(fewer)
}

/// The buckets that both have.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512vpopcntdq", "x86_64+avx2+popcnt"))]
fn shared_buckets(one: &[u64], other: &[u64]) -> u32 {
    one.iter().zip(other).map(|(one, other)| (one & other).count_ones()).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::seed::Rng;

    fn sketch(grams: &[u64], words: usize) -> Sketch {
        let mut bits = vec![0u64; words].into_boxed_slice();
        for gram in grams {
            bits[(gram >> 6) as usize & (words - 1)] |= 1 << (gram & 63);
        }
        let buckets = bits.iter().map(|word| word.count_ones()).sum();
        Sketch { bits, counts: Counts { grams: grams.len() as u32, buckets } }
    }

    #[test]
    fn chunks_that_are_called_apart_share_no_more_than_allowed() {
        let mut rng = Rng::new(1, "sketches", 0);
        let mut apart = 0;
        for round in 0..3000 {
            let kinds = 1 + rng.below(if round % 2 == 0 { 60 } else { 4000 });
            let mut draw = || -> Vec<u64> {
                (0..rng.below(200))
                    .map(|_| crate::seed::bits(0, "gram", rng.below(kinds)))
                    .collect()
            };
            let (one, other) = (draw(), draw());
            let sets = [&one, &other].map(|grams| grams.iter().collect::<HashSet<_>>());
            let shared = sets[0].intersection(&sets[1]).count() as f32;
            let share = shared / sets[0].len().min(sets[1].len()).max(1) as f32;
            let [one, other] = [&one, &other].map(|grams| sketch(grams, 32));
            let buckets = shared_buckets(&one.bits, &other.bits);
            for most in [0.0, 0.1, 0.3, 0.5, 0.9] {
                if are_apart(most, one.counts, other.counts, buckets) {
                    assert!(share <= most, "{share} > {most}");
                    apart += 1;
                }
            }
        }
        assert!(apart > 1000, "{apart}");
    }

    #[test]
    fn sketches_are_kept_for_all_chunks_or_as_far_as_bytes_suffice() {
        let sketch = |count: u32| Sketch {
            bits: vec![u64::from(count); 32].into_boxed_slice(),
            counts: Counts { grams: count, buckets: 1 },
        };
        for (chunks, bytes, whole) in
            [(3000u32, 1 << 20, true), (3000, 1 << 18, false), (1, 0, true)]
        {
            let sketches = Sketches::sized(8, 2048).keeping(chunks as usize, bytes);
            assert_eq!((sketches.words, sketches.bytes_of_one()), (32, 268));
            (0..chunks).for_each(|chunk| sketches.keep(chunk, &sketch(chunk)));
            let held = (0..chunks).filter(|&chunk| {
                let (shard, slot) = sketches.place(chunk);
                let kept = sketches.lock(shard);
                assert!(kept.chunks.len() * 256 * SHARDS <= bytes.max(256 * SHARDS));
                kept.chunks[slot] == chunk && kept.counts[slot].grams == chunk
            });
            assert_eq!(held.count() == chunks as usize, whole, "{chunks} in {bytes}");
        }
    }
}
