//! The corpus as Python sees it: a listing in, blocks out, documents that stay on this side.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatchReader;
use arrow::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
use nextlong::corpus::{self, Field, Input, InputFile, Item, Kind, Reason, Settings};
use pyo3::exceptions::{PyIndexError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyCapsule, PyDict, PyFloat, PyInt, PyIterator, PyList, PyMapping, PyString,
};

use crate::door::{Watch, into_py, outside};
use crate::locks::lock;

/// A listed file: number, path, name, label, kind.
type Listed = (i32, PathBuf, String, String, String);

fn settings_of(json: &str) -> PyResult<Settings> {
    serde_json::from_str(json)
        .map_err(|error| into_py(nextlong::Error::Config(format!("corpus settings: {error}"))))
}

/// The kind by a file's name; None for an unknown name.
#[pyfunction]
pub fn corpus_kind(path: PathBuf) -> Option<&'static str> {
    Kind::of(&path).map(Kind::as_str)
}

/// Reads inputs one after another and cuts them into blocks.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct BlockReader {
    settings: Arc<Settings>,
    source: Mutex<Source>,
}

enum Source {
    Core(Box<corpus::BlockReader>),
    Items(Items),
}

struct Items {
    input: Input,
    iterator: Py<PyIterator>,
    row: i64,
    block_bytes: usize,
}

#[pymethods]
impl BlockReader {
    /// Reads files in the given order, the first from a place in it: row, byte (`Block.next`).
    #[staticmethod]
    #[pyo3(signature = (files, settings, block_bytes, start=(0, 0), most_held=None))]
    fn of_files(
        files: Vec<Listed>,
        settings: &str,
        block_bytes: usize,
        start: (i64, u64),
        most_held: Option<usize>,
    ) -> PyResult<Self> {
        let settings = settings_of(settings)?;
        let files = files
            .into_iter()
            .map(|(number, path, name, label, kind)| {
                let kind = Kind::from_name(&kind)
                    .ok_or_else(|| PyValueError::new_err(format!("no kind of file: {kind}")))?;
                Ok(InputFile { input: input_of(number, name, label), path, kind })
            })
            .collect::<PyResult<Vec<_>>>()?;
        let reader = corpus::BlockReader::of_files(files, settings.clone(), block_bytes)
            .starting(corpus::Place { row: start.0, at: start.1 })
            .holding(most_held.unwrap_or(usize::MAX));
        Ok(Self {
            settings: Arc::new(settings),
            source: Mutex::new(Source::Core(Box::new(reader))),
        })
    }

    /// Reads an object that gives an Arrow stream (`__arrow_c_stream__`).
    #[staticmethod]
    fn of_arrow(
        table: &Bound<'_, PyAny>,
        number: i32,
        name: String,
        label: String,
        settings: &str,
        block_bytes: usize,
    ) -> PyResult<Self> {
        let settings = settings_of(settings)?;
        let stream = stream_of(table)?;
        let input = input_of(number, name, label);
        let reader = corpus::BlockReader::of_batches(
            input,
            &stream.schema(),
            stream,
            settings.clone(),
            block_bytes,
        )
        .map_err(into_py)?;
        Ok(Self {
            settings: Arc::new(settings),
            source: Mutex::new(Source::Core(Box::new(reader))),
        })
    }

    /// Reads an iterable of strings or mappings.
    #[staticmethod]
    fn of_items(
        items: &Bound<'_, PyAny>,
        number: i32,
        name: String,
        label: String,
        settings: &str,
        block_bytes: usize,
    ) -> PyResult<Self> {
        let settings = Arc::new(settings_of(settings)?);
        let iterator = items.try_iter()?.unbind();
        let input = input_of(number, name, label);
        let items = Items { input, iterator, row: 0, block_bytes };
        Ok(Self { settings, source: Mutex::new(Source::Items(items)) })
    }

