//! Any pieces, assembled and written; any text, cut; whatever the settings.
//!
//! `PROPTEST_CASES` sets the budget (`make fuzz`).

use std::fs::File;

use nextlong::assemble::{Frame, Piece, Sequence, assemble};
use nextlong::chunk::{Mode, Rule, Unit, spans};
use nextlong::sequences::{Role, Sequences, Span};
use nextlong::store::{ChunkStore, Origin, PartWriter};
use nextlong::tokens::TokenCache;
use nextlong::{Error, Progress, Ragged, write};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;

fn cases(usual: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(usual),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn span() -> impl Strategy<Value = Span> {
    let number = || prop_oneof![0i32..9, any::<i32>()];
    let role = prop::sample::select(vec![Role::MetaChunk, Role::Negative, Role::Separator]);
    let document = prop::option::of(0u32..4);
    (number(), document, number(), any::<(i64, i64)>(), role, number(), any::<f32>()).prop_map(
        |(token_start, document, chunk, (char_start, char_end), role, meta, score)| Span {
            token_start,
            document,
            chunk,
            char_start,
            char_end,
            role,
            meta,
            score,
        },
    )
}

prop_compose! {
    /// Sequences whose columns mostly agree.
    fn sequences()(
        values in prop::collection::vec(prop_oneof![0u32..99, any::<u32>()], 0..60),
        offsets in prop::collection::vec(0u64..60, 0..6),
        spans in prop::collection::vec(span(), 0..20),
        span_offsets in prop::collection::vec(0u32..20, 0..6),
        doc_ids in prop::collection::vec(any::<String>(), 0..4),
        meta_document in prop::collection::vec(0u32..3, 0..6),
        mended in any::<bool>(),
    ) -> Sequences {
        let (mut offsets, mut span_offsets, mut meta_document, mut values) =
            (offsets, span_offsets, meta_document, values);
        let (mut doc_ids, count) = (doc_ids, meta_document.len());
        if mended {
            for id in &mut values { *id &= i32::MAX as u32; }
            offsets.resize(count + 1, 0);
            offsets.sort_unstable();
            (offsets[0], offsets[count]) = (0, values.len() as u64);
            for offset in &mut offsets { *offset = (*offset).min(values.len() as u64); }
            span_offsets.resize(count + 1, 0);
            span_offsets.sort_unstable();
            (span_offsets[0], span_offsets[count]) = (0, spans.len() as u32);
            for offset in &mut span_offsets { *offset = (*offset).min(spans.len() as u32); }
            doc_ids.resize(4, "x".to_owned());
        } else {
            meta_document.truncate(3);
        }
        Sequences {
            input_ids: Ragged { values, offsets },
            sequence_id: (0..meta_document.len() as i64).collect(),
            strategy: "fuzz".to_owned(),
            meta_document,
            doc_ids,
            span_offsets,
            spans,
        }
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn any_sequences_are_written_whole_or_refused(made in sequences()) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        match write::parquet(&path, &made, "{}", &Progress::default()) {
            Ok((rows, bytes)) => {
                prop_assert_eq!(rows as usize, made.len());
                prop_assert_eq!(bytes, path.metadata().expect("a file").len());
                let file = File::open(&path).expect("opened");
                let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a reader");
                let read: usize = reader.build().expect("a reader").map(|batch| batch.expect("a batch").num_rows()).sum();
                prop_assert_eq!(read, made.len());
            }
            Err(error) => {
                prop_assert!(matches!(error, Error::Run(_)), "{error:?}");
                prop_assert_eq!(std::fs::read_dir(folder.path()).expect("listing").count(), 0);
            }
        }
    }

    #[test]
    fn any_pieces_become_sequences_that_pass_no_length(
        counts in prop::collection::vec(0usize..9, 1..12),
        chosen in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..30),
        frame in (prop::option::of(0u32..9), prop::option::of(0u32..9), prop::collection::vec(0u32..9, 0..4)),
        seq_len in 16u32..80,
        spare_meta in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("part.arrow");
        let mut writer = PartWriter::default();
        let mut tokens = TokenCache::default();
        for (chunk, &count) in counts.iter().enumerate() {
            let origin = Origin { doc_id: "d", input: 0, row: chunk as i64, score: None };
            writer.document(origin, [("text", 0..4)]).expect("added");
            let ids: Vec<u32> = (0..count as u32).map(|id| 100 + id).collect();
            tokens.insert(&[chunk as u32], &ids, &[0, count as u64]).expect("inserted");
        }
        writer.write(&path).expect("written");
        let store = ChunkStore::open(&[path]).expect("opened");
        let frame = Frame { bos: frame.0, eos: frame.1, separator: frame.2 };
        let mut pieces: Vec<Piece> = chosen.iter().map(|(chunk, meta)| {
            let chunk = chunk.index(counts.len());
            let score = if *meta { f32::NAN } else { 0.5 };
            Piece { chunk: chunk as u32, meta: 0, score, tokens: counts[chunk] as u32, characters: None }
        }).collect();
        frame.cut(&mut pieces, seq_len, spare_meta);
        let row = Sequence { id: 0, document: 0, seq_len, pieces: &pieces };
        let made = assemble(&[row], "fuzz", &frame, &store, &tokens, &Progress::default()).expect("assembled");
        made.check().expect("columns that agree");
        prop_assert!(made.input_ids.row(0).len() <= seq_len as usize);
        let starts: Vec<i32> = made.spans(0).iter().map(|span| span.token_start).collect();
        prop_assert!(starts.is_sorted());
    }

    #[test]
    fn any_text_is_cut_by_any_rule(
        text in prop_oneof![any::<String>(), "[ab.\n\r \u{301}\u{200d}\u{3000}漢🇩]{0,80}"],
        size in prop_oneof![Just(0usize), 1..40usize, Just(usize::MAX), Just(u32::MAX as usize)],
        paper in any::<bool>(),
        weight in 0usize..5,
    ) {
        let progress = Progress::default();
        // Measures that no tokenizer has: nothing costs, all cost the same, less for more, too much.
        let count = |piece: &str| match weight {
            0 => 0,
            1 => 1,
            2 => 100usize.saturating_sub(piece.len()),
            3 => usize::MAX,
            _ => piece.len() / 2,
        };
        let mode = if paper { Mode::Paper } else { Mode::Lossless };
        for unit in [Unit::Characters, Unit::Tokens(&count)] {
            let mut found = Vec::new();
            match spans(&text, &Rule { mode, size, unit }, &progress, &mut found) {
                Err(error) => prop_assert!(matches!(error, Error::Config(_)), "{error:?}"),
                Ok(()) if paper => prop_assert!(found.iter().all(|span| text.get(span.clone()).is_some())),
                Ok(()) => {
                    let joined: String = found.iter().map(|span| &text[span.clone()]).collect();
                    prop_assert_eq!(&joined, &text);
                }
            }
        }
    }
}
