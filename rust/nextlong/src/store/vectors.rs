//! Embeddings: `[n, d]` float16, row-major, memory-mapped from `.npy` parts, or in memory.
//!
//! In: `embed/part-*.npy`. Out: rows in f32, the exact values for ranking and recall.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::error::{Error, Result};
use crate::store::{huge_pages::HugePages, npy};

/// Minimum rows of a part that is not merged with its neighbour.
const WHOLE_PART: usize = 1 << 16;

/// The rows of one or more parts, numbered through.
#[derive(Debug, Clone)]
pub struct Vectors {
    dim: usize,
    parts: Vec<Part>,
    starts: Vec<usize>,
}

/// Contiguous rows.
#[derive(Debug, Clone)]
enum Part {
    /// Little-endian float16.
    Half(Bytes),
    /// Full precision: the values from `.1` on.
    Full(Arc<HugePages<f32>>, usize),
}

impl Vectors {
    /// Maps the parts in the given order and checks that each is float16 `[n, d]` with one `d`.
    ///
    /// # Errors
    ///
    /// [`Error::Run`] for a file that is not such an array, [`Error::Io`] for one that cannot be read.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut vectors = Self { dim: 0, parts: Vec::new(), starts: vec![0] };
        for path in paths {
            let (rows, dim, data) = read_npy(path)?;
            if vectors.dim != 0 && dim != vectors.dim {
                return Err(Error::Run(format!(
                    "{}: {dim} dimensions, the parts before it have {}",
                    path.display(),
                    vectors.dim
                )));
            }
            vectors.dim = dim;
            vectors.starts.push(vectors.len() + rows);
            vectors.parts.push(Part::Half(data));
        }
        Ok(vectors)
    }

    /// Rows in memory as float16, as one part.
    ///
    /// # Errors
    ///
    /// [`Error::Embedding`] when `values` is not a whole number of rows of `dim`.
    pub fn from_f32(values: &[f32], dim: usize) -> Result<Self> {
        let bytes: Vec<u8> =
            values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect();
        Self::of_part(Part::Half(Bytes::from(bytes)), values.len(), dim)
    }

    /// Rows in memory at full precision, as one part, copied on `threads` threads.
    ///
    /// # Errors
    ///
    /// [`Error::Embedding`] when `values` is not a whole number of rows of `dim`; [`Error::Retrieval`]
    /// without memory.
    pub fn in_full(values: &[f32], dim: usize, threads: usize) -> Result<Self> {
        let copy = HugePages::of(values, threads)?;
        Self::of_part(Part::Full(Arc::new(copy), 0), values.len(), dim)
    }

    fn of_part(part: Part, values: usize, dim: usize) -> Result<Self> {
        if dim == 0 || !values.is_multiple_of(dim) {
            return Err(Error::Embedding(format!(
                "{values} values are not a multiple of dim {dim}"
            )));
        }
        Ok(Self { dim, parts: vec![part], starts: vec![0, values / dim] })
    }

    /// The rows of `range` alone, not copied.
    ///
    /// # Panics
    ///
    /// When `range` passes the end.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.end <= self.len(), "`range` ends with the rows");
        let mut some = Self { dim: self.dim, parts: Vec::new(), starts: vec![0] };
        for (part, bounds) in self.parts.iter().zip(self.starts.windows(2)) {
            let (start, stop) = (range.start.max(bounds[0]), range.end.min(bounds[1]));
            if start < stop {
                let (first, last) = ((start - bounds[0]) * self.dim, (stop - bounds[0]) * self.dim);
                some.parts.push(match part {
                    Part::Half(bytes) => Part::Half(bytes.slice(first * 2..last * 2)),
                    Part::Full(values, from) => Part::Full(Arc::clone(values), from + first),
                });
                some.starts.push(some.len() + stop - start);
            }
        }
        some
    }

    /// These rows followed by those of `more`; small parts are merged, in float16.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when the dimensions differ.
    pub fn joined(&self, more: &Self) -> Result<Self> {
        if self.dim != more.dim {
            return Err(Error::Config(format!(
                "the vectors have {} dimensions, those of the index {}",
                more.dim, self.dim
            )));
        }
        let mut all = Self { dim: more.dim, parts: Vec::new(), starts: vec![0] };
        for vectors in [self, more] {
            for (part, bounds) in vectors.parts.iter().zip(vectors.starts.windows(2)) {
                all.parts.push(part.clone());
                all.starts.push(all.len() + bounds[1] - bounds[0]);
                // Each row is copied a logarithmic number of times, however few are added at once.
                while all.last_two_are_small() {
                    all.merge_last_two();
                }
            }
        }
        Ok(all)
    }

    fn last_two_are_small(&self) -> bool {
        let &[.., first, second, end] = self.starts.as_slice() else { return false };
        second - first < WHOLE_PART && second - first <= 2 * (end - second)
    }

    fn merge_last_two(&mut self) {
        let count = self.parts.len();
        let range = self.starts[count - 2]..self.len();
        let bytes = self.half_bytes(range);
        self.parts.truncate(count - 2);
        self.starts.remove(count - 1);
        self.parts.push(Part::Half(Bytes::from(bytes)));
    }

    /// The rows of `range` as little-endian float16.
    ///
    /// # Panics
    ///
    /// When `range` passes the end.
    #[must_use]
    pub fn half_bytes(&self, range: Range<usize>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(range.len() * self.dim * 2);
        for part in self.slice(range).parts_with_rows() {
            match part {
                (Part::Half(some), _) => bytes.extend_from_slice(some),
                (Part::Full(values, from), rows) => bytes.extend(
                    values[*from..from + rows * self.dim]
                        .iter()
                        .flat_map(|&value| f16::from_f32(value).to_le_bytes()),
                ),
            }
        }
        bytes
    }

    fn parts_with_rows(&self) -> impl Iterator<Item = (&Part, usize)> {
        self.parts.iter().zip(self.starts.windows(2).map(|bounds| bounds[1] - bounds[0]))
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// True if there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of values in a row.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Copies the rows of `range` into `out` (`[rows, d]` f32, row-major).
    ///
    /// # Panics
    ///
    /// When `out` has another length than the rows, or `range` passes the end.
    pub fn read(&self, range: Range<usize>, out: &mut [f32]) {
        assert_eq!(out.len(), range.len() * self.dim, "`out` holds the rows of `range`");
        let mut row = range.start;
        let mut rest = out;
        while row < range.end {
            let part = self.starts.partition_point(|&start| start <= row) - 1;
            let stop = self.starts[part + 1].min(range.end);
            let local = row - self.starts[part]..stop - self.starts[part];
            let (now, later) = rest.split_at_mut((stop - row) * self.dim);
            let values = local.start * self.dim..local.end * self.dim;
            match &self.parts[part] {
                Part::Half(bytes) => widen(&bytes[values.start * 2..values.end * 2], now),
                Part::Full(all, from) => {
                    now.copy_from_slice(&all[from + values.start..from + values.end]);
                }
            }
            rest = later;
            row = stop;
        }
    }
}

