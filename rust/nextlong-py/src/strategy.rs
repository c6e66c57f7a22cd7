//! What strategies share across a run.

use std::sync::Arc;

use nextlong::strategy::nextlong as strategy;
use pyo3::prelude::*;

use crate::config::Settings;

/// The name of the strategy, as it is written to files.
pub(crate) const STRATEGY: &str = "nextlong";

/// The n-grams of chunks, for all batches of a run.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct GramLists(pub(crate) Arc<strategy::GramLists>);

#[pymethods]
impl GramLists {
    /// An empty cache of lists with a maximum size in bytes.
    #[new]
    fn new(settings: &Settings, bytes: usize) -> Self {
        Self(Arc::new(strategy::GramLists::new(&settings.0).within(bytes)))
    }

    /// Bytes of the list of one chunk, about.
    #[staticmethod]
    fn bytes_of_one(settings: &Settings) -> usize {
        strategy::GramLists::new(&settings.0).bytes_of_one()
    }
}
