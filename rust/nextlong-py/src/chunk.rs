//! Chunks as Python sees them: a text in, its chunks or their character spans out.

use std::path::PathBuf;

use nextlong::chunk::{Mode, Rule, part, spans, with_characters};
use nextlong::config::rules::{self, Given};
use numpy::{IntoPyArray, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyList, PyString};

use crate::corpus::Documents;
use crate::count::measured;
use crate::door::{Watch, into_py};

/// The chunks of each of `texts`, cut by characters, or by the tokens of `counter`.
#[pyfunction]
#[pyo3(signature = (texts, size, mode, counter = None, overlap = 0, watch = None))]
pub fn chunk_texts<'py>(
    py: Python<'py>,
    texts: Vec<PyBackedStr>,
    size: usize,
    mode: &str,
    counter: Option<&Bound<'py, PyAny>>,
    overlap: usize,
    watch: Option<&Watch>,
) -> PyResult<Vec<Bound<'py, PyList>>> {
    let mode = mode_named(mode)?;
    let cut = measured(py, watch, counter, |unit, progress| {
        let rule = Rule { mode, size, overlap, unit };
        rule.check()?;
        let mut rows = Vec::with_capacity(texts.len());
        for text in &texts {
            let mut found = Vec::new();
            spans(text, &rule, progress, &mut found)?;
            progress.check()?;
            progress.add(1);
            rows.push(found);
        }
        Ok(rows)
    })?;
    let rows = texts.iter().zip(cut);
    rows.map(|(text, spans)| {
        PyList::new(py, spans.into_iter().map(|span| PyString::new(py, &text[span])))
    })
    .collect()
}

/// The character spans of the chunks of `text`, int64 `[n, 2]`, cut as `chunk_texts` cuts.
#[pyfunction]
#[pyo3(signature = (text, size, mode, counter = None, overlap = 0, watch = None))]
pub fn chunk_spans<'py>(
    py: Python<'py>,
    text: PyBackedStr,
    size: usize,
    mode: &str,
    counter: Option<&Bound<'py, PyAny>>,
    overlap: usize,
    watch: Option<&Watch>,
) -> PyResult<Bound<'py, PyArray2<i64>>> {
    let mode = mode_named(mode)?;
    let ends = measured(py, watch, counter, |unit, progress| {
        let mut found = Vec::new();
        with_characters(&text, &Rule { mode, size, overlap, unit }, progress, &mut found)?;
        Ok(found
            .into_iter()
            .flat_map(|(_, range)| [range.start as i64, range.end as i64])
            .collect::<Vec<_>>())
    })?;
    let count = ends.len() / 2;
    ends.into_pyarray(py).reshape([count, 2])
}

fn mode_named(name: &str) -> PyResult<Mode> {
    rules::check("chunk_mode", "mode", Given::Text(name), &format!("'{name}'")).map_err(into_py)?;
    Ok(if name == "paper" { Mode::Paper } else { Mode::Lossless })
}

/// Cuts documents and writes them as part `path` of the chunk store: (documents, chunks, bytes of text).
///
/// `size` counts characters, or the tokens of `counter` where one is given.
#[pyfunction]
#[pyo3(signature = (documents, path, *, mode, size, counter = None, watch = None))]
pub fn chunk_part(
    py: Python<'_>,
    documents: &Documents,
    path: PathBuf,
    mode: &str,
    size: usize,
    counter: Option<&Bound<'_, PyAny>>,
    watch: Option<&Watch>,
) -> PyResult<(u64, u64, u64)> {
    let mode = mode_named(mode)?;
    measured(py, watch, counter, |unit, progress| {
        let rule = Rule { mode, size, overlap: 0, unit };
        let bytes = documents.0.text_bytes();
        let documents = documents.0.iter().map(|(text, origin)| (origin, text));
        let counts = part(documents, bytes, &rule, &path, progress)?;
        Ok((counts.documents, counts.chunks, counts.bytes))
    })
}
