//! HNSW by usearch, in shards: an index that is kept and searched later.
//!
//! The number of shards follows from the number of rows alone and one thread builds each, so a
//! shard is the same bytes every time. All shards are searched and what they find is merged.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use crate::error::{Error, Result};
use crate::index::cosine::Queries;
use crate::index::exclude::Exclusion;
use crate::index::quantize::Quantizer;
use crate::index::shard_file;
use crate::index::topk::Keep;
use crate::parallel::lock;
use crate::progress::Progress;
use crate::seed;
use crate::store::{Vectors, atomic};

/// Rows of a shard when there are few.
const SMALL_SHARD: usize = 32_768;

/// Rows of a shard when there are very many.
const LARGE_SHARD: usize = 4_194_304;

/// Shards aimed at between the two: enough to build in parallel, few enough to search.
const SHARDS: usize = 16;

/// Links of a node; twice as many on the lowest level.
const LINKS: usize = 16;

/// Nodes looked at when a row is added.
const BUILD_WIDTH: usize = 128;

/// Rows that are compared when a shard is loaded.
const CHECK: usize = 64;

/// The sharded graph; a shard is there once it was built or loaded.
pub struct Hnsw {
    quantizer: Quantizer,
    rows: usize,
    dim: usize,
    shards: Vec<OnceLock<Index>>,
    seats: Seats,
}

impl Hnsw {
    /// An index without shards yet, for at most `callers` searches at a time.
    #[must_use]
    pub fn new(vectors: &Vectors, quantizer: Quantizer, callers: usize) -> Self {
        Self::of_shards(shard_count(vectors.len()), vectors, quantizer, callers)
    }

    /// An index of that many shards, otherwise as [`Hnsw::new`].
    #[must_use]
    pub fn of_shards(
        shards: usize,
        vectors: &Vectors,
        quantizer: Quantizer,
        callers: usize,
    ) -> Self {
        Self {
            quantizer,
            rows: vectors.len(),
            dim: vectors.dim(),
            shards: (0..shards).map(|_| OnceLock::new()).collect(),
            seats: Seats::new(callers.max(1)),
        }
    }

    /// The number of shards, fixed by the number of rows.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Where shard `shard` is kept in `folder`.
    #[must_use]
    pub fn shard_path(folder: &Path, shard: usize) -> PathBuf {
        folder.join(format!("shard-{shard:04}.usearch"))
    }

    fn shard_rows(&self, shard: usize) -> Range<usize> {
        let count = self.shards.len();
        shard * self.rows / count..(shard + 1) * self.rows / count
    }

    /// Builds shard `shard` on this thread and, with a `folder`, writes it there whole.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`] when asked to stop, [`Error::Retrieval`] when usearch fails,
    /// [`Error::Io`] when the file cannot be written.
    pub fn build_shard(
        &self,
        vectors: &Vectors,
        shard: usize,
        folder: Option<&Path>,
        progress: &Progress,
    ) -> Result<()> {
        let range = self.shard_rows(shard);
        let index = self.empty()?;
        // One slot while it is built: each slot draws levels of its own.
        index.reserve_capacity_and_threads(range.len(), 1).map_err(failed)?;
        let mut rows = vec![0; 64 * self.dim];
        for start in range.clone().step_by(64) {
            progress.check()?;
            let stop = (start + 64).min(range.end);
            let rows = &mut rows[..(stop - start) * self.dim];
            self.quantizer.rows(vectors, start..stop, rows);
            for (row, values) in (start..stop).zip(rows.chunks_exact(self.dim)) {
                index.add(row as u64, values).map_err(failed)?;
            }
            progress.add((stop - start) as u64);
        }
        if let Some(folder) = folder {
            atomic::write_bytes(&Self::shard_path(folder, shard), &file_of(&index)?)?;
        }
        self.seat(shard, index)
    }