    /// The next block; None at the end.
    #[pyo3(signature = (watch=None))]
    fn next(&self, py: Python<'_>, watch: Option<&Watch>) -> PyResult<Option<Block>> {
        // A second caller waits for nothing: blocks have one order, so a reader has one user.
        let mut source = self.source.try_lock().map_err(|_| {
            PyRuntimeError::new_err("two threads read blocks from one reader; give each its own")
        })?;
        let block = match &mut *source {
            Source::Core(reader) => outside(py, watch, |progress| reader.next(progress))?,
            Source::Items(items) => items.next(py, &self.settings)?,
        };
        Ok(block.map(|block| Block {
            number: block.input().number,
            name: block.input().name.to_string(),
            first_row: block.first_row(),
            offset: block.offset(),
            bytes: block.bytes(),
            file_bytes: block.file_bytes(),
            next: (block.next().0, block.next().1.row, block.next().1.at),
            settings: Arc::clone(&self.settings),
            held: Mutex::new(Some(block)),
        }))
    }
}

fn input_of(number: i32, name: String, label: String) -> Input {
    Input { number, name: name.into(), label: label.into() }
}

/// Takes the stream out of the capsule that `table` gives.
fn stream_of(table: &Bound<'_, PyAny>) -> PyResult<RecordBatchStreamReader> {
    let capsule = table.call_method0("__arrow_c_stream__")?;
    let capsule = capsule
        .cast::<PyCapsule>()
        .ok()
        .and_then(|capsule| capsule.pointer_checked(Some(c"arrow_array_stream")).ok());
    let pointer = capsule.ok_or_else(|| {
        let what = "__arrow_c_stream__ gave no capsule of an Arrow stream";
        into_py(nextlong::Error::Corpus(what.to_owned()))
    })?;
    // SAFETY: a capsule of that name points to an ArrowArrayStream (the Arrow PyCapsule interface);
    // it is moved out and its release cleared, so the capsule's destructor frees nothing twice.
    // Python's tests hand over streams that were read before, and capsules of other things.
    #[allow(unsafe_code, reason = "the C stream interface is a pointer")]
    let stream =
        unsafe { FFI_ArrowArrayStream::from_raw(pointer.as_ptr().cast::<FFI_ArrowArrayStream>()) };
    RecordBatchStreamReader::try_new(stream)
        .map_err(|error| into_py(nextlong::Error::Corpus(format!("the Arrow stream: {error}"))))
}

impl Items {
    /// Takes items until their texts fill a block.
    fn next(&mut self, py: Python<'_>, settings: &Settings) -> PyResult<Option<corpus::Block>> {
        let mut documents = corpus::Documents::default();
        let text_column = PyString::new(py, &settings.text_column);
        let id_column = PyString::new(py, settings.id_column.as_deref().unwrap_or("id"));
        let score_column = settings.score_column.as_deref().map(|name| PyString::new(py, name));
        let source_column = settings.source_column.as_deref().map(|name| PyString::new(py, name));
        let (start, mut bytes) = (self.row, 0);
        let mut items = self.iterator.bind(py).clone();
        while bytes < self.block_bytes {
            let Some(item) = items.next().transpose()? else { break };
            bytes += 16;
            if let Ok(text) = item.cast::<PyString>() {
                let text = Text::of(text);
                bytes += text.len();
                self.add(&mut documents, settings, &text, Named::MISSING);
            } else if let Ok(mapping) = item.cast::<PyMapping>() {
                let text = match value(mapping, &text_column)? {
                    None => Text::Missing,
                    Some(text) => match text.cast::<PyString>() {
                        Ok(text) => Text::of(text),
                        Err(_) => Text::Wrong(shown(&text)),
                    },
                };
                bytes += text.len();
                let (mut id, mut source) = (Field::Missing, Field::Missing);
                if let Some(given) = value(mapping, &id_column)? {
                    id = id_of(&given);
                }
                if let Some(column) = &source_column
                    && let Some(given) = value(mapping, column)?
                {
                    source = source_of(&given);
                }
                let score = match &score_column {
                    Some(column) => {
                        value(mapping, column)?.map_or(Field::Missing, |given| score_of(&given))
                    }
                    None => Field::Missing,
                };
                bytes += text_of(&source).len();
                self.add(&mut documents, settings, &text, Named { id, score, source });
            } else {
                let reason = Reason::NotAnObject;
                documents.add_bad(&self.input, self.row, reason, shown(&item).as_bytes());
            }
            self.row += 1;
        }
        let empty = self.row == start;
        Ok((!empty).then(|| corpus::Block::ready(self.input.clone(), documents)))
    }

