//! Inverted lists: every row is in the list of its nearest centroid.
//!
//! In: vectors. Out: for each list its row numbers, rising, and the rows in int8: from
//! `lists.npy` (centroids, then the rows list by list), or gathered from the vectors.

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::index::kmeans::Centroids;
use crate::index::quantize::Quantizer;
use crate::index::row_cache::RowCache;
use crate::parallel;
use crate::progress::Progress;
use crate::seed;
use crate::store::{Vectors, huge_pages::HugePages, npy};

/// Rows per task when rows are assigned to lists.
const TASK: usize = 16_384;

/// Maximum number of lists.
const LIMIT: usize = 1 << 16;

/// Bytes of rows that are put in order at a time when they are written.
const WRITE_BYTES: usize = 1 << 30;

/// Rows that are compared when lists are loaded.
const CHECK: usize = 64;

/// Centroids, and the rows nearest to each.
pub struct InvertedLists {
    centroids: Centroids,
    /// List `l` holds the places `starts[l]..starts[l + 1]`.
    starts: Vec<usize>,
    /// The row at each place.
    rows: Vec<u32>,
    stored: StoredRows,
}

/// The rows in int8.
enum StoredRows {
    /// Quantized on each use.
    Nowhere,
    /// In memory, by number.
    ByRow(HugePages<i8>),
    /// On disk, by place.
    ByPlace(Bytes),
}

/// The number of lists for `rows` rows: about 3.25 times the square root.
#[must_use]
pub fn list_count(rows: usize) -> usize {
    let count = (rows.isqrt() * 13 / 4).clamp(1, LIMIT);
    let even = if count > 64 { count.next_multiple_of(32) } else { count };
    even.min(LIMIT).min(rows)
}

impl InvertedLists {
    /// Finds centroids and puts every row in the list of its nearest; caches the int8 rows if they take
    /// at most `cache_bytes`.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`] when asked to stop; [`Error::Retrieval`] without memory.
    pub fn build(
        vectors: &Vectors,
        quantizer: Quantizer,
        seed: u64,
        cache_bytes: usize,
        threads: usize,
        progress: &Progress,
    ) -> Result<Self> {
        let count = list_count(vectors.len());
        let row_cache = RowCache::new(vectors, quantizer, cache_bytes, threads, progress)?;
        let centroids = Centroids::fit(&row_cache, count, seed, threads, progress)?;
        let finder = centroids.finder(quantizer, seed, threads, progress)?;
        let tasks = vectors.len().div_ceil(TASK);
        let list_of = parallel::map(tasks, threads, |task| {
            let range = task * TASK..((task + 1) * TASK).min(vectors.len());
            let mut buffer = Vec::new();
            let nearest = finder.nearest(row_cache.rows(range.clone(), &mut buffer), progress)?;
            progress.add(range.len() as u64);
            Ok(nearest.into_iter().map(|pair| pair.1).collect::<Vec<u32>>())
        })?
        .concat();
        drop(finder);
        let mut starts = vec![0; count + 1];
        for &list in &list_of {
            starts[list as usize + 1] += 1;
        }
        for list in 0..count {
            starts[list + 1] += starts[list];
        }
        let mut next = starts.clone();
        let mut rows = vec![0; vectors.len()];
        for (row, &list) in list_of.iter().enumerate() {
            rows[next[list as usize]] = row as u32;
            next[list as usize] += 1;
        }
        let stored = row_cache.into_rows().map_or(StoredRows::Nowhere, StoredRows::ByRow);
        Ok(Self { centroids, starts, rows, stored })
    }

    /// Writes the lists to `folder` and from then on reads their rows there.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`] when asked to stop, [`Error::Io`] when a file cannot be written.
    pub fn write(
        &mut self,
        folder: &Path,
        vectors: &Vectors,
        quantizer: Quantizer,
        threads: usize,
        progress: &Progress,
    ) -> Result<()> {
        let dim = vectors.dim();
        npy::write(&folder.join("list-starts.npy"), npy::U64, &[self.starts.len()], |put| {
            self.starts.iter().try_for_each(|&start| put(&(start as u64).to_le_bytes()))
        })?;
        npy::write(&folder.join("list-rows.npy"), npy::U32, &[self.rows.len()], |put| {
            self.rows.iter().try_for_each(|row| put(&row.to_le_bytes()))
        })?;
        let shape = [self.centroids.len() + self.rows.len(), dim];
        npy::write(&folder.join("lists.npy"), npy::I8, &shape, |put| {
            put(bytemuck::cast_slice(self.centroids.values()))?;
            // Large parts, each read from the front of the vectors to the end.
            let part = if self.held_bytes() > 0 { TASK } else { (WRITE_BYTES / dim).max(1) };
            for start in (0..self.rows.len()).step_by(part) {
                let end = (start + part).min(self.rows.len());
                let slice = (end - start).div_ceil(threads.max(1));
                let parts = parallel::map((end - start).div_ceil(slice), threads, |number| {
                    let first = start + number * slice;
                    let places = first..(first + slice).min(end);
                    let mut values = vec![0; places.len() * dim];
                    progress.check()?;
                    self.read(places, vectors, quantizer, &mut values);
                    Ok(values)
                })?;
                for values in parts {
                    put(bytemuck::cast_slice(&values))?;
                }
            }
            Ok(())
        })?;
        self.stored = StoredRows::ByPlace(self.map(folder, dim)?);
        Ok(())
    }

