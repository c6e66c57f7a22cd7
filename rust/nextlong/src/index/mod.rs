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
pub mod clustered;
pub mod cosine;
pub mod exact;
pub mod exclude;
pub mod graph;
pub mod hnsw;
pub mod kmeans;
pub mod lists;
mod near;
pub mod npy;
pub mod product;
pub mod quantize;
pub mod recall;
pub mod shard_file;
mod small;
pub mod topk;
mod turn;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::vectors::Vectors;

use clustered::Clustered;
pub use cosine::Queries;
use exact::Exact;
use exclude::Exclusion;
pub use exclude::Hidden;
use hnsw::Hnsw;
use quantize::Quantizer;

/// The id where there are fewer than `k` neighbours; the score there is -inf.
pub const NO_NEIGHBOUR: i64 = -1;

/// Candidates that a scan keeps at most for each neighbour wanted, at first: so many are only where
/// the neighbours are nearly the same text and rounding hides which is nearest.
const KEPT: usize = 8;

/// Candidates that are kept besides: a few, where few neighbours are wanted.
const SPARE: usize = 4;

/// Lists that each query scans at first.
const FIRST_PROBES: usize = 8;

/// The narrowest search of a graph.
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

/// The ways to find neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The scan of all rows: [`exact`].
    Exact,
    /// The scan of the rows in the nearest lists: [`clustered`].
    Clustered,
    /// The sharded graph: [`hnsw`].
    Hnsw,
}

impl Kind {
    /// The engine of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Exact, Self::Clustered, Self::Hnsw].into_iter().find(|kind| kind.name() == name)
    }

    /// The name that users know it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Clustered => "clustered",
            Self::Hnsw => "hnsw",
        }
    }

    /// The breadth that is tried first: see [`Search::search`].
    #[must_use]
    pub fn first_breadth(self) -> usize {
        match self {
            Self::Exact => KEPT,
            Self::Clustered => FIRST_PROBES,
            Self::Hnsw => 1,
        }
    }
}

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The engine.
    pub kind: Kind,
    /// Rows of the same group are no neighbours: a number for each row.
    pub groups: Option<Vec<u32>>,
    /// Fixes the samples that the int8 scale and the centroids are taken from.
    pub seed: u64,
    /// The most searches that run at a time; more wait.
    pub callers: usize,
    /// Packed rows that a scan may keep in memory, in bytes.
    pub keep_bytes: usize,
}

