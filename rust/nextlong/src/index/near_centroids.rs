//! The centroids near anchors: only these can be nearest to a row near the same anchor.
//!
//! In: rows, each with the number of an anchor near it. Out: the products of each row with the centroids
//! near its anchor, a fraction of all.

use crate::error::Result;
use crate::index::kmeans::{Centroids, in_tasks};
use crate::index::product::{Rows, Scores, together};
use crate::progress::Progress;

/// Maximum number of rows multiplied together.
const ROWS: usize = 64;

/// For each anchor the centroids nearest to it.
pub(super) struct NearCentroids<'a> {
    centroids: &'a Centroids,
    /// Numbers of centroids, `count` for each anchor, rising.
    ids: Vec<u32>,
    count: usize,
}

impl<'a> NearCentroids<'a> {
    /// The `count` centroids nearest to each of some int8 rows.
    ///
    /// # Errors
    ///
    /// As [`Centroids::nearest`].
    pub fn new(
        centroids: &'a Centroids,
        anchors: &[i8],
        count: usize,
        threads: usize,
        progress: &Progress,
    ) -> Result<Self> {
        let count = count.clamp(1, centroids.len().max(1));
        let mut ids = in_tasks(anchors, centroids.dim(), threads, ROWS, |rows, _| {
            let pairs = centroids.nearest_some(rows, count, progress)?;
            Ok(pairs.into_iter().map(|pair| pair.1).collect())
        })?;
        for ids in ids.chunks_exact_mut(count) {
            ids.sort_unstable();
        }
        Ok(Self { centroids, ids, count })
    }

    /// Calls `see` with each row, its products with the centroids near its anchor, and their
    /// numbers, which rise; anchor by anchor.
    ///
    /// # Errors
    ///
    /// As [`Centroids::nearest`].
    pub fn products(
        &self,
        rows: &[i8],
        anchors: &[u32],
        progress: &Progress,
        mut see: impl FnMut(usize, &[i32], &[u32]),
    ) -> Result<()> {
        let dim = self.centroids.dim();
        let mut order: Vec<u32> = (0..anchors.len() as u32).collect();
        order.sort_by_key(|&row| anchors[row as usize]);
        let mut scores = Scores::zeros(1, 1)?;
        let mut values = Rows::to_pack(self.count, dim)?;
        let mut block = Rows::zeros(ROWS, dim)?;
        let together = together(values.len(), ROWS);
        for group in order.chunk_by(|&a, &b| anchors[a as usize] == anchors[b as usize]) {
            let anchor = anchors[group[0] as usize] as usize;
            let ids = &self.ids[anchor * self.count..][..self.count];
            for (&id, out) in ids.iter().zip(values.values().chunks_exact_mut(dim)) {
                out.copy_from_slice(&self.centroids.values()[id as usize * dim..][..dim]);
            }
            let packed = values.pack()?;
            for some in group.chunks(together) {
                progress.check()?;
                block.resize(some.len())?;
                for (&row, out) in some.iter().zip(block.values().chunks_exact_mut(dim)) {
                    out.copy_from_slice(&rows[row as usize * dim..][..dim]);
                }
                scores.fill(&block, &packed)?;
                for (place, &row) in some.iter().enumerate() {
                    see(row as usize, scores.of(place), ids);
                }
            }
        }
        Ok(())
    }
}
