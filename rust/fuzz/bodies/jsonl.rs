//! Any bytes as JSON lines, plain, gzip or Zstandard: documents, bad rows or one error.

use nextlong::corpus::{BlockReader, Input, InputFile, Kind, Settings};
use nextlong::{Error, Progress};

/// One case.
pub fn run(data: &[u8]) {
    let [kind, block, most, data @ ..] = data else { return };
    let kind = [Kind::Jsonl, Kind::JsonlGzip, Kind::JsonlZstd, Kind::Text][usize::from(kind % 4)];
    let settings = Settings {
        text_column: "text".to_owned(),
        id_column: Some("id".to_owned()),
        score_column: Some("score".to_owned()),
        source_column: Some("source".to_owned()),
        max_document_bytes: 1 + u64::from(*most),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.json");
    std::fs::write(&path, data).expect("written");
    let input = Input { number: 0, name: "a".into(), label: "a".into() };
    let file = InputFile { input, path, kind };
    let mut reader =
        BlockReader::of_files(vec![file], settings.clone(), 1 + usize::from(*block) * 16);
    loop {
        let documents = match reader.next(&Progress::default()) {
            Ok(Some(block)) => block.parse(&settings),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        match documents {
            Err(error) => return assert!(matches!(error, Error::Corpus(_)), "{error:?}"),
            Ok(documents) => {
                let quarantine = documents.quarantine(usize::MAX);
                assert_eq!(quarantine.lines().count() as u64, documents.bad_count());
                for (text, origin) in documents.iter() {
                    assert!(text.len() as u64 <= settings.max_document_bytes);
                    assert!(!text.trim().is_empty());
                    assert!(origin.score.is_none_or(f64::is_finite));
                }
            }
        }
    }
}
