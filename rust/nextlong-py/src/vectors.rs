//! Embeddings as Python sees them: mapped parts or an array in, rows out.

use std::path::PathBuf;

use nextlong::store;
use numpy::{IntoPyArray, PyArray2, PyArrayMethods, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;

use crate::door::{into_py, outside};

/// `[n, d]` vectors, float16, memory-mapped or held.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Vectors(pub(crate) store::Vectors);

#[pymethods]
impl Vectors {
    #[new]
    fn new(py: Python<'_>, paths: Vec<PathBuf>) -> PyResult<Self> {
        outside(py, None, |_| store::Vectors::open(&paths)).map(Self)
    }

    /// Holds the rows of a C-contiguous float32 array, `full`, copied on some threads, or rounded to
    /// float16.
    #[staticmethod]
    #[pyo3(signature = (array, *, full = false, threads = 1))]
    fn from_array(
        py: Python<'_>,
        array: PyReadonlyArray2<'_, f32>,
        full: bool,
        threads: usize,
    ) -> PyResult<Self> {
        let dim = array.shape()[1];
        let values = array
            .as_slice()
            .map_err(|_| PyValueError::new_err("the array must be C-contiguous float32"))?;
        let held = outside(py, None, |_| {
            if full {
                store::Vectors::in_full(values, dim, threads)
            } else {
                store::Vectors::from_f32(values, dim)
            }
        });
        held.map(Self)
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    #[getter]
    fn dim(&self) -> usize {
        self.0.dim()
    }

    /// Rows `start` to before `stop` as float32 `[rows, d]`.
    fn read<'py>(
        &self,
        py: Python<'py>,
        start: usize,
        stop: usize,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        if start > stop || stop > self.0.len() {
            return Err(PyIndexError::new_err(format!(
                "rows {start} to {stop} of {}",
                self.0.len()
            )));
        }
        let mut rows = vec![0.0; (stop - start) * self.0.dim()];
        outside(py, None, |_| {
            self.0.read(start..stop, &mut rows);
            Ok(())
        })?;
        rows.into_pyarray(py).reshape([stop - start, self.0.dim()])
    }
}

/// Writes a C-contiguous float32 `[n, d]` array as a float16 `.npy` part, which appears when it is complete.
#[pyfunction]
pub fn write_vectors(
    py: Python<'_>,
    path: PathBuf,
    array: PyReadonlyArray2<'_, f32>,
) -> PyResult<()> {
    let dim = array.shape()[1];
    let values = array
        .as_slice()
        .map_err(|_| PyValueError::new_err("the array must be C-contiguous float32"))?;
    if let Some(place) = values.iter().position(|value| !value.is_finite()) {
        return Err(into_py(nextlong::Error::Embedding(format!(
            "row {} of the vectors holds {}, which is no number",
            place / dim.max(1),
            values[place]
        ))));
    }
    outside(py, None, |_| {
        let halves: Vec<half::f16> =
            values.iter().map(|&value| half::f16::from_f32(value)).collect();
        store::write_npy(&path, &halves, dim)
    })
}
