//! Same-document recall: whether vectors know which chunks belong together.
//!
//! In: chunks and their vectors. Out: how often the nearest neighbours of a chunk are chunks of its own
//! document (embedding.md, "Check of every embedder").

use serde::Serialize;

use crate::error::Result;
use crate::index::cosine::{self, Queries};
use crate::index::exclude::Exclusion;
use crate::parallel;
use crate::progress::Progress;
use crate::store::{ChunkStore, Vectors};

/// How often a chunk's nearest neighbours are chunks of its own document.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SameDocument {
    /// The share of the other chunks of the document (at most k) found among the k nearest, over
    /// the chunks that have such others.
    pub recall: f64,
    /// The share that random neighbours would have.
    pub by_chance: f64,
    /// The number of chunks looked at.
    pub chunks: usize,
}

/// Measures whether the vectors know which chunks belong together: exhaustive search in f32 for the
/// chunks `rows`, nothing excluded but the chunk itself. None where no row has a sibling.
///
/// # Errors
///
/// [`crate::Error::Cancelled`] when stopped.
pub fn same_document(
    store: &ChunkStore,
    vectors: &Vectors,
    rows: &[usize],
    k: usize,
    threads: usize,
    progress: &Progress,
) -> Result<Option<SameDocument>> {
    let rows: Vec<usize> = rows.iter().copied().filter(|&row| has_siblings(store, row)).collect();
    let measured = own_neighbours(store, vectors, &rows, k, threads, progress)?;
    Ok(SameDocument::mean(&measured))
}

/// True if `row` is not the only chunk of its document.
pub(crate) fn has_siblings(store: &ChunkStore, row: usize) -> bool {
    store.document_chunks(store.document(row)).len() > 1
}

impl SameDocument {
    /// The means over chunks of (recall, recall by chance); None for no chunk.
    pub(crate) fn mean(measured: &[(f64, f64)]) -> Option<Self> {
        let chunks = measured.len();
        let (recall, by_chance) =
            measured.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        (chunks > 0).then(|| Self {
            recall: recall / chunks as f64,
            by_chance: by_chance / chunks as f64,
            chunks,
        })
    }
}

/// For each of `rows`, which have siblings: (recall, recall by chance) as [`same_document`] has them.
pub(crate) fn own_neighbours(
    store: &ChunkStore,
    vectors: &Vectors,
    rows: &[usize],
    k: usize,
    threads: usize,
    progress: &Progress,
) -> Result<Vec<(f64, f64)>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let parts: Vec<&[usize]> = rows.chunks(rows.len().div_ceil(threads.max(1))).collect();
    let exclusion = Exclusion::default();
    let found = parallel::map(parts.len(), threads, |part| {
        let queries = Queries::of_rows(vectors, parts[part]);
        cosine::search(vectors, &queries, &exclusion, k, progress)
    })?;
    let ids = found.iter().flat_map(|part| part.ids.chunks_exact(k));
    let others = (vectors.len() - 1) as f64;
    let measured = rows.iter().zip(ids).map(|(&row, ids)| {
        let own = store.document_chunks(store.document(row));
        let count = own.len() - 1;
        let hits = ids.iter().filter(|&&id| id >= 0 && own.contains(&(id as usize))).count();
        let most = count.min(k) as f64;
        (hits as f64 / most, (k as f64).min(others) * count as f64 / others / most)
    });
    Ok(measured.collect())
}
