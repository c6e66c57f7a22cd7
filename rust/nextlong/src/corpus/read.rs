//! Inputs as a sequence of blocks.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::batches::{self, BatchReader, Rows};
use super::documents::Documents;
use super::lines::{self, LineReader, Lines};
use super::texts::{self, TextFile};
use super::{Input, InputFile, Kind, Settings, parquet};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// A place between two blocks of an input, at which reading can start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// The first row after it, from 0.
    pub row: i64,
    /// Of lines: the byte of the (decompressed) input. Of Parquet: the row at which the decoder
    /// begins, no later than `row`.
    pub at: u64,
}

/// Rows of one input, or several text files: read, not yet parsed.
pub struct Block {
    input: Input,
    data: Data,
    file_bytes: u64,
    next: (i32, Place),
}

enum Data {
    Lines(Lines),
    Rows(Rows),
    Texts(Vec<TextFile>),
    Ready(Documents),
}

impl Block {
    /// A block whose rows were made documents when they were read: those of an iterable.
    #[must_use]
    pub fn ready(input: Input, documents: Documents) -> Self {
        let next = (input.number, Place::default());
        Self { input, data: Data::Ready(documents), file_bytes: 0, next }
    }

    /// The input that the block's first row belongs to.
    #[must_use]
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// The start of the next block: the number of the input, and the place in it.
    ///
    /// [`BlockReader::of_files`] can begin there; what an iterable or a stream gave cannot be
    /// found again.
    #[must_use]
    pub fn next(&self) -> (i32, Place) {
        self.next
    }

    /// The block's first row in its input, from 0.
    #[must_use]
    pub fn first_row(&self) -> i64 {
        match &self.data {
            Data::Lines(lines) => lines.row,
            Data::Rows(rows) => rows.row,
            Data::Texts(_) => 0,
            Data::Ready(documents) => documents.first_row(),
        }
    }

    /// The byte of its (decompressed) input at which the block starts, where rows have one.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        match &self.data {
            Data::Lines(lines) => Some(lines.offset),
            Data::Texts(_) => Some(0),
            Data::Rows(_) | Data::Ready(_) => None,
        }
    }

    /// The bytes that the block holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.data {
            Data::Lines(lines) => lines.data.len(),
            Data::Rows(rows) => rows.bytes,
            Data::Texts(files) => files.iter().map(|file| file.data.len()).sum(),
            Data::Ready(documents) => documents.text_bytes(),
        }
    }

    /// The bytes of the files on disk that the block stands for: those of all
    /// blocks add up to the files' sizes. 0 where there is no file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The documents of the block, and its bad rows.
    ///
    /// # Errors
    ///
    /// [`Error::Corpus`] when a column cannot be read as what it should hold.
    pub fn parse(self, settings: &Settings) -> Result<Documents> {
        match self.data {
            Data::Lines(lines) => Ok(lines::parse(lines, &self.input, settings)),
            Data::Rows(rows) => batches::parse(&rows, &self.input, settings),
            Data::Texts(files) => Ok(texts::parse(&files, settings)),
            Data::Ready(documents) => Ok(documents),
        }
    }
}

/// Reads inputs one after another and cuts them into blocks.
pub struct BlockReader {
    settings: Settings,
    block_bytes: usize,
    files: VecDeque<InputFile>,
    open: Option<Open>,
    /// The bytes of the open file that blocks stand for.
    consumed: u64,
    /// The start of reading in the next file.
    from: Place,
    /// The most bytes of one line that may be held.
    most_held: usize,
}

enum Open {
    Lines(Input, LineReader),
    Rows(BatchReader),
}

impl BlockReader {
    /// Reads files in the given order.
    #[must_use]
    pub fn of_files(files: Vec<InputFile>, settings: Settings, block_bytes: usize) -> Self {
        Self {
            settings,
            block_bytes,
            files: files.into(),
            open: None,
            consumed: 0,
            from: Place::default(),
            most_held: usize::MAX,
        }
    }

    /// The same, refusing a line that may be a document but exceeds this number of bytes.
    #[must_use]
    pub fn holding(mut self, most: usize) -> Self {
        self.most_held = most;
        self
    }

    /// The same, beginning at a place in the first file: one that [`Block::next`] gave.
    ///
    /// Lines and Parquet are entered there; compressed lines are decompressed up to it. The blocks
    /// are those that a reader of the whole file would give from there on.
    #[must_use]
    pub fn starting(mut self, from: Place) -> Self {
        self.from = from;
        self
    }

