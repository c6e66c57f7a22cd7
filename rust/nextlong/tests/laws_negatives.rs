//! Which chunks may be negatives, in which order they are used, and which documents are too long.

#![recursion_limit = "256"]

mod support;

use std::collections::HashMap;

use nextlong::segment::{Segment, SpecialTokens};
use nextlong::store::{ChunkStore, Origin, PartWriter};
use nextlong::strategy::REASONS;
use serde_json::json;
use support::{corpus, run, score, settings, tokenize};

#[test]
fn chunks_of_the_own_document_are_negatives_where_they_are_allowed() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = corpus(folder.path(), &[8; 12]);
    let special_tokens = SpecialTokens { bos: None, eos: None, separator: vec![7] };
    for max_containment in [json!(null), json!(0.3)] {
        for exclude_same_doc in [true, false] {
            let settings = settings(json!({
                "seq_len": 700, "exclude_same_doc": exclude_same_doc, "max_reuse": null,
                "max_containment": max_containment, "on_short": "shorten",
            }));
            let out = run(&store, &settings, &special_tokens, 4);
            let mut repeats = 0;
            for (document, segments) in &out.made {
                let own = store.document_chunks(*document as usize);
                let negatives = segments.iter().filter(|segment| !segment.is_meta());
                repeats += negatives.filter(|p| own.contains(&(p.chunk as usize))).count();
            }
            assert_eq!(repeats > out.made.len(), !exclude_same_doc, "{repeats} repeats");
        }
    }
}

#[test]
fn equal_texts_and_equal_chunks_are_counted_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = PartWriter::default();
    for row in 0..20 {
        // Every text stands in two documents.
        let texts = [0, 1].map(|chunk| format!("a{} b{chunk} c{} d{chunk}", row / 2, row / 2));
        let origin = Origin { doc_id: "d", input: 0, row, score: None, source: None };
        let spans = texts.iter().map(|text| (text.as_str(), 0..text.len() as u64));
        writer.document(origin, spans).expect("added");
    }
    let path = folder.path().join("part.arrow");
    writer.write(&path).expect("written");
    let store = ChunkStore::open(&[path]).expect("opened");
    let refused = |max_containment: serde_json::Value| {
        let settings = settings(json!({
            "max_containment": max_containment, "max_reuse": null, "on_short": "shorten",
            "seq_len": 1000, "max_score": null,
        }));
        let out = run(&store, &settings, &SpecialTokens::default(), 4);
        ["same_chunk", "same_text"].map(|name| {
            let place = REASONS.iter().position(|&reason| reason == name).expect("a reason");
            out.pass.tally().refused[place]
        })
    };
    let [chunks, texts] = refused(json!(0.5));
    assert!(chunks > 0 && texts > 0, "{chunks} {texts}");
    let [chunks, texts] = refused(json!(null));
    assert!(chunks > 0 && texts == 0, "{chunks} {texts}");
}

#[test]
fn a_random_order_draws_uniformly_from_the_rank_window() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = corpus(folder.path(), &[2; 500]);
    let special_tokens = SpecialTokens { bos: None, eos: None, separator: vec![7] };
    for (range_min, range_max, first, last) in
        [(0, json!(null), 0, 512), (10, json!(null), 10, 522), (40, json!(200), 40, 200)]
    {
        let settings = settings(json!({
            "sampling_strategy": "random", "range_min": range_min, "range_max": range_max,
            "max_reuse": null, "max_score": null, "max_containment": null, "num_negatives": 4,
            "on_short": "shorten", "seq_len": 4096,
        }));
        let out = run(&store, &settings, &special_tokens, 50);
        let mut ranks: Vec<usize> = Vec::new();
        for (document, segments) in &out.made {
            let own = store.document_chunks(*document as usize);
            for segment in segments.iter().filter(|segment| !segment.is_meta()) {
                let meta = own.start as u32 + segment.meta;
                let above = |&other: &u32| {
                    !own.contains(&(other as usize)) && score(meta, other) > segment.score
                };
                ranks.push((0..store.len() as u32).filter(above).count());
            }
        }
        assert!(ranks.iter().all(|rank| (first..last).contains(rank)));
        // Each eighth of the window is drawn from as often: five standard deviations.
        let expected = ranks.len() as f64 / 8.0;
        for part in 0..8 {
            let bounds = [part, part + 1].map(|part| first + (last - first) * part / 8);
            let count = ranks.iter().filter(|&&r| (bounds[0]..bounds[1]).contains(&r)).count();
            assert!((count as f64 - expected).abs() < 5.0 * expected.sqrt(), "{count} {expected}");
        }
    }
}

