//! A graph that is kept, grown and queried: HNSW over all but the newest rows.
//!
//! In: vectors, more vectors. Out: neighbours by cosine, as of the other engines.
//!
//! [`plan`] cuts the rows into shards by their number alone, one thread builds each, and the rows
//! left over are scanned. So the graph depends on the rows and their order, and neither on the
//! pieces in which they came nor on threads. A shard whose rows stay the same is kept when others
//! are added; small shards are built anew as one larger one when there are four of a size.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use crate::error::{Error, Result};
use crate::index::cosine::{self, Queries};
use crate::index::exact::Exact;
use crate::index::exclude::Exclusion;
use crate::index::hnsw::Hnsw;
use crate::index::product;
use crate::index::quantize::Quantizer;
use crate::index::recall::{self, Report};
use crate::index::topk::Keep;
use crate::index::{EXTRA, Neighbours, hnsw_width};
use crate::progress::Progress;
use crate::store::atomic;
use crate::store::vectors::{self, Vectors};

/// Rows of the smallest shard; fewer are scanned.
const SHARD: usize = 16_384;

/// The largest shard is this many times smaller than all rows, and at least [`SHARD`].
const SHARDS: usize = 4;

/// Bytes of a file of vectors, about.
const FILE_BYTES: usize = 1 << 26;

/// Vectors, the shards over the older ones, and the scan of the rest.
pub struct Graph {
    vectors: Vectors,
    seed: u64,
    callers: usize,
    shards: Vec<Arc<Shard>>,
    rest: Rest,
}

struct Shard {
    range: Range<usize>,
    scale: f64,
    graph: Hnsw,
}

struct Rest {
    first: usize,
    vectors: Vectors,
    scale: f64,
    scan: Exact,
}

/// A file of a saved graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Its name in the folder, which says what is in it.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its XXH3-128 hash.
    pub hash: u128,
}

/// The shards of `rows` rows; the rows after the last shard are scanned.
///
/// Sizes are powers of four times 16,384, none larger than a quarter of all rows but the
/// smallest; larger ones come first.
#[must_use]
pub fn plan(rows: usize) -> Vec<Range<usize>> {
    let mut size = SHARD;
    while size * 4 <= rows / SHARDS {
        size *= 4;
    }
    let mut shards = Vec::new();
    let mut start = 0;
    while size >= SHARD {
        while rows - start >= size {
            shards.push(start..start + size);
            start += size;
        }
        size /= 4;
    }
    shards
}

impl Graph {
    /// A graph over `vectors` whose shards are not built yet, for at most `callers` searches at a
    /// time; more wait.
    ///
    /// # Errors
    ///
    /// [`Error::Retrieval`] for too many vectors or a value that is not a number.
    pub fn new(vectors: Vectors, seed: u64, callers: usize) -> Result<Self> {
        Self::keeping(&[], vectors, seed, callers)
    }

    /// This graph and then the rows of `more`; shards that stay the same are shared.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when the dimensions differ; else as [`Graph::new`].
    pub fn grown(&self, more: &Vectors) -> Result<Self> {
        Self::keeping(&self.shards, self.vectors.joined(more)?, self.seed, self.callers)
    }

    fn keeping(old: &[Arc<Shard>], vectors: Vectors, seed: u64, callers: usize) -> Result<Self> {
        product::obey_environment()?;
        if vectors.len() >= u32::MAX as usize {
            return Err(Error::Retrieval(format!(
                "{} vectors; an index holds fewer than {}, so make several",
                vectors.len(),
                u32::MAX
            )));
        }
        let plan = plan(vectors.len());
        let first = plan.last().map_or(0, |range| range.end);
        let shard = |range: Range<usize>| {
            if let Some(same) = old.iter().find(|shard| shard.range == range) {
                return Ok(Arc::clone(same));
            }
            let rows = vectors.slice(range.clone());
            let quantizer = Quantizer::fit(&rows, seed)?;
            let graph = Hnsw::of_shards(1, &rows, quantizer, callers);
            Ok(Arc::new(Shard { range, scale: f64::from(quantizer.scale()).powi(2), graph }))
        };
        let shards = plan.into_iter().map(shard).collect::<Result<_>>()?;
        let rest = vectors.slice(first..vectors.len());
        let quantizer = Quantizer::fit(&rest, seed)?;
        let rest = Rest {
            first,
            scale: f64::from(quantizer.scale()).powi(2),
            scan: Exact::new(&rest, quantizer, usize::MAX)?,
            vectors: rest,
        };
        Ok(Self { vectors, seed, callers, shards, rest })
    }

    /// The vectors.
    #[must_use]
    pub fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    /// What the samples are drawn with.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The number of shards.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// The shards that are to be built or loaded before a search.
    #[must_use]
    pub fn missing(&self) -> Vec<usize> {
        (0..self.shards.len()).filter(|&shard| !self.shards[shard].graph.has_shard(0)).collect()
    }

