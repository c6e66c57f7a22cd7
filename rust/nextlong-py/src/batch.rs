//! Batches of documents whose neighbours are searched together.

use std::path::PathBuf;
use std::sync::Mutex;

use nextlong::strategy::nextlong::{SearchRequest, SearchResult};
use nextlong::{Error, fill};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::config::Settings;
use crate::door::{Watch, outside};
use crate::locks::lock;
use crate::store::ChunkStore;
use crate::strategy::GramLists;
use crate::vectors::Vectors;

/// Documents that are worked on together.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Wave(pub(crate) Mutex<fill::Batch>);

#[pymethods]
impl Wave {
    #[new]
    #[pyo3(signature = (store, settings, documents, lists = None))]
    fn new(
        py: Python<'_>,
        store: &ChunkStore,
        settings: &Settings,
        documents: PyReadonlyArray1<'_, u32>,
        lists: Option<&GramLists>,
    ) -> PyResult<Self> {
        let documents = documents.as_slice()?;
        outside(py, None, |_| {
            let known = store.0.document_count();
            if let Some(document) = documents.iter().find(|&&document| document as usize >= known) {
                return Err(Error::Config(format!("document {document} of {known}")));
            }
            Ok(match lists {
                Some(GramLists(shared)) => {
                    fill::Batch::sharing(&store.0, &settings.0, documents, shared)
                }
                None => fill::Batch::new(&store.0, &settings.0, documents),
            })
        })
        .map(|wave| Self(Mutex::new(wave)))
    }

    /// The searches that are wanted: `[(k, chunks, remaining_only), …]`; if `remaining_only`, leave out
    /// the chunks of `Selector.hidden`.
    fn wanted<'py>(&self, py: Python<'py>) -> Vec<(u32, Bound<'py, PyArray1<i64>>, bool)> {
        let wanted = lock(&self.0).wanted();
        let rows = |chunks: Vec<u32>| chunks.into_iter().map(i64::from).collect::<Vec<_>>();
        let search =
            |one: SearchRequest| (one.k, rows(one.chunks).into_pyarray(py), one.remaining_only);
        wanted.into_iter().map(search).collect()
    }

    /// Adds the neighbours that a search found, as far as the rules allow them.
    fn fill(
        &self,
        py: Python<'_>,
        store: &ChunkStore,
        vectors: &Vectors,
        settings: &Settings,
        chunks: PyReadonlyArray1<'_, i64>,
        ids: PyReadonlyArray2<'_, i64>,
        scores: PyReadonlyArray2<'_, f32>,
        watch: &Watch,
    ) -> PyResult<()> {
        let k = ids.shape()[1];
        let (chunks, ids, scores) = (chunks.as_slice()?, ids.as_slice()?, scores.as_slice()?);
        outside(py, Some(watch), |progress| {
            let chunks: Vec<u32> = chunks.iter().map(|&chunk| chunk as u32).collect();
            let found = SearchResult { chunks: &chunks, k, ids, scores };
            lock(&self.0).add(&found, &store.0, &vectors.0, &settings.0, progress)
        })
    }

    /// The meta-chunks of the first `most` complete sequences, and the depth of the search of each.
    fn used_lists<'py>(
        &self,
        py: Python<'py>,
        most: usize,
    ) -> (Bound<'py, PyArray1<u32>>, Bound<'py, PyArray1<u32>>) {
        let (chunks, depths): (Vec<u32>, Vec<u32>) =
            lock(&self.0).used_lists(most).into_iter().unzip();
        (chunks.into_pyarray(py), depths.into_pyarray(py))
    }

    /// Writes the allowed neighbours, one row per meta-chunk.
    fn write(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        outside(py, None, |_| lock(&self.0).write(&path))
    }
}
