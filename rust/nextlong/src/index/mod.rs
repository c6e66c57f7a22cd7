//! The nearest neighbours of many vectors at once, by cosine.
//!
//! In: the vectors of all chunks. Out: for each query the ids of its `k` nearest rows, score
//! falling, id rising.
//!
//! An engine proposes candidates by int8 products; [`cosine::rank`] orders them in f32 from the
//! vector file. What comes out does not depend on threads, on how the queries are cut into calls,
//! or on the processor.

mod arena;
pub mod choose;
mod clustered;
pub mod cosine;
pub mod depths;
mod exact;
pub mod exclude;
pub mod graph;
mod hnsw;
mod inverted_lists;
mod kind;
mod kmeans;
mod near_centroids;
mod product;
mod quantize;
pub mod recall;
mod rotate;
mod row_cache;
mod shard_file;
pub mod topk;

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};
use crate::parallel::lock;
use crate::progress::Progress;
use crate::store::Vectors;

use clustered::Clustered;
pub use cosine::Queries;
use exact::Exact;
use exclude::Exclusion;
pub use exclude::Mask;
use hnsw::Hnsw;
pub use kind::{Kind, SearchWidth};
use quantize::Quantizer;

/// The id where there are fewer than `k` neighbours; the score there is -inf.
pub const NO_NEIGHBOUR: i64 = -1;

/// Maximum number of candidates that a scan keeps at first for each neighbour: reached only if the
/// neighbours are nearly the same text and rounding hides which is nearest.
const OVERFETCH: usize = 8;

/// Additional candidates, which matter if few neighbours are wanted.
const EXTRA: usize = 4;

/// Minimum width of a search in a graph.
const MIN_WIDTH: usize = 64;

/// The neighbours of some queries, `k` each.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    /// Row numbers, nearest first, [`NO_NEIGHBOUR`] at the end where there are fewer than `k`.
    pub ids: Vec<i64>,
    /// Their cosines; -inf where there is no neighbour.
    pub scores: Vec<f32>,
    /// Neighbours of each query.
    pub k: usize,
}

/// The settings of an engine.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The engine.
    pub kind: Kind,
    /// Rows of the same group exclude each other: a number for each row.
    pub groups: Option<Vec<u32>>,
    /// Seed of the samples for the int8 scale and the centroids.
    pub seed: u64,
    /// Maximum number of searches that run at a time; others wait.
    pub callers: usize,
    /// Maximum size of the packed rows that a scan caches, in bytes.
    pub cache_bytes: usize,
}

/// The engine, which proposes candidates.
enum Engine {
    Exhaustive,
    Exact(Exact),
    Clustered(Clustered),
    Hnsw(Hnsw),
}

/// Vectors, ready to be searched.
pub struct Search {
    vectors: Vectors,
    exclusion: Exclusion,
    kind: Kind,
    seed: u64,
    quantizer: Quantizer,
    engine: Engine,
    /// The scan of the subset that was searched last.
    subset_scan: Mutex<Option<Arc<Exact>>>,
}

impl Search {
    /// Sets up the engine; HNSW wants its shards and the clustered scan its lists built or loaded
    /// before it is searched.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for wrong groups or a wrong `NEXTLONG_KERNEL`, [`Error::Retrieval`] for
    /// vectors that cannot be searched.
    pub fn new(vectors: Vectors, settings: Settings) -> Result<Self> {
        product::obey_environment()?;
        if vectors.len() >= u32::MAX as usize {
            return Err(Error::Retrieval(format!(
                "{} vectors; an index holds fewer than {}, so search in parts",
                vectors.len(),
                u32::MAX
            )));
        }
        let exclusion = Exclusion::new(settings.groups, vectors.len())?;
        let quantizer = Quantizer::fit(&vectors, settings.seed)?;
        let engine = match settings.kind {
            Kind::Exhaustive => Engine::Exhaustive,
            Kind::Exact => Engine::Exact(Exact::new(&vectors, quantizer, settings.cache_bytes)?),
            Kind::Clustered => Engine::Clustered(Clustered::new(quantizer, settings.cache_bytes)),
            Kind::Hnsw => Engine::Hnsw(Hnsw::new(&vectors, quantizer, settings.callers)),
        };
        let (kind, seed, subset_scan) = (settings.kind, settings.seed, Mutex::default());
        Ok(Self { vectors, exclusion, kind, seed, quantizer, engine, subset_scan })
    }

