//! The canonical format: Parquet with the tokens and the provenance of every sequence.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::schema::types::ColumnPath;
use arrow::array::{
    ArrayRef, Float32Array, Int8Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    StringBuilder,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::sequences::{Sequences, Span};
use crate::store::atomic::AtomicFile;

/// Tokens of a row group, in bytes before they are encoded.
const ROW_GROUP_BYTES: u64 = 64 << 20;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let list = |name: &str, kind: DataType| Field::new(name, DataType::List(item(kind)), false);
    Arc::new(Schema::new(vec![
        list("input_ids", DataType::Int32),
        Field::new("length", DataType::Int32, false),
        list("seq_lengths", DataType::Int32),
        list("seq_start_id", DataType::Int32),
        Field::new("sequence_id", DataType::Int64, false),
        Field::new("strategy", DataType::Utf8, false),
        Field::new("meta_doc_id", DataType::Utf8, false),
        list("span_token_start", DataType::Int32),
        list("span_doc_id", DataType::Utf8),
        list("span_chunk", DataType::Int32),
        list("span_char_start", DataType::Int64),
        list("span_char_end", DataType::Int64),
        list("span_role", DataType::Int8),
        list("span_meta", DataType::Int32),
        list("span_score", DataType::Float32),
    ]))
});

/// The field inside a list: the name the format asks for, nullable as every reader expects.
fn item(kind: DataType) -> Arc<Field> {
    Arc::new(Field::new("element", kind, true))
}

/// Writes `sequences` as a Parquet file, which appears when it is complete; returns (rows, bytes).
///
/// `metadata` is kept in the file under the key `nextlong`: the settings of the run as JSON.
/// `progress` counts the tokens written.
///
/// # Errors
///
/// What the file system reports; [`Error::Run`] for sequences whose columns do not agree;
/// [`Error::Cancelled`] when `progress` says so.
pub fn parquet(
    path: &Path,
    sequences: &Sequences,
    metadata: &str,
    progress: &Progress,
) -> Result<(u64, u64)> {
    sequences.check()?;
    let offsets = &sequences.input_ids.offsets;
    let mut file = ParquetWriter::create(path, &sequences.strategy, metadata)?;
    for rows in row_groups(offsets) {
        progress.check()?;
        let tokens = offsets[rows.end] - offsets[rows.start];
        // A few rows at a time, so that a stop is noticed soon.
        let step = (rows.len() as u64 * STEP_TOKENS).div_ceil(tokens.max(1)).max(1) as usize;
        for start in rows.clone().step_by(step) {
            progress.check()?;
            let part = start..(start + step).min(rows.end);
            let written = offsets[part.end] - offsets[part.start];
            file.write(sequences, part)?;
            progress.add(written);
        }
        file.end_row_group()?;
    }
    let (_, _, bytes) = file.finish()?;
    Ok((sequences.len() as u64, bytes))
}

/// Tokens that are encoded at a time.
pub const STEP_TOKENS: u64 = 1 << 20;

/// Writes a Parquet file while its sequences are being made: under a temporary name until it is
/// finished; it is removed if it never is.
///
/// Its bytes depend on the steps in which it is written: the same steps give the same bytes.
pub struct ParquetWriter {
    path: PathBuf,
    arrow: ArrowWriter<AtomicFile>,
    /// Buffer of the last sequences.
    buffer: Sequences,
    rows: u64,
    tokens: u64,
    tokens_in_group: u64,
}

impl ParquetWriter {
    /// Starts the file; `metadata` as in [`parquet`], `strategy` is the name of the strategy.
    ///
    /// # Errors
    ///
    /// What the file system reports.
    pub fn create(path: &Path, strategy: &str, metadata: &str) -> Result<Self> {
        let properties = properties(metadata).map_err(|error| failed(path, error))?;
        let arrow =
            ArrowWriter::try_new(AtomicFile::create(path)?, SCHEMA.clone(), Some(properties))
                .map_err(|error| failed(path, error))?;
        let buffer = Sequences::new(strategy);
        Ok(Self { path: path.to_owned(), arrow, buffer, rows: 0, tokens: 0, tokens_in_group: 0 })
    }

