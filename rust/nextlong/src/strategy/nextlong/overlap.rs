//! Which chunks of one sequence share too many n-grams with the others.
//!
//! In: the n-grams of the chunks of one sequence, as hashes. Out: whether a chunk may join the others.
//! One hash table holds the n-grams of all chunks, so that a decision costs one look-up per n-gram of the
//! new chunk, regardless of the size of the sequence.

/// No n-gram has this hash.
const FREE: u32 = 0;
/// Slots of the smallest table.
const FEWEST_SLOTS: usize = 1 << 12;
/// Minimum slots per n-gram.
const SLOTS_PER_GRAM: usize = 2;
/// The end of a list of holders.
const END: u32 = u32::MAX;

/// The n-grams of the chunks that one sequence holds.
///
/// Fixed chunks are in it from the start; what they share with each other does not count. Others join
/// and leave. The n-grams of a chunk are a list of distinct hashes above 0; rising ones are looked up
/// fastest.
#[derive(Debug, Default)]
pub(super) struct Overlap {
    /// The n-grams, each in the first free slot from the one that its high bits name.
    slots: Vec<Slot>,
    used: usize,
    /// The n-grams that a fixed chunk or two others had.
    shared: Vec<Shared>,
    chunks: Vec<Chunk>,
    /// The fixed chunks of all n-grams, as linked lists.
    holders: Vec<Holder>,
    /// The slots of the n-grams of the new chunk.
    found: Vec<u32>,
    touched: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Chunk {
    size: u32,
    /// The number of its n-grams that other chunks of the sequence have.
    covered: u32,
    /// The number that the new chunk would be the first to share with it; 0 between decisions.
    fresh: u32,
}

/// An n-gram, and the place of the only chunk that has it, [`NOBODY`], or [`SHARED`] and its place in
/// the list of those.
#[derive(Debug, Clone, Copy)]
struct Slot {
    gram: u32,
    state: u32,
}

const SHARED: u32 = 1 << 31;
const NOBODY: u32 = SHARED - 1;

#[derive(Debug, Clone, Copy)]
struct Shared {
    /// The chunks with it that joined the sequence.
    joined: u32,
    /// Their places combined by exclusive or: for a single chunk, its place.
    places: u32,
    /// The first of the fixed chunks with it, as a place in `holders`.
    fixed: u32,
}

#[derive(Debug, Clone)]
struct Holder {
    chunk: u32,
    next: u32,
}

impl Overlap {
    /// Removes all chunks; buffers are reused.
    pub(super) fn clear(&mut self) {
        self.slots.fill(Slot { gram: FREE, state: NOBODY });
        self.used = 0;
        self.shared.clear();
        self.chunks.clear();
        self.holders.clear();
    }

    /// Puts a fixed chunk into the sequence, before any chunk joins; returns its place.
    pub(super) fn fix(&mut self, grams: &[u32]) -> u32 {
        let chunk = self.chunks.len() as u32;
        self.chunks.push(Chunk { size: grams.len() as u32, covered: 0, fresh: 0 });
        self.reserve(grams.len());
        for &gram in grams {
            let slot = self.enter(gram, home(gram, self.slots.len()));
            let state = &mut self.slots[slot].state;
            if *state == NOBODY {
                *state = SHARED | self.shared.len() as u32;
                self.shared.push(Shared { joined: 0, places: 0, fixed: END });
            }
            let first = &mut self.shared[(*state ^ SHARED) as usize].fixed;
            self.holders.push(Holder { chunk, next: *first });
            *first = self.holders.len() as u32 - 1;
        }
        chunk
    }

