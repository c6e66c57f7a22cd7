//! Anything at all as a corpus: documents, bad rows or one error, and never a panic.
//!
//! `PROPTEST_CASES` sets the budget (`make fuzz`).

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, DictionaryArray, Float64Array, Int32Array, RecordBatch, StringArray};
use nextlong::corpus::{BlockReader, Documents, Input, InputFile, Kind, Settings};
use nextlong::{Error, Progress};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

fn read(
    path: &Path,
    kind: Kind,
    settings: &Settings,
    block_bytes: usize,
) -> nextlong::Result<Vec<Documents>> {
    let input = Input { number: 0, name: "a".into(), label: "a".into() };
    let file = InputFile { input, path: path.to_owned(), kind };
    let mut reader = BlockReader::of_files(vec![file], settings.clone(), block_bytes);
    let mut blocks = Vec::new();
    while let Some(block) = reader.next(&Progress::default())? {
        blocks.push(block.parse(settings)?);
    }
    Ok(blocks)
}

/// Whether a reading ended as one may; what it gave is looked at.
fn ends_well(outcome: nextlong::Result<Vec<Documents>>, settings: &Settings) -> bool {
    match outcome {
        Err(error) => matches!(error, Error::Corpus(_)),
        Ok(blocks) => blocks.iter().all(|documents| {
            let lines = documents.quarantine(usize::MAX);
            let listed =
                lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok());
            let good = documents.iter().all(|(text, origin)| {
                text.len() as u64 <= settings.max_document_bytes
                    && !text.trim().is_empty()
                    && origin.score.is_none_or(f64::is_finite)
            });
            listed && good && lines.lines().count() as u64 == documents.bad_count()
        }),
    }
}

fn all_settings() -> impl Strategy<Value = Settings> {
    let name = || prop_oneof![Just("text"), Just("id"), Just("score"), Just("é\"")];
    let some = || prop::option::of(name());
    (name(), some(), some(), some(), 1u64..200).prop_map(
        |(text, id, score, source, max_document_bytes)| Settings {
            text_column: text.to_owned(),
            id_column: id.map(str::to_owned),
            score_column: score.map(str::to_owned),
            source_column: source.map(str::to_owned),
            max_document_bytes,
        },
    )
}

/// Bytes that look like rows of JSON, more or less.
fn rows() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec![
            "{", "}", "[", "]", ":", ",", "\"", "\\", "\n", "\r", " ", "\u{feff}", "\0",
            "\"text\"", "\"id\":", "{\"text\":\"", "\"}\n", "{\"text\": \"a b\", \"id\": 7}\n",
            "\\ud83d", "\\ude00", "\\u0000", "\\n", "null", "true", "NaN", "1e999", "-0.5", "1E+",
            "\"score\": 3", "é", "漢", "[[[[[[[[", "{\"a\":{\"a\":",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..6),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn edit(bytes: &mut Vec<u8>, edits: &[(f64, u8)], cut: Option<f64>) {
    for &(place, byte) in edits {
        let place = (place * bytes.len() as f64) as usize;
        if let Some(at) = bytes.get_mut(place) {
            *at = byte;
        }
    }
    if let Some(cut) = cut {
        bytes.truncate((cut * bytes.len() as f64) as usize);
    }
}

static PARQUET: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let texts: Vec<String> = (0..40).map(|row| format!("text é {} of the row", row % 7)).collect();
    let strings: ArrayRef = Arc::new(StringArray::from(texts.clone()));
    let keys =
        Int32Array::from((0..40).map(|row| (row % 3 > 0).then_some(row % 4)).collect::<Vec<_>>());
    let shared: ArrayRef =
        Arc::new(DictionaryArray::new(keys, Arc::new(StringArray::from(texts[..4].to_vec()))));
    let scores: ArrayRef = Arc::new(Float64Array::from_iter_values((0..40).map(f64::from)));
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let mut files = Vec::new();
    for text in [strings.clone(), shared] {
        for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, zstd] {
            let batch = RecordBatch::try_from_iter([
                ("text", text.clone()),
                ("id", strings.clone()),
                ("score", scores.clone()),
            ])
            .expect("a batch");
            let properties = WriterProperties::builder()
                .set_compression(compression)
                .set_max_row_group_row_count(Some(16))
                .build();
            let mut file = Vec::new();
            let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), Some(properties))
                .expect("a writer");
            writer.write(&batch).expect("written");
            writer.close().expect("closed");
            files.push(file);
        }
    }
    files
});

fn edits() -> impl Strategy<Value = Vec<(f64, u8)>> {
    let place = prop_oneof![0.0..1.0f64, 0.6..1.0f64, 0.0..0.05f64];
    let byte = prop_oneof![any::<u8>(), Just(0), Just(0xff), Just(0x7f)];
    prop::collection::vec((place, byte), 0..6)
}

fn cases(usual: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(usual),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn any_bytes_are_documents_bad_rows_or_an_error(
        bytes in rows(),
        packed in any::<bool>(),
        edits in edits(),
        cut in prop::option::weighted(0.2, 0.0..1.0f64),
        kind in prop::sample::select(vec![
            Kind::Jsonl, Kind::JsonlGzip, Kind::JsonlZstd, Kind::Parquet, Kind::Text,
        ]),
        settings in all_settings(),
        block_bytes in prop_oneof![1usize..64, Just(1 << 20)],
    ) {
        let mut bytes = match kind {
            Kind::JsonlGzip if packed => {
                let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                writer.write_all(&bytes).expect("packed");
                writer.finish().expect("packed")
            }
            Kind::JsonlZstd if packed => zstd::encode_all(&bytes[..], 1).expect("packed"),
            _ => bytes,
        };
        if matches!(kind, Kind::JsonlGzip | Kind::JsonlZstd) {
            edit(&mut bytes, &edits, cut);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.json");
        std::fs::write(&path, &bytes).expect("written");
        prop_assert!(ends_well(read(&path, kind, &settings, block_bytes), &settings));
    }

    #[test]
    fn a_damaged_parquet_file_is_documents_bad_rows_or_an_error(
        file in 0usize..6,
        edits in edits(),
        cut in prop::option::weighted(0.1, 0.0..1.0f64),
        settings in all_settings(),
        block_bytes in prop_oneof![1usize..64, Just(1 << 20)],
    ) {
        let mut bytes = PARQUET[file].clone();
        edit(&mut bytes, &edits, cut);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        std::fs::write(&path, &bytes).expect("written");
        prop_assert!(ends_well(read(&path, Kind::Parquet, &settings, block_bytes), &settings));
    }
}
