//! What every sequence keeps, whatever the corpus, the neighbours and the settings.

#![allow(
    clippy::needless_pass_by_value,
    clippy::format_collect,
    reason = "a made-up corpus may be slow to make"
)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use nextlong::assemble::{Frame, Piece, Sequence, assemble};
use nextlong::config::{Collisions, Placement, Sampling, Settings};
use nextlong::group_report::{GroupReport, Measured, group_report};
use nextlong::groups::Groups;
use nextlong::index::Hidden;
use nextlong::mine::made;
use nextlong::mine::{
    Found, REASONS, Wanted, Wave, queue, select::Selector, select::Tally, select::paper_k,
};
use nextlong::sequences::Role;
use nextlong::store::{ChunkStore, Origin, PartWriter};
use nextlong::tokens::TokenCache;
use nextlong::vectors::Vectors;
use nextlong::{Progress, seed};
use proptest::prelude::*;
use serde_json::json;

fn settings(changes: serde_json::Value) -> Settings {
    let mut all = json!({
        "seq_len": 256, "num_sequences": null, "seed": 3, "text_column": "text",
        "id_column": null, "score_column": null, "max_document_bytes": 1_000_000,
        "max_error_rate": 0.01, "chunk_size": 64, "chunk_unit": "chars",
        "chunk_mode": "lossless", "embedder": "lsa", "dim": 4, "idf_power": 1.5,
        "fit_chunks": 100, "boilerplate_share": 0.01, "index": "exact", "min_recall": 0.95,
        "range_min": 0, "range_max": null, "min_score": null, "max_score": 0.95,
        "absolute_margin": null, "relative_margin": null, "exclude_same_doc": true,
        "max_containment": 0.5, "containment_words": 4, "num_negatives": null, "max_reuse": 2,
        "max_per_doc": null, "sampling_strategy": "top", "collisions": "round-robin",
        "min_meta_chunks": 2, "long_documents": "skip", "length": "exact",
        "chars_per_token": 4.0, "length_factor": 1.5, "on_short": "drop", "placement": "head",
        "chunk_separator": "\n",
        "bos": null, "eos": "auto"
    });
    for (name, value) in changes.as_object().expect("an object") {
        all[name] = value.clone();
    }
    Settings::from_json(&all.to_string()).expect("settings that keep the rules")
}

/// A corpus of `documents` documents with the given numbers of chunks; some texts are repeated.
fn corpus(folder: &std::path::Path, documents: &[usize]) -> ChunkStore {
    let mut writer = PartWriter::default();
    let mut rng = seed::Rng::new(1, "corpus", documents.len() as u64);
    for (row, &chunks) in documents.iter().enumerate() {
        let texts: Vec<String> = (0..chunks)
            .map(|_| {
                let words = 2 + rng.below(10);
                (0..words).map(|_| format!("w{} ", rng.below(200))).collect()
            })
            .collect();
        let id = format!("d{row}");
        let origin = Origin { doc_id: &id, input: 0, row: row as i64, score: None, source: None };
        let mut at = 0;
        let spans = texts.iter().map(|text| {
            at += text.len() as u64;
            (text.as_str(), at - text.len() as u64..at)
        });
        writer.document(origin, spans).expect("added");
    }
    let path = folder.join("part.arrow");
    writer.write(&path).expect("written");
    ChunkStore::open(&[path]).expect("opened")
}

fn score(a: u32, b: u32) -> f32 {
    seed::uniform(9, "score", u64::from(a.min(b)) << 32 | u64::from(a.max(b))) as f32
}

/// The exact neighbours under made-up scores, the own document left out.
fn search(
    store: &ChunkStore,
    chunks: &[u32],
    k: usize,
    hidden: Option<&Hidden>,
) -> (Vec<i64>, Vec<f32>) {
    let (mut ids, mut scores) = (Vec::new(), Vec::new());
    for (number, &chunk) in chunks.iter().enumerate() {
        let own = store.document_chunks(store.document(chunk as usize));
        let mut all: Vec<(f32, u32)> = (0..store.len() as u32)
            .filter(|&other| !own.contains(&(other as usize)))
            .filter(|&other| !hidden.is_some_and(|hidden| hidden.contains(other)))
            .map(|other| (score(chunk, other), other))
            .collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        all.truncate(k);
        ids.extend(all.iter().map(|&(_, id)| i64::from(id)));
        scores.extend(all.iter().map(|&(score, _)| score));
        ids.resize((number + 1) * k, -1);
        scores.resize(ids.len(), f32::NEG_INFINITY);
    }
    (ids, scores)
}