    /// The rows of shard `shard`.
    #[must_use]
    pub fn shard_rows(&self, shard: usize) -> Range<usize> {
        self.shards.get(shard).map_or(0..0, |shard| shard.range.clone())
    }

    /// Builds shard `shard` on this thread.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a shard that is not there; see [`Hnsw::build_shard`].
    pub fn build_shard(&self, shard: usize, progress: &Progress) -> Result<()> {
        let shard = self.shard(shard)?;
        shard.graph.build_shard(&self.vectors.slice(shard.range.clone()), 0, None, progress)
    }

    fn shard(&self, shard: usize) -> Result<&Shard> {
        self.shards.get(shard).map(AsRef::as_ref).ok_or_else(|| {
            Error::Config(format!("there is no shard {shard}: the index has {}", self.shards.len()))
        })
    }

    /// The `k` nearest rows of each query; each shard is searched `width * max(2 * k, 64)` wide,
    /// and the best `(width + 1) * k` and a few are ranked by the vectors.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for queries of other dimensions; see the engines.
    pub fn search(
        &self,
        queries: &Queries,
        k: usize,
        width: usize,
        progress: &Progress,
    ) -> Result<Neighbours> {
        if !queries.is_empty() && queries.dim() != self.vectors.dim() {
            return Err(Error::Config(format!(
                "the queries have {} dimensions, the vectors {}",
                queries.dim(),
                self.vectors.dim()
            )));
        }
        let most = k.saturating_mul(width + 1).saturating_add(EXTRA);
        let most = most.min(self.vectors.len());
        let ef = hnsw_width(k, width);
        let mut all: Vec<Vec<(f64, u32)>> = vec![Vec::new(); queries.len()];
        for shard in &self.shards {
            shard.graph.found(queries, ef, progress, |query, found| {
                all[query].extend(found.iter().map(|&(far, id)| {
                    ((1.0 - f64::from(far)) / shard.scale, id + shard.range.start as u32)
                }));
            })?;
        }
        let (rest, everyone) = (&self.rest, Exclusion::default());
        let others = queries.without_rows();
        // One more than wanted: the query's own row may be among them.
        let keep = Keep { sure: most.saturating_add(1), most: most.saturating_add(1), margin: 0 };
        let scanned = rest.scan.best(&rest.vectors, &others, &everyone, keep, progress)?;
        for (all, best) in all.iter_mut().zip(scanned) {
            all.extend(
                best.into_pairs()
                    .into_iter()
                    .map(|(score, id)| (f64::from(score) / rest.scale, id + rest.first as u32)),
            );
        }
        let mut found = Neighbours::with_capacity(queries.len(), k);
        let mut buffer = cosine::RankBuffer::default();
        for (query, mut best) in all.into_iter().enumerate() {
            progress.check()?;
            let own = everyone.of(queries.row_of(query));
            best.retain(|&(_, id)| !own.excludes(id));
            best.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            best.truncate(most);
            let ids = best.into_iter().map(|pair| pair.1).collect();
            cosine::rank(&self.vectors, queries, query, ids, k, &mut buffer, &mut found);
        }
        Ok(found)
    }

    /// Recall@k on a seeded sample of the rows, no two of which are copies, wider and wider until it
    /// is `min_recall`, and the share of copies among the rows drawn: a function of the rows, `k` and
    /// `min_recall` alone.
    ///
    /// # Errors
    ///
    /// What the search reports.
    pub fn measure(
        &self,
        k: usize,
        min_recall: f64,
        threads: usize,
        progress: &Progress,
    ) -> Result<(Report, f64)> {
        let (rows, dim) = (self.vectors.len(), self.vectors.dim());
        let sample = recall::distinct_sample(self.seed, rows, rows, dim, |row, out| {
            self.vectors.read(row..row + 1, out);
        });
        let queries = Queries::of_rows(&self.vectors, &sample.numbers);
        let everyone = Exclusion::default();
        let largest = self.shards.iter().map(|shard| shard.range.len()).max().unwrap_or(0);
        let truth = recall::in_parts(&queries, threads, k, |part| {
            cosine::search(&self.vectors, part, &everyone, k, progress)
        })?;
        let report = recall::widen(
            &truth,
            rows,
            1.into(),
            |search_width| {
                recall::in_parts(&queries, threads, k, |part| {
                    self.search(part, k, search_width.width, progress)
                })
            },
            |search_width| {
                let width = search_width.width;
                let more = hnsw_width(k, width) < largest || k.saturating_mul(width) < rows;
                more.then(|| (width * 2).into())
            },
            |measured, _| measured.reaches(min_recall),
        )?;
        Ok((report, sample.copies))
    }