    /// Adds a chunk and returns its place. Changes nothing and returns None if more than the share `most`
    /// of the n-grams of this or another chunk would then occur in the others.
    pub(super) fn join(&mut self, grams: &[u32], most: f32) -> Option<u32> {
        self.reserve(grams.len());
        self.look_up(grams);
        let mut covered = 0;
        for (&gram, &slot) in grams.iter().zip(&self.found) {
            let Slot { gram: there, state } = self.slots[slot as usize];
            if there != gram || state == NOBODY {
                continue;
            }
            let known = known(state, &self.shared);
            covered += u32::from(known.joined > 0 || known.fixed != END);
            each_alone(known, &self.holders, |holder| {
                let chunk = &mut self.chunks[holder as usize];
                if chunk.fresh == 0 {
                    self.touched.push(holder);
                }
                chunk.fresh += 1;
            });
        }
        let size = grams.len() as u32;
        let mut refused = share(covered, size) > most;
        for &holder in &self.touched {
            let Chunk { size, covered, fresh } = self.chunks[holder as usize];
            refused |= share(covered + fresh, size) > most;
        }
        for holder in self.touched.drain(..) {
            let chunk = &mut self.chunks[holder as usize];
            let fresh = std::mem::take(&mut chunk.fresh);
            chunk.covered += if refused { 0 } else { fresh };
        }
        if refused {
            return None;
        }
        let place = self.chunks.len() as u32;
        self.chunks.push(Chunk { size, covered, fresh: 0 });
        for (at, &gram) in grams.iter().enumerate() {
            let slot = self.enter(gram, self.found[at] as usize);
            let state = &mut self.slots[slot].state;
            if *state == NOBODY {
                *state = place;
                continue;
            }
            if *state & SHARED == 0 {
                self.shared.push(known(*state, &[]));
                *state = SHARED | (self.shared.len() as u32 - 1);
            }
            let known = &mut self.shared[(*state ^ SHARED) as usize];
            known.joined += 1;
            known.places ^= place;
        }
        Some(place)
    }

    /// Removes the chunk at `place`, which joined with these n-grams.
    pub(super) fn leave(&mut self, place: u32, grams: &[u32]) {
        self.look_up(grams);
        for &slot in &self.found {
            let state = &mut self.slots[slot as usize].state;
            if *state & SHARED == 0 {
                *state = NOBODY;
                continue;
            }
            let known = &mut self.shared[(*state ^ SHARED) as usize];
            known.joined -= 1;
            known.places ^= place;
            each_alone(*known, &self.holders, |holder| self.chunks[holder as usize].covered -= 1);
        }
        self.chunks[place as usize].covered = 0;
    }

    /// The share of the n-grams of a chunk that others of the sequence have.
    pub(super) fn share(&self, place: u32) -> f32 {
        let chunk = &self.chunks[place as usize];
        share(chunk.covered, chunk.size)
    }

    /// Sets `found` to the slots of these n-grams: where they are, or where they would go.
    fn look_up(&mut self, grams: &[u32]) {
        let slots = self.slots.as_slice();
        self.found.clear();
        self.found.extend(grams.iter().map(|&gram| {
            let mut slot = home(gram, slots.len());
            while slots[slot].gram != gram && slots[slot].gram != FREE {
                slot = (slot + 1) & (slots.len() - 1);
            }
            slot as u32
        }));
    }

