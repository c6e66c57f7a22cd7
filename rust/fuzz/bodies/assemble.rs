//! Any segments, cut to a length and assembled: columns that agree, and no sequence too long.

use nextlong::Progress;
use nextlong::assemble::{Sequence, assemble};
use nextlong::segment::{Segment, SpecialTokens};
use nextlong::store::{ChunkStore, Origin, PartWriter, TokenCache};

use super::Bytes;

/// One case.
pub fn run(data: &[u8]) {
    let mut data = Bytes(data);
    let counts: Vec<usize> = (0..=data.below(12)).map(|_| data.below(9)).collect();
    let separator = (0..data.below(4)).map(|_| data.below(9) as u32).collect();
    let special_tokens = SpecialTokens { bos: data.maybe(9), eos: data.maybe(9), separator };
    let seq_len = 16 + data.below(64) as u32;
    let spare_meta = data.byte() % 2 == 0;
    let mut segments: Vec<Segment> = (0..data.below(30))
        .map(|_| {
            let chunk = data.below(counts.len());
            let score = if data.byte() % 2 == 0 { f32::NAN } else { 0.5 };
            let tokens = counts[chunk] as u32;
            Segment { chunk: chunk as u32, meta: 0, score, tokens, characters: None }
        })
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("part.arrow");
    let mut writer = PartWriter::default();
    let mut tokens = TokenCache::default();
    for (chunk, &count) in counts.iter().enumerate() {
        let origin = Origin { doc_id: "d", input: 0, row: chunk as i64, score: None, source: None };
        writer.document(origin, [("text", 0..4)]).expect("added");
        let ids: Vec<u32> = (0..count as u32).map(|id| 100 + id).collect();
        tokens.insert(&[chunk as u32], &ids, &[0, count as u64]).expect("inserted");
    }
    writer.write(&path).expect("written");
    let store = ChunkStore::open(&[path]).expect("opened");
    special_tokens.cut(&mut segments, seq_len, spare_meta);
    let row = Sequence { id: 0, document: 0, seq_len, segments: &segments };
    let made = assemble(&[row], "fuzz", &special_tokens, &store, &tokens, &Progress::default());
    let made = made.expect("assembled");
    made.check().expect("columns that agree");
    assert!(made.input_ids.row(0).len() <= seq_len as usize);
    assert!(made.spans(0).is_sorted_by_key(|span| span.token_start));
}
