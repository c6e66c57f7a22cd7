//! Rate of the exact scan and of building and searching a graph shard, one core, 256 dimensions.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nextlong::Progress;
use nextlong::index::{Kind, Queries, Search, Settings};
use nextlong::seed::Rng;
use nextlong::store::Vectors;

const DIM: usize = 256;

fn search(kind: Kind, rows: usize) -> Search {
    let mut rng = Rng::new(0, "bench", 0);
    let centres: Vec<f32> = (0..64 * DIM).map(|_| rng.uniform() as f32 - 0.5).collect();
    let mut values = Vec::with_capacity(rows * DIM);
    for _ in 0..rows {
        let centre = rng.below(64) as usize * DIM;
        values.extend((0..DIM).map(|i| centres[centre + i] + rng.uniform() as f32 - 0.5));
    }
    let vectors = Vectors::from_f32(&values, DIM).expect("vectors");
    let settings = Settings { kind, groups: None, seed: 0, callers: 1, cache_bytes: 1 << 30 };
    Search::new(vectors, settings).expect("search")
}

fn exact(criterion: &mut Criterion) {
    let engine = search(Kind::Exact, 20_480);
    let rows: Vec<usize> = (0..1024).collect();
    let queries = Queries::of_rows(engine.vectors(), &rows);
    let mut group = criterion.benchmark_group("index");
    group.sample_size(10);
    for k in [10, 64, 300] {
        // One element is one score: a query against a row.
        group.throughput(Throughput::Elements((rows.len() * engine.vectors().len()) as u64));
        group.bench_function(format!("exact scan, k {k}"), |bencher| {
            bencher.iter(|| black_box(engine.search(&queries, k, 3, &Progress::default())));
        });
    }
    group.finish();
}

fn clustered(criterion: &mut Criterion) {
    let rows: Vec<usize> = (0..20_480).collect();
    let mut group = criterion.benchmark_group("index");
    group.sample_size(10);
    group.throughput(Throughput::Elements(rows.len() as u64)); // vectors
    group.bench_function("lists build", |bencher| {
        bencher.iter_with_setup(
            || search(Kind::Clustered, rows.len()),
            |engine| engine.build_lists(None, 1, &Progress::default()),
        );
    });
    let engine = search(Kind::Clustered, rows.len());
    engine.build_lists(None, 1, &Progress::default()).expect("lists");
    let order = engine.order(&rows);
    group.bench_function("clustered join, k 10, 9 lists", |bencher| {
        bencher.iter(|| {
            for some in order.chunks(4096) {
                let queries = Queries::of_rows(engine.vectors(), some);
                black_box(engine.search(&queries, 10, 9, &Progress::default()).expect("found"));
            }
        });
    });
    group.finish();
}

fn hnsw(criterion: &mut Criterion) {
    let engine = search(Kind::Hnsw, 8192);
    let mut group = criterion.benchmark_group("index");
    group.sample_size(10);
    group.throughput(Throughput::Elements(8192)); // vectors
    group.bench_function("hnsw build", |bencher| {
        bencher.iter(|| engine.build_shard(0, None, &Progress::default()));
    });
    let rows: Vec<usize> = (0..1024).collect();
    let queries = Queries::of_rows(engine.vectors(), &rows);
    group.throughput(Throughput::Elements(1024)); // queries
    group.bench_function("hnsw search, k 10", |bencher| {
        bencher.iter(|| black_box(engine.search(&queries, 10, 1, &Progress::default())));
    });
    group.finish();
}

criterion_group!(benches, exact, clustered, hnsw);
criterion_main!(benches);
