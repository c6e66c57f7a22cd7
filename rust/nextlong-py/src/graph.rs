//! The kept index as Python sees it: rows in, rows out; what changes it makes a new one.

use std::path::PathBuf;

use nextlong::Error;
use nextlong::index::Queries;
use nextlong::index::graph::{self, Saved};
use numpy::{PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::door::{Watch, outside};
use crate::index::{Found, Measured, arrays, measured, row_numbers};
use crate::vectors::Vectors;

/// Name, bytes, hash in hexadecimal.
type File = (String, u64, String);

/// Vectors with a graph over them.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Graph(graph::Graph);

#[pymethods]
impl Graph {
    #[new]
    #[pyo3(signature = (vectors, *, seed = 0, callers = 1))]
    fn new(py: Python<'_>, vectors: &Vectors, seed: u64, callers: usize) -> PyResult<Self> {
        let vectors = vectors.0.clone();
        outside(py, None, |_| graph::Graph::new(vectors, seed, callers)).map(Self)
    }

    /// The same rows and then others; shards that stay the same are shared.
    fn grown(&self, py: Python<'_>, more: &Vectors) -> PyResult<Self> {
        outside(py, None, |_| self.0.grown(&more.0)).map(Self)
    }

    fn __len__(&self) -> usize {
        self.0.vectors().len()
    }

    #[getter]
    fn dim(&self) -> usize {
        self.0.vectors().dim()
    }

    #[getter]
    fn seed(&self) -> u64 {
        self.0.seed()
    }

    #[getter]
    fn shard_count(&self) -> usize {
        self.0.shard_count()
    }

    /// The shards to build or load.
    #[getter]
    fn missing(&self) -> Vec<usize> {
        self.0.missing()
    }

    /// The number of rows of a shard.
    fn shard_rows(&self, shard: usize) -> usize {
        self.0.shard_rows(shard).len()
    }

    #[pyo3(signature = (shard, watch = None))]
    fn build_shard(&self, py: Python<'_>, shard: usize, watch: Option<&Watch>) -> PyResult<()> {
        outside(py, watch, |progress| self.0.build_shard(shard, progress))
    }

    /// The `k` nearest rows of some rows.
    #[pyo3(signature = (rows, k, breadth, watch = None))]
    fn rows<'py>(
        &self,
        py: Python<'py>,
        rows: PyReadonlyArray1<'_, i64>,
        k: usize,
        breadth: usize,
        watch: Option<&Watch>,
    ) -> PyResult<Found<'py>> {
        let rows = row_numbers(&rows, self.0.vectors().len())?;
        let found = outside(py, watch, |progress| {
            let queries = Queries::of_rows(self.0.vectors(), &rows);
            let found = self.0.search(&queries, k, breadth, progress)?;
            progress.add(rows.len() as u64);
            Ok(found)
        })?;
        arrays(py, found, rows.len())
    }

    /// The `k` nearest rows of some vectors.
    #[pyo3(signature = (values, k, breadth, watch = None))]
    fn values<'py>(
        &self,
        py: Python<'py>,
        values: PyReadonlyArray2<'_, f32>,
        k: usize,
        breadth: usize,
        watch: Option<&Watch>,
    ) -> PyResult<Found<'py>> {
        let [count, dim] = [values.shape()[0], values.shape()[1]];
        let values: Vec<f32> = values.as_array().iter().copied().collect();
        let found = outside(py, watch, |progress| {
            let found = self.0.search(&Queries::of_values(values, dim), k, breadth, progress)?;
            progress.add(count as u64);
            Ok(found)
        })?;
        arrays(py, found, count)
    }

    /// What is measured at `k` on a seeded sample of the rows, and the share of copies among the rows
    /// drawn.
    #[pyo3(signature = (k, min_recall, threads = 1, watch = None))]
    fn measure(
        &self,
        py: Python<'_>,
        k: usize,
        min_recall: f64,
        threads: usize,
        watch: Option<&Watch>,
    ) -> PyResult<(Measured, f64)> {
        let (report, copies) =
            outside(py, watch, |progress| self.0.measure(k, min_recall, threads, progress))?;
        Ok((measured(report), copies))
    }

    /// The number of files of vectors.
    #[getter]
    fn vector_file_count(&self) -> usize {
        self.0.vector_files().len()
    }

    fn save_vectors(&self, py: Python<'_>, folder: PathBuf, number: usize) -> PyResult<File> {
        outside(py, None, |_| self.0.save_vectors(&folder, number)).map(file)
    }

    fn save_shard(&self, py: Python<'_>, folder: PathBuf, shard: usize) -> PyResult<File> {
        outside(py, None, |_| self.0.save_shard(&folder, shard)).map(file)
    }

    #[pyo3(signature = (folder, shard, file, watch = None))]
    fn load_shard(
        &self,
        py: Python<'_>,
        folder: PathBuf,
        shard: usize,
        file: File,
        watch: Option<&Watch>,
    ) -> PyResult<()> {
        let saved = saved(file);
        outside(py, watch, |progress| self.0.load_shard(&folder, shard, &saved?, progress))
    }

    /// The vectors of a saved index.
    #[staticmethod]
    #[pyo3(signature = (folder, files, rows, dim, watch = None))]
    fn load_vectors(
        py: Python<'_>,
        folder: PathBuf,
        files: Vec<File>,
        rows: usize,
        dim: usize,
        watch: Option<&Watch>,
    ) -> PyResult<Vectors> {
        let files: nextlong::Result<Vec<Saved>> = files.into_iter().map(saved).collect();
        outside(py, watch, |progress| graph::load_vectors(&folder, &files?, rows, dim, progress))
            .map(Vectors)
    }
}

fn file(saved: Saved) -> File {
    (saved.name, saved.bytes, format!("{:032x}", saved.hash))
}

fn saved((name, bytes, hash): File) -> nextlong::Result<Saved> {
    let hash = u128::from_str_radix(&hash, 16)
        .map_err(|_| Error::Retrieval(format!("{name}: '{hash}' is no hash")))?;
    Ok(Saved { name, bytes, hash })
}
