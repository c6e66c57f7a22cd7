//! Rows in Arrow batches, from Parquet files, tables and streams: cut into blocks, and parsed.

use arrow::array::{Array, ArrayRef, AsArray, LargeStringArray, PrimitiveArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::documents::{Documents, Reason};
use super::rows::{Field, Item};
use super::{Input, Settings};
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
        if !is_text(schema.field(columns.text).data_type()) {
            return refuse("text_column", columns.text, "text");
        }
        if let Some(id) = columns.id {
            let kind = schema.field(id).data_type();
            if !is_text(kind) && !kind.is_integer() && !kind.is_floating() {
                return refuse("id_column", id, "text or numbers");
            }
        }
        if let Some(score) = columns.score
            && !schema.field(score).data_type().is_numeric()
        {
            return refuse("score_column", score, "numbers");
        }
        Ok(columns)
    }

    /// The columns, in the order of the schema.
    pub fn roots(&self) -> Vec<usize> {
        let mut roots: Vec<usize> =
            [Some(self.text), self.id, self.score].into_iter().flatten().collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }
}

fn is_text(kind: &DataType) -> bool {
    use DataType::{Binary, BinaryView, Dictionary, LargeBinary, LargeUtf8, Null, Utf8, Utf8View};
    match kind {
        Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView | Null => true,
        Dictionary(_, values) => is_text(values),
        _ => false,
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
    /// Pieces that were read and not given out, the next one last.
    pieces: Vec<RecordBatch>,
    row: i64,
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
        Ok(Self { input, columns, batches, block_bytes, pieces: Vec::new(), row: 0 })
    }

    pub fn next(&mut self, progress: &Progress) -> Result<Option<Rows>> {
        let mut rows = Rows { row: self.row, bytes: 0, columns: self.columns, batches: Vec::new() };
        loop {
            progress.check()?;
            let Some(piece) = self.pieces.pop() else {
                match self.batches.next() {
                    Some(Ok(batch)) => {
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
            let bytes = text_bytes(piece.column(self.columns.text));
            if bytes > self.block_bytes && piece.num_rows() > 1 {
                let half = piece.num_rows() / 2;
                self.pieces.push(piece.slice(half, piece.num_rows() - half));
                self.pieces.push(piece.slice(0, half));
            } else if !rows.batches.is_empty() && rows.bytes + bytes > self.block_bytes {
                self.pieces.push(piece);
                return Ok(Some(rows));
            } else {
                rows.bytes += bytes;
                self.row += piece.num_rows() as i64;
                rows.batches.push(piece);
            }
        }
    }

    fn damaged(&self, error: &dyn std::error::Error) -> Error {
        Error::Corpus(format!(
            "{}: cannot be read after row {} ({error}); mend it or leave it out",
            self.input.name, self.row
        ))
    }
}

/// The bytes of a column of texts; a guess where the type does not tell at once.
fn text_bytes(column: &ArrayRef) -> usize {
    let bytes = match column.data_type() {
        DataType::Utf8 => {
            let offsets = column.as_string::<i32>().value_offsets();
            (offsets[offsets.len() - 1] - offsets[0]) as usize
        }
        DataType::LargeUtf8 => {
            let offsets = column.as_string::<i64>().value_offsets();
            (offsets[offsets.len() - 1] - offsets[0]) as usize
        }
        DataType::Utf8View => {
            column.as_string_view().views().iter().map(|&view| view as u32 as usize).sum()
        }
        DataType::Binary => {
            let offsets = column.as_binary::<i32>().value_offsets();
            (offsets[offsets.len() - 1] - offsets[0]) as usize
        }
        _ => column.len() * 1024,
    };
    // Rows cost something besides their text.
    bytes + column.len() * 16
}

/// Parses the rows of one block.
pub(super) fn parse(rows: &Rows, input: &Input, settings: &Settings) -> Result<Documents> {
    let mut documents = Documents::with_capacity(rows.bytes);
    let mut row = rows.row;
    let unreadable = |error: ArrowError| {
        Error::Corpus(format!(
            "{}: the rows from {}: {error}; mend it or leave it out",
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
            let id = match id.as_ref().map(|id| id.get(number)) {
                Some(Ok(Some(id))) => Field::Found(id),
                Some(Err(_)) => Field::Bad(Reason::InvalidUtf8),
                _ => Field::Missing,
            };
            let score = match &score {
                Some(score) if score.is_valid(number) => Field::Found(score.value(number)),
                _ => Field::Missing,
            };
            documents.add(settings, input, row, Item { text, id, score });
            row += 1;
        }
    }
    Ok(documents)
}

/// A column of texts in one of two shapes: known to be UTF-8, or to be looked at row by row.
enum Texts {
    Checked(LargeStringArray),
    Bytes(arrow::array::LargeBinaryArray),
}

impl Texts {
    fn new(column: &ArrayRef) -> std::result::Result<Self, ArrowError> {
        let holds_bytes = match column.data_type() {
            DataType::Dictionary(_, values) => values.is_binary(),
            kind => kind.is_binary(),
        };
        Ok(if holds_bytes {
            Self::Bytes(cast(column, &DataType::LargeBinary)?.as_binary().clone())
        } else {
            Self::Checked(cast(column, &DataType::LargeUtf8)?.as_string().clone())
        })
    }

    /// The text of a row; none for null; its bytes where they are no UTF-8.
    fn get(&self, row: usize) -> std::result::Result<Option<&str>, &[u8]> {
        match self {
            Self::Checked(texts) => Ok(texts.is_valid(row).then(|| texts.value(row))),
            Self::Bytes(bytes) if bytes.is_null(row) => Ok(None),
            Self::Bytes(bytes) => {
                std::str::from_utf8(bytes.value(row)).map(Some).map_err(|_| bytes.value(row))
            }
        }
    }
}