#[test]
fn only_tokens_say_that_a_document_is_too_long() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = corpus(folder.path(), &[4, 9, 5, 60, 3, 80, 6, 2, 2, 2, 2, 2, 2, 2, 2, 2]);
    let special_tokens = SpecialTokens { bos: None, eos: None, separator: vec![7] };
    let is_long = |document: usize| {
        let chunks = store.document_chunks(document);
        chunks.map(|chunk| tokenize(chunk as u32).len() + 1).sum::<usize>() - 1 > 256
    };
    let long = (0..store.document_count()).filter(|&document| is_long(document)).count() as u64;
    assert_eq!(long, 2);
    // By one character a token all but the shortest would be too long, by 50 none.
    for chars_per_token in [0.2, 1.0, 4.0, 50.0] {
        for long_documents in ["skip", "pass"] {
            let settings = settings(json!({
                "chars_per_token": chars_per_token, "long_documents": long_documents,
                "on_short": "shorten", "max_reuse": null,
            }));
            let tally = run(&store, &settings, &special_tokens, 3).pass.tally().clone();
            let passed = u64::from(long_documents == "pass") * long;
            assert_eq!((tally.long_passed, tally.long_skipped), (passed, long - passed));
            assert_eq!(tally.made, store.document_count() as u64 - tally.long_skipped);
        }
    }
}

#[test]
fn the_paper_s_rule_discards_what_is_short_by_one_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = corpus(folder.path(), &[3; 30]);
    let special_tokens = SpecialTokens { bos: None, eos: None, separator: vec![7, 7, 7] };
    let made = |seq_len: usize| {
        let settings = settings(json!({
            "seq_len": seq_len, "length": "paper", "num_negatives": 2, "max_reuse": null,
            "max_containment": null, "max_score": null, "num_sequences": null,
        }));
        let out = run(&store, &settings, &special_tokens, 50);
        let tokens = |segments: &Vec<Segment>| {
            segments.iter().map(|segment| segment.tokens as usize + 3).sum::<usize>() - 3
        };
        let tally = out.pass.tally();
        assert_eq!(tally.made + tally.dropped_short, 30);
        out.made
            .iter()
            .map(|(document, segments)| (*document, tokens(segments)))
            .collect::<Vec<_>>()
    };
    // All that a document and its six negatives give, at the shortest lengths all are made.
    let whole: HashMap<u32, usize> = (64..400)
        .flat_map(|len| made(len).into_iter().map(move |(document, _)| (document, len)))
        .collect();
    for (document, &len) in &whole {
        assert!(!made(len + 1).iter().any(|(other, _)| other == document));
        let (_, tokens) = made(len)[made(len).iter().position(|(d, _)| d == document).expect("it")];
        assert_eq!(tokens, len, "full without a separator at the end");
    }
}

#[test]
fn a_deeper_search_adds_the_neighbours_that_it_finds_at_any_rank() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = corpus(folder.path(), &[2; 60]);
    for sampling in ["top", "random"] {
        let settings = settings(json!({
            "index": "hnsw", "seq_len": 4000, "chars_per_token": 0.2, "num_sequences": 5,
            "max_reuse": null, "max_score": null, "max_containment": null, "on_short": "shorten",
            "sampling_strategy": sampling,
        }));
        let out = run(&store, &settings, &SpecialTokens::default(), 5);
        assert!(sampling == "random" || out.pass.tally().deeper_searches > 0);
        for (_, segments) in &out.made {
            assert_eq!(segments.len(), store.len(), "every chunk is used");
            // Of what one search found, the most similar comes first.
            for meta in [0, 1].into_iter().filter(|_| sampling == "top") {
                let scores: Vec<f32> = segments
                    .iter()
                    .filter(|segment| !segment.is_meta() && segment.meta == meta)
                    .map(|segment| segment.score)
                    .collect();
                let rises = scores.windows(2).filter(|pair| pair[0] < pair[1]).count();
                assert!(rises <= 2, "{rises} rises");
            }
        }
    }
}
