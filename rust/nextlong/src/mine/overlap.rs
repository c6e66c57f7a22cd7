//! Which chunks of one sequence share too many n-grams with the others.
//!
//! In: the n-grams of the chunks that may stand in one sequence, as hashes. Out: whether a chunk may
//! join those that the sequence holds. Most n-grams occur in one chunk only; after [`Overlap::new`]
//! only those that two or more chunks have are left, so that each question takes a few look-ups.

use std::ops::Range;

/// Bits of the filter for each n-gram.
const FILTER_BITS: usize = 8;

/// The n-grams that chunks of one sequence have in common, and which chunks the sequence holds.
///
/// The first chunks are fixed: the sequence holds them from the beginning, and what they share with
/// each other does not count.
#[derive(Debug, Default)]
pub(super) struct Overlap {
    chunks: Vec<Chunk>,
    /// The n-grams of all chunks, as places in `grams`; each chunk has a range of them.
    lists: Vec<u32>,
    grams: Vec<Gram>,
    /// The fixed chunks of all n-grams; each n-gram has a range of them.
    fixed_holders: Vec<u32>,
    /// The n-grams of a chunk that a candidate would be the first to share with it, by chunk; all 0
    /// between questions.
    fresh: Vec<u32>,
    touched: Vec<u32>,
}

#[derive(Debug, Default, Clone)]
struct Chunk {
    list: Range<u32>,
    /// Its distinct n-grams, those that no other chunk has included.
    size: u32,
    /// How many of them other chunks of the sequence have.
    covered: u32,
}

/// An n-gram that two or more chunks have.
#[derive(Debug, Default, Clone)]
struct Gram {
    /// The chunks with it that joined the sequence.
    joined: u32,
    /// Their places combined by exclusive or: of one alone, its place.
    places: u32,
    fixed: Range<u32>,
}

impl Overlap {
    /// The overlap of chunks with these n-grams, repeated ones included; the first `fixed` chunks
    /// are fixed.
    pub(super) fn new(all: &[impl AsRef<[u32]>], fixed: usize) -> Self {
        let count: usize = all.iter().map(|grams| grams.as_ref().len()).sum();
        let mut filter = Filter::new(count);
        for grams in all {
            grams.as_ref().iter().for_each(|&gram| filter.add(gram));
        }
        // Those of which two chunks, or two places of one, have the same bit of the filter.
        let some = count / 4;
        // The place in `found` of each, in the first free slot from that of its hash.
        let mut slots = vec![u32::MAX; (count + 1).next_power_of_two()];
        let last_slot = slots.len() - 1;
        let mut found: Vec<Found> = Vec::with_capacity(some);
        let mut lists = Vec::with_capacity(some);
        let mut chunks = Vec::with_capacity(all.len());
        for (place, grams) in all.iter().enumerate() {
            let place = place as u32;
            let start = lists.len() as u32;
            let mut size = grams.as_ref().len() as u32;
            for &gram in grams.as_ref().iter().filter(|&&gram| filter.is_repeated(gram)) {
                let mut slot = gram as usize & last_slot;
                while slots[slot] != u32::MAX && found[slots[slot] as usize].gram != gram {
                    slot = (slot + 1) & last_slot;
                }
                if slots[slot] == u32::MAX {
                    slots[slot] = found.len() as u32;
                    found.push(Found { gram, chunks: 1, last: place });
                } else {
                    let known = &mut found[slots[slot] as usize];
                    if known.last == place {
                        size -= 1;
                        continue;
                    }
                    known.chunks += 1;
                    known.last = place;
                }
                lists.push(slots[slot]);
            }
            chunks.push(Chunk { list: start..lists.len() as u32, size, covered: 0 });
        }
        // Those of one chunk alone are dropped.
        let mut next = 0;
        let renumbered: Vec<u32> = found
            .iter()
            .map(|known| {
                let number = next;
                next += u32::from(known.chunks > 1);
                if known.chunks > 1 { number } else { u32::MAX }
            })
            .collect();
        let mut kept = Vec::with_capacity(lists.len());
        for chunk in &mut chunks {
            let start = kept.len() as u32;
            let numbers = &lists[chunk.list.start as usize..chunk.list.end as usize];
            let shared = numbers.iter().map(|&number| renumbered[number as usize]);
            kept.extend(shared.filter(|&number| number != u32::MAX));
            chunk.list = start..kept.len() as u32;
        }
        let mut new = Self {
            fresh: vec![0; chunks.len()],
            chunks,
            lists: kept,
            grams: vec![Gram::default(); next as usize],
            fixed_holders: Vec::new(),
            touched: Vec::new(),
        };
        new.fix(fixed);
        new
    }

