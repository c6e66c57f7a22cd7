//! The ledger of a run: how often each chunk is used, and which chunks are exhausted.

use std::collections::HashMap;
use std::sync::Arc;

use crate::hash::BuildIntHasher;
use crate::index::Mask;

/// Uses of every chunk as a negative, across all sequences.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    max_reuse: Option<u32>,
    uses: HashMap<u32, u32, BuildIntHasher>,
    /// The exhausted chunks, once searches are to leave them out.
    exhausted: Option<Arc<Mask>>,
}

impl Ledger {
    /// An empty ledger, with the maximum number of uses of a chunk.
    pub fn new(max_reuse: Option<u32>) -> Self {
        Self { max_reuse, ..Self::default() }
    }

    /// The number of uses of `chunk`.
    pub fn uses(&self, chunk: u32) -> u32 {
        self.uses.get(&chunk).copied().unwrap_or(0)
    }

    /// The chunks that are used, rising, with the number of their uses.
    pub fn all_uses(&self) -> Vec<(u32, u32)> {
        let mut uses: Vec<_> = self.uses.iter().map(|(&chunk, &count)| (chunk, count)).collect();
        uses.retain(|&(_, count)| count > 0);
        uses.sort_unstable();
        uses
    }

    /// True if `chunk` has reached the maximum number of uses.
    pub fn is_exhausted(&self, chunk: u32) -> bool {
        self.max_reuse.is_some_and(|max_reuse| self.uses(chunk) >= max_reuse)
    }

    /// Counts a use of `chunk`.
    pub fn take(&mut self, chunk: u32) {
        let uses = self.uses.entry(chunk).or_insert(0);
        *uses += 1;
        if self.max_reuse == Some(*uses) {
            self.set_exhausted(chunk, true);
        }
    }

    /// Takes back a use of `chunk`.
    pub fn release(&mut self, chunk: u32) {
        if let Some(uses) = self.uses.get_mut(&chunk) {
            *uses = uses.saturating_sub(1);
            self.set_exhausted(chunk, false);
        }
    }

    /// The exhausted chunks; None before [`Ledger::track_exhausted`].
    pub fn exhausted(&self) -> Option<&Arc<Mask>> {
        self.exhausted.as_ref()
    }

    /// Starts to track which of `chunks` chunks are exhausted.
    pub fn track_exhausted(&mut self, chunks: usize) {
        if self.exhausted.is_none() {
            let mask = Mask::none_of(chunks);
            let exhausted = self.uses.keys().filter(|&&chunk| self.is_exhausted(chunk));
            exhausted.for_each(|&chunk| mask.set(chunk, true));
            self.exhausted = Some(Arc::new(mask));
        }
    }

    /// Stops tracking exhausted chunks.
    pub fn forget_exhausted(&mut self) {
        self.exhausted = None;
    }

    fn set_exhausted(&self, chunk: u32, exhausted: bool) {
        if let Some(mask) = &self.exhausted {
            mask.set(chunk, exhausted);
        }
    }
}