/// A chunk's made-up tokens: 3 to 22 ids that name the chunk.
fn tokenize(chunk: u32) -> Vec<u32> {
    let count = 3 + seed::bits(5, "tokens", u64::from(chunk)) % 20;
    (0..count as u32).map(|at| 1000 + chunk * 32 + at).collect()
}

/// Groups of which some documents have several, and one has no chunk.
fn groups(store: &ChunkStore) -> Groups {
    let names = ["a", "b", "c", "none"].map(str::to_owned);
    let numbers: Vec<u32> = (0..store.len() as u32).map(|chunk| chunk / 4 % 3).collect();
    Groups::new(store, &names, &numbers).expect("groups")
}

struct Run {
    made: Vec<(u32, Vec<Piece>)>,
    tokens: TokenCache,
    selector: Selector,
}

fn run(store: &ChunkStore, settings: &Settings, frame: &Frame, wave_size: usize) -> Run {
    run_stopped(store, settings, frame, wave_size, None)
}

/// A run that is thrown away after so many waves, and taken up from what it wrote.
fn run_stopped(
    store: &ChunkStore,
    settings: &Settings,
    frame: &Frame,
    wave_size: usize,
    stop: Option<usize>,
) -> Run {
    let vectors = Vectors::from_f32(&vec![0.5; store.len() * 4], 4).expect("vectors");
    let folder = tempfile::tempdir().expect("a folder");
    let groups = Arc::new(groups(store));
    let mut out = Run {
        made: Vec::new(),
        tokens: TokenCache::default(),
        selector: Selector::new(settings.clone(), frame.clone()).counting(Arc::clone(&groups)),
    };
    let documents = queue(store, settings, &[], &[]).expect("a queue");
    let part = |kind: &str, number: usize| folder.path().join(format!("{kind}-{number}"));
    let (mut rest, mut number) = (documents.clone(), 0);
    let mut tallies = Vec::new();
    let next = |rest: &mut Vec<u32>| -> Vec<u32> {
        let left = rest.split_off(wave_size.min(rest.len()));
        std::mem::replace(rest, left)
    };
    while !rest.is_empty() {
        if stop == Some(number) {
            let mut again = Run {
                made: Vec::new(),
                tokens: TokenCache::default(),
                selector: Selector::new(settings.clone(), frame.clone())
                    .counting(Arc::clone(&groups)),
            };
            rest.clone_from(&documents);
            for (wave, tally) in tallies.iter().enumerate() {
                next(&mut rest);
                again.tokens.restore_wave(&part("tokens", wave)).expect("tokens");
                let made = made::read(&part("made", wave), store, &again.tokens).expect("made");
                again.selector.restore(&made, Tally::clone(tally));
                again.made.extend(made);
                if let Some(kept) = again.selector.sift(&rest, store, &again.tokens) {
                    rest = kept;
                }
            }
            out = again;
        }
        let mut wave = Wave::new(store, settings, &next(&mut rest));
        loop {
            for Wanted { k, chunks, open } in wave.wanted() {
                let hidden = out.selector.hidden().filter(|_| open);
                let (ids, scores) = search(store, &chunks, k as usize, hidden.as_deref());
                let found = Found { chunks: &chunks, k: k as usize, ids: &ids, scores: &scores };
                wave.fill(&found, store, &vectors, settings, &Progress::default()).expect("filled");
            }
            let need = out.selector.step(&mut wave, store, &out.tokens);
            for &chunk in &need.tokens {
                let ids = tokenize(chunk);
                out.tokens.insert(&[chunk], &ids, &[0, ids.len() as u64]).expect("each once");
            }
            if need.tokens.is_empty() && !need.search {
                break;
            }
        }
        let made = out.selector.finish(&mut wave);
        let closed = out.tokens.close_wave().expect("closed");
        out.tokens.take_moved(&closed.moved_to(&part("tokens", number)).expect("moved"));
        made::write(&made, &part("made", number)).expect("written");
        out.made.extend(made);
        tallies.push(out.selector.tally().clone());
        number += 1;
        if let Some(kept) = out.selector.sift(&rest, store, &out.tokens) {
            rest = kept;
        }
    }
    out
}