    /// Enters the first `fixed` chunks as the fixed ones.
    fn fix(&mut self, fixed: usize) {
        let all_of_them = |chunks: &[Chunk]| {
            chunks[..fixed].iter().map(|chunk| chunk.list.clone()).enumerate().collect::<Vec<_>>()
        };
        let ranges = all_of_them(&self.chunks);
        for (_, range) in &ranges {
            for at in range.clone() {
                self.grams[self.lists[at as usize] as usize].fixed.end += 1;
            }
        }
        let mut end = 0;
        for gram in &mut self.grams {
            let count = gram.fixed.end;
            gram.fixed = end..end;
            end += count;
        }
        self.fixed_holders = vec![0; end as usize];
        for (place, range) in ranges {
            for at in range {
                let gram = &mut self.grams[self.lists[at as usize] as usize];
                self.fixed_holders[gram.fixed.end as usize] = place as u32;
                gram.fixed.end += 1;
            }
        }
    }

    /// Whether, with this chunk in the sequence, more than `most` of the n-grams of it or of a chunk
    /// that the sequence holds stood in the others.
    pub(super) fn refuses(&mut self, place: u32, most: f32) -> bool {
        let Chunk { list, size, .. } = self.chunks[place as usize].clone();
        let mut covered = 0;
        for at in list {
            let gram = &self.grams[self.lists[at as usize] as usize];
            covered += u32::from(gram.joined > 0 || !gram.fixed.is_empty());
            if gram.fixed.is_empty() {
                if gram.joined == 1 {
                    Self::touch(&mut self.fresh, &mut self.touched, gram.places);
                }
            } else if gram.joined == 0 {
                for at in gram.fixed.clone() {
                    let holder = self.fixed_holders[at as usize];
                    Self::touch(&mut self.fresh, &mut self.touched, holder);
                }
            }
        }
        let mut refused = share(covered, size) > most;
        for holder in self.touched.drain(..) {
            let chunk = &self.chunks[holder as usize];
            let fresh = std::mem::take(&mut self.fresh[holder as usize]);
            refused |= share(chunk.covered + fresh, chunk.size) > most;
        }
        refused
    }

    fn touch(fresh: &mut [u32], touched: &mut Vec<u32>, holder: u32) {
        let count = &mut fresh[holder as usize];
        if *count == 0 {
            touched.push(holder);
        }
        *count += 1;
    }

    /// Puts a chunk that is not fixed into the sequence.
    pub(super) fn join(&mut self, place: u32) {
        let mut covered = 0;
        for at in self.chunks[place as usize].list.clone() {
            let gram = &mut self.grams[self.lists[at as usize] as usize];
            covered += u32::from(gram.joined > 0 || !gram.fixed.is_empty());
            if gram.fixed.is_empty() {
                if gram.joined == 1 {
                    self.chunks[gram.places as usize].covered += 1;
                }
            } else if gram.joined == 0 {
                for at in gram.fixed.clone() {
                    self.chunks[self.fixed_holders[at as usize] as usize].covered += 1;
                }
            }
            gram.joined += 1;
            gram.places ^= place;
        }
        self.chunks[place as usize].covered = covered;
    }

    /// Takes a chunk out of the sequence that joined it.
    pub(super) fn leave(&mut self, place: u32) {
        for at in self.chunks[place as usize].list.clone() {
            let gram = &mut self.grams[self.lists[at as usize] as usize];
            gram.joined -= 1;
            gram.places ^= place;
            if gram.fixed.is_empty() {
                if gram.joined == 1 {
                    self.chunks[gram.places as usize].covered -= 1;
                }
            } else if gram.joined == 0 {
                for at in gram.fixed.clone() {
                    self.chunks[self.fixed_holders[at as usize] as usize].covered -= 1;
                }
            }
        }
        self.chunks[place as usize].covered = 0;
    }

