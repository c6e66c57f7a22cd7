//! A cache of the int8 rows, used while inverted lists are built: all rows if they fit, otherwise rows
//! are quantized on each use.
//!
//! In: vectors. Out: int8 rows, the same either way.

use std::ops::Range;

use crate::error::Result;
use crate::index::quantize::Quantizer;
use crate::parallel;
use crate::progress::Progress;
use crate::store::{Vectors, huge_pages::HugePages};

/// Rows per task.
const TASK: usize = 4096;

/// The int8 rows of some vectors.
pub(super) struct RowCache<'a> {
    vectors: &'a Vectors,
    quantizer: Quantizer,
    rows: Option<HugePages<i8>>,
}

impl<'a> RowCache<'a> {
    /// Quantizes all rows if they take at most `cache_bytes`.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Cancelled`] when asked to stop; [`crate::Error::Retrieval`] without memory.
    pub fn new(
        vectors: &'a Vectors,
        quantizer: Quantizer,
        cache_bytes: usize,
        threads: usize,
        progress: &Progress,
    ) -> Result<Self> {
        let (count, dim) = (vectors.len(), vectors.dim());
        if count.saturating_mul(dim) > cache_bytes {
            return Ok(Self { vectors, quantizer, rows: None });
        }
        let mut rows = HugePages::zeros(count * dim)?;
        parallel::map_parts(rows.chunks_mut((TASK * dim).max(1)), threads, |task, out| {
            progress.check()?;
            quantizer.rows(vectors, task * TASK..((task + 1) * TASK).min(count), out);
            Ok(())
        })?;
        Ok(Self { vectors, quantizer, rows: Some(rows) })
    }

    /// The vectors.
    pub fn vectors(&self) -> &'a Vectors {
        self.vectors
    }

    /// The quantizer.
    pub fn quantizer(&self) -> Quantizer {
        self.quantizer
    }

    /// The rows of `range`, borrowed from the cache or quantized into `buffer`.
    pub fn rows<'b>(&'b self, range: Range<usize>, buffer: &'b mut Vec<i8>) -> &'b [i8] {
        let dim = self.vectors.dim();
        if let Some(held) = &self.rows {
            return &held[range.start * dim..range.end * dim];
        }
        buffer.resize(range.len() * dim, 0);
        self.quantizer.rows(self.vectors, range, buffer);
        buffer
    }

    /// Copies the rows of those numbers to `out`, row after row.
    pub fn gather(&self, rows: &[u32], out: &mut [i8]) {
        let dim = self.vectors.dim();
        let Some(held) = &self.rows else {
            return self.quantizer.gather(self.vectors, rows, out);
        };
        for (&row, out) in rows.iter().zip(out.chunks_exact_mut(dim)) {
            out.copy_from_slice(&held[row as usize * dim..][..dim]);
        }
    }

    /// All rows, if they are cached.
    pub fn into_rows(self) -> Option<HugePages<i8>> {
        self.rows
    }
}
