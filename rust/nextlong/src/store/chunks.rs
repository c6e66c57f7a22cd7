//! The chunk store: every chunk of the corpus with its text and origin.
//!
//! In: chunks of whole documents, part by part. Out: Arrow IPC parts, read memory-mapped, their
//! chunks and documents numbered through in the order of the parts.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Builder, Int32Builder, Int64Builder, LargeStringArray,
    LargeStringBuilder, PrimitiveArray, RecordBatch, StringArray, StringBuilder, UInt64Builder,
};
use arrow::datatypes::{
    DataType, Field, Fields, Float64Type, Int32Type, Int64Type, Schema, SchemaRef, UInt64Type,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::store::ipc;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("text", DataType::LargeUtf8, false),
        Field::new("doc_id", DataType::Utf8, false),
        Field::new("chunk", DataType::Int32, false),
        Field::new("char_start", DataType::Int64, false),
        Field::new("char_end", DataType::Int64, false),
        Field::new("text_hash", DataType::UInt64, false),
        Field::new("input", DataType::Int32, false),
        Field::new("row", DataType::Int64, false),
        Field::new("score", DataType::Float64, true),
    ]))
});

/// The schema of a part in which a document has a source; null after the first chunk of a document.
static SCHEMA_WITH_SOURCE: LazyLock<SchemaRef> = LazyLock::new(|| {
    let source = Arc::new(Field::new("source", DataType::Utf8, true));
    let fields = SCHEMA.fields().iter().cloned().chain([source]);
    Arc::new(Schema::new(fields.collect::<Fields>()))
});

/// The origin of a document.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The user's id, or a generated one.
    pub doc_id: &'a str,
    /// The input file (or iterable), as numbered by the plan.
    pub input: i32,
    /// The line or row in that input, from 0.
    pub row: i64,
    /// The user's score, if a column of scores was named.
    pub score: Option<f64>,
    /// The user's name for its source, if a column of sources was named.
    pub source: Option<&'a str>,
}

/// Collects the chunks of one part and writes them.
#[derive(Default)]
pub struct PartWriter {
    text: LargeStringBuilder,
    doc_id: StringBuilder,
    chunk: Int32Builder,
    char_start: Int64Builder,
    char_end: Int64Builder,
    text_hash: UInt64Builder,
    input: Int32Builder,
    row: Int64Builder,
    score: Float64Builder,
    source: StringBuilder,
    documents: u64,
}

impl PartWriter {
    /// A writer with an initial capacity of `text_bytes` bytes of text.
    #[must_use]
    pub fn with_capacity(text_bytes: usize) -> Self {
        let text = LargeStringBuilder::with_capacity(text_bytes / 1024, text_bytes);
        Self { text, ..Self::default() }
    }

    /// Adds one document, cut at the ends of `chunks`: (text, character range) in order.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for more chunks or longer ids than a part can hold.
    pub fn document<'a>(
        &mut self,
        origin: Origin<'_>,
        chunks: impl IntoIterator<Item = (&'a str, Range<u64>)>,
    ) -> Result<()> {
        self.documents += 1;
        for (number, (text, characters)) in chunks.into_iter().enumerate() {
            let source = origin.source.filter(|_| number == 0);
            let more_sources = source.map_or(0, str::len);
            if self.doc_id.values_slice().len() + origin.doc_id.len() > i32::MAX as usize
                || self.source.values_slice().len() + more_sources > i32::MAX as usize
                || number > i32::MAX as usize
            {
                return Err(Error::Config(format!(
                    "document {:?} has too many chunks for one part; make chunk_size larger or ids \
                     and sources shorter",
                    origin.doc_id
                )));
            }
            self.text.append_value(text);
            self.doc_id.append_value(origin.doc_id);
            self.chunk.append_value(number as i32);
            self.char_start.append_value(characters.start as i64);
            self.char_end.append_value(characters.end as i64);
            self.text_hash.append_value(xxh3_64(text.as_bytes()));
            self.input.append_value(origin.input);
            self.row.append_value(origin.row);
            self.score.append_option(origin.score);
            self.source.append_option(source);
        }
        Ok(())
    }