    /// Writes more sequences: `next` replaces the content of the buffer, or returns false if there are
    /// none for now. About [`STEP_TOKENS`] at a time fit into the processor's cache.
    ///
    /// # Errors
    ///
    /// As [`parquet`], and those of `next`; drop the file then.
    pub fn add(&mut self, mut next: impl FnMut(&mut Sequences) -> Result<bool>) -> Result<()> {
        let mut some = std::mem::take(&mut self.buffer);
        while next(&mut some)? {
            some.check()?;
            let count = some.input_ids.values.len() as u64;
            if self.tokens_in_group > 0 && self.tokens_in_group + count > ROW_GROUP_BYTES / 4 {
                self.end_row_group()?;
            }
            self.write(&some, 0..some.len())?;
        }
        self.buffer = some;
        Ok(())
    }

    /// Finishes the file and returns (rows, tokens, bytes).
    ///
    /// # Errors
    ///
    /// What the file system reports.
    pub fn finish(self) -> Result<(u64, u64, u64)> {
        let file = self.arrow.into_inner().map_err(|error| failed(&self.path, error))?;
        Ok((self.rows, self.tokens, file.finish()?))
    }

    fn write(&mut self, sequences: &Sequences, rows: Range<usize>) -> Result<()> {
        let offsets = &sequences.input_ids.offsets;
        let tokens = offsets[rows.end] - offsets[rows.start];
        self.rows += rows.len() as u64;
        self.tokens += tokens;
        self.tokens_in_group += tokens;
        let batch = batch(sequences, rows)
            .map_err(|error| Error::Run(format!("{}: {error}", self.path.display())))?;
        self.arrow.write(&batch).map_err(|error| failed(&self.path, error))
    }

    fn end_row_group(&mut self) -> Result<()> {
        self.tokens_in_group = 0;
        self.arrow.flush().map_err(|error| failed(&self.path, error))
    }
}

fn failed(path: &Path, error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => Error::io(path)(*source),
            Err(source) => Error::Run(format!("{}: {source}", path.display())),
        },
        other => Error::Run(format!("{}: {other}", path.display())),
    }
}