    fn add(
        &self,
        documents: &mut corpus::Documents,
        settings: &Settings,
        text: &Text,
        named: Named,
    ) {
        let text = match text {
            Text::Whole(text) => Field::Found(&**text),
            Text::Missing => Field::Missing,
            Text::Surrogate(shown) => {
                let reason = Reason::LoneSurrogate;
                return documents.add_bad(&self.input, self.row, reason, shown.as_bytes());
            }
            Text::Wrong(shown) => {
                let reason = Reason::TextNotAString;
                return documents.add_bad(&self.input, self.row, reason, shown.as_bytes());
            }
        };
        let (id, score, source) = (borrowed(&named.id), named.score, borrowed(&named.source));
        documents.add(settings, &self.input, self.row, Item { text, id, score, source });
    }
}

/// The fields of a mapping besides its text.
struct Named {
    id: Field<String>,
    score: Field<f64>,
    source: Field<String>,
}

impl Named {
    const MISSING: Self =
        Self { id: Field::Missing, score: Field::Missing, source: Field::Missing };
}

fn borrowed(field: &Field<String>) -> Field<&str> {
    match field {
        Field::Missing => Field::Missing,
        Field::Found(text) => Field::Found(text),
        Field::Bad(reason) => Field::Bad(*reason),
    }
}

fn text_of(field: &Field<String>) -> &str {
    if let Field::Found(text) = field { text } else { "" }
}

/// The text of an item, borrowed from Python where it is one.
enum Text {
    Whole(pyo3::pybacked::PyBackedStr),
    Surrogate(String),
    Wrong(String),
    Missing,
}

impl Text {
    fn of(text: &Bound<'_, PyString>) -> Self {
        match pyo3::pybacked::PyBackedStr::try_from(text.clone()) {
            Ok(whole) => Self::Whole(whole),
            Err(_) => Self::Surrogate(text.to_string_lossy().into_owned()),
        }
    }

    fn len(&self) -> usize {
        if let Self::Whole(text) = self { text.len() } else { 0 }
    }
}

/// The value of a key; none where it is missing or None.
fn value<'py>(
    mapping: &Bound<'py, PyMapping>,
    key: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let value = match mapping.cast::<PyDict>() {
        Ok(dict) => dict.get_item(key)?,
        Err(_) if mapping.contains(key)? => Some(mapping.get_item(key)?),
        Err(_) => None,
    };
    Ok(value.filter(|value| !value.is_none()))
}

fn id_of(given: &Bound<'_, PyAny>) -> Field<String> {
    if let Ok(text) = given.cast::<PyString>() {
        return match text.extract::<pyo3::pybacked::PyBackedStr>() {
            Ok(text) => Field::Found(text.to_string()),
            Err(_) => Field::Bad(Reason::LoneSurrogate),
        };
    }
    let is_number = given.is_instance_of::<PyFloat>() || is_whole_number(given);
    if !is_number || given.is_instance_of::<PyBool>() {
        return Field::Bad(Reason::IdWrongType);
    }
    match given.str() {
        Ok(text) => Field::Found(text.to_string_lossy().into_owned()),
        Err(_) => Field::Bad(Reason::IdWrongType),
    }
}

/// As an id; a boolean is `true` or `false`, as JSON and Arrow spell it.
fn source_of(given: &Bound<'_, PyAny>) -> Field<String> {
    if let Ok(flag) = given.cast::<PyBool>() {
        return Field::Found(flag.is_true().to_string());
    }
    match id_of(given) {
        Field::Bad(Reason::IdWrongType) => Field::Bad(Reason::SourceWrongType),
        field => field,
    }
}

/// Python's whole numbers and numpy's.
fn is_whole_number(given: &Bound<'_, PyAny>) -> bool {
    given.is_instance_of::<PyInt>() || given.hasattr("__index__").unwrap_or(false)
}

