//! Rows in Arrow batches, from Parquet files, tables and streams: cut into blocks, and parsed.

use arrow::array::{Array, AsArray, PrimitiveArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::columns::{self, Texts};
use super::documents::{Documents, Reason};
use super::read::Place;
use super::rows::{Field, Item};
use super::{FREE_BYTES, Input, Settings, check_growth};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Batches as a decoder or a stream gives them.
pub(super) type Batches =
    Box<dyn Iterator<Item = std::result::Result<RecordBatch, ArrowError>> + Send>;

/// Where the wanted columns stand in a schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns {
    text: usize,
    id: Option<usize>,
    score: Option<usize>,
    source: Option<usize>,
}

impl Columns {
    /// Finds the columns and refuses types that no row could be read from.
    pub fn find(input: &Input, schema: &Schema, settings: &Settings) -> Result<Self> {
        let present = || {
            let names: Vec<&str> =
                schema.fields().iter().map(|field| field.name().as_str()).collect();
            names.join(", ")
        };
        let find = |setting: &str, name: &str| {
            schema.index_of(name).map_err(|_| {
                Error::Corpus(format!(
                    "{}: no column `{name}`; set {setting} to one of: {}",
                    input.name,
                    present()
                ))
            })
        };
        let columns = Self {
            text: find("text_column", &settings.text_column)?,
            id: match &settings.id_column {
                Some(name) => Some(find("id_column", name)?),
                None => schema.index_of(settings.id()).ok(),
            },
            score: match &settings.score_column {
                Some(name) => Some(find("score_column", name)?),
                None => None,
            },
            source: match &settings.source_column {
                Some(name) => Some(find("source_column", name)?),
                None => None,
            },
        };
        let refuse = |setting: &str, column: usize, needed: &str| {
            let field = schema.field(column);
            Err(Error::Corpus(format!(
                "{}: column `{}` holds {}, not {needed}; set {setting} to another of: {}",
                input.name,
                field.name(),
                field.data_type(),
                present()
            )))
        };
        if !columns::is_text(schema.field(columns.text).data_type()) {
            return refuse("text_column", columns.text, "text");
        }
        if let Some(id) = columns.id {
            let kind = schema.field(id).data_type();
            if !columns::is_text(kind) && !kind.is_integer() && !kind.is_floating() {
                return refuse("id_column", id, "text or numbers");
            }
        }
        if let Some(score) = columns.score
            && !schema.field(score).data_type().is_numeric()
        {
            return refuse("score_column", score, "numbers");
        }
        if let Some(source) = columns.source {
            let kind = schema.field(source).data_type();
            let scalar = kind.is_numeric() || *kind == DataType::Boolean;
            if !columns::is_text(kind) && !scalar {
                return refuse("source_column", source, "text, numbers or booleans");
            }
        }
        Ok(columns)
    }

    /// The bytes of the rows' texts, ids and sources, and what a row costs besides.
    fn bytes(&self, batch: &RecordBatch) -> usize {
        let bytes = |column: usize| columns::text_bytes(batch.column(column));
        let names = self.id.map_or(0, bytes) + self.source.map_or(0, bytes);
        bytes(self.text) + names + batch.num_rows() * 16
    }

    /// The columns whose texts may be repeated by reference: those of texts, ids and
    /// sources.
    pub fn of_texts(&self) -> impl Iterator<Item = usize> {
        [Some(self.text), self.id, self.source].into_iter().flatten()
    }

    /// The columns, in the order of the schema.
    pub fn roots(&self) -> Vec<usize> {
        let mut roots: Vec<usize> =
            [Some(self.text), self.id, self.score, self.source].into_iter().flatten().collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }
}

/// Rows of one input.
pub(super) struct Rows {
    pub row: i64,
    pub bytes: usize,
    columns: Columns,
    batches: Vec<RecordBatch>,
}

/// Cuts batches into blocks.
pub(super) struct BatchReader {
    pub input: Input,
    columns: Columns,
    batches: Batches,
    block_bytes: usize,
    /// The bytes and rows of the file, where it is one, and the bytes of the rows read from it.
    packed: Option<(u64, u64)>,
    unpacked: u64,
    /// Pieces that were read and not given out, the next one last.
    pieces: Vec<RecordBatch>,
    row: i64,
    /// The row at which the batch began that the pieces are of, and that with which reading begins.
    batch_row: i64,
    first_row: i64,
}

impl BatchReader {
    pub fn new(
        input: Input,
        schema: &SchemaRef,
        batches: Batches,
        settings: &Settings,
        block_bytes: usize,
    ) -> Result<Self> {
        let columns = Columns::find(&input, schema, settings)?;
        Ok(Self {
            input,
            columns,
            batches,
            block_bytes,
            packed: None,
            unpacked: 0,
            pieces: Vec::new(),
            row: 0,
            batch_row: 0,
            first_row: 0,
        })
    }

    /// The same over a file of known size in bytes and rows, which limits what it unpacks to.
    pub fn of_file(mut self, packed: u64, rows: u64) -> Self {
        self.packed = Some((packed, rows));
        self
    }

