//! The rows in int8 while lists are made of them: all of them where they fit, made when they are
//! asked for where not.
//!
//! In: vectors. Out: int8 rows, the same either way.

use std::ops::Range;

use crate::error::Result;
use crate::index::quantize::Quantizer;
use crate::parallel;
use crate::progress::Progress;
use crate::store::Vectors;
use crate::store::huge_pages::HugePages;

/// Rows of one task.
const TASK: usize = 4096;

/// See the module.
pub(super) struct RowCache<'a> {
    vectors: &'a Vectors,
    quantizer: Quantizer,
    held: Option<HugePages<i8>>,
}

impl<'a> RowCache<'a> {
    /// Makes all rows int8 if they take at most `room` bytes.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Cancelled`] when asked to stop; [`crate::Error::Retrieval`] without memory.
    pub fn new(
        vectors: &'a Vectors,
        quantizer: Quantizer,
        room: usize,
        threads: usize,
        progress: &Progress,
    ) -> Result<Self> {
        let (count, dim) = (vectors.len(), vectors.dim());
        if count.saturating_mul(dim) > room {
            return Ok(Self { vectors, quantizer, held: None });
        }
        let mut held = HugePages::zeros(count * dim)?;
        parallel::map_parts(held.chunks_mut((TASK * dim).max(1)), threads, |task, out| {
            progress.check()?;
            quantizer.rows(vectors, task * TASK..((task + 1) * TASK).min(count), out);
            Ok(())
        })?;
        Ok(Self { vectors, quantizer, held: Some(held) })
    }

    /// The vectors that they are made of.
    pub fn vectors(&self) -> &'a Vectors {
        self.vectors
    }

    /// What makes them.
    pub fn quantizer(&self) -> Quantizer {
        self.quantizer
    }

    /// The rows of `range`, where they are held or made in `room`.
    pub fn rows<'b>(&'b self, range: Range<usize>, room: &'b mut Vec<i8>) -> &'b [i8] {
        let dim = self.vectors.dim();
        if let Some(held) = &self.held {
            return &held[range.start * dim..range.end * dim];
        }
        room.resize(range.len() * dim, 0);
        self.quantizer.rows(self.vectors, range, room);
        room
    }

    /// Copies the rows of those numbers to `out`, row after row.
    pub fn gather(&self, rows: &[u32], out: &mut [i8]) {
        let dim = self.vectors.dim();
        let Some(held) = &self.held else {
            return self.quantizer.gather(self.vectors, rows, out);
        };
        for (&row, out) in rows.iter().zip(out.chunks_exact_mut(dim)) {
            out.copy_from_slice(&held[row as usize * dim..][..dim]);
        }
    }

    /// All rows, if they are held.
    pub fn into_held(self) -> Option<HugePages<i8>> {
        self.held
    }
}