    /// Loads the lists that [`InvertedLists::write`] left in `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Run`] for files that are damaged or of other vectors, [`Error::Io`] for files that
    /// cannot be read.
    pub fn load(folder: &Path, vectors: &Vectors, quantizer: Quantizer) -> Result<Self> {
        let (count, dim) = (list_count(vectors.len()), vectors.dim());
        let path = folder.join("list-starts.npy");
        let starts: Vec<usize> = npy::map(&path, npy::U64, &[Some(count + 1)])?
            .chunks_exact(8)
            .map(|bytes| u64::from_le_bytes(std::array::from_fn(|i| bytes[i])) as usize)
            .collect();
        if starts[0] != 0 || starts[count] != vectors.len() || !starts.is_sorted() {
            return Err(broken(&path));
        }
        let path = folder.join("list-rows.npy");
        let rows: Vec<u32> = npy::map(&path, npy::U32, &[Some(vectors.len())])?
            .chunks_exact(4)
            .map(|bytes| u32::from_le_bytes(std::array::from_fn(|i| bytes[i])))
            .collect();
        let mut seen = vec![false; rows.len()];
        for &row in &rows {
            match seen.get_mut(row as usize) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(broken(&path)),
            }
        }
        let mut lists = Self {
            centroids: Centroids::new(Vec::new(), dim)?,
            starts,
            rows,
            stored: StoredRows::Nowhere,
        };
        let path = folder.join("lists.npy");
        let shape = [Some(count + vectors.len()), Some(dim)];
        let all = npy::map(&path, npy::I8, &shape)?;
        let (head, _) = all.split_at(count * dim);
        lists.centroids = Centroids::new(bytemuck::cast_slice(head).to_vec(), dim)?;
        let stored = all.slice(count * dim..);
        let mut values = vec![0; dim];
        for place in seed::sample(0, "lists", vectors.len(), CHECK) {
            quantizer.gather(vectors, &lists.rows[place..=place], &mut values);
            if bytemuck::cast_slice::<i8, u8>(&values) != &stored[place * dim..][..dim] {
                return Err(broken(&path));
            }
        }
        lists.stored = StoredRows::ByPlace(stored);
        Ok(lists)
    }

    fn map(&self, folder: &Path, dim: usize) -> Result<Bytes> {
        let shape = [Some(self.centroids.len() + self.rows.len()), Some(dim)];
        let all = npy::map(&folder.join("lists.npy"), npy::I8, &shape)?;
        Ok(all.slice(self.centroids.len() * dim..))
    }

    /// The centroids, one per list.
    #[must_use]
    pub fn centroids(&self) -> &Centroids {
        &self.centroids
    }

    /// The number of lists.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The list of the row at a place.
    #[must_use]
    pub fn list_at(&self, place: usize) -> usize {
        self.starts.partition_point(|&start| start <= place) - 1
    }

    /// The places of list `list`.
    #[must_use]
    pub fn places(&self, list: usize) -> Range<usize> {
        self.starts[list]..self.starts[list + 1]
    }

    /// The row numbers at some places.
    #[must_use]
    pub fn rows(&self, places: Range<usize>) -> &[u32] {
        &self.rows[places]
    }

    /// Copies the int8 rows at some places to `out`.
    ///
    /// # Panics
    ///
    /// When `out` is not as long as the rows.
    pub fn read(
        &self,
        places: Range<usize>,
        vectors: &Vectors,
        quantizer: Quantizer,
        out: &mut [i8],
    ) {
        let dim = vectors.dim();
        if !self.copy(places.clone(), dim, out) {
            quantizer.gather(vectors, self.rows(places), out);
        }
    }

    /// Copies the int8 rows at some places to `out` if they are stored; true if they are.
    ///
    /// # Panics
    ///
    /// As [`InvertedLists::read`].
    pub fn copy(&self, places: Range<usize>, dim: usize, out: &mut [i8]) -> bool {
        assert_eq!(out.len(), places.len() * dim, "`out` holds the rows");
        match &self.stored {
            StoredRows::Nowhere => return false,
            StoredRows::ByRow(held) => {
                for (&row, out) in self.rows(places).iter().zip(out.chunks_exact_mut(dim)) {
                    out.copy_from_slice(&held[row as usize * dim..][..dim]);
                }
            }
            StoredRows::ByPlace(stored) => {
                let stored = &stored[places.start * dim..places.end * dim];
                out.copy_from_slice(bytemuck::cast_slice(stored));
            }
        }
        true
    }

    /// Bytes of the rows in memory: 0 once the lists are written.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        if let StoredRows::ByRow(held) = &self.stored { held.len() } else { 0 }
    }

    /// The place of each row.
    #[must_use]
    pub fn places_of_rows(&self) -> Vec<u32> {
        let mut places = vec![0; self.rows.len()];
        for (place, &row) in self.rows.iter().enumerate() {
            places[row as usize] = place as u32;
        }
        places
    }
}

fn broken(path: &Path) -> Error {
    Error::Run(format!("{}: the index of other vectors; build the index again", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_lists_follows_from_the_rows() {
        let counts = [0, 1, 2, 100, 100_000, 500_000, 10_000_000, 1_000_000_000];
        assert_eq!(counts.map(list_count), [0, 1, 2, 32, 1056, 2304, 10_304, 65_536]);
    }
}
