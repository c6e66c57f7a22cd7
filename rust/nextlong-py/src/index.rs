//! Search as Python sees it: numbers and arrays in, arrays out; each call one thread but the
//! measuring.

use std::path::PathBuf;
use std::sync::Arc;

use nextlong::config::rules;
use nextlong::index::recall::Report;
use nextlong::index::{
    self, Kind, Neighbours, Queries, SearchWidth, Settings, choose, depths, recall,
};
use nextlong::{Error, seed};
use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2,
    PyUntypedArrayMethods,
};
use pyo3::prelude::*;

use crate::door::{Watch, into_py, outside};
use crate::vectors::Vectors;

pub(crate) type Found<'py> = (Bound<'py, PyArray2<i64>>, Bound<'py, PyArray2<f32>>);

/// Width and gap: see `SearchWidth` of the core.
pub(crate) type Width = (usize, Option<i32>);

/// Recall, its standard error, the search width it needs, and each width that was tried with its
/// recall.
pub(crate) type Measured = (f64, f64, Width, Vec<(Width, f64)>);

/// An engine over vectors.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Search(Arc<index::Search>);

#[pymethods]
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
        let settings = Settings { kind, groups, seed, callers, cache_bytes: keep_bytes };
        outside(py, None, |_| index::Search::new(vectors, settings).map(Arc::new)).map(Self)
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
        self.0.kind().first_width()
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

    /// The `k` nearest rows of some rows; `hidden` rows are left out.
    #[pyo3(signature = (rows, k, breadth, watch = None, hidden = None, gap = None))]
    fn rows<'py>(
        &self,
        py: Python<'py>,
        rows: PyReadonlyArray1<'_, i64>,
        k: usize,
        breadth: usize,
        watch: Option<&Watch>,
        hidden: Option<&Hidden>,
        gap: Option<i32>,
    ) -> PyResult<Found<'py>> {
        let rows = self.checked(&rows)?;
        let breadth = SearchWidth { width: breadth, gap };
        let found = outside(py, watch, |progress| {
            let queries = Queries::of_rows(self.0.vectors(), &rows);
            let found = match hidden {
                Some(Hidden { rows, few: Some(few) }) => {
                    self.0.search_subset(few, rows, &queries, k, progress)?
                }
                Some(Hidden { rows, few: None }) => {
                    self.0.search_masked(rows, &queries, k, breadth, progress)?
                }
                None => self.0.search(&queries, k, breadth, progress)?,
            };
            progress.add(rows.len() as u64);
            Ok(found)
        })?;
        arrays(py, found, rows.len())
    }

    /// The `k` nearest rows of some vectors.
    #[pyo3(signature = (values, k, breadth, watch = None, gap = None))]
    fn values<'py>(
        &self,
        py: Python<'py>,
        values: PyReadonlyArray2<'_, f32>,
        k: usize,
        breadth: usize,
        watch: Option<&Watch>,
        gap: Option<i32>,
    ) -> PyResult<Found<'py>> {
        let breadth = SearchWidth { width: breadth, gap };
        let [count, dim] = [values.shape()[0], values.shape()[1]];
        let values: Vec<f32> = values.as_array().iter().copied().collect();
        let found = outside(py, watch, |progress| {
            let found = self.0.search(&Queries::of_values(values, dim), k, breadth, progress)?;
            progress.add(count as u64);
            Ok(found)
        })?;
        arrays(py, found, count)
    }

    /// The int8 product of a unit vector with itself: what gaps are shares of.
    #[getter]
    fn square(&self) -> i32 {
        self.0.square()
    }

    /// The number of lists of the clustered scan; 0 for other engines.
    #[getter]
    fn list_count(&self) -> usize {
        self.0.list_count()
    }

    /// The search widths for queries that are rows.
    fn depths_of_rows(
        &self,
        py: Python<'_>,
        rows: PyReadonlyArray1<'_, i64>,
        min_recall: f64,
        some: bool,
    ) -> PyResult<Depths> {
        let rows = self.checked(&rows)?;
        let search = Arc::clone(&self.0);
        outside(py, None, |_| Ok(depths::Depths::of_rows(&search, &rows, min_recall, some)))
            .map(|depths| Depths { search, depths })
    }

    /// As `depths_of_rows`, for vectors.
    fn depths_of_values(
        &self,
        py: Python<'_>,
        values: PyReadonlyArray2<'_, f32>,
        min_recall: f64,
    ) -> PyResult<Depths> {
        let dim = values.shape()[1];
        let queries = Queries::of_values(values.as_array().iter().copied().collect(), dim);
        let search = Arc::clone(&self.0);
        outside(py, None, |_| Ok(depths::Depths::of_queries(&search, &queries, min_recall)))
            .map(|depths| Depths { search, depths })
    }
}