prop_compose! {
    fn choices()(
        seq_len in prop_oneof![Just(64u32), Just(256), Just(700)],
        max_reuse in prop_oneof![Just(None), (1u32..4).prop_map(Some)],
        num_negatives in prop_oneof![Just(None), Just(None), (1u32..6).prop_map(Some)],
        max_per_doc in prop_oneof![Just(None), (1u32..4).prop_map(Some)],
        range in prop_oneof![Just((0u32, None)), Just((2, Some(20u32))), Just((0, Some(40)))],
        min_score in prop_oneof![Just(None), Just(Some(0.3f32))],
        num_sequences in prop_oneof![Just(None), (1u64..5).prop_map(Some)],
        on_short in prop_oneof![Just("drop"), Just("shorten")],
        length in prop_oneof![Just("exact"), Just("exact"), Just("paper")],
        long_documents in prop_oneof![Just("skip"), Just("pass")],
        placement in prop_oneof![Just("head"), Just("tail"), Just("random")],
        sampling in prop_oneof![Just("top"), Just("random")],
        collisions in prop_oneof![Just("round-robin"), Just("first-come")],
    ) -> Settings {
        settings(json!({
            "seq_len": seq_len, "max_reuse": max_reuse, "num_negatives": num_negatives,
            "max_per_doc": max_per_doc, "range_min": range.0, "range_max": range.1,
            "min_score": min_score, "num_sequences": num_sequences, "on_short": on_short,
            "length": length, "long_documents": long_documents, "placement": placement,
            "sampling_strategy": sampling, "collisions": collisions,
        }))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_sequence_keeps_the_rules(
        documents in prop::collection::vec(1usize..8, 4..40),
        settings in choices(),
        separator in prop::collection::vec(Just(7u32), 0..4),
        bos in prop_oneof![Just(None), Just(Some(1u32))],
        wave_size in 1usize..20,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = corpus(folder.path(), &documents);
        let frame = Frame { bos, eos: Some(2), separator: separator.clone() };
        let out = run(&store, &settings, &frame, wave_size);
        let exact = settings.length == nextlong::config::Length::Exact;
        if let Some(most) = settings.num_sequences {
            prop_assert!(out.made.len() as u64 <= most);
        }
        let mut uses: BTreeMap<u32, u32> = BTreeMap::new();
        let mut used: HashSet<u32> = HashSet::new();
        for (document, pieces) in &out.made {
            let own = store.document_chunks(*document as usize);
            let metas: Vec<u32> = pieces.iter().filter(|p| p.is_meta()).map(|p| p.chunk).collect();
            let passed = pieces.iter().all(Piece::is_meta);
            let expected: Vec<u32> = own.clone().map(|chunk| chunk as u32).collect();
            if exact && !passed {
                prop_assert_eq!(&metas, &expected, "every meta-chunk, in order");
            }
            prop_assert!(expected.starts_with(&metas));
            let mut seen = HashSet::new();
            let mut per_meta: HashMap<u32, u32> = HashMap::new();
            let mut per_document: HashMap<usize, u32> = HashMap::new();
            for piece in pieces {
                used.insert(piece.chunk);
                if piece.is_meta() {
                    continue;
                }
                prop_assert!(!own.contains(&(piece.chunk as usize)), "none of the own document");
                prop_assert!(seen.insert(store.text_hash(piece.chunk as usize)), "none twice");
                prop_assert!(piece.score <= 0.95);
                prop_assert!(piece.score >= settings.min_score.unwrap_or(-1.0));
                let meta_chunk = own.start as u32 + piece.meta;
                prop_assert!((piece.score - score(meta_chunk, piece.chunk)).abs() < 1e-9);
                *uses.entry(piece.chunk).or_default() += 1;
                *per_meta.entry(piece.meta).or_default() += 1;
                *per_document.entry(store.document(piece.chunk as usize)).or_default() += 1;
            }
            let most = settings.num_negatives.unwrap_or(u32::MAX);
            prop_assert!(per_meta.values().all(|&count| count <= most));
            let most = settings.max_per_doc.unwrap_or(u32::MAX);
            prop_assert!(per_document.values().all(|&count| count <= most));
        }
        let most = settings.max_reuse.unwrap_or(u32::MAX);
        prop_assert!(uses.values().all(|&count| count <= most), "reuse is capped");

        let rows: Vec<Sequence<'_>> = out.made.iter().enumerate().map(|(id, (document, pieces))| {
            Sequence { id: id as i64, document: *document, seq_len: settings.seq_len, pieces }
        }).collect();
        let sequences =
            assemble(&rows, "nextlong", &frame, &store, &out.tokens, &Progress::default())
                .expect("assembled");
        sequences.check().expect("columns that agree");
        let mut shorter = 0;
        for row in 0..sequences.len() {
            let ids = sequences.input_ids.row(row);
            prop_assert!(ids.len() <= settings.seq_len as usize);
            shorter += u64::from(ids.len() < settings.seq_len as usize);
            prop_assert_eq!(ids.iter().filter(|&&id| id == 2).count(), 1, "one EOS");
            prop_assert_eq!(ids.last(), Some(&2));
            prop_assert!(bos.is_none_or(|bos| ids[0] == bos));
            let spans = sequences.spans(row);
            prop_assert_eq!(spans[0].token_start, 0);
            for (at, span) in spans.iter().enumerate() {
                let end = spans.get(at + 1).map_or(ids.len(), |next| next.token_start as usize);
                let held = &ids[span.token_start as usize..end];
                if span.role == Role::Separator {
                    continue;
                }
                let document = span.document.expect("a document") as usize;
                let document: usize = sequences.doc_ids[document][1..].parse().expect("d<row>");
                let chunk = store.document_chunks(document).start as u32 + span.chunk as u32;
                prop_assert!(tokenize(chunk).starts_with(held), "a span holds its chunk");
            }
        }
        let tally = out.selector.tally();
        prop_assert_eq!(shorter, tally.shortened);
        prop_assert_eq!(out.made.len() as u64, tally.made);

        let vectors: Vec<f32> = (0..store.len() * 4).map(|at| score(at as u32, 1)).collect();
        let measured = Measured {
            store: &store,
            vectors: &Vectors::from_f32(&vectors, 4).expect("vectors"),
            groups: out.selector.groups().expect("groups"),
            made: &out.made,
            counts: out.selector.group_counts(),
            seed: 3,
        };
        let reports = group_report(&measured, 1, &Progress::default()).expect("reports");
        let sum = |of: fn(&GroupReport) -> u64| reports.iter().map(of).sum::<u64>();
        prop_assert_eq!(sum(|one| one.chunks), store.len() as u64);
        prop_assert_eq!(sum(|one| one.documents), store.document_count() as u64);
        prop_assert_eq!(sum(|one| one.tried), tally.made + tally.dropped_short + tally.long_skipped);
        prop_assert_eq!(sum(|one| one.sequences), tally.made);
        prop_assert_eq!(sum(|one| one.meta_chunks), tally.meta_chunks);
        prop_assert_eq!(sum(|one| one.negatives), tally.negatives);
        for (reason, &count) in tally.refused.iter().enumerate() {
            let counted: u64 = reports.iter().map(|one| one.refused[reason]).sum();
            prop_assert_eq!(counted, count, "{}", REASONS[reason]);
        }
        prop_assert!(reports.iter().all(|one| one.same_group <= one.negatives));
        let on_threads = group_report(&measured, 3, &Progress::default()).expect("reports");
        prop_assert_eq!(on_threads, reports);
    }

    #[test]
    fn the_waves_do_not_change_what_is_made_without_limits_between_sequences(
        documents in prop::collection::vec(1usize..6, 6..30),
        sizes in (1usize..20, 1usize..20),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = corpus(folder.path(), &documents);
        let settings = settings(json!({"max_reuse": null}));
        let frame = Frame { bos: None, eos: None, separator: vec![7] };
        let chunks = |made: Vec<(u32, Vec<Piece>)>| -> Vec<(u32, Vec<(u32, u32)>)> {
            made.into_iter()
                .map(|(document, pieces)| {
                    (document, pieces.iter().map(|p| (p.chunk, p.tokens)).collect())
                })
                .collect()
        };
        let one = chunks(run(&store, &settings, &frame, sizes.0).made);
        let other = chunks(run(&store, &settings, &frame, sizes.1).made);
        prop_assert_eq!(one, other);
    }
}

