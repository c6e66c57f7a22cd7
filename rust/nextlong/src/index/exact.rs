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
use crate::store::Vectors;

/// Rows packed together: with 256 dimensions half a megabyte, which a second-level cache holds.
const BLOCK: usize = 2048;

/// Queries multiplied together.
const QUERIES: usize = 64;

/// The scan, and the blocks of rows that it has packed so far and may keep.
pub struct Exact {
    quantizer: Quantizer,
    /// The rows that are scanned, rising; none: all.
    some: Option<Arc<Vec<u32>>>,
    kept: Vec<OnceLock<Packed>>,
    /// Their memory.
    arena: Arc<Arena>,
    /// Calls so far: each starts at another block, so that threads do not all pack the same one.
    calls: AtomicUsize,
}

impl Exact {
    /// A scan that keeps up to `cache_bytes` of packed rows between calls; the rest is packed each
    /// time.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Retrieval`] without memory.
    pub fn new(vectors: &Vectors, quantizer: Quantizer, cache_bytes: usize) -> Result<Self> {
        Self::over(None, vectors, quantizer, cache_bytes)
    }

    /// A scan of `some` rows, rising, that keeps them all packed.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Retrieval`] without memory.
    pub fn of_some(some: Arc<Vec<u32>>, vectors: &Vectors, quantizer: Quantizer) -> Result<Self> {
        Self::over(Some(some), vectors, quantizer, usize::MAX)
    }

    /// True if it scans these very rows.
    #[must_use]
    pub fn scans(&self, some: &Arc<Vec<u32>>) -> bool {
        self.some.as_ref().is_some_and(|own| Arc::ptr_eq(own, some))
    }

    fn over(
        some: Option<Arc<Vec<u32>>>,
        vectors: &Vectors,
        quantizer: Quantizer,
        cache_bytes: usize,
    ) -> Result<Self> {
        let rows = some.as_ref().map_or(vectors.len(), |some| some.len());
        let blocks = rows.div_ceil(BLOCK);
        let kept = blocks.min(cache_bytes / (BLOCK * vectors.dim().max(1)));
        let arena = Arena::new(kept * packed_bytes(BLOCK.min(rows), vectors.dim()))?;
        let kept = (0..kept).map(|_| OnceLock::new()).collect();
        Ok(Self { quantizer, some, kept, arena, calls: AtomicUsize::new(0) })
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
        let blocks = self.len(vectors).div_ceil(BLOCK);
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
                    let first = block * BLOCK;
                    best[number].extend(
                        scores.of(query),
                        |place| match &self.some {
                            Some(some) => some[first + place],
                            None => (first + place) as u32,
                        },
                        |id| own.excludes(id),
                    );
                }
            }
        }
        Ok(best)
    }

    fn queries(&self, queries: &Queries, dim: usize) -> Result<Vec<Rows>> {
        let mut all = Vec::with_capacity(queries.len().div_ceil(QUERIES));
        let mut buffer = Vec::new();
        for start in (0..queries.len()).step_by(QUERIES) {
            let stop = (start + QUERIES).min(queries.len());
            let mut rows = Rows::zeros(stop - start, dim)?;
            let values = queries.values(start..stop).chunks_exact(dim);
            for (values, out) in values.zip(rows.values().chunks_exact_mut(dim)) {
                self.quantizer.row(values, &mut buffer, out);
            }
            all.push(rows);
        }
        Ok(all)
    }

    fn rows(&self, vectors: &Vectors, block: usize) -> Result<Rows> {
        let range = block * BLOCK..((block + 1) * BLOCK).min(self.len(vectors));
        let dim = vectors.dim();
        let mut rows = Rows::to_pack(range.len(), dim)?;
        match &self.some {
            None => self.quantizer.rows(vectors, range, rows.values()),
            Some(some) => {
                let out = rows.values().chunks_exact_mut(dim);
                for (&row, out) in some[range].iter().zip(out) {
                    self.quantizer.rows(vectors, row as usize..row as usize + 1, out);
                }
            }
        }
        Ok(rows)
    }

    fn len(&self, vectors: &Vectors) -> usize {
        self.some.as_ref().map_or(vectors.len(), |some| some.len())
    }
}