impl Vectors {
    /// Row `row`, borrowed if it is f32, otherwise widened into `buffer`.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    #[must_use]
    pub fn row<'a>(&'a self, row: usize, buffer: &'a mut Vec<f32>) -> &'a [f32] {
        let part = self.starts.partition_point(|&start| start <= row) - 1;
        let local = (row - self.starts[part]) * self.dim;
        match &self.parts[part] {
            Part::Half(bytes) => {
                buffer.resize(self.dim, 0.0);
                widen(&bytes[local * 2..(local + self.dim) * 2], buffer);
                buffer
            }
            Part::Full(all, from) => &all[from + local..from + local + self.dim],
        }
    }
}

/// Little-endian float16 bytes to f32, by blocks so that the compiler and `half` use the hardware.
fn widen(bytes: &[u8], out: &mut [f32]) {
    let mut block = [f16::ZERO; 256];
    for (bytes, out) in bytes.chunks(512).zip(out.chunks_mut(256)) {
        for (value, pair) in block.iter_mut().zip(bytes.chunks_exact(2)) {
            *value = f16::from_le_bytes([pair[0], pair[1]]);
        }
        block[..out.len()].convert_to_f32_slice(out);
    }
}

/// Writes rows as a float16 `.npy` file, which appears when it is complete.
///
/// # Errors
///
/// What the file system reports.
pub fn write_npy(path: &Path, values: &[f16], dim: usize) -> Result<()> {
    npy::write(path, npy::F16, &[values.len() / dim, dim], |put| {
        let mut bytes = Vec::with_capacity(1 << 16);
        for block in values.chunks(1 << 15) {
            bytes.clear();
            bytes.extend(block.iter().flat_map(|value| value.to_le_bytes()));
            put(&bytes)?;
        }
        Ok(())
    })
}