    /// Writes the part, which appears when it is complete; returns (documents, chunks).
    ///
    /// # Errors
    ///
    /// What the file system reports.
    pub fn write(mut self, path: &Path) -> Result<(u64, u64)> {
        let source = self.source.finish();
        let has_sources = source.null_count() < source.len();
        let schema = if has_sources { &SCHEMA_WITH_SOURCE } else { &SCHEMA };
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.text.finish()),
            Arc::new(self.doc_id.finish()),
            Arc::new(self.chunk.finish()),
            Arc::new(self.char_start.finish()),
            Arc::new(self.char_end.finish()),
            Arc::new(self.text_hash.finish()),
            Arc::new(self.input.finish()),
            Arc::new(self.row.finish()),
            Arc::new(self.score.finish()),
        ];
        if has_sources {
            columns.push(Arc::new(source));
        }
        let batch = RecordBatch::try_new(SchemaRef::clone(schema), columns)
            .map_err(|error| Error::Run(format!("{}: {error}", path.display())))?;
        ipc::write(path, schema, std::slice::from_ref(&batch))?;
        Ok((self.documents, batch.num_rows() as u64))
    }
}

struct Part {
    text: LargeStringArray,
    doc_id: StringArray,
    chunk: PrimitiveArray<Int32Type>,
    char_start: PrimitiveArray<Int64Type>,
    char_end: PrimitiveArray<Int64Type>,
    text_hash: PrimitiveArray<UInt64Type>,
    input: PrimitiveArray<Int32Type>,
    row: PrimitiveArray<Int64Type>,
    score: PrimitiveArray<Float64Type>,
    source: Option<StringArray>,
}

impl Part {
    fn open(path: &Path) -> Result<Self> {
        let batches = ipc::map_either(path, &[&SCHEMA, &SCHEMA_WITH_SOURCE])?;
        let [batch] = batches.as_slice() else {
            return Err(Error::Run(format!(
                "{}: {} batches instead of one; make the run again",
                path.display(),
                batches.len()
            )));
        };
        Ok(Self {
            text: batch.column(0).as_string().clone(),
            doc_id: batch.column(1).as_string().clone(),
            chunk: batch.column(2).as_primitive().clone(),
            char_start: batch.column(3).as_primitive().clone(),
            char_end: batch.column(4).as_primitive().clone(),
            text_hash: batch.column(5).as_primitive().clone(),
            input: batch.column(6).as_primitive().clone(),
            row: batch.column(7).as_primitive().clone(),
            score: batch.column(8).as_primitive().clone(),
            source: batch.columns().get(9).map(|source| source.as_string().clone()),
        })
    }
}

/// All chunks of a run, memory-mapped. A chunk or document is named by its number in the corpus.
pub struct ChunkStore {
    parts: Vec<Part>,
    /// The first chunk of each part, and the number of chunks.
    starts: Vec<usize>,
    /// The first chunk of each document, and the number of chunks.
    documents: Vec<u32>,
}