/// What proposes candidates.
enum Engine {
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
    /// The scan of the few rows that were last asked for.
    few: Mutex<Option<Arc<Exact>>>,
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
            Kind::Exact => Engine::Exact(Exact::new(&vectors, quantizer, settings.keep_bytes)?),
            Kind::Clustered => Engine::Clustered(Clustered::new(quantizer, settings.keep_bytes)),
            Kind::Hnsw => Engine::Hnsw(Hnsw::new(&vectors, quantizer, settings.callers)),
        };
        let (kind, seed, few) = (settings.kind, settings.seed, Mutex::default());
        Ok(Self { vectors, exclusion, kind, seed, quantizer, engine, few })
    }

    /// The vectors.
    #[must_use]
    pub fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    /// Who may not be whose neighbour.
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
            Engine::Exact(_) | Engine::Clustered(_) => product::kernel().to_owned(),
            Engine::Hnsw(hnsw) => hnsw.kernel(),
        }
    }

    /// The number of shards to build before searching: 0 for an engine that needs none.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        match &self.engine {
            Engine::Exact(_) | Engine::Clustered(_) => 0,
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

    /// The `k` nearest rows of each query, looking `breadth` times as wide as the engine's
    /// narrowest.
    ///
    /// Exact: up to `breadth * k` candidates and a few are kept in int8 and ranked in f32, at first
    /// only those that rounding may have put below the `k` best. Clustered: `breadth` lists are
    /// scanned and up to `8 * k` candidates and a few kept; once all lists are, as many more times
    /// `k` as `breadth` has more than there are lists. HNSW: each shard is searched
    /// `breadth * max(2 * k, 64)` wide, and the best of that are ranked in f32. A query for which
    /// that gives fewer than `k`, though more are to be found, is searched as wide as it takes.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for queries of other dimensions or a row that does not exist; see the
    /// engines.
    pub fn search(
        &self,
        queries: &Queries,
        k: usize,
        breadth: usize,
        progress: &Progress,
    ) -> Result<Neighbours> {
        self.search_under(&self.exclusion, queries, k, breadth, progress)
    }

    /// As [`Search::search`], without the rows that are hidden.
    ///
    /// # Errors
    ///
    /// As [`Search::search`].
    pub fn search_hiding(
        &self,
        hidden: &Arc<Hidden>,
        queries: &Queries,
        k: usize,
        breadth: usize,
        progress: &Progress,
    ) -> Result<Neighbours> {
        let exclusion = self.exclusion.hiding(Arc::clone(hidden));
        self.search_under(&exclusion, queries, k, breadth, progress)
    }

    /// As [`Search::search_hiding`], where no row is shown but some of `few`, rising: they are
    /// scanned exactly, whatever the engine, and kept packed while the same are asked for.
    ///
    /// # Errors
    ///
    /// As [`Search::search`].
    pub fn search_few(
        &self,
        few: &Arc<Vec<u32>>,
        hidden: &Arc<Hidden>,
        queries: &Queries,
        k: usize,
        progress: &Progress,
    ) -> Result<Neighbours> {
        let scan = {
            let mut held = self.few.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(scan) = held.as_ref().filter(|scan| scan.scans(few)) {
                Arc::clone(scan)
            } else {
                let scan = Exact::of_some(Arc::clone(few), &self.vectors, self.quantizer)?;
                Arc::clone(held.insert(Arc::new(scan)))
            }
        };
        let exclusion = self.exclusion.hiding(Arc::clone(hidden));
        // Not of the number of the few: which hidden ones are among them must not matter.
        let keep = self.quantizer.keep(k, KEPT, self.vectors.len());
        let candidates = scan.candidates(&self.vectors, queries, &exclusion, keep, progress)?;
        self.ranked(queries, candidates, k, progress)
    }

    fn search_under(
        &self,
        exclusion: &Exclusion,
        queries: &Queries,
        k: usize,
        mut breadth: usize,
        progress: &Progress,
    ) -> Result<Neighbours> {
        let mut found = self.search_once(exclusion, queries, k, breadth, progress)?;
        while let Some(wider) = self.reaching_more(k, breadth) {
            let short: Vec<usize> = (0..queries.len())
                .filter(|query| found.ids[..(query + 1) * k].last() == Some(&NO_NEIGHBOUR))
                .collect();
            if short.is_empty() {
                break;
            }
            breadth = wider;
            let again = self.search_once(exclusion, &queries.some(&short), k, breadth, progress)?;
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
        breadth: usize,
        progress: &Progress,
    ) -> Result<Neighbours> {
        if !queries.is_empty() && queries.dim() != self.vectors.dim() {
            return Err(Error::Config(format!(
                "the queries have {} dimensions, the vectors {}",
                queries.dim(),
                self.vectors.dim()
            )));
        }
        let rows = self.vectors.len();
        let candidates = match &self.engine {
            Engine::Exact(exact) => {
                let keep = self.quantizer.keep(k, breadth, rows);
                exact.candidates(&self.vectors, queries, exclusion, keep, progress)?
            }
            Engine::Clustered(clustered) => {
                let keep = self.quantizer.keep(k, kept(clustered, breadth), rows);
                clustered.candidates(&self.vectors, queries, exclusion, keep, breadth, progress)?
            }
            Engine::Hnsw(hnsw) => {
                let width = hnsw_width(k, breadth);
                let keep = self.quantizer.keep(k, breadth.max(KEPT), rows);
                hnsw.candidates(queries, exclusion, keep, width, progress)?
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
        let mut found = Neighbours::with_room(queries.len(), k);
        let mut room = cosine::Room::default();
        for (query, candidates) in candidates.into_iter().enumerate() {
            progress.check()?;
            cosine::rank(&self.vectors, queries, query, candidates, k, &mut room, &mut found);
        }
        Ok(found)
    }

    /// A breadth at which many more rows are looked at than at `breadth`, if it leaves any out.
    fn reaching_more(&self, k: usize, breadth: usize) -> Option<usize> {
        match &self.engine {
            Engine::Exact(_) => None,
            Engine::Clustered(clustered) => (breadth < clustered.list_count())
                .then(|| breadth.saturating_mul(4).min(clustered.list_count())),
            Engine::Hnsw(_) => {
                (hnsw_width(k, breadth) < self.vectors.len()).then(|| breadth.saturating_mul(4))
            }
        }
    }

    /// The next breadth after `breadth`, unless that one already reaches every row.
    #[must_use]
    pub fn wider(&self, k: usize, breadth: usize) -> Option<usize> {
        let rows = self.vectors.len();
        match &self.engine {
            Engine::Exact(_) => {
                (k.saturating_mul(breadth) < rows).then_some(breadth + breadth.div_ceil(3))
            }
            Engine::Clustered(clustered) if breadth < clustered.list_count() => {
                Some((breadth + breadth.div_ceil(4)).min(clustered.list_count()))
            }
            Engine::Clustered(clustered) => {
                let kept = kept(clustered, breadth);
                (k.saturating_mul(kept) < rows).then_some(breadth + kept.div_ceil(3))
            }
            Engine::Hnsw(_) => (hnsw_width(k, breadth) < rows).then_some(breadth * 2),
        }
    }
}

/// Candidates that the clustered scan keeps for each neighbour wanted.
fn kept(clustered: &Clustered, breadth: usize) -> usize {
    KEPT + breadth.saturating_sub(clustered.list_count())
}

/// How wide each shard of a graph is searched.
pub(crate) fn hnsw_width(k: usize, breadth: usize) -> usize {
    k.saturating_mul(2).max(MIN_WIDTH).saturating_mul(breadth)
}