#[test]
fn only_chunks_that_sequences_use_are_tokenized() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = corpus(folder.path(), &[3; 200]);
    let settings = settings(json!({"num_sequences": 20, "seq_len": 512}));
    let frame = Frame { bos: Some(1), eos: Some(2), separator: vec![7] };
    let out = run(&store, &settings, &frame, 8);
    assert_eq!(out.made.len(), 20);
    let used: HashSet<u32> =
        out.made.iter().flat_map(|(_, pieces)| pieces.iter().map(|piece| piece.chunk)).collect();
    let unused = out.tokens.len() - used.len();
    assert!(unused as u64 <= out.selector.tally().tokenized_unused, "{unused}");
    // The made-up token counts have nothing to do with the texts: the hardest case to estimate.
    assert!(unused * 50 <= used.len(), "{unused} chunks were tokenized in vain");
}

/// A corpus whose chunks suffice for about twenty of 200 documents.
fn scarce(changes: serde_json::Value) -> (Run, usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = corpus(folder.path(), &[4; 200]);
    let mut all =
        json!({"seq_len": 512, "max_reuse": 1, "max_score": 1.0, "max_containment": null});
    for (name, value) in changes.as_object().expect("an object") {
        all[name] = value.clone();
    }
    let frame = Frame { bos: None, eos: None, separator: vec![7] };
    let out = run(&store, &settings(all), &frame, 50);
    let tokens: usize = (0..store.len() as u32).map(|chunk| tokenize(chunk).len() + 1).sum();
    (out, tokens / 512)
}

