//! Guarantees for every sequence, for any corpus, neighbours and settings.

#![recursion_limit = "256"]
#![allow(
    clippy::needless_pass_by_value,
    clippy::format_collect,
    reason = "a made-up corpus may be slow to make"
)]

mod support;

use std::collections::{BTreeMap, HashMap, HashSet};

use nextlong::Progress;
use nextlong::assemble::{Sequence, assemble};
use nextlong::config::{Collisions, Placement, Sampling, Settings};
use nextlong::measure::{GroupReport, Measured, group_report};
use nextlong::segment::{Segment, SpecialTokens};
use nextlong::sequences::Role;
use nextlong::store::{ChunkStore, Vectors};
use nextlong::strategy::REASONS;
use nextlong::strategy::nextlong::paper_k;
use proptest::prelude::*;
use serde_json::json;
use support::{Run, corpus, run, run_stopped, score, settings, tokenize};

/// The largest share of the n-grams of a chunk that stand in others of its sequence: of a negative
/// in all of them, of a meta-chunk in the negatives. Repeats of the own document do not count.
fn largest_share(
    store: &ChunkStore,
    segments: &[Segment],
    own: &std::ops::Range<usize>,
    words: usize,
) -> f32 {
    let grams = |chunk: u32| -> HashSet<Vec<&str>> {
        let all: Vec<&str> = store.text(chunk as usize).split_whitespace().collect();
        all.windows(words).map(<[&str]>::to_vec).collect()
    };
    let negatives: Vec<u32> = segments
        .iter()
        .map(|segment| segment.chunk)
        .filter(|&c| !own.contains(&(c as usize)))
        .collect();
    let metas = own.clone().map(|chunk| chunk as u32);
    let share = |chunk: u32, others: &mut dyn Iterator<Item = u32>| {
        let rest: HashSet<Vec<&str>> = others.flat_map(grams).collect();
        let own = grams(chunk);
        let shared = own.intersection(&rest).count();
        if shared == 0 { 0.0 } else { shared as f32 / own.len() as f32 }
    };
    let of_negatives = negatives.iter().map(|&one| {
        share(one, &mut metas.clone().chain(negatives.iter().copied().filter(|&o| o != one)))
    });
    let of_metas = metas.clone().map(|one| share(one, &mut negatives.iter().copied()));
    of_negatives.chain(of_metas).fold(0.0, f32::max)
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
        exclude_same_doc in any::<bool>(),
        max_containment in prop_oneof![Just(None), Just(Some(0.0f32)), Just(Some(0.3)), Just(Some(0.5))],
        containment_words in 1u32..5,
    ) -> Settings {
        settings(json!({
            "seq_len": seq_len, "max_reuse": max_reuse, "num_negatives": num_negatives,
            "max_per_doc": max_per_doc, "range_min": range.0, "range_max": range.1,
            "min_score": min_score, "num_sequences": num_sequences, "on_short": on_short,
            "length": length, "long_documents": long_documents, "placement": placement,
            "sampling_strategy": sampling, "collisions": collisions,
            "exclude_same_doc": exclude_same_doc, "max_containment": max_containment,
            "containment_words": containment_words,
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
        batch_size in 1usize..20,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = corpus(folder.path(), &documents);
        let special_tokens = SpecialTokens { bos, eos: Some(2), separator: separator.clone() };
        let out = run(&store, &settings, &special_tokens, batch_size);
        let exact = settings.length == nextlong::config::Length::Exact;
        if let Some(most) = settings.num_sequences {
            prop_assert!(out.made.len() as u64 <= most);
        }
        let mut uses: BTreeMap<u32, u32> = BTreeMap::new();
        let mut used: HashSet<u32> = HashSet::new();
        for (document, segments) in &out.made {
            let own = store.document_chunks(*document as usize);
            let metas: Vec<u32> = segments.iter().filter(|p| p.is_meta()).map(|p| p.chunk).collect();
            let passed = segments.iter().all(Segment::is_meta);
            let expected: Vec<u32> = own.clone().map(|chunk| chunk as u32).collect();
            if exact && !passed {
                prop_assert_eq!(&metas, &expected, "every meta-chunk, in order");
            }
            prop_assert!(expected.starts_with(&metas));
            let mut seen = HashSet::new();
            let mut per_meta: HashMap<u32, u32> = HashMap::new();
            let mut per_document: HashMap<usize, u32> = HashMap::new();
            for segment in segments {
                used.insert(segment.chunk);
                if segment.is_meta() {
                    continue;
                }
                let is_own = own.contains(&(segment.chunk as usize));
                prop_assert!(!is_own || !settings.exclude_same_doc, "none of the own document");
                let text = store.text_hash(segment.chunk as usize);
                let same = settings.max_containment.map_or(u64::from(segment.chunk), |_| text);
                prop_assert!(seen.insert(same), "none twice");
                prop_assert!(segment.score <= 0.95);
                prop_assert!(segment.score >= settings.min_score.unwrap_or(-1.0));
                let meta_chunk = own.start as u32 + segment.meta;
                prop_assert!((segment.score - score(meta_chunk, segment.chunk)).abs() < 1e-9);
                *uses.entry(segment.chunk).or_default() += 1;
                *per_meta.entry(segment.meta).or_default() += 1;
                *per_document.entry(store.document(segment.chunk as usize)).or_default() += 1;
            }
            if let Some(most) = settings.max_containment {
                let words = settings.containment_words as usize;
                let share = largest_share(&store, segments, &own, words);
                prop_assert!(share <= most, "{share} of the n-grams of a chunk stand in others");
            }
            let most = settings.num_negatives.unwrap_or(u32::MAX);
            prop_assert!(per_meta.values().all(|&count| count <= most));
            let most = settings.max_per_doc.unwrap_or(u32::MAX);
            prop_assert!(per_document.values().all(|&count| count <= most));
        }
        let most = settings.max_reuse.unwrap_or(u32::MAX);
        prop_assert!(uses.values().all(|&count| count <= most), "reuse is capped");

        let rows: Vec<Sequence<'_>> = out.made.iter().enumerate().map(|(id, (document, segments))| {
            Sequence { id: id as i64, document: *document, seq_len: settings.seq_len, segments }
        }).collect();
        let sequences =
            assemble(&rows, "nextlong", &special_tokens, &store, &out.tokens, &Progress::default())
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
        let tally = out.pass.tally();
        prop_assert_eq!(shorter, tally.shortened);
        prop_assert_eq!(out.made.len() as u64, tally.made);

        let vectors: Vec<f32> = (0..store.len() * 4).map(|at| score(at as u32, 1)).collect();
        let measured = Measured {
            store: &store,
            vectors: &Vectors::from_f32(&vectors, 4).expect("vectors"),
            groups: out.pass.groups().expect("groups"),
            sequences: &out.made,
            counts: out.pass.group_counts(),
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
        let special_tokens = SpecialTokens { bos: None, eos: None, separator: vec![7] };
        let chunks = |made: Vec<(u32, Vec<Segment>)>| -> Vec<(u32, Vec<(u32, u32)>)> {
            made.into_iter()
                .map(|(document, segments)| {
                    (document, segments.iter().map(|p| (p.chunk, p.tokens)).collect())
                })
                .collect()
        };
        let one = chunks(run(&store, &settings, &special_tokens, sizes.0).made);
        let other = chunks(run(&store, &settings, &special_tokens, sizes.1).made);
        prop_assert_eq!(one, other);
    }
}

#[test]
fn only_chunks_that_sequences_use_are_tokenized() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = corpus(folder.path(), &[3; 200]);
    let settings = settings(json!({"num_sequences": 20, "seq_len": 512}));
    let special_tokens = SpecialTokens { bos: Some(1), eos: Some(2), separator: vec![7] };
    let out = run(&store, &settings, &special_tokens, 8);
    assert_eq!(out.made.len(), 20);
    let used: HashSet<u32> = out
        .made
        .iter()
        .flat_map(|(_, segments)| segments.iter().map(|segment| segment.chunk))
        .collect();
    let unused = out.tokens.len() - used.len();
    assert!(unused as u64 <= out.pass.tally().tokenized_unused, "{unused}");
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
    let special_tokens = SpecialTokens { bos: None, eos: None, separator: vec![7] };
    let out = run(&store, &settings(all), &special_tokens, 50);
    let tokens: usize = (0..store.len() as u32).map(|chunk| tokenize(chunk).len() + 1).sum();
    (out, tokens / 512)
}

