//! Laws of the corpus room: what is in the files comes out, however it is packed and cut.

#![allow(
    clippy::needless_pass_by_value,
    clippy::format_collect,
    reason = "a made-up corpus may be slow to make"
)]

use std::io::Write;
use std::path::Path;

use nextlong::Progress;
use nextlong::corpus::{Block, BlockReader, Documents, Input, InputFile, Kind, Settings};
use proptest::prelude::*;

fn settings() -> Settings {
    Settings {
        text_column: "text".to_owned(),
        id_column: None,
        score_column: None,
        source_column: None,
        max_document_bytes: 1 << 20,
    }
}

fn packed(kind: Kind, lines: &[u8]) -> Vec<u8> {
    let halves = lines.split_at(lines.len() / 2);
    let gzip = |bytes: &[u8]| {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).expect("packed");
        writer.finish().expect("packed")
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).expect("packed");
    match kind {
        Kind::JsonlGzip => [gzip(halves.0), gzip(halves.1)].concat(),
        Kind::JsonlZstd => [zstd(halves.0), zstd(halves.1)].concat(),
        _ => lines.to_vec(),
    }
}

fn read(path: &Path, kind: Kind, block_bytes: usize) -> Vec<Documents> {
    let input = Input { number: 3, name: "a".into(), label: "a".into() };
    let file = InputFile { input, path: path.to_owned(), kind };
    let mut reader = BlockReader::of_files(vec![file], settings(), block_bytes);
    let progress = Progress::default();
    let mut blocks: Vec<Documents> = Vec::new();
    while let Some(block) = reader.next(&progress).expect("read") {
        blocks.push(Block::parse(block, &settings()).expect("parsed"));
    }
    blocks
}

type Row = (String, String, i32, i64);

fn rows(blocks: &[Documents]) -> (Vec<Row>, String) {
    let rows = blocks.iter().flat_map(|documents| {
        documents.iter().map(|(text, origin)| {
            (text.to_owned(), origin.doc_id.to_owned(), origin.input, origin.row)
        })
    });
    (rows.collect(), blocks.iter().map(|block| block.quarantine(usize::MAX)).collect())
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => any::<String>().prop_map(|text| serde_json::json!({ "text": text }).to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => Just(b"".to_vec()),
        1 => Just(b" \r".to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_texts_come_back_equal_and_in_order(
        texts in prop::collection::vec(any::<String>(), 0..30),
        block_bytes in 1usize..300,
        kind in prop::sample::select(vec![Kind::Jsonl, Kind::JsonlGzip, Kind::JsonlZstd]),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let mut lines = String::new();
        for text in &texts {
            lines.push_str(&serde_json::json!({ "text": text }).to_string());
            lines.push('\n');
        }
        std::fs::write(&path, packed(kind, lines.as_bytes())).expect("written");
        let blocks = read(&path, kind, block_bytes);
        let expected: Vec<Row> = texts
            .iter()
            .enumerate()
            .filter(|(_, text)| !text.trim().is_empty())
            .map(|(row, text)| (text.clone(), format!("a:{}", row + 1), 3, row as i64))
            .collect();
        prop_assert_eq!(rows(&blocks).0, expected);
        let bad: usize = blocks.iter().map(|documents| documents.bad().len()).sum();
        let good: usize = blocks.iter().map(Documents::len).sum();
        prop_assert_eq!(good + bad, texts.len());
    }

    #[test]
    fn the_size_of_a_block_changes_no_document_and_no_bad_row(
        lines in prop::collection::vec(line(), 0..30),
        ends_open in any::<bool>(),
        block_bytes in 1usize..300,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let mut bytes = lines.join(&b'\n');
        if !ends_open {
            bytes.push(b'\n');
        }
        // An array over the whole file is refused as such, which is another law.
        prop_assume!(bytes.trim_ascii_start().first() != Some(&b'['));
        std::fs::write(&path, &bytes).expect("written");
        let whole = read(&path, Kind::Jsonl, 1 << 20);
        prop_assert!(whole.len() <= 1);
        prop_assert_eq!(rows(&read(&path, Kind::Jsonl, block_bytes)), rows(&whole));
    }
}
