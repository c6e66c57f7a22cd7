//! The chunk store as Python sees it: numbers in, texts out.

use std::path::PathBuf;

use nextlong::store;
use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::door::{Watch, outside};

/// All chunks of a run, memory-mapped.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct ChunkStore(pub(crate) store::ChunkStore);

#[pymethods]
impl ChunkStore {
    #[new]
    fn new(py: Python<'_>, paths: Vec<PathBuf>) -> PyResult<Self> {
        outside(py, None, |_| store::ChunkStore::open(&paths)).map(Self)
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    #[getter]
    fn document_count(&self) -> usize {
        self.0.document_count()
    }

    #[getter]
    fn part_count(&self) -> usize {
        self.0.part_count()
    }

    /// The first chunk of part `part` and the one after its last.
    fn part_chunks(&self, part: usize) -> PyResult<(usize, usize)> {
        if part >= self.0.part_count() {
            return Err(PyIndexError::new_err(format!("part {part} of {}", self.0.part_count())));
        }
        let range = self.0.part_chunks(part);
        Ok((range.start, range.end))
    }

    /// The document of every chunk.
    fn documents<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let numbers = outside(py, None, |_| {
            let documents = 0..self.0.document_count();
            let chunks = |document| self.0.document_chunks(document).len();
            Ok(documents.flat_map(|d| std::iter::repeat_n(d as u32, chunks(d))).collect::<Vec<_>>())
        })?;
        Ok(numbers.into_pyarray(py))
    }

    /// The texts of the chunks from `start` to before `stop`.
    fn texts<'py>(
        &self,
        py: Python<'py>,
        start: usize,
        stop: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        if start > stop || stop > self.0.len() {
            return Err(PyIndexError::new_err(format!(
                "chunks {start} to {stop} of {}",
                self.0.len()
            )));
        }
        PyList::new(py, (start..stop).map(|chunk| PyString::new(py, self.0.text(chunk))))
    }
}

/// The XXH3-128 hash of a file, 32 hexadecimal digits.
#[pyfunction]
#[pyo3(signature = (path, watch = None))]
pub fn file_hash(py: Python<'_>, path: PathBuf, watch: Option<&Watch>) -> PyResult<String> {
    outside(py, watch, |progress| nextlong::store::file_hash(&path, progress))
        .map(|hash| format!("{hash:032x}"))
}
