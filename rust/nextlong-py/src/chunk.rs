//! The chunk room as Python sees it: a text in, its chunks or their character spans out.

#![allow(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over by value")]

use nextlong::Error;
use nextlong::chunk::{Mode, Rule, Unit, spans, with_characters};
use numpy::{IntoPyArray, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyList, PyString};

use crate::door::{into_py, outside};

/// The chunks of `text`, cut by characters.
#[pyfunction]
pub fn chunk<'py>(
    py: Python<'py>,
    text: PyBackedStr,
    size: usize,
    mode: &str,
) -> PyResult<Bound<'py, PyList>> {
    let rule = Rule { mode: mode_named(mode)?, size, unit: Unit::Characters };
    let cut = outside(py, None, |progress| {
        let mut found = Vec::new();
        spans(&text, &rule, progress, &mut found)?;
        Ok(found)
    })?;
    PyList::new(py, cut.into_iter().map(|span| PyString::new(py, &text[span])))
}

/// The character spans of the chunks of `text`, int64 `[n, 2]`, cut by characters.
#[pyfunction]
pub fn chunk_spans<'py>(
    py: Python<'py>,
    text: PyBackedStr,
    size: usize,
    mode: &str,
) -> PyResult<Bound<'py, PyArray2<i64>>> {
    let rule = Rule { mode: mode_named(mode)?, size, unit: Unit::Characters };
    let ends = outside(py, None, |progress| {
        let mut found = Vec::new();
        with_characters(&text, &rule, progress, &mut found)?;
        Ok(found
            .into_iter()
            .flat_map(|(_, range)| [range.start as i64, range.end as i64])
            .collect::<Vec<_>>())
    })?;
    let count = ends.len() / 2;
    ends.into_pyarray(py).reshape([count, 2])
}

fn mode_named(name: &str) -> PyResult<Mode> {
    match name {
        "lossless" => Ok(Mode::Lossless),
        "paper" => Ok(Mode::Paper),
        _ => Err(into_py(Error::Config(format!(
            "mode ({name:?}) must be \"lossless\" or \"paper\""
        )))),
    }
}
