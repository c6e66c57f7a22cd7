//! Planned sequences on disk: what the pass decided for one batch, so that it can be resumed.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Float32Array, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Float32Type, Schema, SchemaRef, UInt32Type};

use crate::error::{Error, Result};
use crate::segment::Segment;
use crate::store::{ChunkStore, TokenCache, ipc};

/// A sequence as the pass decided it: its document and its segments in order.
pub type PlannedSequence = (u32, Vec<Segment>);

/// One row per segment; `characters` is null unless the segment was cut.
static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let number = |name| Field::new(name, DataType::UInt32, false);
    Arc::new(Schema::new(vec![
        number("sequence"),
        number("document"),
        number("chunk"),
        number("meta"),
        Field::new("score", DataType::Float32, false),
        number("tokens"),
        Field::new("characters", DataType::UInt32, true),
    ]))
});

/// Writes the sequences of a batch as an Arrow IPC file.
///
/// # Errors
///
/// What the file system reports.
pub fn write(planned: &[PlannedSequence], path: &Path) -> Result<()> {
    let rows = || {
        planned.iter().enumerate().flat_map(|(sequence, (document, segments))| {
            segments.iter().map(move |segment| (sequence as u32, *document, segment))
        })
    };
    let numbers = |of: fn((u32, u32, &Segment)) -> u32| -> ArrayRef {
        Arc::new(rows().map(of).collect::<UInt32Array>())
    };
    let characters: UInt32Array = rows().map(|(_, _, segment)| segment.characters).collect();
    let scores: Vec<f32> = rows().map(|(_, _, segment)| segment.score).collect();
    let columns: Vec<ArrayRef> = vec![
        numbers(|(sequence, _, _)| sequence),
        numbers(|(_, document, _)| document),
        numbers(|(_, _, segment)| segment.chunk),
        numbers(|(_, _, segment)| segment.meta),
        Arc::new(Float32Array::from(scores)),
        numbers(|(_, _, segment)| segment.tokens),
        Arc::new(characters),
    ];
    let batch = RecordBatch::try_new(SCHEMA.clone(), columns)
        .map_err(|error| Error::Run(format!("{}: {error}", path.display())))?;
    ipc::write(path, &SCHEMA, &[batch])
}

/// Reads what [`write()`] wrote and checks it against the corpus and the tokens.
///
/// # Errors
///
/// [`Error::Run`] for a file that is damaged or belongs to another corpus.
pub fn read(path: &Path, store: &ChunkStore, tokens: &TokenCache) -> Result<Vec<PlannedSequence>> {
    let mut planned: Vec<PlannedSequence> = Vec::new();
    let wrong = |what: String| {
        Error::Run(format!("{}: {what}; it is damaged or of another run", path.display()))
    };
    for batch in ipc::map(path, &SCHEMA)? {
        let numbers = |at: usize| batch.column(at).as_primitive::<UInt32Type>();
        let scores = batch.column(4).as_primitive::<Float32Type>();
        for row in 0..batch.num_rows() {
            let [sequence, document, chunk, meta, kept] =
                [0, 1, 2, 3, 5].map(|at| numbers(at).value(row));
            if document as usize >= store.document_count() {
                return Err(wrong(format!("document {document} of {}", store.document_count())));
            }
            if tokens.count(chunk).is_none_or(|count| kept > count) {
                return Err(wrong(format!("{kept} tokens of chunk {chunk}, which has fewer")));
            }
            match sequence as usize {
                next if next == planned.len() => planned.push((document, Vec::new())),
                same if same + 1 == planned.len() && planned[same].0 == document => {}
                other => return Err(wrong(format!("sequence {other} after {}", planned.len()))),
            }
            let cut = numbers(6);
            let characters = (!arrow::array::Array::is_null(cut, row)).then(|| cut.value(row));
            let segment =
                Segment { chunk, meta, score: scores.value(row), tokens: kept, characters };
            if let Some((_, segments)) = planned.last_mut() {
                segments.push(segment);
            }
        }
    }
    Ok(planned)
}