    /// Reads the Arrow batches of a table or stream.
    ///
    /// # Errors
    ///
    /// [`Error::Corpus`] when the schema lacks a column that is needed, or it has the wrong type.
    pub fn of_batches(
        input: Input,
        schema: &SchemaRef,
        batches: impl Iterator<Item = std::result::Result<RecordBatch, ArrowError>> + Send + 'static,
        settings: Settings,
        block_bytes: usize,
    ) -> Result<Self> {
        let reader = BatchReader::new(input, schema, Box::new(batches), &settings, block_bytes)?;
        let (files, open, from) = (VecDeque::new(), Some(Open::Rows(reader)), Place::default());
        Ok(Self { settings, block_bytes, files, open, consumed: 0, from, most_held: usize::MAX })
    }

    /// The next block; none at the end. Borders depend on the inputs and the block size alone.
    ///
    /// # Errors
    ///
    /// [`Error::Corpus`] for an input that is damaged or has no such columns, [`Error::Io`] for one
    /// that cannot be read, [`Error::Cancelled`] when `progress` says so.
    pub fn next(&mut self, progress: &Progress) -> Result<Option<Block>> {
        loop {
            progress.check()?;
            match &mut self.open {
                Some(Open::Lines(input, reader)) => {
                    if let Some(lines) = reader.next(progress)? {
                        let file_bytes = since(&mut self.consumed, reader.consumed());
                        let next = following(input, reader.place());
                        let (input, data) = (input.clone(), Data::Lines(lines));
                        return Ok(Some(Block { input, data, file_bytes, next }));
                    }
                }
                Some(Open::Rows(reader)) => {
                    if let Some(rows) = guarded(&reader.input.clone(), || reader.next(progress))? {
                        let file_bytes = since(&mut self.consumed, reader.consumed());
                        let input = reader.input.clone();
                        let next = following(&input, reader.place());
                        return Ok(Some(Block { input, data: Data::Rows(rows), file_bytes, next }));
                    }
                }
                None => {}
            }
            self.open = None;
            let Some(file) = self.files.pop_front() else { return Ok(None) };
            let from = std::mem::take(&mut self.from);
            match file.kind {
                Kind::Text => return self.texts(file, progress).map(Some),
                Kind::Parquet => {
                    let input = file.input.clone();
                    let reader = guarded(&input, || {
                        parquet::open(&file, &self.settings, self.block_bytes, from)
                    })?;
                    self.consumed = reader.consumed();
                    self.open = Some(Open::Rows(reader));
                }
                Kind::Jsonl | Kind::JsonlGzip | Kind::JsonlZstd => {
                    let input = file.input.clone();
                    let reader = LineReader::open(
                        file,
                        &self.settings,
                        self.block_bytes,
                        self.most_held,
                        from,
                    )?;
                    self.consumed = reader.entered();
                    self.open = Some(Open::Lines(input, reader));
                }
            }
        }
    }

    /// `first` and the text files after it, up to the size of a block.
    fn texts(&mut self, first: InputFile, progress: &Progress) -> Result<Block> {
        let input = first.input.clone();
        let mut last = input.number;
        let first = texts::read(first, &self.settings)?;
        let mut bytes = first.data.len();
        let mut files = vec![first];
        while bytes < self.block_bytes {
            progress.check()?;
            if self.files.front().is_none_or(|file| file.kind != Kind::Text) {
                break;
            }
            let Some(file) = self.files.pop_front() else { break };
            last = file.input.number;
            let file = texts::read(file, &self.settings)?;
            // Names count too: a million empty files are not one block.
            bytes += file.data.len() + 256;
            files.push(file);
        }
        let file_bytes = files.iter().map(|file| file.data.len() as u64).sum();
        let next =
            (self.files.front().map_or(last + 1, |file| file.input.number), Place::default());
        Ok(Block { input, data: Data::Texts(files), file_bytes, next })
    }
}

/// The start of the block after one of `input`: in that input, or at the start of the next.
fn following(input: &Input, place: Option<Place>) -> (i32, Place) {
    place.map_or((input.number + 1, Place::default()), |place| (input.number, place))
}

/// How much `now` is more than `before`, which becomes it if it is.
fn since(before: &mut u64, now: u64) -> u64 {
    // An estimate inside a compressed file may be less than the one before.
    let more = now.saturating_sub(*before);
    *before += more;
    more
}

/// A decoder that panics on a damaged file is an error of that file.
fn guarded<T>(input: &Input, read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(Error::Corpus(format!(
            "{}: damaged, its decoder failed; mend the file or leave it out",
            input.name
        )))
    })
}