    /// Bytes of the file for the rows returned so far; 0 without a file.
    pub fn consumed(&self) -> u64 {
        let (packed, rows) = self.packed.unwrap_or_default();
        (u128::from(packed) * self.row.max(self.first_row) as u128 / u128::from(rows.max(1))) as u64
    }

    /// The same over batches whose first row is `from.at`; reading begins with `from.row`.
    pub fn starting(mut self, from: Place) -> Self {
        (self.row, self.batch_row, self.first_row) = (from.at as i64, from.at as i64, from.row);
        self
    }

    /// The start of the next block; None at the end of a file.
    pub fn place(&self) -> Option<Place> {
        let at_end = self.packed.is_some_and(|(_, rows)| self.row as u64 >= rows);
        let at = if self.pieces.is_empty() { self.row } else { self.batch_row };
        (!at_end).then_some(Place { row: self.row, at: at as u64 })
    }

    pub fn next(&mut self, progress: &Progress) -> Result<Option<Rows>> {
        let first = self.row.max(self.first_row);
        let mut rows = Rows { row: first, bytes: 0, columns: self.columns, batches: Vec::new() };
        loop {
            progress.check()?;
            let Some(piece) = self.pieces.pop() else {
                match self.batches.next() {
                    Some(Ok(batch)) => {
                        self.batch_row = self.row;
                        self.pieces.push(batch);
                        continue;
                    }
                    Some(Err(error)) => return Err(self.damaged(&error)),
                    None if rows.batches.is_empty() => return Ok(None),
                    None => return Ok(Some(rows)),
                }
            };
            if piece.num_rows() == 0 {
                continue;
            }
            let bytes = self.columns.bytes(&piece);
            if bytes > self.block_bytes && piece.num_rows() > 1 {
                let half = piece.num_rows() / 2;
                self.pieces.push(piece.slice(half, piece.num_rows() - half));
                self.pieces.push(piece.slice(0, half));
            } else if self.row < self.first_row {
                // An earlier block held it.
                self.row += piece.num_rows() as i64;
            } else if !rows.batches.is_empty() && rows.bytes + bytes > self.block_bytes {
                self.pieces.push(piece);
                return Ok(Some(rows));
            } else {
                rows.bytes += bytes;
                self.unpacked += bytes as u64;
                if let Some((packed, _)) = self.packed {
                    check_growth(&self.input, packed, self.unpacked, FREE_BYTES)?;
                }
                self.row += piece.num_rows() as i64;
                rows.batches.push(piece);
            }
        }
    }

    fn damaged(&self, error: &dyn std::error::Error) -> Error {
        Error::Corpus(format!(
            "cannot read `{}` after row {}: {error}; hint: fix or exclude the file",
            self.input.name, self.row
        ))
    }
}

/// Parses the rows of one block.
pub(super) fn parse(rows: &Rows, input: &Input, settings: &Settings) -> Result<Documents> {
    let mut documents = Documents::with_capacity(rows.bytes);
    let mut row = rows.row;
    let unreadable = |error: ArrowError| {
        Error::Corpus(format!(
            "cannot read `{}` from row {} on: {error}; hint: fix or exclude the file",
            input.name,
            rows.row + 1
        ))
    };
    for batch in &rows.batches {
        let text = Texts::new(batch.column(rows.columns.text)).map_err(unreadable)?;
        let id = match rows.columns.id {
            Some(id) => Some(Texts::new(batch.column(id)).map_err(unreadable)?),
            None => None,
        };
        let source = match rows.columns.source {
            Some(source) => Some(Texts::new(batch.column(source)).map_err(unreadable)?),
            None => None,
        };
        let score: Option<PrimitiveArray<Float64Type>> = match rows.columns.score {
            Some(score) => {
                let column = cast(batch.column(score), &DataType::Float64).map_err(unreadable)?;
                Some(column.as_primitive().clone())
            }
            None => None,
        };
        for number in 0..batch.num_rows() {
            let text = text.get(number);
            if let Err(shown) = text {
                documents.add_bad(input, row, Reason::InvalidUtf8, shown);
                row += 1;
                continue;
            }
            let text = match text {
                Ok(Some(text)) => Field::Found(text),
                _ => Field::Missing,
            };
            let (id, source) = (name_of(id.as_ref(), number), name_of(source.as_ref(), number));
            let score = match &score {
                Some(score) if score.is_valid(number) => Field::Found(score.value(number)),
                _ => Field::Missing,
            };
            documents.add(settings, input, row, Item { text, id, score, source });
            row += 1;
        }
    }
    Ok(documents)
}

/// The id or source of a row; `None` without such a column.
fn name_of(names: Option<&Texts>, row: usize) -> Field<&str> {
    match names.map(|names| names.get(row)) {
        Some(Ok(Some(name))) => Field::Found(name),
        Some(Err(_)) => Field::Bad(Reason::InvalidUtf8),
        _ => Field::Missing,
    }
}
