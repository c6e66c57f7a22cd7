//! Sequences whose columns mostly agree: written whole, by both writers alike, or refused.

use std::fs::File;
use std::path::Path;

use nextlong::sequences::{Role, Sequences, Span};
use nextlong::{Error, Progress, Ragged, write};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::Bytes;

fn span(data: &mut Bytes<'_>) -> Span {
    let role = [Role::MetaChunk, Role::Negative, Role::Separator][data.below(3)];
    Span {
        token_start: data.number(),
        document: data.maybe(5),
        chunk: data.number(),
        char_start: i64::from_le_bytes(data.array()),
        char_end: i64::from(data.number()),
        role,
        meta: data.number(),
        score: f32::from_le_bytes(data.array()),
    }
}

/// Makes the numbers offsets into `end` things, for `count` rows.
fn mend<T: Ord + Copy + Default>(offsets: &mut Vec<T>, count: usize, end: T) {
    offsets.resize(count + 1, T::default());
    for offset in offsets.iter_mut() {
        *offset = (*offset).min(end);
    }
    offsets.sort_unstable();
    (offsets[0], offsets[count]) = (T::default(), end);
}

fn sequences(data: &mut Bytes<'_>) -> Sequences {
    let mended = !data.byte().is_multiple_of(4);
    let count = data.below(6);
    let mut values: Vec<u32> = (0..data.below(60)).map(|_| data.number().cast_unsigned()).collect();
    let mut offsets: Vec<u64> = (0..data.below(7)).map(|_| data.below(60) as u64).collect();
    let spans: Vec<Span> = (0..data.below(20)).map(|_| span(data)).collect();
    let mut span_offsets: Vec<u32> = (0..data.below(7)).map(|_| data.below(20) as u32).collect();
    let meta_document: Vec<u32> = (0..count).map(|_| data.below(4) as u32).collect();
    let ids = if mended { 4 } else { data.below(5) };
    let doc_ids = (0..ids).map(|_| String::from_utf8_lossy(&data.array::<6>()).into()).collect();
    if mended {
        for id in &mut values {
            *id &= i32::MAX as u32;
        }
        mend(&mut offsets, count, values.len() as u64);
        mend(&mut span_offsets, count, spans.len() as u32);
    }
    Sequences {
        input_ids: Ragged { values, offsets },
        sequence_id: (0..count as i64).collect(),
        strategy: "fuzz".to_owned(),
        meta_document,
        doc_ids,
        span_offsets,
        spans,
    }
}

fn rows_of(path: &Path) -> usize {
    let file = File::open(path).expect("opened");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a reader");
    reader.build().expect("a reader").map(|batch| batch.expect("a batch").num_rows()).sum()
}

/// One case.
pub fn run(data: &[u8]) {
    let made = sequences(&mut Bytes(data));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.parquet");
    let written = write::parquet(&path, &made, "{}", &Progress::default());
    let again = folder.path().join("b.parquet");
    let mut left = 1;
    let mut file = write::ParquetWriter::create(&again, "fuzz", "{}").expect("created");
    let steps = file.add(|some| {
        *some = made.clone();
        left -= 1;
        Ok(left == 0)
    });
    let steps = steps.and_then(|()| file.finish());
    match (written, steps) {
        (Ok((rows, bytes)), Ok(steps)) => {
            assert_eq!((rows as usize, rows_of(&path)), (made.len(), made.len()));
            assert_eq!((steps.0, steps.1), (rows, made.input_ids.values.len() as u64));
            assert_eq!(bytes, path.metadata().expect("a file").len());
            assert_eq!(rows_of(&again), made.len());
        }
        (Err(error), Err(other)) => {
            assert!(matches!((&error, &other), (Error::Run(_), Error::Run(_))), "{error:?}");
            assert_eq!(std::fs::read_dir(folder.path()).expect("listing").count(), 0);
        }
        (written, steps) => panic!("one writer refused: {written:?}, {steps:?}"),
    }
}