/// How wide an engine is searched for each number of neighbours.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Depths {
    search: Arc<index::Search>,
    depths: depths::Depths,
}

#[pymethods]
impl Depths {
    /// The share of copies in a sample of the vectors of a graph; 0 for other engines.
    #[getter]
    fn copies(&self) -> f64 {
        self.depths.copies()
    }

    /// The rows of the sample; -1 for a query that is not a row.
    #[getter]
    fn rows<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        let queries = self.depths.queries();
        let row = |query| queries.row_of(query).map_or(-1, |row| row as i64);
        (0..queries.len()).map(row).collect::<Vec<_>>().into_pyarray(py)
    }

    /// What is measured at `k`, independent of earlier calls, and the lists that a query of
    /// the clustered scan scans.
    #[pyo3(signature = (k, threads = 1, watch = None))]
    fn at(
        &self,
        py: Python<'_>,
        k: usize,
        threads: usize,
        watch: Option<&Watch>,
    ) -> PyResult<(Measured, f64)> {
        let depth =
            outside(py, watch, |progress| self.depths.at(&self.search, k, threads, progress))?;
        Ok((measured(depth.report), depth.lists))
    }

    /// Recall@k of some rows, drawn from `total`, at the breadth for `k`; its standard error.
    #[pyo3(signature = (rows, total, k, threads = 1, watch = None))]
    fn recall_of(
        &self,
        py: Python<'_>,
        rows: PyReadonlyArray1<'_, i64>,
        total: usize,
        k: usize,
        threads: usize,
        watch: Option<&Watch>,
    ) -> PyResult<(f64, f64)> {
        let rows = row_numbers(&rows, self.search.vectors().len())?;
        let found = outside(py, watch, |progress| {
            self.depths.recall_of(&self.search, &rows, total, k, threads, progress)
        })?;
        Ok((found.recall, found.error))
    }
}

pub(crate) fn measured(report: Report) -> Measured {
    let pair = |width: SearchWidth| (width.width, width.gap);
    let tried = report.tried.into_iter().map(|(width, recall)| (pair(width), recall));
    let Report { measured, search_width, .. } = report;
    (measured.recall, measured.error, pair(search_width), tried.collect())
}

/// Rows that searches leave out for now.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Hidden {
    pub(crate) rows: Arc<index::Mask>,
    /// A list that holds all other rows, once they are few.
    pub(crate) few: Option<Arc<Vec<u32>>>,
}

#[pymethods]
impl Hidden {
    /// The approximate rank among all `rows` of the `k`-th nearest of the others, as a power of two;
    /// `k` if they are scanned exactly.
    fn reach(&self, k: usize, rows: usize) -> usize {
        let shown = rows.saturating_sub(self.rows.count());
        if self.few.is_some() || shown == 0 {
            return k;
        }
        let reach = (k as f64 * rows as f64 / shown as f64).ceil() as usize;
        reach.next_power_of_two().min(rows).max(k)
    }
}

impl Search {
    fn checked(&self, rows: &PyReadonlyArray1<'_, i64>) -> PyResult<Vec<usize>> {
        row_numbers(rows, self.0.vectors().len())
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
        let expected = "'exhaustive' or 'exact' or 'clustered' or 'hnsw'";
        into_py(rules::invalid("index", &format!("'{engine}'"), expected))
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

/// A random number for each item, the same for the same seed: the items with the smallest are a
/// sample, regardless of the parts in which they come.
#[pyfunction]
pub fn sample_keys<'py>(
    py: Python<'py>,
    seed: u64,
    items: PyReadonlyArray1<'_, u32>,
) -> Bound<'py, PyArray1<u64>> {
    let key = |&item: &u32| seed::bits(seed, "used lists", u64::from(item));
    items.as_array().iter().map(key).collect::<Vec<_>>().into_pyarray(py)
}
