//! Runs over made-up corpora, neighbours and tokens, for the tests of mining.

#![allow(
    clippy::needless_pass_by_value,
    clippy::format_collect,
    clippy::must_use_candidate,
    clippy::missing_panics_doc,
    dead_code,
    reason = "a made-up corpus may be slow to make, and each test uses a part of this"
)]

use std::sync::Arc;

use nextlong::config::Settings;
use nextlong::fill::{Batch, Pass, Tally, document_order, planned};
use nextlong::index::Mask;
use nextlong::segment::{Segment, SpecialTokens};
use nextlong::store::{ChunkStore, Groups, Origin, PartWriter, TokenCache, Vectors};
use nextlong::strategy::nextlong::{SearchRequest, SearchResult};
use nextlong::{Progress, seed};
use serde_json::json;

pub fn settings(changes: serde_json::Value) -> Settings {
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
pub fn corpus(folder: &std::path::Path, documents: &[usize]) -> ChunkStore {
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

pub fn score(a: u32, b: u32) -> f32 {
    seed::uniform(9, "score", u64::from(a.min(b)) << 32 | u64::from(a.max(b))) as f32
}

/// The exact neighbours under made-up scores; the own document left out, or only the chunk itself.
/// With `index` "hnsw", a shallow search misses a third of them.
pub fn search(
    store: &ChunkStore,
    chunks: &[u32],
    k: usize,
    hidden: Option<&Mask>,
    settings: &Settings,
) -> (Vec<i64>, Vec<f32>) {
    let (mut ids, mut scores) = (Vec::new(), Vec::new());
    for (number, &chunk) in chunks.iter().enumerate() {
        let own = store.document_chunks(store.document(chunk as usize));
        let mut all: Vec<(f32, u32)> = (0..store.len() as u32)
            .filter(|&other| {
                if settings.exclude_same_doc {
                    !own.contains(&(other as usize))
                } else {
                    other != chunk
                }
            })
            .filter(|&other| !hidden.is_some_and(|hidden| hidden.contains(other)))
            .filter(|&other| settings.index != "hnsw" || k >= 100 || other % 3 > 0)
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
pub fn tokenize(chunk: u32) -> Vec<u32> {
    let count = 3 + seed::bits(5, "tokens", u64::from(chunk)) % 20;
    (0..count as u32).map(|at| 1000 + chunk * 32 + at).collect()
}

/// Groups of which some documents have several, and one has no chunk.
fn groups(store: &ChunkStore) -> Groups {
    let names = ["a", "b", "c", "none"].map(str::to_owned);
    let numbers: Vec<u32> = (0..store.len() as u32).map(|chunk| chunk / 4 % 3).collect();
    Groups::new(store, &names, &numbers).expect("groups")
}

pub struct Run {
    pub made: Vec<(u32, Vec<Segment>)>,
    pub tokens: TokenCache,
    pub pass: Pass,
}

pub fn run(
    store: &ChunkStore,
    settings: &Settings,
    special_tokens: &SpecialTokens,
    batch_size: usize,
) -> Run {
    run_stopped(store, settings, special_tokens, batch_size, None)
}

/// A run that is stopped after `stop` batches and resumed from its files.
pub fn run_stopped(
    store: &ChunkStore,
    settings: &Settings,
    special_tokens: &SpecialTokens,
    batch_size: usize,
    stop: Option<usize>,
) -> Run {
    let vectors = Vectors::from_f32(&vec![0.5; store.len() * 4], 4).expect("vectors");
    let folder = tempfile::tempdir().expect("a folder");
    let groups = Arc::new(groups(store));
    let mut out = Run {
        made: Vec::new(),
        tokens: TokenCache::default(),
        pass: Pass::new(settings.clone(), special_tokens.clone()).counting(Arc::clone(&groups)),
    };
    let documents = document_order(store, settings, &[], &[]).expect("a queue");
    let part = |kind: &str, number: usize| folder.path().join(format!("{kind}-{number}"));
    let (mut rest, mut number) = (documents.clone(), 0);
    let mut tallies = Vec::new();
    let next = |rest: &mut Vec<u32>| -> Vec<u32> {
        let left = rest.split_off(batch_size.min(rest.len()));
        std::mem::replace(rest, left)
    };
    while !rest.is_empty() {
        if stop == Some(number) {
            let mut again = Run {
                made: Vec::new(),
                tokens: TokenCache::default(),
                pass: Pass::new(settings.clone(), special_tokens.clone())
                    .counting(Arc::clone(&groups)),
            };
            rest.clone_from(&documents);
            for (batch, tally) in tallies.iter().enumerate() {
                next(&mut rest);
                again.tokens.restore_batch(&part("tokens", batch)).expect("tokens");
                let made = planned::read(&part("made", batch), store, &again.tokens).expect("made");
                again.pass.restore(&made, Tally::clone(tally));
                again.made.extend(made);
                if let Some(kept) = again.pass.prune(&rest, store, &again.tokens) {
                    rest = kept;
                }
            }
            out = again;
        }
        let mut batch = Batch::new(store, settings, &next(&mut rest));
        loop {
            for SearchRequest { k, chunks, remaining_only } in batch.wanted() {
                let hidden = out.pass.exhausted().filter(|_| remaining_only);
                let (ids, scores) = search(store, &chunks, k as usize, hidden.as_deref(), settings);
                let found =
                    SearchResult { chunks: &chunks, k: k as usize, ids: &ids, scores: &scores };
                batch.add(&found, store, &vectors, settings, &Progress::default()).expect("filled");
            }
            let need = out.pass.step(&mut batch, store, &out.tokens);
            for &chunk in &need.tokens {
                let ids = tokenize(chunk);
                out.tokens.insert(&[chunk], &ids, &[0, ids.len() as u64]).expect("each once");
            }
            if need.tokens.is_empty() && !need.search {
                break;
            }
        }
        let made = out.pass.finish(&mut batch);
        let closed = out.tokens.close_batch().expect("closed");
        out.tokens.take_moved(&closed.moved_to(&part("tokens", number)).expect("moved"));
        planned::write(&made, &part("made", number)).expect("written");
        out.made.extend(made);
        tallies.push(out.pass.tally().clone());
        number += 1;
        if let Some(kept) = out.pass.prune(&rest, store, &out.tokens) {
            rest = kept;
        }
    }
    out
}
