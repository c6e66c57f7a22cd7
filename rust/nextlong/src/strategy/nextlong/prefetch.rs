//! Looks ahead of the pass: what a document would take if it were alone.
//!
//! In: the candidates of a document. Out: their near-duplicates decided, and deeper searches wanted for
//! lists that would end before the sequence is full. This runs in parallel; the pass itself, which goes
//! document by document, then rarely waits.

use std::collections::HashSet;

use super::candidates::{Source, identity};
use crate::config::{Length, Settings};
use crate::error::Result;
use crate::hash::BuildIntHasher;
use crate::progress::Progress;
use crate::store::ChunkStore;

impl Source {
    /// Takes turns as the pass would if no other sequence took any chunk: texts are compared, and deeper
    /// searches wanted for lists that end too early. Returns the number of these.
    pub fn look_ahead(
        &mut self,
        store: &ChunkStore,
        settings: &Settings,
        progress: &Progress,
    ) -> Result<u64> {
        let estimated = settings.length == Length::Exact && settings.num_negatives.is_none();
        let needed = f64::from(self.needed) * if estimated { ESTIMATE_MARGIN } else { 1.0 };
        let mut near_duplicates = self.near_duplicates.take();
        let capacity = self.needed.min(self.lists.iter().map(|list| list.ids.len() as u32).sum());
        let mut seen =
            HashSet::with_capacity_and_hasher(capacity as usize, BuildIntHasher::default());
        let mut cursors = vec![0; self.lists.len()];
        let mut taken = vec![0u32; self.lists.len()];
        let (mut sum, mut turn) = (0.0, 0);
        let mut open = self.lists.len();
        while open > 0 && sum < needed {
            progress.check()?;
            open = 0;
            turn += 1;
            for meta in 0..self.lists.len() {
                let mut found = false;
                while let Some(&chunk) = self.lists[meta].ids.get(cursors[meta])
                    && !found
                {
                    cursors[meta] += 1;
                    let text = identity(settings, store, chunk);
                    if seen.contains(&text) {
                        continue;
                    }
                    if let Some(near_duplicates) = &mut near_duplicates {
                        if near_duplicates.repeats_a_meta_chunk(store, chunk) {
                            continue;
                        }
                        if !near_duplicates.join(store, chunk) {
                            continue;
                        }
                    }
                    found = seen.insert(text);
                }
                taken[meta] += u32::from(found);
                // Negatives that a deeper search would find count as well.
                if found || !self.lists[meta].complete {
                    open += 1;
                    sum += 1.0;
                }
            }
        }
        if let Some(near_duplicates) = &mut near_duplicates {
            near_duplicates.clear();
        }
        self.near_duplicates = near_duplicates;
        let mut deeper = 0;
        for (list, taken) in self.lists.iter_mut().zip(taken) {
            if taken < turn && !list.complete {
                list.wanted = deeper_depth(list.depth, taken, turn).min(self.max_depth);
                deeper += 1;
            }
        }
        Ok(deeper)
    }
}

/// Looking ahead takes this many times the estimated negatives: characters per token differ between
/// documents.
const ESTIMATE_MARGIN: f64 = 1.08;

/// The depth of a search for `wanted` negatives, if `depth` neighbours yielded `taken`: it grows faster
/// than the negatives, since other meta-chunks take some.
fn deeper_depth(depth: u32, taken: u32, wanted: u32) -> u32 {
    let growth = (f64::from(wanted) / f64::from(taken.max(1))).powf(1.3) * 1.1;
    step((f64::from(depth) * growth.clamp(1.25, 8.0)).ceil() as u32)
}

/// Rounds a depth up to one of few, so that meta-chunks are searched together.
pub(super) fn step(depth: u32) -> u32 {
    match depth {
        0..=32 => 32,
        33..=256 => depth.div_ceil(64) * 64,
        _ => {
            let power = depth.next_power_of_two();
            if depth <= power / 4 * 3 { power / 4 * 3 } else { power }
        }
    }
}
