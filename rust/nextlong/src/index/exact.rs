//! The exact scan: every query against every row in int8, the best kept.
//!
//! In: int8 queries. Out: for each the ids of its best rows, to be ranked again in f32.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::error::Result;
use crate::index::arena::Arena;
use crate::index::cosine::Queries;
use crate::index::exclude::Exclusion;
use crate::index::product::{Packed, Rows, Scores, packed_bytes};
use crate::index::quantize::Quantizer;
use crate::index::topk::{Best, Keep};
use crate::progress::Progress;
use crate::vectors::Vectors;

/// Rows packed together: with 256 dimensions half a megabyte, which a second-level cache holds.
const BLOCK: usize = 2048;

/// Queries multiplied together.
const QUERIES: usize = 64;

/// The scan, and the blocks of rows that it has packed so far and may keep.
pub struct Exact {
    quantizer: Quantizer,
    kept: Vec<OnceLock<Packed>>,
    /// Where they lie.
    arena: Arc<Arena>,
    /// Calls so far: each begins at another block, so that threads do not all pack the same one.
    calls: AtomicUsize,
}

impl Exact {
    /// A scan that keeps up to `keep_bytes` of packed rows between calls; the rest is packed each
    /// time.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Retrieval`] without memory.
    pub fn new(vectors: &Vectors, quantizer: Quantizer, keep_bytes: usize) -> Result<Self> {
        let blocks = vectors.len().div_ceil(BLOCK);
        let kept = blocks.min(keep_bytes / (BLOCK * vectors.dim().max(1)));
        let arena = Arena::new(kept * packed_bytes(BLOCK.min(vectors.len()), vectors.dim()))?;
        let kept = (0..kept).map(|_| OnceLock::new()).collect();
        Ok(Self { quantizer, kept, arena, calls: AtomicUsize::new(0) })
    }

    /// The best rows of each query by int8 product, as many as `keep` says, in any order.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Cancelled`] when asked to stop; [`crate::Error::Retrieval`] without memory.
    pub fn candidates(
        &self,
        vectors: &Vectors,
        queries: &Queries,
        exclusion: &Exclusion,
        keep: Keep,
        progress: &Progress,
    ) -> Result<Vec<Vec<u32>>> {
        let best = self.best(vectors, queries, exclusion, keep, progress)?;
        Ok(best.into_iter().map(Best::into_kept).collect())
    }

    /// As [`Exact::candidates`], with the products.
    ///
    /// # Errors
    ///
    /// As [`Exact::candidates`].
    pub fn best(
        &self,
        vectors: &Vectors,
        queries: &Queries,
        exclusion: &Exclusion,
        keep: Keep,
        progress: &Progress,
    ) -> Result<Vec<Best>> {
        let packed_queries = self.queries(queries, vectors.dim())?;
        let mut best = vec![Best::keeping(keep); queries.len()];
        let mut scores = Scores::zeros(1, 1)?;
        let blocks = vectors.len().div_ceil(BLOCK);
        let first =
            (self.calls.fetch_add(1, Ordering::Relaxed) * (blocks * 5 / 8 + 1)) % blocks.max(1);
        for block in (first..blocks).chain(0..first) {
            let packed;
            let rows = match self.kept.get(block).map(|kept| (kept, kept.get())) {
                Some((_, Some(rows))) => rows,
                Some((kept, None)) => {
                    // Two threads may both pack it: one is kept, they are the same.
                    let rows = self.rows(vectors, block)?.pack_in(&self.arena)?;
                    kept.get_or_init(|| rows)
                }
                None => {
                    packed = self.rows(vectors, block)?.pack()?;
                    &packed
                }
            };
            for (group, some) in packed_queries.iter().enumerate() {
                progress.check()?;
                scores.fill(some, rows)?;
                for query in 0..some.len() {
                    let number = group * QUERIES + query;
                    let own = exclusion.of(queries.row_of(number));
                    let first = (block * BLOCK) as u32;
                    best[number].extend(
                        scores.of(query),
                        |place| first + place as u32,
                        |id| own.excludes(id),
                    );
                }
            }
        }
        Ok(best)
    }

    fn queries(&self, queries: &Queries, dim: usize) -> Result<Vec<Rows>> {
        let mut all = Vec::with_capacity(queries.len().div_ceil(QUERIES));
        let mut room = Vec::new();
        for start in (0..queries.len()).step_by(QUERIES) {
            let stop = (start + QUERIES).min(queries.len());
            let mut rows = Rows::zeros(stop - start, dim)?;
            let values = queries.values(start..stop).chunks_exact(dim);
            for (values, out) in values.zip(rows.values().chunks_exact_mut(dim)) {
                self.quantizer.row(values, &mut room, out);
            }
            all.push(rows);
        }
        Ok(all)
    }

    fn rows(&self, vectors: &Vectors, block: usize) -> Result<Rows> {
        let range = block * BLOCK..((block + 1) * BLOCK).min(vectors.len());
        let mut rows = Rows::to_pack(range.len(), vectors.dim())?;
        self.quantizer.rows(vectors, range, rows.values());
        Ok(rows)
    }
}