#[test]
fn chunks_that_suffice_for_few_sequences_are_not_spread_over_many() {
    let (out, possible) = scarce(json!({}));
    let tally = out.pass.tally();
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
    let tally = out.pass.tally();
    assert_eq!((out.made.len(), tally.no_chunks_left, tally.dropped_short), (200, 0, 0));
    // They do not search the whole corpus for what is used up: 621,606 if they do.
    let used_up = tally.refused[REASONS.iter().position(|&name| name == "max_reuse").expect("it")];
    assert!(used_up < 300_000, "{tally:?}");
}

#[test]
fn a_sequence_that_cannot_be_filled_is_dropped_and_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = corpus(folder.path(), &[2, 2, 2]);
    let special_tokens = SpecialTokens::default();
    let out = run(&store, &settings(json!({"seq_len": 10_000})), &special_tokens, 2);
    let tally = out.pass.tally();
    assert_eq!((tally.made, tally.dropped_short, tally.no_chunks_left), (0, 2, 1));
    let shorten = settings(json!({"seq_len": 10_000, "on_short": "shorten"}));
    let out = run(&store, &shorten, &special_tokens, 2);
    assert_eq!((out.made.len(), out.pass.tally().shortened), (3, 3));
    assert_eq!(REASONS.len(), out.pass.tally().refused.len());
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
        batch_size in 1usize..12,
        stop in 1usize..6,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = corpus(folder.path(), &documents);
        let special_tokens = SpecialTokens { bos: Some(1), eos: None, separator: vec![7] };
        let whole = run(&store, &settings, &special_tokens, batch_size);
        let again = run_stopped(&store, &settings, &special_tokens, batch_size, Some(stop));
        prop_assert_eq!(format!("{:?}", again.made), format!("{:?}", whole.made));
        prop_assert_eq!(again.pass.tally(), whole.pass.tally());
        prop_assert_eq!(again.pass.group_counts(), whole.pass.group_counts());
        prop_assert_eq!(again.pass.uses(), whole.pass.uses());
        prop_assert_eq!(again.tokens.len(), whole.tokens.len());
        for (_, segments) in &whole.made {
            for segment in segments {
                prop_assert_eq!(again.tokens.get(segment.chunk), whole.tokens.get(segment.chunk));
            }
        }
    }
}
