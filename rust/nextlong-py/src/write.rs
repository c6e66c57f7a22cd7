//! Sequences and their writers as Python sees them.

use std::path::PathBuf;
use std::sync::Mutex;

use nextlong::Progress;
use nextlong::sequences::{self, Role, Span};
use nextlong::write::{self, ParquetWriter, STEP_TOKENS};
use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::door::{Watch, into_py, outside};
use crate::fill::Selector;
use crate::locks::lock;
use crate::store::ChunkStore;
use crate::strategy::STRATEGY;

/// Training sequences: token ids and provenance.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Sequences(pub(crate) sequences::Sequences);

/// Flat columns of spans: `token_start`, document (-1: none), chunk, `char_start`, `char_end`,
/// role, meta, score.
type SpanColumns<'py> = (
    PyReadonlyArray1<'py, i32>,
    PyReadonlyArray1<'py, i64>,
    PyReadonlyArray1<'py, i32>,
    PyReadonlyArray1<'py, i64>,
    PyReadonlyArray1<'py, i64>,
    PyReadonlyArray1<'py, i8>,
    PyReadonlyArray1<'py, i32>,
    PyReadonlyArray1<'py, f32>,
);

#[pymethods]
impl Sequences {
    /// The tokens of all sequences.
    #[getter]
    fn tokens(&self) -> usize {
        self.0.input_ids.values.len()
    }

    /// Sequences from flat arrays, copied.
    #[staticmethod]
    fn from_arrays(
        strategy: &str,
        input_ids: PyReadonlyArray1<'_, u32>,
        offsets: PyReadonlyArray1<'_, u64>,
        sequence_id: PyReadonlyArray1<'_, i64>,
        meta_document: PyReadonlyArray1<'_, u32>,
        doc_ids: Vec<String>,
        span_offsets: PyReadonlyArray1<'_, u32>,
        spans: SpanColumns<'_>,
    ) -> PyResult<Self> {
        let (token_start, document, chunk, char_start, char_end, role, meta, score) = &spans;
        let (token_start, document) = (token_start.as_slice()?, document.as_slice()?);
        let (chunk, char_start, char_end) =
            (chunk.as_slice()?, char_start.as_slice()?, char_end.as_slice()?);
        let (role, meta, score) = (role.as_slice()?, meta.as_slice()?, score.as_slice()?);
        let count = token_start.len();
        let lengths = [
            document.len(),
            chunk.len(),
            char_start.len(),
            char_end.len(),
            role.len(),
            meta.len(),
            score.len(),
        ];
        if lengths.iter().any(|&length| length != count) {
            return Err(PyValueError::new_err("the columns of the spans differ in length"));
        }
        let spans = (0..count)
            .map(|span| {
                let role = match role[span] {
                    0 => Role::MetaChunk,
                    1 => Role::Negative,
                    2 => Role::Separator,
                    other => {
                        return Err(PyValueError::new_err(format!(
                            "role {other} is not 0, 1 or 2"
                        )));
                    }
                };
                Ok(Span {
                    token_start: token_start[span],
                    document: u32::try_from(document[span]).ok(),
                    chunk: chunk[span],
                    char_start: char_start[span],
                    char_end: char_end[span],
                    role,
                    meta: meta[span],
                    score: score[span],
                })
            })
            .collect::<PyResult<_>>()?;
        let sequences = sequences::Sequences {
            input_ids: nextlong::Ragged {
                values: input_ids.as_slice()?.to_vec(),
                offsets: offsets.as_slice()?.to_vec(),
            },
            sequence_id: sequence_id.as_slice()?.to_vec(),
            strategy: strategy.to_owned(),
            meta_document: meta_document.as_slice()?.to_vec(),
            doc_ids,
            span_offsets: span_offsets.as_slice()?.to_vec(),
            spans,
        };
        sequences.check().map_err(into_py)?;
        Ok(Self(sequences))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }
}

/// Writes sequences as a Parquet file, which appears when it is complete; returns (rows, bytes).
#[pyfunction]
#[pyo3(signature = (path, sequences, metadata, watch=None))]
pub fn write_parquet(
    py: Python<'_>,
    path: PathBuf,
    sequences: &Sequences,
    metadata: &str,
    watch: Option<&Watch>,
) -> PyResult<(u64, u64)> {
    outside(py, watch, |progress| write::parquet(&path, &sequences.0, metadata, progress))
}

/// A Parquet file of a run: written while its sequences are planned; it appears when it is finished.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Part(Mutex<OpenFile>);

struct OpenFile {
    /// None once it is finished or has failed.
    file: Option<ParquetWriter>,
    /// The next sequence to be written.
    next: usize,
}

#[pymethods]
impl Part {
    /// Starts the file `path`, whose first sequence is `start`.
    #[new]
    fn new(py: Python<'_>, path: PathBuf, start: usize, metadata: &str) -> PyResult<Self> {
        outside(py, None, |_| ParquetWriter::create(&path, STRATEGY, metadata))
            .map(|file| Self(Mutex::new(OpenFile { file: Some(file), next: start })))
    }

    /// Assembles and writes the sequences before `stop` that make whole steps, so that the bytes do not
    /// depend on the calls; returns the next sequence.
    fn grow(
        &self,
        py: Python<'_>,
        selector: &Selector,
        store: &ChunkStore,
        stop: usize,
        watch: &Watch,
    ) -> PyResult<usize> {
        outside(py, Some(watch), |progress| {
            let mut open = lock(&self.0);
            let step = step(selector);
            let stop = open.next + stop.saturating_sub(open.next) / step * step;
            open.write(selector, store, stop, progress)?;
            Ok(open.next)
        })
    }

    /// Writes the remaining sequences before `stop` and finishes the file; returns (rows, tokens,
    /// bytes).
    fn finish(
        &self,
        py: Python<'_>,
        selector: &Selector,
        store: &ChunkStore,
        stop: usize,
        watch: &Watch,
    ) -> PyResult<(u64, u64, u64)> {
        outside(py, Some(watch), |progress| {
            let mut open = lock(&self.0);
            open.write(selector, store, stop, progress)?;
            open.file.take().map_or_else(|| Err(gone()), ParquetWriter::finish)
        })
    }
}

impl OpenFile {
    /// Writes the sequences from the next to before `stop`; drops the file if that fails.
    fn write(
        &mut self,
        selector: &Selector,
        store: &ChunkStore,
        stop: usize,
        progress: &Progress,
    ) -> nextlong::Result<()> {
        let step = step(selector);
        let mut file = self.file.take().ok_or_else(gone)?;
        file.add(|out| {
            let end = (self.next + step).min(stop);
            if end <= self.next {
                return Ok(false);
            }
            selector.assemble_into(out, store, self.next, end, progress)?;
            self.next = end;
            Ok(true)
        })?;
        self.file = Some(file);
        Ok(())
    }
}

/// The number of sequences written at a time.
fn step(selector: &Selector) -> usize {
    STEP_TOKENS.div_ceil(u64::from(selector.seq_len())) as usize
}

fn gone() -> nextlong::Error {
    nextlong::Error::Run("the output file is already closed".to_owned())
}
