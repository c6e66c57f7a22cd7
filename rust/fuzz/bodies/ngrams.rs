//! The n-grams that texts share, as the filter for near-duplicates counts them.

use std::collections::HashSet;

use nextlong::mine::Sketches;
use nextlong::mine::ngrams::{containment, grams};
use nextlong::store::{ChunkStore, Origin, PartWriter};

/// One case: meta-chunks and, behind the last byte 0xff, another text.
pub fn run(data: &[u8]) {
    let [words, most, data @ ..] = data else { return };
    let words = 1 + usize::from(words % 9);
    let most = f32::from(*most) / 255.0;
    let mut texts: Vec<String> = data
        .split(|&byte| byte == 0xff)
        .take(5)
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect();
    let other = texts.pop().unwrap_or_default();
    let set = |text: &str| -> HashSet<u64> {
        let mut found = Vec::new();
        grams(text, 1, &mut found);
        let count = found.len();
        grams(text, words, &mut found);
        assert_eq!(found.len(), (count + 1).saturating_sub(words), "a gram for every place");
        found.into_iter().collect()
    };
    let theirs = set(&other);
    let share = |text: &str| {
        let own = set(text);
        let smaller = own.len().min(theirs.len()).max(1);
        own.intersection(&theirs).count() as f32 / smaller as f32
    };
    let shares: Vec<f32> = texts.iter().map(|text| share(text)).collect();
    let found = containment(texts.iter().map(String::as_str), &other, words);
    let largest = shares.iter().copied().fold(0.0, f32::max);
    assert!((found - largest).abs() < 1e-5, "{found} is not {largest}");

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("part.arrow");
    let mut writer = PartWriter::default();
    texts.push(other);
    for (row, text) in texts.iter().enumerate() {
        let origin = Origin { doc_id: "d", input: 0, row: row as i64, score: None, source: None };
        writer.document(origin, [(text.as_str(), 0..text.len() as u64)]).expect("added");
    }
    writer.write(&path).expect("written");
    let store = ChunkStore::open(&[path]).expect("opened");
    // Of one size for long chunks, and of another for short ones.
    for characters in [64, 100_000] {
        let sketches = Sketches::sized(words, characters);
        let last = texts.len() as u32 - 1;
        for (chunk, &share) in shares.iter().enumerate() {
            for _ in 0..2 {
                let apart = sketches.are_apart(&store, chunk as u32, last, most);
                assert!(!apart || share <= most + 1e-6, "{share} is more than {most}");
            }
        }
    }
}
