//! Search as Python sees it: numbers and arrays in, arrays out; each call one thread but the
//! measuring.

use std::path::PathBuf;
use std::sync::Arc;

use nextlong::index::{self, Kind, Neighbours, Queries, Settings, choose, recall};
use nextlong::{Error, Progress};
use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2,
    PyUntypedArrayMethods,
};
use pyo3::prelude::*;

use crate::door::{Watch, into_py, outside};
use crate::vectors::Vectors;

pub(crate) type Found<'py> = (Bound<'py, PyArray2<i64>>, Bound<'py, PyArray2<f32>>);

/// Recall, the breadth it wants, and each breadth that was tried with its recall.
pub(crate) type Measured = (f64, usize, Vec<(usize, f64)>);

/// An engine over vectors.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Search(index::Search);

#[pymethods]
#[allow(clippy::needless_pass_by_value, reason = "arguments from Python are owned")]
impl Search {
    #[new]
    #[pyo3(signature = (
        vectors, engine, *, groups = None, seed = 0, callers = 1, keep_bytes = 1 << 30
    ))]
    fn new(
        py: Python<'_>,
        vectors: &Vectors,
        engine: &str,
        groups: Option<PyReadonlyArray1<'_, u32>>,
        seed: u64,
        callers: usize,
        keep_bytes: usize,
    ) -> PyResult<Self> {
        let kind = kind(engine)?;
        let groups = groups.map(|groups| groups.as_array().to_vec());
        let vectors = vectors.0.clone();
        let settings = Settings { kind, groups, seed, callers, keep_bytes };
        outside(py, None, |_| index::Search::new(vectors, settings)).map(Self)
    }

    #[getter]
    fn engine(&self) -> &'static str {
        self.0.kind().name()
    }

    /// The instruction set of the products.
    #[getter]
    fn kernel(&self) -> String {
        self.0.kernel()
    }

    #[getter]
    fn first_breadth(&self) -> usize {
        self.0.kind().first_breadth()
    }

    #[getter]
    fn shard_count(&self) -> usize {
        self.0.shard_count()
    }

    #[pyo3(signature = (shard, folder = None, watch = None))]
    fn build_shard(
        &self,
        py: Python<'_>,
        shard: usize,
        folder: Option<PathBuf>,
        watch: Option<&Watch>,
    ) -> PyResult<()> {
        outside(py, watch, |progress| self.0.build_shard(shard, folder.as_deref(), progress))
    }

    fn load_shard(&self, py: Python<'_>, shard: usize, folder: PathBuf) -> PyResult<()> {
        outside(py, None, |_| self.0.load_shard(shard, &folder))
    }

    #[pyo3(signature = (folder = None, threads = 1, watch = None))]
    fn build_lists(
        &self,
        py: Python<'_>,
        folder: Option<PathBuf>,
        threads: usize,
        watch: Option<&Watch>,
    ) -> PyResult<()> {
        outside(py, watch, |progress| self.0.build_lists(folder.as_deref(), threads, progress))
    }

    fn load_lists(&self, py: Python<'_>, folder: PathBuf) -> PyResult<()> {
        outside(py, None, |_| self.0.load_lists(&folder))
    }

    /// The order in which to search some rows.
    fn order<'py>(
        &self,
        py: Python<'py>,
        rows: PyReadonlyArray1<'_, i64>,
    ) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let rows = self.checked(&rows)?;
        let order = outside(py, None, |_| {
            Ok(self.0.order(&rows).into_iter().map(|number| number as i64).collect::<Vec<_>>())
        })?;
        Ok(order.into_pyarray(py))
    }

    /// The `k` nearest rows of some rows; hidden ones are nobody's.
    #[pyo3(signature = (rows, k, breadth, watch = None, hidden = None))]
    fn rows<'py>(
        &self,
        py: Python<'py>,
        rows: PyReadonlyArray1<'_, i64>,
        k: usize,
        breadth: usize,
        watch: Option<&Watch>,
        hidden: Option<&Hidden>,
    ) -> PyResult<Found<'py>> {
        let rows = self.checked(&rows)?;
        let found = outside(py, watch, |progress| {
            let queries = Queries::of_rows(self.0.vectors(), &rows);
            let found = match hidden {
                Some(Hidden { rows, few: Some(few) }) => {
                    self.0.search_few(few, rows, &queries, k, progress)?
                }
                Some(Hidden { rows, few: None }) => {
                    self.0.search_hiding(rows, &queries, k, breadth, progress)?
                }
                None => self.0.search(&queries, k, breadth, progress)?,
            };
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

    /// Recall@k of some rows, the breadth that it wants, and all (breadth, recall) tried.
    #[pyo3(signature = (rows, k, min_recall, threads = 1, watch = None))]
    fn measure_rows(
        &self,
        py: Python<'_>,
        rows: PyReadonlyArray1<'_, i64>,
        k: usize,
        min_recall: f64,
        threads: usize,
        watch: Option<&Watch>,
    ) -> PyResult<Measured> {
        let rows = self.checked(&rows)?;
        outside(py, watch, |progress| {
            let queries = Queries::of_rows(self.0.vectors(), &rows);
            self.measure(&queries, k, min_recall, threads, progress)
        })
    }

    /// As `measure_rows`, for vectors.
    #[pyo3(signature = (values, k, min_recall, threads = 1, watch = None))]
    fn measure_values(
        &self,
        py: Python<'_>,
        values: PyReadonlyArray2<'_, f32>,
        k: usize,
        min_recall: f64,
        threads: usize,
        watch: Option<&Watch>,
    ) -> PyResult<Measured> {
        let dim = values.shape()[1];
        let values: Vec<f32> = values.as_array().iter().copied().collect();
        outside(py, watch, |progress| {
            self.measure(&Queries::of_values(values, dim), k, min_recall, threads, progress)
        })
    }
}

/// Rows that are nobody's neighbours for the time being.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Hidden {
    pub(crate) rows: Arc<index::Hidden>,
    /// All others are among these, where they are few.
    pub(crate) few: Option<Arc<Vec<u32>>>,
}

