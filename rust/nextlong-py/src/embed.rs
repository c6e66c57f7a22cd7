//! The embedders as Python sees them: texts in, rows out; parts written without a text crossing.

use std::path::PathBuf;

use nextlong::embed::{self, FitOptions, StaticOptions};
use nextlong::tokenize::Scratch;
use nextlong::{Progress, Result, seed};
use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2,
    PyUntypedArrayMethods,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use crate::door::{Watch, outside};
use crate::store::ChunkStore;
use crate::tokenize::Tokenizer;

/// Texts between two looks at the stop flag.
const TEXTS_PER_CHECK: usize = 512;

/// Latent semantic analysis: a row for each of 2^16 buckets of words.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct LsaModel(embed::LsaModel);

#[pymethods]
impl LsaModel {
    /// Fits a model on a list of texts.
    #[staticmethod]
    #[pyo3(signature = (texts, dim, seed, idf_power, sample, boilerplate_share, threads, watch=None))]
    fn fit(
        py: Python<'_>,
        texts: Vec<PyBackedStr>,
        dim: usize,
        seed: u64,
        idf_power: f64,
        sample: usize,
        boilerplate_share: f64,
        threads: usize,
        watch: Option<&Watch>,
    ) -> PyResult<Self> {
        let options = options(dim, seed, idf_power, sample, boilerplate_share);
        outside(py, watch, |progress| {
            let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
            embed::LsaModel::fit(&texts, options, threads, progress)
        })
        .map(Self)
    }

    /// Fits a model on the chunks with these numbers.
    #[staticmethod]
    #[pyo3(signature = (store, rows, dim, seed, idf_power, sample, boilerplate_share, threads, watch=None))]
    fn fit_store(
        py: Python<'_>,
        store: &ChunkStore,
        rows: PyReadonlyArray1<'_, i64>,
        dim: usize,
        seed: u64,
        idf_power: f64,
        sample: usize,
        boilerplate_share: f64,
        threads: usize,
        watch: Option<&Watch>,
    ) -> PyResult<Self> {
        let options = options(dim, seed, idf_power, sample, boilerplate_share);
        let rows = rows
            .as_slice()
            .map_err(|_| PyValueError::new_err("rows must be a C-contiguous int64 array"))?;
        outside(py, watch, |progress| {
            // A negative number is larger than any row.
            let rows: Vec<usize> = rows.iter().map(|&row| row as usize).collect();
            embed::LsaModel::fit_store(&store.0, &rows, options, threads, progress)
        })
        .map(Self)
    }

    /// Reads a model that `save` wrote.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        outside(py, None, |_| embed::LsaModel::load(&path)).map(Self)
    }

    /// Writes the model, whole or not at all.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        outside(py, None, |_| self.0.save(&path))
    }

    #[getter]
    fn dim(&self) -> usize {
        self.0.dim()
    }

    /// Frequent words of each group of texts, the largest group first, and the texts it was fitted on.
    #[getter]
    fn groups(&self) -> Vec<(String, usize)> {
        self.0.groups().map(|(name, texts)| (name.to_owned(), texts)).collect()
    }

    /// The vectors of a list of texts, float32 `[n, dim]`.
    #[pyo3(signature = (texts, watch=None))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<PyBackedStr>,
        watch: Option<&Watch>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let dim = self.0.dim();
        let values = outside(py, watch, |progress| {
            let mut encoder = self.0.encoder();
            encode_rows(texts.len(), dim, progress, |row, out| {
                encoder.encode(&texts[row], out);
                Ok(())
            })
        })?;
        values.into_pyarray(py).reshape([texts.len(), dim])
    }

    /// Embeds the chunks from `start` to before `stop` and writes them as one float16 part, and their
    /// groups as a uint16 array where a path for it is given.
    #[pyo3(signature = (store, start, stop, path, groups=None, watch=None))]
    fn embed_part(
        &self,
        py: Python<'_>,
        store: &ChunkStore,
        start: usize,
        stop: usize,
        path: PathBuf,
        groups: Option<PathBuf>,
        watch: Option<&Watch>,
    ) -> PyResult<()> {
        outside(py, watch, |progress| {
            self.0.embed_part(&store.0, start..stop, &path, groups.as_deref(), progress)
        })
    }
}

