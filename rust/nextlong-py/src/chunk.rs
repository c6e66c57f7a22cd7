//! The chunk room as Python sees it: a text in, its chunks or their character spans out.

use std::path::PathBuf;

use nextlong::Error;
use nextlong::chunk::{Mode, Rule, Unit, part, spans, with_characters};
use nextlong::tokenize::Scratch;
use numpy::{IntoPyArray, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyList, PyString};

use crate::corpus::Documents;
use crate::door::{Watch, into_py, outside};
use crate::tokenize::Tokenizer;

/// The chunks of `text`, cut by characters, or by the tokens of `counter`.
#[pyfunction]
#[pyo3(signature = (text, size, mode, counter = None))]
pub fn chunk<'py>(
    py: Python<'py>,
    text: PyBackedStr,
    size: usize,
    mode: &str,
    counter: Option<&Tokenizer>,
) -> PyResult<Bound<'py, PyList>> {
    let count = counter.map(counting);
    let rule = Rule { mode: mode_named(mode)?, size, unit: unit(count.as_ref()) };
    let cut = outside(py, None, |progress| {
        let mut found = Vec::new();
        spans(&text, &rule, progress, &mut found)?;
        Ok(found)
    })?;
    PyList::new(py, cut.into_iter().map(|span| PyString::new(py, &text[span])))
}

/// The character spans of the chunks of `text`, int64 `[n, 2]`, cut as `chunk` cuts.
#[pyfunction]
#[pyo3(signature = (text, size, mode, counter = None))]
pub fn chunk_spans<'py>(
    py: Python<'py>,
    text: PyBackedStr,
    size: usize,
    mode: &str,
    counter: Option<&Tokenizer>,
) -> PyResult<Bound<'py, PyArray2<i64>>> {
    let count = counter.map(counting);
    let rule = Rule { mode: mode_named(mode)?, size, unit: unit(count.as_ref()) };
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

/// Counts the tokens of a piece; a piece that cannot be encoded counts as too long, and is split.
fn counting(tokenizer: &Tokenizer) -> impl Fn(&str) -> usize + Send + Sync + '_ {
    |text| tokenizer.0.count(text, &mut Scratch::default()).unwrap_or(usize::MAX)
}

fn unit<F: Fn(&str) -> usize + Send + Sync>(count: Option<&F>) -> Unit<'_> {
    count.map_or(Unit::Characters, |count| Unit::Tokens(count))
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

/// Cuts documents and writes them as part `path` of the chunk store: (documents, chunks, bytes of text).
///
/// `size` counts characters, or the tokens of `counter` where one is given.
#[pyfunction]
#[pyo3(signature = (documents, path, *, mode, size, counter = None, watch = None))]
#[allow(clippy::needless_pass_by_value, reason = "arguments from Python are owned")]
pub fn chunk_part(
    py: Python<'_>,
    documents: &Documents,
    path: PathBuf,
    mode: &str,
    size: usize,
    counter: Option<&Tokenizer>,
    watch: Option<&Watch>,
) -> PyResult<(u64, u64, u64)> {
    let mode = mode_named(mode)?;
    let count = counter.map(counting);
    outside(py, watch, |progress| {
        let rule = Rule { mode, size, unit: unit(count.as_ref()) };
        let room = documents.0.text_bytes();
        let documents = documents.0.iter().map(|(text, origin)| (origin, text));
        let counts = part(documents, room, &rule, &path, progress)?;
        Ok((counts.documents, counts.chunks, counts.bytes))
    })
}