fn score_of(given: &Bound<'_, PyAny>) -> Field<f64> {
    match given.extract::<f64>() {
        Ok(score) if !given.is_instance_of::<PyBool>() => Field::Found(score),
        _ => Field::Bad(Reason::ScoreNotANumber),
    }
}

fn shown(item: &Bound<'_, PyAny>) -> String {
    item.repr().map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned())
}

/// Rows of one input, or several text files: read, not yet parsed.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Block {
    /// The number of the input that the block's first row belongs to.
    #[pyo3(get)]
    number: i32,
    /// The name of that input.
    #[pyo3(get)]
    name: String,
    /// The block's first row in its input, from 0.
    #[pyo3(get)]
    first_row: i64,
    /// The byte of its (decompressed) input at which the block starts; None where rows have none.
    #[pyo3(get)]
    offset: Option<u64>,
    /// The bytes that the block holds.
    #[pyo3(get)]
    bytes: usize,
    /// The bytes of the files, as they lie on the disk, that the block stands for; 0 without one.
    #[pyo3(get)]
    file_bytes: u64,
    /// The start of the next block: number of the input, row, and what `of_files` needs.
    #[pyo3(get)]
    next: (i32, i64, u64),
    settings: Arc<Settings>,
    held: Mutex<Option<corpus::Block>>,
}

#[pymethods]
impl Block {
    /// Parse the block, once: what it held is freed or moved.
    #[pyo3(signature = (watch=None))]
    fn parse(&self, py: Python<'_>, watch: Option<&Watch>) -> PyResult<Documents> {
        let block = lock(&self.held).take();
        let block = block.ok_or_else(|| {
            PyRuntimeError::new_err("a block can be parsed once; keep its documents")
        })?;
        outside(py, watch, |_| block.parse(&self.settings)).map(Documents)
    }

    fn __repr__(&self) -> String {
        format!("Block({:?}, first_row={}, bytes={})", self.name, self.first_row, self.bytes)
    }
}

/// The good rows of a block, held outside Python, and its bad ones.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Documents(pub(crate) corpus::Documents);

#[pymethods]
impl Documents {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// The bytes of all texts.
    #[getter]
    fn text_bytes(&self) -> usize {
        self.0.text_bytes()
    }

    /// How many rows cannot be used.
    #[getter]
    fn bad_count(&self) -> u64 {
        self.0.bad_count()
    }

    /// How many rows cannot be used, by reason.
    fn bad_counts(&self) -> std::collections::BTreeMap<&'static str, u64> {
        self.0.bad_counts()
    }

    /// The first `most` bad rows (100,000 at most) as JSON lines: file, row (from 1), offset,
    /// reason, text.
    #[pyo3(signature = (most=corpus::MOST_LISTED))]
    fn quarantine<'py>(&self, py: Python<'py>, most: usize) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.quarantine(most).as_bytes())
    }

    /// The texts of the documents from `start` to before `stop`.
    #[pyo3(signature = (start=0, stop=None))]
    fn texts<'py>(
        &self,
        py: Python<'py>,
        start: usize,
        stop: Option<usize>,
    ) -> PyResult<Bound<'py, PyList>> {
        let stop = stop.unwrap_or(self.0.len());
        if start > stop || stop > self.0.len() {
            let total = self.0.len();
            return Err(PyIndexError::new_err(format!("documents {start} to {stop} of {total}")));
        }
        PyList::new(py, (start..stop).map(|number| PyString::new(py, self.0.text(number))))
    }

    /// Where a document came from: id, number of the input, row from 0, score.
    fn origin(&self, document: usize) -> PyResult<(&str, i32, i64, Option<f64>)> {
        if document >= self.0.len() {
            let total = self.0.len();
            return Err(PyIndexError::new_err(format!("document {document} of {total}")));
        }
        let origin = self.0.origin(document);
        Ok((origin.doc_id, origin.input, origin.row, origin.score))
    }

    /// The source of a document; None where it has none.
    fn source(&self, document: usize) -> PyResult<Option<&str>> {
        if document >= self.0.len() {
            let total = self.0.len();
            return Err(PyIndexError::new_err(format!("document {document} of {total}")));
        }
        Ok(self.0.origin(document).source)
    }
}