    /// The file of shard `shard`.
    ///
    /// # Errors
    ///
    /// [`Error::Retrieval`] when the shard is missing or usearch fails.
    pub fn shard_file(&self, shard: usize) -> Result<Vec<u8>> {
        file_of(self.built()?[shard])
    }

    /// True if shard `shard` is there.
    #[must_use]
    pub fn has_shard(&self, shard: usize) -> bool {
        self.shards[shard].get().is_some()
    }

    /// Loads shard `shard` from `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Run`] for a file that is not this shard, [`Error::Io`] for one that cannot be read.
    pub fn load_shard(&self, vectors: &Vectors, shard: usize, folder: &Path) -> Result<()> {
        self.load_shard_file(vectors, shard, &Self::shard_path(folder, shard))
    }

    /// Loads shard `shard` from the file `path`, every link of which is checked: usearch follows
    /// them unseen. Some rows are compared with the vectors.
    ///
    /// # Errors
    ///
    /// As [`Hnsw::load_shard`].
    pub fn load_shard_file(&self, vectors: &Vectors, shard: usize, path: &Path) -> Result<()> {
        let bytes = atomic::map(path)?;
        let broken =
            |why: &str| Error::Run(format!("{}: {why}; build the index again", path.display()));
        let rows = self.shard_rows(shard);
        shard_file::check(&bytes, rows.clone(), self.dim, LINKS).map_err(broken)?;
        let mut values = vec![0; self.dim];
        for row in seed::sample(0, "shards", rows.len(), CHECK) {
            let number = rows.start + row;
            self.quantizer.rows(vectors, number..number + 1, &mut values);
            if !shard_file::row(&bytes, row, self.dim).eq(values.iter().copied()) {
                return Err(broken("the index of other vectors"));
            }
        }
        let head =
            Index::metadata_from_buffer(&bytes).map_err(|_| broken("not a usearch index"))?;
        if head.dimensions != self.dim as u64
            || head.count_present != rows.len() as u64
            || head.count_deleted != 0
            || head.quantization != ScalarKind::I8
            || head.metric != MetricKind::IP
        {
            return Err(broken("the index of other vectors"));
        }
        let index = self.empty()?;
        index.load_from_buffer(&bytes).map_err(|error| broken(&error.to_string()))?;
        self.seat(shard, index)
    }

    fn empty(&self) -> Result<Index> {
        Index::new(&IndexOptions {
            dimensions: self.dim,
            // The distance is 1 - the exact integer product: the order of the exact scan.
            metric: MetricKind::IP,
            quantization: ScalarKind::I8,
            connectivity: LINKS,
            expansion_add: BUILD_WIDTH,
            // A search is as wide as the number of results it asks for.
            expansion_search: 1,
            multi: false,
        })
        .map_err(failed)
    }

    fn seat(&self, shard: usize, index: Index) -> Result<()> {
        index.reserve_capacity_and_threads(index.size(), self.seats.count).map_err(failed)?;
        let _ = self.shards[shard].set(index); // A shard that is there already is the same one.
        Ok(())
    }

    /// The instruction set that the distances of the first shard use.
    #[must_use]
    pub fn kernel(&self) -> String {
        self.shards
            .iter()
            .find_map(|shard| shard.get())
            .map_or_else(String::new, Index::hardware_acceleration)
    }