#[test]
fn chunks_that_suffice_for_few_sequences_are_not_spread_over_many() {
    let (out, possible) = scarce(json!({}));
    let tally = out.selector.tally();
    // Meta-chunks may be negatives too: what each sequence brings itself makes more possible.
    assert!(out.made.len() >= possible, "{} of {possible}: {tally:?}", out.made.len());
    assert!(tally.no_chunks_left >= 100, "{tally:?}");
    assert_eq!(tally.made + tally.dropped_short + tally.no_chunks_left, 200);
    // What is used up is left out of deeper searches, not refused one by one.
    assert!(tally.deeper_searches < 600, "{tally:?}");
}

#[test]
fn documents_that_may_be_short_are_all_tried() {
    let (out, _) = scarce(json!({"on_short": "shorten"}));
    let tally = out.selector.tally();
    assert_eq!((out.made.len(), tally.no_chunks_left, tally.dropped_short), (200, 0, 0));
    // They do not search the whole corpus for what is used up: 621,606 if they do.
    let used_up = tally.refused[REASONS.iter().position(|&name| name == "max_reuse").expect("it")];
    assert!(used_up < 300_000, "{tally:?}");
}

#[test]
fn a_sequence_that_cannot_be_filled_is_dropped_and_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = corpus(folder.path(), &[2, 2, 2]);
    let frame = Frame::default();
    let out = run(&store, &settings(json!({"seq_len": 10_000})), &frame, 2);
    let tally = out.selector.tally();
    assert_eq!((tally.made, tally.dropped_short, tally.no_chunks_left), (0, 2, 1));
    let shorten = settings(json!({"seq_len": 10_000, "on_short": "shorten"}));
    let out = run(&store, &shorten, &frame, 2);
    assert_eq!((out.made.len(), out.selector.tally().shortened), (3, 3));
    assert_eq!(REASONS.len(), out.selector.tally().refused.len());
}

#[test]
fn the_paper_s_worked_example_gives_its_k() {
    let settings = settings(json!({"seq_len": 131_072, "chunk_size": 2048}));
    assert_eq!(paper_k(&settings, 20_000.0, 10), 38, "37.4 rounded up");
    assert_eq!(paper_k(&settings, 1e9, 10), 0);
    assert_eq!(settings.collisions, Collisions::RoundRobin);
    assert_eq!((settings.placement, settings.sampling_strategy), (Placement::Head, Sampling::Top));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_pass_that_is_taken_up_goes_on_as_if_nothing_had_happened(
        documents in prop::collection::vec(1usize..8, 4..40),
        settings in choices(),
        wave_size in 1usize..12,
        stop in 1usize..6,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = corpus(folder.path(), &documents);
        let frame = Frame { bos: Some(1), eos: None, separator: vec![7] };
        let whole = run(&store, &settings, &frame, wave_size);
        let again = run_stopped(&store, &settings, &frame, wave_size, Some(stop));
        prop_assert_eq!(format!("{:?}", again.made), format!("{:?}", whole.made));
        prop_assert_eq!(again.selector.tally(), whole.selector.tally());
        prop_assert_eq!(again.selector.group_counts(), whole.selector.group_counts());
        prop_assert_eq!(again.selector.uses(), whole.selector.uses());
        prop_assert_eq!(again.tokens.len(), whole.tokens.len());
        for (_, pieces) in &whole.made {
            for piece in pieces {
                prop_assert_eq!(again.tokens.get(piece.chunk), whole.tokens.get(piece.chunk));
            }
        }
    }
}