    /// The rows of each file of vectors.
    #[must_use]
    pub fn vector_files(&self) -> Vec<Range<usize>> {
        file_ranges(self.vectors.len(), self.vectors.dim())
    }

    /// Writes file `number` of the vectors to `folder`, under a name that says what is in it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when it cannot be written.
    pub fn save_vectors(&self, folder: &Path, number: usize) -> Result<Saved> {
        let range = self.vector_files()[number].clone();
        keep(folder, "vectors", &range, "npy", &vectors::npy_bytes(&self.vectors, range.clone()))
    }

    /// Writes shard `shard` to `folder`, under a name that says what is in it.
    ///
    /// # Errors
    ///
    /// [`Error::Retrieval`] for a shard that is not built, [`Error::Io`] when it cannot be written.
    pub fn save_shard(&self, folder: &Path, shard: usize) -> Result<Saved> {
        let shard = self.shard(shard)?;
        keep(folder, "shard", &shard.range, "usearch", &shard.graph.shard_file(0)?)
    }

    /// Loads shard `shard` from a file that [`Graph::save_shard`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Retrieval`] for a file that is not this shard.
    pub fn load_shard(
        &self,
        folder: &Path,
        shard: usize,
        saved: &Saved,
        progress: &Progress,
    ) -> Result<()> {
        checked(folder, saved, progress)?;
        let shard = self.shard(shard)?;
        let path = folder.join(&saved.name);
        // A graph in a file has a shard's own numbers, from 0.
        let vectors = self.vectors.slice(shard.range.clone());
        shard.graph.load_shard_file(&vectors, 0, &path).map_err(damaged)
    }
}

/// The vectors that [`Graph::save_vectors`] wrote.
///
/// # Errors
///
/// [`Error::Retrieval`] for files that are damaged or others.
pub fn load_vectors(
    folder: &Path,
    files: &[Saved],
    rows: usize,
    dim: usize,
    progress: &Progress,
) -> Result<Vectors> {
    let mut paths = Vec::new();
    for saved in files {
        checked(folder, saved, progress)?;
        paths.push(folder.join(&saved.name));
    }
    let vectors =
        if paths.is_empty() { Vectors::from_f32(&[], dim) } else { Vectors::open(&paths) };
    let vectors = vectors.map_err(damaged)?;
    if (vectors.len(), vectors.dim()) != (rows, dim) {
        return Err(Error::Retrieval(format!(
            "{}: {} vectors of {} dimensions where {rows} of {dim} should be; build the index again",
            folder.display(),
            vectors.len(),
            vectors.dim()
        )));
    }
    Ok(vectors)
}

fn file_ranges(rows: usize, dim: usize) -> Vec<Range<usize>> {
    let size = (FILE_BYTES / (2 * dim.max(1))).max(1);
    (0..rows).step_by(size).map(|start| start..(start + size).min(rows)).collect()
}

fn keep(folder: &Path, what: &str, rows: &Range<usize>, end: &str, bytes: &[u8]) -> Result<Saved> {
    let hash = xxh3_128(bytes);
    let name = format!("{what}-{}-{}-{hash:032x}.{end}", rows.start, rows.end);
    let path = folder.join(&name);
    let same = |path: &Path| atomic::map(path).is_ok_and(|there| there[..] == *bytes);
    if !same(&path) {
        atomic::write_bytes(&path, bytes)?;
    }
    Ok(Saved { name, bytes: bytes.len() as u64, hash })
}

fn checked(folder: &Path, saved: &Saved, progress: &Progress) -> Result<()> {
    let path = folder.join(&saved.name);
    let wrong =
        |why: String| Error::Retrieval(format!("{}: {why}; build the index again", path.display()));
    let found = std::fs::metadata(&path).map_err(|error| wrong(error.to_string()))?;
    if !found.is_file() || found.len() != saved.bytes {
        return Err(wrong(format!("{} bytes, not {}", found.len(), saved.bytes)));
    }
    if atomic::hash(&path, progress)? != saved.hash {
        return Err(wrong("the file is damaged: its hash has changed".into()));
    }
    Ok(())
}

fn damaged(error: Error) -> Error {
    match error {
        Error::Run(text) => Error::Retrieval(text),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_few_shards_in_a_row_and_leaves_few_rows() {
        for rows in [0, 1, 16_383, 16_384, 100_000, 1 << 20, 5_000_001, 1 << 30] {
            let plan = plan(rows);
            let mut end = 0;
            for range in &plan {
                assert_eq!(range.start, end);
                end = range.end;
            }
            assert!(rows - end < SHARD);
            assert!(plan.len() <= 4 * SHARDS + 3 * 8, "{rows}: {}", plan.len());
        }
    }

    #[test]
    fn growing_by_a_little_keeps_most_shards() {
        let (before, after) = (plan(1_000_000), plan(1_016_384));
        assert!(before.iter().filter(|range| !after.contains(range)).count() <= 4);
    }
}
