//! Tokenizers as Python sees them: chunk numbers or texts in, flat ids out.

use nextlong::Ragged;
use nextlong::chunk::Counter;
use nextlong::tokenize::{self, ChunkFile, Kind, Scratch};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use crate::door::{Watch, into_py, outside};
use crate::store::ChunkStore;

type Rows<'py> = (Bound<'py, PyArray1<u32>>, Bound<'py, PyArray1<u64>>);

/// A `tokenizer.json`, shared by all threads.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Tokenizer(pub(crate) tokenize::Tokenizer);

#[pymethods]
impl Tokenizer {
    /// Reads the text of a `tokenizer.json`; with `lazy`, the tables are left to `ready`.
    #[new]
    #[pyo3(signature = (json, *, lazy = false))]
    fn new(py: Python<'_>, json: PyBackedStr, lazy: bool) -> PyResult<Self> {
        outside(py, None, |_| {
            let tokenizer = tokenize::Tokenizer::read(json.to_string())?;
            if !lazy {
                tokenizer.ready()?;
            }
            Ok(tokenizer)
        })
        .map(Self)
    }

    /// Makes the tables that encode, or waits for them.
    fn ready(&self, py: Python<'_>) -> PyResult<()> {
        outside(py, None, |_| self.0.ready())
    }

    /// The ids of the chunks numbered `chunks` of `store`: values and offsets.
    #[pyo3(signature = (store, chunks, watch = None))]
    fn encode_chunks<'py>(
        &self,
        py: Python<'py>,
        store: &ChunkStore,
        chunks: &Bound<'py, PyAny>,
        watch: Option<&Watch>,
    ) -> PyResult<Rows<'py>> {
        let chunks = chunk_numbers(chunks)?;
        outside(py, watch, |progress| self.0.encode_chunks(&store.0, &chunks, progress))
            .map(|rows| flat(py, rows))
    }

    /// The ids of `texts`, each as a chunk: values and offsets.
    #[pyo3(signature = (texts, watch = None))]
    fn encode_texts<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<PyBackedStr>,
        watch: Option<&Watch>,
    ) -> PyResult<Rows<'py>> {
        outside(py, watch, |progress| {
            self.0.encode_texts(texts.iter().map(AsRef::as_ref), progress)
        })
        .map(|rows| flat(py, rows))
    }

    /// The ids that the `tokenizers` package gives without special tokens added.
    fn encode_plain<'py>(
        &self,
        py: Python<'py>,
        text: PyBackedStr,
    ) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let mut ids = Vec::new();
        outside(py, None, |_| self.0.encode_plain(&text, &mut Scratch::default(), &mut ids))?;
        Ok(ids.into_pyarray(py))
    }

    /// The number of ids of `text` as a chunk.
    fn count(&self, py: Python<'_>, text: PyBackedStr) -> PyResult<usize> {
        outside(py, None, |progress| self.0.counter(progress)?.count(&text))
    }

    /// How many characters of each of `texts` the first of its ids cover: those of text `i` are
    /// `values[offsets[i]:offsets[i + 1]]`. -1 where these are not its first ids.
    fn characters_of<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<PyBackedStr>,
        values: PyReadonlyArray1<'_, u32>,
        offsets: PyReadonlyArray1<'_, u64>,
    ) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let (values, offsets) = (values.as_slice()?, offsets.as_slice()?);
        outside(py, None, |progress| {
            let counter = self.0.counter(progress)?;
            let mut found = Vec::with_capacity(texts.len());
            for (text, ends) in texts.iter().zip(offsets.windows(2)) {
                progress.check()?;
                let kept = values.get(ends[0] as usize..ends[1] as usize).unwrap_or_default();
                let characters = counter.characters_of(text, kept)?;
                found.push(characters.map_or(-1, |characters| characters as i64));
            }
            Ok(found)
        })
        .map(|found| found.into_pyarray(py))
    }

    /// The text of ids in the middle of a sequence.
    fn decode(&self, py: Python<'_>, ids: PyReadonlyArray1<'_, u32>) -> PyResult<String> {
        let ids = ids
            .as_slice()
            .map_err(|_| PyValueError::new_err("the ids must be a contiguous uint32 array"))?;
        outside(py, None, |_| self.0.decode(ids))
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.0.token_to_id(token)
    }

    fn id_to_token(&self, id: u32) -> Option<&str> {
        self.0.id_to_token(id)
    }

    fn is_safe_border(
        &self,
        py: Python<'_>,
        left: PyBackedStr,
        right: PyBackedStr,
    ) -> PyResult<bool> {
        outside(py, None, |_| Ok(self.0.is_safe_boundary(&left, &right)))
    }

    #[getter]
    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }

    /// The added tokens: id, text, whether special.
    #[getter]
    fn added(&self) -> Vec<(u32, &str, bool)> {
        self.0.added().iter().map(|token| (token.id, &*token.content, token.special)).collect()
    }

    /// How cuts behave: words, gpt2, lines, lines and slashes, newline, unknown.
    #[getter]
    fn kind(&self, py: Python<'_>) -> PyResult<&'static str> {
        outside(py, None, |_| Ok(self.0.kind().name()))
    }

    #[getter]
    fn notes(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        outside(py, None, |_| Ok(self.0.notes().to_vec()))
    }

    /// A part of the file with which the ids may differ from those of the package, or None.
    #[getter]
    fn unproven(&self) -> Option<&str> {
        self.0.unproven()
    }

    /// The texts on which the tokenizer was tried.
    fn probes(&self) -> Vec<String> {
        self.0.probes()
    }

    /// The hash of the file's text, 32 hexadecimal digits.
    #[getter]
    fn hash(&self) -> String {
        format!("{:032x}", self.0.hash())
    }
}

/// A `tokenizer.json` for an encoder other than the core's: its text without what must never touch
/// a chunk, how cuts behave, whether it still puts something before a text, and notes.
#[pyfunction]
pub fn chunk_file(
    py: Python<'_>,
    json: PyBackedStr,
) -> PyResult<(String, &'static str, bool, Vec<String>)> {
    let file = outside(py, None, |_| ChunkFile::of_json(&json))?;
    Ok((file.text, file.kind.name(), file.marks_the_start, file.notes))
}

/// True if a cut is safe with a tokenizer of that kind.
#[pyfunction]
pub fn is_safe_border(kind: &str, left: &str, right: &str) -> bool {
    Kind::from_name(kind).is_some_and(|kind| kind.is_safe_boundary(left, right))
}

/// Chunk numbers from a contiguous uint32 or int64 array.
fn chunk_numbers(array: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
    if let Ok(array) = array.extract::<PyReadonlyArray1<'_, u32>>() {
        return Ok(array.as_array().to_vec());
    }
    let array: PyReadonlyArray1<'_, i64> = array.extract().map_err(|_| {
        PyTypeError::new_err("the chunk numbers must be a uint32 or int64 array of one dimension")
    })?;
    let numbers = array.as_array();
    numbers
        .iter()
        .map(|&number| {
            u32::try_from(number).map_err(|_| {
                into_py(nextlong::Error::Config(format!("{number} is not the number of a chunk")))
            })
        })
        .collect()
}

fn flat(py: Python<'_>, rows: Ragged<u32>) -> Rows<'_> {
    (rows.values.into_pyarray(py), rows.offsets.into_pyarray(py))
}