    /// The slot of `gram`, searched from `slot` on; added if it is missing.
    fn enter(&mut self, gram: u32, mut slot: usize) -> usize {
        while self.slots[slot].gram != gram {
            if self.slots[slot].gram == FREE {
                self.slots[slot] = Slot { gram, state: NOBODY };
                self.used += 1;
                break;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        slot
    }

    /// Reserves slots for `more` n-grams.
    fn reserve(&mut self, more: usize) {
        let slots = ((self.used + more) * SLOTS_PER_GRAM).next_power_of_two().max(FEWEST_SLOTS);
        if slots <= self.slots.len() {
            return;
        }
        let free = vec![Slot { gram: FREE, state: NOBODY }; slots];
        let before = std::mem::replace(&mut self.slots, free);
        self.used = 0;
        for known in before.into_iter().filter(|known| known.gram != FREE) {
            let slot = self.enter(known.gram, home(known.gram, slots));
            self.slots[slot] = known;
        }
    }
}

/// The chunks that have the n-gram of a used slot.
fn known(state: u32, shared: &[Shared]) -> Shared {
    match state & SHARED {
        0 => Shared { joined: 1, places: state, fixed: END },
        _ => shared[(state ^ SHARED) as usize],
    }
}

/// Calls `work` with the chunks of an n-gram that do not share it yet: one more chunk with it would
/// cover it in them.
fn each_alone(gram: Shared, holders: &[Holder], mut work: impl FnMut(u32)) {
    if gram.fixed == END {
        if gram.joined == 1 {
            work(gram.places);
        }
    } else if gram.joined == 0 {
        let mut at = gram.fixed;
        while at != END {
            let Holder { chunk, next } = holders[at as usize];
            work(chunk);
            at = next;
        }
    }
}

/// The slot that the high bits of an n-gram name, in a table of a power of two.
fn home(gram: u32, slots: usize) -> usize {
    ((u64::from(gram) * slots as u64) >> 32) as usize
}

fn share(covered: u32, size: u32) -> f32 {
    if covered == 0 { 0.0 } else { covered as f32 / size as f32 }
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
        let distinct = |set: HashSet<u32>| set.into_iter().collect();
        // Few different n-grams, in part of one slot, or of the last ones.
        prop_oneof![
            prop::collection::hash_set(1u32..40, 0..12),
            prop::collection::hash_set((1u32..20).prop_map(|gram| gram << 26), 0..12),
            prop::collection::hash_set(u32::MAX - 30..=u32::MAX, 0..12),
            prop::collection::hash_set(1..=u32::MAX, 0..12),
            // Enough for a larger table.
            prop::collection::hash_set(1u32..9000, 1000..1500),
        ]
        .prop_map(distinct)
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
            let mut overlap = Overlap::default();
            // Earlier content leaves no trace.
            let before = overlap.fix(&all[0]);
            overlap.join(&all[all.len() - 1], 1.0);
            prop_assert!(overlap.share(before) <= 1.0);
            overlap.clear();
            let fixed_places: Vec<u32> = all[..fixed].iter().map(|one| overlap.fix(one)).collect();
            // The chunks of the sequence, and the place of each.
            let mut held: Vec<u32> = Vec::new();
            let mut places: Vec<u32> = Vec::new();
            for (index, leaves) in asked {
                let chunk = index.index(all.len()) as u32;
                if (chunk as usize) < fixed {
                    continue;
                }
                if let Some(at) = held.iter().position(|&one| one == chunk) {
                    if leaves {
                        overlap.leave(places.remove(at), &all[chunk as usize]);
                        held.remove(at);
                    }
                    continue;
                }
                let expected = refused(&all, fixed, &held, chunk, most);
                let place = overlap.join(&all[chunk as usize], most);
                prop_assert_eq!(place.is_none(), expected, "{} {:?}", chunk, held);
                if let Some(place) = place {
                    held.push(chunk);
                    places.push(place);
                }
            }
            let set = |chunk: u32| all[chunk as usize].iter().copied().collect::<HashSet<u32>>();
            let expected = |one: u32, others: &mut dyn Iterator<Item = u32>| {
                let rest: HashSet<u32> = others.flat_map(set).collect();
                share(set(one).intersection(&rest).count() as u32, set(one).len() as u32)
            };
            for (&one, &place) in held.iter().zip(&places) {
                let others = held.iter().copied().filter(|&other| other != one);
                let expected = expected(one, &mut (0..fixed as u32).chain(others));
                prop_assert!((overlap.share(place) - expected).abs() < 1e-6);
            }
            for (one, &place) in fixed_places.iter().enumerate() {
                let expected = expected(one as u32, &mut held.iter().copied());
                prop_assert!((overlap.share(place) - expected).abs() < 1e-6);
            }
        }
    }
}