    /// The best rows of each query, as many as `keep` says, among those that a search `width` wide
    /// finds in each shard.
    ///
    /// # Errors
    ///
    /// [`Error::Retrieval`] when a shard is missing or usearch fails; [`Error::Cancelled`].
    pub fn candidates(
        &self,
        queries: &Queries,
        exclusion: &Exclusion,
        keep: Keep,
        width: usize,
        progress: &Progress,
    ) -> Result<Vec<Vec<u32>>> {
        let shards = self.built()?;
        let _seat = self.seats.take();
        let (mut values, mut buffer) = (vec![0i8; self.dim], Vec::new());
        let mut all = Vec::with_capacity(queries.len());
        let mut found: Vec<(f32, u32)> = Vec::new();
        for query in 0..queries.len() {
            progress.check()?;
            self.quantizer.row(queries.values(query..query + 1), &mut buffer, &mut values);
            let own = exclusion.of(queries.row_of(query));
            found.clear();
            for index in &shards {
                let pairs = search(index, &values, width)?;
                found.extend(pairs.into_iter().filter(|&(_, id)| !own.excludes(id)));
            }
            found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            found.truncate(keep.most);
            if let Some(&(last, _)) = keep.sure.checked_sub(1).and_then(|last| found.get(last)) {
                // Distances are 1 - the product.
                let far = f64::from(last) + f64::from(keep.margin);
                found.retain(|pair| f64::from(pair.0) <= far);
            }
            all.push(found.iter().map(|pair| pair.1).collect());
        }
        Ok(all)
    }
}

impl Hnsw {
    /// What a search `width` wide finds for each query in all shards, with 1 - the product.
    ///
    /// # Errors
    ///
    /// As [`Hnsw::candidates`].
    pub fn found(
        &self,
        queries: &Queries,
        width: usize,
        progress: &Progress,
        mut see: impl FnMut(usize, &[(f32, u32)]),
    ) -> Result<()> {
        let shards = self.built()?;
        let _seat = self.seats.take();
        let (mut values, mut buffer) = (vec![0i8; self.dim], Vec::new());
        for query in 0..queries.len() {
            progress.check()?;
            self.quantizer.row(queries.values(query..query + 1), &mut buffer, &mut values);
            for index in &shards {
                see(query, &search(index, &values, width)?);
            }
        }
        Ok(())
    }

    fn built(&self) -> Result<Vec<&Index>> {
        let shards: Vec<&Index> = self.shards.iter().map_while(|shard| shard.get()).collect();
        if shards.len() < self.shards.len() {
            return Err(Error::Retrieval(format!(
                "shard {} of {} is not built yet; build or load all shards first",
                shards.len(),
                self.shards.len()
            )));
        }
        Ok(shards)
    }
}

fn search(index: &Index, values: &[i8], width: usize) -> Result<Vec<(f32, u32)>> {
    let found = index.search(values, width.min(index.size())).map_err(failed)?;
    Ok(found.distances.iter().zip(&found.keys).map(|(&far, &id)| (far, id as u32)).collect())
}

fn file_of(index: &Index) -> Result<Vec<u8>> {
    let mut bytes = vec![0; index.serialized_length()];
    index.save_to_buffer(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The number of shards that `rows` rows are cut into.
pub(super) fn shard_count(rows: usize) -> usize {
    rows.div_ceil(rows.div_ceil(SHARDS).clamp(SMALL_SHARD, LARGE_SHARD))
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Retrieval(format!("usearch: {error}"))
}

/// Places for searches: more callers at a time than usearch has slots would crash it.
struct Seats {
    count: usize,
    free: Mutex<usize>,
    changed: Condvar,
}

impl Seats {
    fn new(count: usize) -> Self {
        Self { count, free: Mutex::new(count), changed: Condvar::new() }
    }

    fn take(&self) -> Seat<'_> {
        let free = lock(&self.free);
        let waited = self.changed.wait_while(free, |free| *free == 0);
        *waited.unwrap_or_else(PoisonError::into_inner) -= 1;
        Seat(self)
    }
}

struct Seat<'a>(&'a Seats);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_shards_follows_from_the_rows() {
        let counts = [0, 1, 32_768, 32_769, 100_000, 524_288, 10_000_000, 1_000_000_000];
        assert_eq!(counts.map(shard_count), [0, 1, 1, 2, 4, 16, 16, 239]);
    }

    #[test]
    fn a_seat_is_given_back() {
        let seats = Seats::new(1);
        drop(seats.take());
        let _again = seats.take();
        assert_eq!(*seats.free.lock().expect("lock"), 0);
    }
}
