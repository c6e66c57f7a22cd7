//! The names of the engines, and how wide they are searched.

use crate::index::OVERFETCH;

/// Lists that each query scans at first.
pub(super) const FIRST_PROBES: usize = 8;

/// An engine, by its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The scan of all rows in f32: [`super::cosine::search`].
    Exhaustive,
    /// The scan of all rows in int8, ranked again in f32: [`super::exact`].
    Exact,
    /// The scan of the rows in the nearest lists: [`super::clustered`].
    Clustered,
    /// The sharded graph: [`super::hnsw`].
    Hnsw,
}

impl Kind {
    /// All engines.
    pub const ALL: [Self; 4] = [Self::Exhaustive, Self::Exact, Self::Clustered, Self::Hnsw];

    /// The engine of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name in the settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exhaustive => "exhaustive",
            Self::Exact => "exact",
            Self::Clustered => "clustered",
            Self::Hnsw => "hnsw",
        }
    }

    /// The width that is tried first: see [`super::Search::search`].
    #[must_use]
    pub fn first_width(self) -> usize {
        match self {
            Self::Exact => OVERFETCH,
            Self::Clustered => FIRST_PROBES,
            Self::Exhaustive | Self::Hnsw => 1,
        }
    }
}

/// The width of a search: see [`super::Search::search`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchWidth {
    /// A number whose meaning depends on the engine.
    pub width: usize,
    /// For the clustered scan: instead of the `width` nearest lists a query scans all whose centroid's
    /// product is at most this much below that of its `k`-th best row so far.
    pub gap: Option<i32>,
}

impl From<usize> for SearchWidth {
    fn from(width: usize) -> Self {
        Self { width, gap: None }
    }
}
