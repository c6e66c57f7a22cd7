//! Mining and assembly on made-up neighbours: candidates/s filtered and assigned, tokens/s assembled.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nextlong::assemble::{Sequence, assemble};
use nextlong::config::Settings;
use nextlong::fill::{Batch, Pass, document_order};
use nextlong::segment::SpecialTokens;
use nextlong::store::{ChunkStore, Origin, PartWriter, TokenCache, Vectors};
use nextlong::strategy::nextlong::{SearchRequest, SearchResult};
use nextlong::{Progress, seed};

const SEQ_LEN: u32 = 131_072;
const TOKENS_A_CHUNK: u32 = 500;

fn settings(max_containment: &str) -> Settings {
    Settings::from_json(&format!(
        r#"{{"seq_len": {SEQ_LEN}, "num_sequences": null, "seed": 3, "text_column": "text",
        "id_column": null, "score_column": null, "source_column": null, "max_document_bytes": 1000000,
        "max_error_rate": 0.01, "chunk_size": 2048, "chunk_unit": "chars",
        "chunk_mode": "lossless", "embedder": "lsa", "dim": 4, "idf_power": 1.5,
        "fit_chunks": 100, "boilerplate_share": 0.01, "index": "exact", "min_recall": 0.95, "range_min": 0,
        "range_max": null, "min_score": null, "max_score": null, "absolute_margin": null,
        "relative_margin": null, "exclude_same_doc": true, "max_containment": {max_containment},
        "containment_words": 5, "num_negatives": null, "max_reuse": null, "max_per_doc": null,
        "sampling_strategy": "top", "collisions": "round-robin", "min_meta_chunks": 2,
        "long_documents": "skip", "length": "exact", "chars_per_token": 4.0,
        "length_factor": 1.5, "on_short": "drop", "placement": "head", "chunk_separator": "\n",
        "bos": null, "eos": null}}"#
    ))
    .expect("settings that keep the rules")
}

fn corpus(folder: &std::path::Path) -> ChunkStore {
    let mut writer = PartWriter::default();
    let mut rng = seed::Rng::new(1, "corpus", 0);
    for row in 0..4000 {
        let texts: Vec<String> = (0..3)
            .map(|_| (0..330).map(|_| format!("w{} ", rng.below(20_000))).collect())
            .collect();
        let id = format!("d{row}");
        let origin = Origin { doc_id: &id, input: 0, row, score: None, source: None };
        writer
            .document(origin, texts.iter().map(|text| (text.as_str(), 0..text.len() as u64)))
            .expect("added");
    }
    let path = folder.join("part.arrow");
    writer.write(&path).expect("written");
    ChunkStore::open(&[path]).expect("opened")
}

/// Random neighbours with falling scores: what a search would have given.
fn neighbours(store: &ChunkStore, chunks: &[u32], k: usize) -> (Vec<i64>, Vec<f32>) {
    let mut ids = Vec::with_capacity(chunks.len() * k);
    let mut scores = Vec::with_capacity(chunks.len() * k);
    for &chunk in chunks {
        let mut rng = seed::Rng::new(2, "neighbours", u64::from(chunk));
        let step = store.len() as u64 / k as u64;
        for rank in 0..k as u64 {
            ids.push(((rank * step + rng.below(step.max(1))) % store.len() as u64) as i64);
            scores.push(0.9 - rank as f32 / k as f32);
        }
    }
    (ids, scores)
}

fn mine(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = corpus(folder.path());
    let vectors = Vectors::from_f32(&vec![0.5; store.len() * 4], 4).expect("vectors");
    let progress = Progress::default();

    for (name, max_containment) in [("filter", "null"), ("filter with containment", "0.3")] {
        let settings = settings(max_containment);
        let documents: Vec<u32> = document_order(&store, &settings, &[], &[])
            .expect("a queue")
            .into_iter()
            .take(32)
            .collect();
        let searches: Vec<_> = Batch::new(&store, &settings, &documents)
            .wanted()
            .into_iter()
            .map(|SearchRequest { k, chunks, .. }| {
                let (ids, scores) = neighbours(&store, &chunks, k as usize);
                (k as usize, chunks, ids, scores)
            })
            .collect();
        let count: usize = searches.iter().map(|(_, _, ids, _)| ids.len()).sum();
        let mut group = criterion.benchmark_group("mine");
        group.throughput(Throughput::Elements(count as u64));
        let fill = || {
            let mut batch = Batch::new(&store, &settings, &documents);
            for (k, chunks, ids, scores) in &searches {
                let found = SearchResult { chunks, k: *k, ids, scores };
                batch.add(&found, &store, &vectors, &settings, &progress).expect("filled");
            }
            batch
        };
        group.bench_function(name, |bencher| bencher.iter(|| black_box(fill())));
        group.finish();

        if max_containment != "null" {
            continue;
        }
        let mut tokens = TokenCache::default();
        for chunk in 0..store.len() as u32 {
            let ids: Vec<u32> = (0..TOKENS_A_CHUNK).map(|at| chunk ^ at).collect();
            tokens.insert(&[chunk], &ids, &[0, ids.len() as u64]).expect("inserted");
        }
        let special_tokens = SpecialTokens { bos: Some(1), eos: Some(2), separator: vec![7] };
        let select = |mut batch: Batch| {
            let mut pass = Pass::new(settings.clone(), special_tokens.clone());
            while pass.step(&mut batch, &store, &tokens).search {}
            pass.finish(&mut batch)
        };
        let mut group = criterion.benchmark_group("mine");
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function("assign", |bencher| {
            bencher.iter_batched(fill, select, criterion::BatchSize::LargeInput);
        });
        group.finish();

        let made = select(fill());
        let rows: Vec<Sequence<'_>> = made
            .iter()
            .enumerate()
            .map(|(id, (document, segments))| Sequence {
                id: id as i64,
                document: *document,
                seq_len: SEQ_LEN,
                segments,
            })
            .collect();
        let mut group = criterion.benchmark_group("assemble");
        group.throughput(Throughput::Elements(rows.len() as u64 * u64::from(SEQ_LEN)));
        group.bench_function("tokens", |bencher| {
            bencher.iter(|| {
                assemble(&rows, "nextlong", &special_tokens, &store, &tokens, &progress)
                    .expect("assembled")
            });
        });
        group.finish();
    }
}

criterion_group!(benches, mine);
criterion_main!(benches);
