//! The embedders as Python sees them: texts in, rows out; parts written without a text crossing.
#![allow(clippy::needless_pass_by_value, reason = "arguments from Python are owned")]

use std::path::PathBuf;

use nextlong::embed::{self, FitOptions, StaticOptions};
use nextlong::tokenize::Scratch;
use nextlong::{Error, Progress, Result, seed};
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
    #[pyo3(signature = (texts, dim, seed, idf_power, power_iterations, threads, watch=None))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of the layer above")]
    fn fit(
        py: Python<'_>,
        texts: Vec<PyBackedStr>,
        dim: usize,
        seed: u64,
        idf_power: f64,
        power_iterations: usize,
        threads: usize,
        watch: Option<&Watch>,
    ) -> PyResult<Self> {
        let options = FitOptions { dim, seed, idf_power, power_iterations };
        outside(py, watch, |progress| {
            let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
            embed::LsaModel::fit(&texts, options, threads, progress)
        })
        .map(Self)
    }

    /// Fits a model on the chunks with these numbers.
    #[staticmethod]
    #[pyo3(signature = (store, rows, dim, seed, idf_power, power_iterations, threads, watch=None))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of the layer above")]
    fn fit_store(
        py: Python<'_>,
        store: &ChunkStore,
        rows: PyReadonlyArray1<'_, i64>,
        dim: usize,
        seed: u64,
        idf_power: f64,
        power_iterations: usize,
        threads: usize,
        watch: Option<&Watch>,
    ) -> PyResult<Self> {
        let options = FitOptions { dim, seed, idf_power, power_iterations };
        let rows = rows
            .as_slice()
            .map_err(|_| PyValueError::new_err("rows must be a C-contiguous int64 array"))?;
        let store = &store.0;
        outside(py, watch, |progress| {
            let texts = rows.iter().map(|&row| {
                let chunk = usize::try_from(row).ok().filter(|&chunk| chunk < store.len());
                chunk.map(|chunk| store.text(chunk)).ok_or_else(|| {
                    Error::Config(format!(
                        "chunk {row} was asked for, the store has {}",
                        store.len()
                    ))
                })
            });
            let texts: Vec<&str> = texts.collect::<Result<_>>()?;
            embed::LsaModel::fit(&texts, options, threads, progress)
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

    /// Embeds the chunks from `start` to before `stop` and writes them as one float16 part.
    #[pyo3(signature = (store, start, stop, path, watch=None))]
    fn embed_part(
        &self,
        py: Python<'_>,
        store: &ChunkStore,
        start: usize,
        stop: usize,
        path: PathBuf,
        watch: Option<&Watch>,
    ) -> PyResult<()> {
        outside(py, watch, |progress| self.0.embed_part(&store.0, start..stop, &path, progress))
    }
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
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of the layer above")]
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

/// `count` row numbers below `total` on which a model is fitted, rising, the same for one seed.
#[pyfunction]
pub fn embed_sample(
    py: Python<'_>,
    total: usize,
    count: usize,
    seed: u64,
) -> Bound<'_, PyArray1<i64>> {
    let rows: Vec<i64> = seed::sample(seed, "embed sample", total, count)
        .into_iter()
        .map(|row| row as i64)
        .collect();
    rows.into_pyarray(py)
}