fn options(
    dim: usize,
    seed: u64,
    idf_power: f64,
    sample: usize,
    boilerplate_share: f64,
) -> FitOptions {
    FitOptions { dim, seed, idf_power, sample, boilerplate_share, ..FitOptions::default() }
}

/// A model2vec folder: a row for each token id.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct StaticModel(embed::StaticModel);

#[pymethods]
impl StaticModel {
    #[new]
    #[pyo3(signature = (folder, max_tokens=None))]
    fn new(py: Python<'_>, folder: PathBuf, max_tokens: Option<usize>) -> PyResult<Self> {
        let options = StaticOptions { max_tokens };
        outside(py, None, |_| embed::StaticModel::load(&folder, options)).map(Self)
    }

    #[getter]
    fn dim(&self) -> usize {
        self.0.dim()
    }

    /// The vectors of a list of texts, float32 `[n, dim]`, by the folder's tokenizer.
    #[pyo3(signature = (tokenizer, texts, watch=None))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        tokenizer: &Tokenizer,
        texts: Vec<PyBackedStr>,
        watch: Option<&Watch>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let dim = self.0.dim();
        let values = outside(py, watch, |progress| {
            let mut scratch = Scratch::default();
            let mut tokenize =
                |text: &str, ids: &mut _| tokenizer.0.encode_plain(text, &mut scratch, ids);
            let mut encoder = self.0.encoder(&mut tokenize);
            encode_rows(texts.len(), dim, progress, |row, out| {
                encoder.encode(&texts[row], out).map(drop)
            })
        })?;
        values.into_pyarray(py).reshape([texts.len(), dim])
    }

    /// Embeds the chunks from `start` to before `stop` and writes them as one float16 part.
    #[pyo3(signature = (tokenizer, store, start, stop, path, watch=None))]
    fn embed_part(
        &self,
        py: Python<'_>,
        tokenizer: &Tokenizer,
        store: &ChunkStore,
        start: usize,
        stop: usize,
        path: PathBuf,
        watch: Option<&Watch>,
    ) -> PyResult<()> {
        outside(py, watch, |progress| {
            let mut scratch = Scratch::default();
            let mut tokenize =
                |text: &str, ids: &mut _| tokenizer.0.encode_plain(text, &mut scratch, ids);
            self.0.embed_part(&store.0, start..stop, &path, &mut tokenize, progress)
        })
    }
}

/// `count` rows of `dim` values, made one after another.
fn encode_rows(
    count: usize,
    dim: usize,
    progress: &Progress,
    mut encode: impl FnMut(usize, &mut [f32]) -> Result<()>,
) -> Result<Vec<f32>> {
    let mut values = vec![0.0; count * dim];
    for (row, out) in values.chunks_exact_mut(dim).enumerate() {
        if row % TEXTS_PER_CHECK == 0 {
            progress.check()?;
        }
        encode(row, out)?;
        progress.add(1);
    }
    Ok(values)
}

/// Scales the rows of a C-contiguous float32 `[n, d]` array to length 1 (zeros stay zeros); the
/// first row with a value that is no number is an error that names it.
#[pyfunction]
pub fn normalise_rows<'py>(
    py: Python<'py>,
    array: PyReadonlyArray2<'py, f32>,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let (rows, dim) = (array.shape()[0], array.shape()[1]);
    let source = array
        .as_slice()
        .map_err(|_| PyValueError::new_err("the array must be C-contiguous float32"))?;
    let values = outside(py, None, |_| embed::normalised_rows(source, dim))?;
    values.into_pyarray(py).reshape([rows, dim])
}

/// The row numbers below `total` that are looked at to fit a model on `count` of them, rising, the same
/// for one seed.
#[pyfunction]
pub fn embed_sample(
    py: Python<'_>,
    total: usize,
    count: usize,
    seed: u64,
) -> Bound<'_, PyArray1<i64>> {
    let rows: Vec<i64> =
        seed::sample(seed, "embed sample", total, count.saturating_mul(embed::CANDIDATES))
            .into_iter()
            .map(|row| row as i64)
            .collect();
    rows.into_pyarray(py)
}
