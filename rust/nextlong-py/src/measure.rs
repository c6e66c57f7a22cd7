//! Quality measures, as JSON.

use nextlong::{Error, measure};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;

use crate::door::{Watch, into_py, outside};
use crate::store::ChunkStore;
use crate::vectors::Vectors;

/// The share of nearest neighbours of the chunks `rows` that are of their own document, as JSON; null
/// if none has another chunk.
#[pyfunction]
pub fn same_document(
    py: Python<'_>,
    store: &ChunkStore,
    vectors: &Vectors,
    rows: PyReadonlyArray1<'_, i64>,
    k: usize,
    threads: usize,
    watch: &Watch,
) -> PyResult<String> {
    let rows: Vec<usize> = rows.as_slice()?.iter().map(|&row| row as usize).collect();
    if let Some(row) = rows.iter().find(|&&row| row >= store.0.len().min(vectors.0.len())) {
        return Err(into_py(Error::Config(format!("chunk {row} of {}", store.0.len()))));
    }
    outside(py, Some(watch), |progress| {
        let measured = measure::same_document(&store.0, &vectors.0, &rows, k, threads, progress)?;
        as_json(serde_json::to_string(&measured))
    })
}

/// The JSON of a measure.
pub(crate) fn as_json(outcome: serde_json::Result<String>) -> nextlong::Result<String> {
    outcome.map_err(|error| Error::Run(error.to_string()))
}