    /// The share of the n-grams of a chunk that others of the sequence have.
    pub(super) fn share(&self, place: u32) -> f32 {
        let chunk = &self.chunks[place as usize];
        share(chunk.covered, chunk.size)
    }
}

/// An n-gram while the chunks are read.
struct Found {
    gram: u32,
    chunks: u32,
    /// The last chunk that had it.
    last: u32,
}

fn share(covered: u32, size: u32) -> f32 {
    if covered == 0 { 0.0 } else { covered as f32 / size as f32 }
}

/// Two bits for each n-gram, by its low bits: whether it was added, and whether twice.
struct Filter {
    words: Vec<[u64; 2]>,
}

impl Filter {
    fn new(grams: usize) -> Self {
        let words = (grams * FILTER_BITS).div_ceil(64).next_power_of_two();
        Self { words: vec![[0; 2]; words] }
    }

    fn place(&self, gram: u32) -> (usize, u64) {
        ((gram >> 6) as usize & (self.words.len() - 1), 1 << (gram & 63))
    }

    fn add(&mut self, gram: u32) {
        let (place, bit) = self.place(gram);
        let [once, twice] = &mut self.words[place];
        *twice |= *once & bit;
        *once |= bit;
    }

    fn is_repeated(&self, gram: u32) -> bool {
        let (place, bit) = self.place(gram);
        self.words[place][1] & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// The rule, set by set.
    fn refused(all: &[Vec<u32>], fixed: usize, held: &[u32], place: u32, most: f32) -> bool {
        let set = |place: u32| all[place as usize].iter().copied().collect::<HashSet<u32>>();
        let joined: Vec<u32> = held.iter().copied().chain([place]).collect();
        let over = |one: u32, others: &mut dyn Iterator<Item = u32>| {
            let rest: HashSet<u32> = others.flat_map(set).collect();
            share(set(one).intersection(&rest).count() as u32, set(one).len() as u32) > most
        };
        let fixed = 0..fixed as u32;
        let of_joined = |&one: &u32| {
            let others = joined.iter().copied().filter(|&other| other != one);
            over(one, &mut fixed.clone().chain(others))
        };
        joined.iter().any(of_joined)
            || fixed.clone().any(|one| over(one, &mut joined.iter().copied()))
    }

    fn grams() -> impl Strategy<Value = Vec<u32>> {
        // Few different n-grams, in part with the same bit of the filter.
        prop_oneof![
            prop::collection::vec(0u32..40, 0..12),
            prop::collection::vec((0u32..20).prop_map(|gram| gram << 26), 0..12),
            prop::collection::vec(any::<u32>(), 0..12),
        ]
    }

    proptest! {
        #[test]
        fn chunks_are_refused_and_counted_as_sets_say(
            all in prop::collection::vec(grams(), 1..12),
            fixed in 0usize..4,
            most in prop_oneof![Just(0.0f32), Just(0.3), Just(0.5), Just(0.7), Just(1.0)],
            asked in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..40),
        ) {
            let fixed = fixed.min(all.len());
            let mut overlap = Overlap::new(&all, fixed);
            let mut held: Vec<u32> = Vec::new();
            for (index, leaves) in asked {
                let place = index.index(all.len()) as u32;
                if (place as usize) < fixed {
                    continue;
                }
                if let Some(at) = held.iter().position(|&one| one == place) {
                    if leaves {
                        overlap.leave(place);
                        held.remove(at);
                    }
                    continue;
                }
                let expected = refused(&all, fixed, &held, place, most);
                prop_assert_eq!(overlap.refuses(place, most), expected, "{} {:?}", place, held);
                if !expected {
                    overlap.join(place);
                    held.push(place);
                }
            }
            let set = |place: u32| all[place as usize].iter().copied().collect::<HashSet<u32>>();
            for &one in &held {
                let others = (0..fixed as u32).chain(held.iter().copied().filter(|&o| o != one));
                let rest: HashSet<u32> = others.flat_map(set).collect();
                let expected = share(
                    set(one).intersection(&rest).count() as u32,
                    set(one).len() as u32,
                );
                prop_assert!((overlap.share(one) - expected).abs() < 1e-6);
            }
        }
    }
}