fn properties(metadata: &str) -> std::result::Result<WriterProperties, ParquetError> {
    let tokens = || ColumnPath::new(["input_ids", "list", "element"].map(str::to_owned).to_vec());
    Ok(WriterProperties::builder()
        .set_created_by(concat!("nextlong ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_column_encoding(tokens(), Encoding::BYTE_STREAM_SPLIT)
        .set_column_dictionary_enabled(tokens(), false)
        .set_column_statistics_enabled(tokens(), EnabledStatistics::None)
        .set_max_row_group_row_count(None)
        .set_key_value_metadata(Some(vec![KeyValue::new(
            "nextlong".to_owned(),
            metadata.to_owned(),
        )]))
        .build())
}

/// Rows whose tokens make a row group; a row longer than that is one of its own.
fn row_groups(offsets: &[u64]) -> impl Iterator<Item = Range<usize>> {
    let rows = offsets.len() - 1;
    let mut start = 0;
    std::iter::from_fn(move || {
        if start == rows {
            return None;
        }
        let limit = offsets[start] + ROW_GROUP_BYTES / 4;
        let stop = offsets.partition_point(|&offset| offset <= limit) - 1;
        let stop = stop.clamp(start + 1, rows);
        let group = start..stop;
        start = stop;
        Some(group)
    })
}

/// The rows as Arrow columns, in the order of the schema.
fn batch(
    sequences: &Sequences,
    rows: Range<usize>,
) -> std::result::Result<RecordBatch, ArrowError> {
    let offsets = &sequences.input_ids.offsets;
    let tokens =
        &sequences.input_ids.values[offsets[rows.start] as usize..offsets[rows.end] as usize];
    let lengths: Vec<i32> =
        rows.clone().map(|row| (offsets[row + 1] - offsets[row]) as i32).collect();
    let ids: Vec<i32> = tokens.iter().map(|&id| id as i32).collect();
    let span_offsets = &sequences.span_offsets[rows.start..=rows.end];
    let spans = &sequences.spans[span_offsets[0] as usize..span_offsets[rows.len()] as usize];
    let span_lists = OffsetBuffer::from_lengths(
        span_offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize),
    );
    let list = |kind: DataType, offsets: &OffsetBuffer<i32>, values: ArrayRef| {
        ListArray::try_new(item(kind), offsets.clone(), values, None)
            .map(|array| Arc::new(array) as ArrayRef)
    };
    let ints = |of: fn(&Span) -> i32| -> std::result::Result<ArrayRef, _> {
        let values: Vec<i32> = spans.iter().map(of).collect();
        list(DataType::Int32, &span_lists, Arc::new(Int32Array::from(values)))
    };
    let longs = |of: fn(&Span) -> i64| -> std::result::Result<ArrayRef, _> {
        let values: Vec<i64> = spans.iter().map(of).collect();
        list(DataType::Int64, &span_lists, Arc::new(Int64Array::from(values)))
    };
    let mut doc_id = StringBuilder::new();
    for span in spans {
        if doc_id.values_slice().len() > i32::MAX as usize - (1 << 20) {
            return Err(ArrowError::OffsetOverflowError(doc_id.values_slice().len()));
        }
        doc_id.append_option(span.document.map(|number| &sequences.doc_ids[number as usize]));
    }
    let roles: Vec<i8> = spans.iter().map(|span| span.role as i8).collect();
    let scores: Vec<f32> = spans.iter().map(|span| span.score).collect();
    let ones = OffsetBuffer::from_lengths(std::iter::repeat_n(1, rows.len()));
    let token_lists = OffsetBuffer::from_lengths(lengths.iter().map(|&length| length as usize));
    let meta_doc_id: StringArray = sequences.meta_document[rows.clone()]
        .iter()
        .map(|&number| Some(sequences.doc_ids[number as usize].as_str()))
        .collect();
    let columns: Vec<ArrayRef> = vec![
        list(
            DataType::Int32,
            &token_lists,
            Arc::new(Int32Array::new(ScalarBuffer::from(ids), None)),
        )?,
        Arc::new(Int32Array::from(lengths.clone())),
        list(DataType::Int32, &ones, Arc::new(Int32Array::from(lengths)))?,
        list(DataType::Int32, &ones, Arc::new(Int32Array::from(vec![0; rows.len()])))?,
        Arc::new(Int64Array::from(sequences.sequence_id[rows.clone()].to_vec())),
        Arc::new(StringArray::from(vec![sequences.strategy.as_str(); rows.len()])),
        Arc::new(meta_doc_id),
        ints(|span| span.token_start)?,
        list(DataType::Utf8, &span_lists, Arc::new(doc_id.finish()))?,
        ints(|span| span.chunk)?,
        longs(|span| span.char_start)?,
        longs(|span| span.char_end)?,
        list(DataType::Int8, &span_lists, Arc::new(Int8Array::from(roles)))?,
        ints(|span| span.meta)?,
        list(DataType::Float32, &span_lists, Arc::new(Float32Array::from(scores)))?,
    ];
    RecordBatch::try_new(SCHEMA.clone(), columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequences::Role;

    fn sequences(rows: usize, tokens: usize) -> Sequences {
        let mut sequences = Sequences::new("nextlong");
        sequences.doc_ids = vec!["a".to_owned(), "é".to_owned()];
        for row in 0..rows {
            sequences.input_ids.values.extend((0..tokens).map(|token| (token * row) as u32));
            for (number, role) in
                [Role::MetaChunk, Role::Negative, Role::Separator].iter().enumerate()
            {
                sequences.spans.push(Span {
                    token_start: number as i32,
                    document: (*role != Role::Separator).then_some(number as u32),
                    chunk: number as i32,
                    char_start: 0,
                    char_end: 9,
                    role: *role,
                    meta: 0,
                    score: 0.5,
                });
            }
            sequences.close(row as i64, 1);
        }
        sequences
    }

    #[test]
    fn the_same_sequences_give_the_same_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let sequences = sequences(5, 1000);
        let write = |name: &str| {
            let path = folder.path().join(name);
            let written = parquet(&path, &sequences, "{}", &Progress::default()).expect("written");
            let bytes = std::fs::read(path).expect("read");
            assert_eq!(written, (5, bytes.len() as u64));
            bytes
        };
        assert_eq!(write("a.parquet"), write("b.parquet"));
    }

    #[test]
    fn sequences_made_while_they_are_written_give_the_same_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let whole = folder.path().join("whole.parquet");
        let all = sequences(3, 1 << 20);
        let bytes = parquet(&whole, &all, "{}", &Progress::default()).expect("written").1;
        let steps = folder.path().join("steps.parquet");
        let mut row = 0;
        let mut file = ParquetWriter::create(&steps, "nextlong", "{}").expect("created");
        for stop in [0, 2, 2, 3] {
            file.add(|some| {
                some.clear();
                some.doc_ids.clone_from(&all.doc_ids);
                if row < stop {
                    some.input_ids.values.extend_from_slice(all.input_ids.row(row));
                    some.spans.extend_from_slice(all.spans(row));
                    some.close(row as i64, 1);
                    row += 1;
                }
                Ok(!some.is_empty())
            })
            .expect("written");
        }
        assert_eq!(file.finish().expect("finished"), (3, 3 << 20, bytes));
        assert_eq!(std::fs::read(steps).expect("read"), std::fs::read(whole).expect("read"));
    }

    #[test]
    fn a_file_that_is_never_finished_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        let mut file = ParquetWriter::create(&path, "nextlong", "{}").expect("created");
        let mut once = Some(sequences(2, 3));
        file.add(|some| Ok(once.take().map(|more| *some = more).is_some())).expect("written");
        drop(file);
        let mut failed = ParquetWriter::create(&path, "nextlong", "{}").expect("created");
        assert!(matches!(failed.add(|_| Err(Error::Cancelled)), Err(Error::Cancelled)));
        drop(failed);
        assert_eq!(std::fs::read_dir(folder.path()).expect("listing").count(), 0);
    }

    #[test]
    fn row_groups_hold_64_mib_of_tokens_or_one_row() {
        let row = ROW_GROUP_BYTES / 4 / 2;
        let offsets = [0, row, 2 * row, 3 * row, 9 * row, 10 * row];
        let groups: Vec<_> = row_groups(&offsets).collect();
        assert_eq!(groups, [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(row_groups(&[0]).count(), 0);
        assert!(row_groups(&[0, 0, 0]).eq(std::iter::once(0..2)));
    }

    #[test]
    fn columns_that_do_not_agree_are_refused_and_leave_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        let progress = Progress::default();
        let mut wrong = sequences(2, 3);
        wrong.spans.pop();
        assert!(matches!(parquet(&path, &wrong, "{}", &progress), Err(Error::Run(_))));
        let mut wrong = sequences(2, 3);
        wrong.input_ids.values[0] = u32::MAX;
        assert!(matches!(parquet(&path, &wrong, "{}", &progress), Err(Error::Run(_))));
        progress.cancel();
        let right = sequences(2, 3);
        assert!(matches!(parquet(&path, &right, "{}", &progress), Err(Error::Cancelled)));
        assert_eq!(std::fs::read_dir(folder.path()).expect("listing").count(), 0);
    }
}