impl ChunkStore {
    /// Maps the parts in the given order.
    ///
    /// # Errors
    ///
    /// [`Error::Run`] for a part that is damaged, [`Error::Io`] for one that cannot be read.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut store = Self { parts: Vec::new(), starts: vec![0], documents: Vec::new() };
        for path in paths {
            let part = Part::open(path)?;
            let start = store.len();
            if start + part.chunk.len() >= u32::MAX as usize {
                return Err(Error::Config(format!(
                    "the corpus has more than {} chunks, the most one run can number; split it",
                    u32::MAX - 1
                )));
            }
            if part.chunk.values().first().is_some_and(|&number| number != 0) {
                return Err(Error::Run(format!(
                    "{}: begins inside a document; make the run again",
                    path.display()
                )));
            }
            let firsts = part.chunk.values().iter().enumerate().filter(|&(_, &number)| number == 0);
            store.documents.extend(firsts.map(|(row, _)| (start + row) as u32));
            store.starts.push(start + part.chunk.len());
            store.parts.push(part);
        }
        store.documents.push(store.len() as u32);
        Ok(store)
    }

    /// The number of chunks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// True if there is no chunk.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of documents that have a chunk.
    #[must_use]
    pub fn document_count(&self) -> usize {
        self.documents.len() - 1
    }

    /// The number of parts.
    #[must_use]
    pub fn part_count(&self) -> usize {
        self.parts.len()
    }

    /// The chunks of part `part`.
    #[must_use]
    pub fn part_chunks(&self, part: usize) -> Range<usize> {
        self.starts[part]..self.starts[part + 1]
    }

    /// The chunks of document `document`.
    #[must_use]
    pub fn document_chunks(&self, document: usize) -> Range<usize> {
        self.documents[document] as usize..self.documents[document + 1] as usize
    }

    /// The document of `chunk`.
    #[must_use]
    pub fn document(&self, chunk: usize) -> usize {
        self.documents.partition_point(|&first| first as usize <= chunk) - 1
    }

    /// The source of document `document`; None if it has none.
    #[must_use]
    pub fn source(&self, document: usize) -> Option<&str> {
        let (part, row) = self.find(self.documents[document] as usize);
        part.source.as_ref().filter(|source| source.is_valid(row)).map(|source| source.value(row))
    }

    /// The text of `chunk`.
    #[must_use]
    pub fn text(&self, chunk: usize) -> &str {
        let (part, row) = self.find(chunk);
        part.text.value(row)
    }

    /// The XXH3 hash of the text of `chunk`.
    #[must_use]
    pub fn text_hash(&self, chunk: usize) -> u64 {
        let (part, row) = self.find(chunk);
        part.text_hash.value(row)
    }

    /// The number of `chunk` in its document, from 0.
    #[must_use]
    pub fn chunk_number(&self, chunk: usize) -> i32 {
        let (part, row) = self.find(chunk);
        part.chunk.value(row)
    }

    /// The characters (Unicode code points) of its document that `chunk` covers.
    #[must_use]
    pub fn characters(&self, chunk: usize) -> Range<i64> {
        let (part, row) = self.find(chunk);
        part.char_start.value(row)..part.char_end.value(row)
    }

    /// The origin of the document of `chunk`.
    #[must_use]
    pub fn origin(&self, chunk: usize) -> Origin<'_> {
        let (part, row) = self.find(chunk);
        Origin {
            doc_id: part.doc_id.value(row),
            input: part.input.value(row),
            row: part.row.value(row),
            score: part.score.is_valid(row).then(|| part.score.value(row)),
            source: part.source.as_ref().and_then(|_| self.source(self.document(chunk))),
        }
    }

    fn find(&self, chunk: usize) -> (&Part, usize) {
        let part = self.starts.partition_point(|&start| start <= chunk) - 1;
        (&self.parts[part], chunk - self.starts[part])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_and_documents_are_numbered_through_the_parts() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut paths = Vec::new();
        for part in 0..2 {
            let mut writer = PartWriter::default();
            for row in 0..3 {
                let id = format!("{part}/{row}");
                let source = Some("s").filter(|_| part == 1 && row > 0);
                let origin = Origin { doc_id: &id, input: part, row, score: Some(0.5), source };
                writer.document(origin, [("é\n", 0..2), ("zwei", 2..6)]).expect("added");
            }
            paths.push(folder.path().join(format!("part-{part}.arrow")));
            assert_eq!(writer.write(&paths[part as usize]).expect("written"), (3, 6));
        }
        paths.insert(1, folder.path().join("empty.arrow"));
        PartWriter::default().write(&paths[1]).expect("written");
        let store = ChunkStore::open(&paths).expect("opened");
        assert_eq!((store.len(), store.document_count(), store.part_count()), (12, 6, 3));
        assert_eq!((store.text(7), store.chunk_number(7), store.document(7)), ("zwei", 1, 3));
        assert_eq!((store.characters(7), store.origin(7).doc_id), (2..6, "1/0"));
        assert_eq!(store.document_chunks(3), 6..8);
        assert_eq!(store.text_hash(0), store.text_hash(6));
        let sources: Vec<_> = (0..6).map(|document| store.source(document)).collect();
        assert_eq!(sources, [None, None, None, None, Some("s"), Some("s")]);
        assert_eq!(
            [5, 7, 8, 9].map(|chunk| store.origin(chunk).source.is_some()),
            [false, false, true, true]
        );
    }

    #[test]
    fn a_damaged_part_is_an_error_and_never_a_crash() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("part.arrow");
        for source in [None, Some("s")] {
            let mut writer = PartWriter::default();
            let origin = Origin { doc_id: "a", input: 0, row: 0, score: None, source };
            writer.document(origin, [("text", 0..4)]).expect("added");
            writer.write(&path).expect("written");
            let whole = std::fs::read(&path).expect("read");
            for length in 0..whole.len() {
                std::fs::write(&path, &whole[..length]).expect("cut");
                assert!(
                    matches!(ChunkStore::open(std::slice::from_ref(&path)), Err(Error::Run(_))),
                    "{length}"
                );
            }
        }
    }
}