/// The float16 `.npy` file of the rows of `range`.
///
/// # Panics
///
/// When `range` passes the end.
#[must_use]
pub(crate) fn npy_bytes(vectors: &Vectors, range: Range<usize>) -> Vec<u8> {
    let mut bytes = npy::header(npy::F16, &[range.len(), vectors.dim()]);
    bytes.extend(vectors.half_bytes(range));
    bytes
}

/// The number of rows of a float16 `.npy` file, their dimension and their bytes.
fn read_npy(path: &Path) -> Result<(usize, usize, Bytes)> {
    let again = "make the run again";
    let (shape, bytes) = npy::read(path, npy::F16, again)?;
    match *shape.as_slice() {
        [rows, dim] if dim > 0 => Ok((rows, dim, bytes)),
        _ => Err(npy::broken(path, "its shape is not [rows, dimensions]", again)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_back_as_one_array() {
        let folder = tempfile::tempdir().expect("a folder");
        let rows: Vec<f32> = (0..5 * 300).map(|value| (value % 97) as f32).collect();
        let mut paths = Vec::new();
        for (number, part) in rows.chunks(2 * 300).enumerate() {
            let path = folder.path().join(format!("part-{number}.npy"));
            let part: Vec<f16> = part.iter().map(|&value| f16::from_f32(value)).collect();
            write_npy(&path, &part, 300).expect("written");
            paths.push(path);
        }
        let vectors = Vectors::open(&paths).expect("opened");
        assert_eq!((vectors.len(), vectors.dim()), (5, 300));
        let mut out = vec![0.0; 3 * 300];
        vectors.read(1..4, &mut out);
        assert_eq!(out, rows[300..4 * 300]);
    }

    #[test]
    fn slices_and_joined_rows_are_the_rows() {
        let rows: Vec<f32> = (0..40 * 3).map(|value| value as f32).collect();
        for full in [false, true] {
            let hold = |values: &[f32], dim| {
                if full { Vectors::in_full(values, dim, 2) } else { Vectors::from_f32(values, dim) }
            };
            let mut joined = hold(&[], 3).expect("vectors");
            for part in rows.chunks(7 * 3) {
                joined = joined.joined(&hold(part, 3).expect("vectors")).expect("joined");
            }
            assert_eq!(joined.len(), 40);
            assert!(joined.parts.len() < 5);
            for (start, stop) in [(0, 40), (6, 9), (13, 40), (20, 20)] {
                let some = joined.slice(start..stop);
                let mut out = vec![0.0; (stop - start) * 3];
                some.read(0..some.len(), &mut out);
                assert_eq!(out, rows[start * 3..stop * 3]);
            }
            assert!(joined.joined(&hold(&[1.0; 4], 4).expect("vectors")).is_err());
        }
    }

    #[test]
    fn a_damaged_part_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("part.npy");
        write_npy(&path, &[f16::ONE; 8], 4).expect("written");
        let whole = std::fs::read(&path).expect("read");
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).expect("cut");
            assert!(matches!(Vectors::open(std::slice::from_ref(&path)), Err(Error::Run(_))));
        }
    }
}