impl Search {
    fn checked(&self, rows: &PyReadonlyArray1<'_, i64>) -> PyResult<Vec<usize>> {
        row_numbers(rows, self.0.vectors().len())
    }

    fn measure(
        &self,
        queries: &Queries,
        k: usize,
        min_recall: f64,
        threads: usize,
        progress: &Progress,
    ) -> nextlong::Result<Measured> {
        let report = recall::measure(&self.0, queries, k, min_recall, threads, progress)?;
        Ok((report.recall, report.breadth, report.tried))
    }
}

pub(crate) fn arrays(py: Python<'_>, found: Neighbours, queries: usize) -> PyResult<Found<'_>> {
    let shape = [queries, found.k];
    let ids = found.ids.into_pyarray(py).reshape(shape)?;
    Ok((ids, found.scores.into_pyarray(py).reshape(shape)?))
}

/// The numbers of rows, all of which are below `count`.
pub(crate) fn row_numbers(rows: &PyReadonlyArray1<'_, i64>, count: usize) -> PyResult<Vec<usize>> {
    let row = |&row: &i64| {
        usize::try_from(row).ok().filter(|&row| row < count).ok_or_else(|| {
            into_py(Error::Config(format!(
                "query row {row} does not exist: there are {count} vectors"
            )))
        })
    };
    rows.as_array().iter().map(row).collect()
}

/// The engine that `auto` takes, and why.
#[pyfunction]
pub fn choose_engine(
    rows: usize,
    queries: usize,
    k: usize,
    dim: usize,
    min_recall: f64,
) -> (&'static str, String) {
    let (kind, reason) = choose::choose(choose::Job { rows, queries, k, dim, min_recall });
    (kind.name(), reason)
}

fn kind(engine: &str) -> PyResult<Kind> {
    Kind::named(engine).ok_or_else(|| {
        into_py(Error::Config(format!(
            "index is '{engine}'; choose 'auto', 'exact', 'clustered' or 'hnsw'"
        )))
    })
}

/// What making the lists or the graph of an engine takes, by the model of `choose_engine`, in seconds
/// of one core like those of this machine.
#[pyfunction]
pub fn building_seconds(engine: &str, rows: usize, dim: usize) -> PyResult<f64> {
    kind(engine).map(|kind| choose::building(kind, rows, dim))
}

/// What the answers of an engine that is built take, by the model of `choose_engine`, in seconds of one
/// core like those of this machine.
#[pyfunction]
pub fn searching_seconds(
    engine: &str,
    rows: usize,
    queries: usize,
    k: usize,
    dim: usize,
    min_recall: f64,
) -> PyResult<f64> {
    let job = choose::Job { rows, queries, k, dim, min_recall };
    kind(engine).map(|kind| choose::searching(kind, job))
}

/// The queries, of `total`, that recall is measured on.
#[pyfunction]
pub fn recall_sample(
    py: Python<'_>,
    seed: u64,
    total: usize,
    rows: usize,
    dim: usize,
) -> Bound<'_, PyArray1<i64>> {
    let sample = recall::sample(seed, total, rows, dim);
    sample.into_iter().map(|row| row as i64).collect::<Vec<_>>().into_pyarray(py)
}
