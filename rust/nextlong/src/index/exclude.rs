//! Filters out self-matches, rows of the same group, and masked rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// The rules that every engine follows.
#[derive(Debug, Clone, Default)]
pub struct Exclusion {
    groups: Option<Arc<[u32]>>,
    mask: Option<Arc<Mask>>,
}

/// Rows that searches leave out for now.
#[derive(Debug)]
pub struct Mask(Vec<AtomicU64>);

impl Mask {
    /// An empty mask for `rows` rows.
    #[must_use]
    pub fn none_of(rows: usize) -> Self {
        Self((0..rows.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    /// Masks or unmasks a row.
    pub fn set(&self, row: u32, masked: bool) {
        let (word, bit) = (&self.0[row as usize / 64], 1 << (row % 64));
        if masked {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// The number of masked rows.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.load(Ordering::Relaxed).count_ones() as usize).sum()
    }

    /// True if a row is masked.
    #[must_use]
    pub fn contains(&self, row: u32) -> bool {
        self.0[row as usize / 64].load(Ordering::Relaxed) >> (row % 64) & 1 == 1
    }
}

/// The rules for one query.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    row: Option<u32>,
    group: Option<(u32, &'a [u32])>,
    mask: Option<&'a Mask>,
}

impl Exclusion {
    /// Rows of the same group (the document number of each chunk) exclude each other.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when there is not one group per row.
    pub fn new(groups: Option<Vec<u32>>, rows: usize) -> Result<Self> {
        match &groups {
            Some(groups) if groups.len() != rows => Err(Error::Config(format!(
                "groups has {} entries for {rows} vectors; give one number a vector",
                groups.len()
            ))),
            _ => Ok(Self { groups: groups.map(Arc::from), mask: None }),
        }
    }

    /// The same rules without the rows of `mask`.
    #[must_use]
    pub fn masking(&self, mask: Arc<Mask>) -> Self {
        Self { groups: self.groups.clone(), mask: Some(mask) }
    }

    /// True if rows are excluded by more than themselves.
    #[must_use]
    pub fn has_groups(&self) -> bool {
        self.groups.is_some()
    }

    /// The rules for the query that is row `row`; none for a query that is not a row.
    #[must_use]
    pub fn of(&self, row: Option<usize>) -> Own<'_> {
        let group = row.zip(self.groups.as_deref()).map(|(row, groups)| (groups[row], groups));
        Own { row: row.map(|row| row as u32), group, mask: self.mask.as_deref() }
    }
}

impl Own<'_> {
    /// True if `id` may not be a neighbour.
    #[must_use]
    pub fn excludes(&self, id: u32) -> bool {
        self.row == Some(id)
            || self.group.is_some_and(|(own, groups)| groups[id as usize] == own)
            || self.mask.is_some_and(|mask| mask.contains(id))
    }
}