    /// The vectors.
    #[must_use]
    pub fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    /// The rows that exclude each other.
    #[must_use]
    pub fn exclusion(&self) -> &Exclusion {
        &self.exclusion
    }

    /// The engine.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The instruction set that the engine's products use here; `"serial"` is the slow one.
    #[must_use]
    pub fn kernel(&self) -> String {
        match &self.engine {
            Engine::Exhaustive => "f32".to_owned(),
            Engine::Exact(_) | Engine::Clustered(_) => product::kernel().to_owned(),
            Engine::Hnsw(hnsw) => hnsw.kernel(),
        }
    }

    /// The number of shards to build before searching: 0 for an engine that needs none.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        match &self.engine {
            Engine::Exhaustive | Engine::Exact(_) | Engine::Clustered(_) => 0,
            Engine::Hnsw(hnsw) => hnsw.shard_count(),
        }
    }

    /// Builds shard `shard` on this thread and, with a `folder`, writes it there.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a shard that the engine does not have; see [`Hnsw::build_shard`].
    pub fn build_shard(
        &self,
        shard: usize,
        folder: Option<&Path>,
        progress: &Progress,
    ) -> Result<()> {
        self.shards(shard)?.build_shard(&self.vectors, shard, folder, progress)
    }

    /// Loads shard `shard` from `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a shard that the engine does not have; see [`Hnsw::load_shard`].
    pub fn load_shard(&self, shard: usize, folder: &Path) -> Result<()> {
        self.shards(shard)?.load_shard(&self.vectors, shard, folder)
    }

    /// The int8 product of a unit vector with itself, about: a gap is a share of it.
    #[must_use]
    pub fn square(&self) -> i32 {
        self.quantizer.square()
    }

    /// The number of lists of the clustered scan, once it has them; 0 for other engines.
    #[must_use]
    pub fn list_count(&self) -> usize {
        self.lists().map_or(0, Clustered::list_count)
    }

    /// Builds the lists of the clustered scan on `threads` threads and, with a `folder`, writes
    /// them there; they are the same bytes for any number of threads.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for an engine without lists; see [`Clustered::build`].
    pub fn build_lists(
        &self,
        folder: Option<&Path>,
        threads: usize,
        progress: &Progress,
    ) -> Result<()> {
        self.lists()?.build(&self.vectors, folder, self.seed, threads, progress)
    }

    /// Loads the lists of the clustered scan from `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for an engine without lists; see [`Clustered::load`].
    pub fn load_lists(&self, folder: &Path) -> Result<()> {
        self.lists()?.load(&self.vectors, folder)
    }

    fn lists(&self) -> Result<&Clustered> {
        match &self.engine {
            Engine::Clustered(clustered) => Ok(clustered),
            _ => Err(Error::Config(format!("the {} engine has no lists", self.kind.name()))),
        }
    }

    /// An order of the rows that brings those near each other together, where that saves time.
    #[must_use]
    pub fn order(&self, rows: &[usize]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        if let Engine::Clustered(clustered) = &self.engine {
            order.sort_by_key(|&number| clustered.place_of(rows[number]));
        }
        order
    }

    fn shards(&self, shard: usize) -> Result<&Hnsw> {
        match &self.engine {
            Engine::Hnsw(hnsw) if shard < hnsw.shard_count() => Ok(hnsw),
            _ => Err(Error::Config(format!(
                "there is no shard {shard}: the {} engine has {}",
                self.kind.name(),
                self.shard_count()
            ))),
        }
    }

    /// The `k` nearest rows of each query, looking `search_width` times as wide as the engine's
    /// narrowest.
    ///
    /// - Exhaustive: compares all rows in f32, regardless of the width.
    /// - Exact: keeps up to `width * k` candidates and a few in int8 and ranks them in f32; at first only
    ///   those that rounding may have put below the `k` best.
    /// - Clustered: scans `width` lists, or by a gap (see [`SearchWidth`]), and keeps up to `8 * k`
    ///   candidates and a few. Widths above the number of lists keep more candidates.
    /// - HNSW: searches each shard `width * max(2 * k, 64)` wide and ranks the best in f32.
    ///
    /// A query that finds fewer than `k` is searched wider while there are more to find.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for queries of other dimensions or a row that does not exist; see the
    /// engines.
    pub fn search(
        &self,
        queries: &Queries,
        k: usize,
        search_width: impl Into<SearchWidth>,
        progress: &Progress,
    ) -> Result<Neighbours> {
        self.search_under(&self.exclusion, queries, k, search_width.into(), progress)
    }

    /// As [`Search::search`], without the rows of `mask`.
    ///
    /// # Errors
    ///
    /// As [`Search::search`].
    pub fn search_masked(
        &self,
        mask: &Arc<Mask>,
        queries: &Queries,
        k: usize,
        search_width: impl Into<SearchWidth>,
        progress: &Progress,
    ) -> Result<Neighbours> {
        let exclusion = self.exclusion.masking(Arc::clone(mask));
        self.search_under(&exclusion, queries, k, search_width.into(), progress)
    }

    /// As [`Search::search_masked`], if all rows outside `subset` (rising) are masked. The exhaustive
    /// engine compares all rows in f32 as always; for every other engine the subset is scanned exactly,
    /// and cached until another one is searched.
    ///
    /// # Errors
    ///
    /// As [`Search::search`].
    pub fn search_subset(
        &self,
        subset: &Arc<Vec<u32>>,
        mask: &Arc<Mask>,
        queries: &Queries,
        k: usize,
        progress: &Progress,
    ) -> Result<Neighbours> {
        if matches!(self.engine, Engine::Exhaustive) {
            return self.search_masked(mask, queries, k, 1, progress);
        }
        let scan = {
            let mut held = lock(&self.subset_scan);
            if let Some(scan) = held.as_ref().filter(|scan| scan.scans(subset)) {
                Arc::clone(scan)
            } else {
                let scan = Exact::of_some(Arc::clone(subset), &self.vectors, self.quantizer)?;
                Arc::clone(held.insert(Arc::new(scan)))
            }
        };
        let exclusion = self.exclusion.masking(Arc::clone(mask));
        // Not of the size of the subset: the masked rows in it must not matter.
        let keep = self.quantizer.keep(k, OVERFETCH, self.vectors.len());
        let candidates = scan.candidates(&self.vectors, queries, &exclusion, keep, progress)?;
        self.ranked(queries, candidates, k, progress)
    }

    fn search_under(
        &self,
        exclusion: &Exclusion,
        queries: &Queries,
        k: usize,
        mut search_width: SearchWidth,
        progress: &Progress,
    ) -> Result<Neighbours> {
        let mut found = self.search_once(exclusion, queries, k, search_width, progress)?;
        while let Some(wider) = self.reaching_more(k, search_width) {
            let short: Vec<usize> = (0..queries.len())
                .filter(|query| found.ids[..(query + 1) * k].last() == Some(&NO_NEIGHBOUR))
                .collect();
            if short.is_empty() {
                break;
            }
            search_width = wider;
            let again =
                self.search_once(exclusion, &queries.some(&short), k, search_width, progress)?;
            for (from, to) in short.into_iter().enumerate() {
                let (from, to) = (from * k..(from + 1) * k, to * k..(to + 1) * k);
                found.ids[to.clone()].copy_from_slice(&again.ids[from.clone()]);
                found.scores[to].copy_from_slice(&again.scores[from]);
            }
        }
        Ok(found)
    }

    fn search_once(
        &self,
        exclusion: &Exclusion,
        queries: &Queries,
        k: usize,
        search_width: SearchWidth,
        progress: &Progress,
    ) -> Result<Neighbours> {
        let width = search_width.width;
        if !queries.is_empty() && queries.dim() != self.vectors.dim() {
            return Err(Error::Config(format!(
                "the queries have {} dimensions, the vectors {}",
                queries.dim(),
                self.vectors.dim()
            )));
        }
        let rows = self.vectors.len();
        let candidates = match &self.engine {
            Engine::Exhaustive => {
                return cosine::search(&self.vectors, queries, exclusion, k, progress);
            }
            Engine::Exact(exact) => {
                let keep = self.quantizer.keep(k, width, rows);
                exact.candidates(&self.vectors, queries, exclusion, keep, progress)?
            }
            Engine::Clustered(clustered) => {
                let keep = self.quantizer.keep(k, overfetch(clustered, width), rows);
                clustered.candidates(
                    &self.vectors,
                    queries,
                    exclusion,
                    keep,
                    search_width,
                    progress,
                )?
            }
            Engine::Hnsw(hnsw) => {
                let keep = self.quantizer.keep(k, width.max(OVERFETCH), rows);
                hnsw.candidates(queries, exclusion, keep, hnsw_width(k, width), progress)?
            }
        };
        self.ranked(queries, candidates, k, progress)
    }

    /// The `k` best of the candidates of each query, by cosine in f32.
    fn ranked(
        &self,
        queries: &Queries,
        candidates: Vec<Vec<u32>>,
        k: usize,
        progress: &Progress,
    ) -> Result<Neighbours> {
        let mut found = Neighbours::with_capacity(queries.len(), k);
        let mut buffer = cosine::RankBuffer::default();
        for (query, candidates) in candidates.into_iter().enumerate() {
            progress.check()?;
            cosine::rank(&self.vectors, queries, query, candidates, k, &mut buffer, &mut found);
        }
        Ok(found)
    }

    /// A width that visits many more rows than `search_width`, if that leaves any out.
    fn reaching_more(&self, k: usize, search_width: SearchWidth) -> Option<SearchWidth> {
        let width = search_width.width;
        match &self.engine {
            Engine::Exhaustive | Engine::Exact(_) => None,
            // With a gap a query scans on while it has fewer than it wants.
            Engine::Clustered(clustered) => (search_width.gap.is_none()
                && width < clustered.list_count())
            .then(|| width.saturating_mul(4).min(clustered.list_count())),
            Engine::Hnsw(_) => {
                (hnsw_width(k, width) < self.vectors.len()).then(|| width.saturating_mul(4))
            }
        }
        .map(SearchWidth::from)
    }

    /// The next width after `search_width`, unless that one already reaches every row.
    #[must_use]
    pub fn wider(&self, k: usize, search_width: SearchWidth) -> Option<SearchWidth> {
        let (rows, width) = (self.vectors.len(), search_width.width);
        if let (Engine::Clustered(clustered), Some(gap)) = (&self.engine, search_width.gap) {
            let whole = self.quantizer.square();
            // No two products are farther apart.
            return Some(if gap >= 2 * whole {
                clustered.list_count().max(width).into()
            } else {
                SearchWidth { gap: Some(gap + gap / 4 + whole / 64 + 1), ..search_width }
            });
        }
        match &self.engine {
            Engine::Exhaustive => None,
            Engine::Exact(_) => {
                (k.saturating_mul(width) < rows).then_some(width + width.div_ceil(3))
            }
            Engine::Clustered(clustered) if width < clustered.list_count() => {
                Some((width + width.div_ceil(4)).min(clustered.list_count()))
            }
            Engine::Clustered(clustered) => {
                let factor = overfetch(clustered, width);
                (k.saturating_mul(factor) < rows).then_some(width + factor.div_ceil(3))
            }
            Engine::Hnsw(_) => (hnsw_width(k, width) < rows).then_some(width * 2),
        }
        .map(SearchWidth::from)
    }
}

/// Candidates that the clustered scan keeps for each neighbour.
fn overfetch(clustered: &Clustered, width: usize) -> usize {
    OVERFETCH + width.saturating_sub(clustered.list_count())
}

impl Neighbours {
    /// The number of queries.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.ids.len().checked_div(self.k).unwrap_or(0)
    }
}

/// Search width (ef) of each shard of a graph.
pub(crate) fn hnsw_width(k: usize, width: usize) -> usize {
    k.saturating_mul(2).max(MIN_WIDTH).saturating_mul(width)
}
