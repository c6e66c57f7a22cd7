//! How fast texts are embedded and a model is fitted: bytes a second, chunks a second, on one core.
//!
//! The texts are made up: 2 KB chunks of 40,000 words that occur as words do, often or hardly ever.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nextlong::Progress;
use nextlong::embed::{FitOptions, LsaModel, Words};
use nextlong::seed::Rng;

const CHUNKS: usize = 4000;

/// Chunks of about 2 KB; word `n` occurs about 1 / n times as often as the first.
fn texts() -> Vec<String> {
    let mut rng = Rng::new(0, "bench", 0);
    let words: Vec<String> = (0..40_000u64)
        .map(|number| {
            let length = 2 + (number as f64 + 1.0).log10() as u64 + rng.below(5);
            (0..length).map(|_| char::from(b'a' + rng.below(26) as u8)).collect()
        })
        .collect();
    let text = |_| {
        let mut text = String::new();
        while text.len() < 2048 {
            let word = (words.len() as f64).powf(rng.uniform()) as usize - 1;
            text.push_str(&words[word]);
            text.push(' ');
        }
        text
    };
    (0..CHUNKS).map(text).collect()
}

fn benches(criterion: &mut Criterion) {
    let texts = texts();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let bytes = texts.iter().map(|text| text.len() as u64).sum();
    let progress = Progress::default();
    let mut group = criterion.benchmark_group("embed");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("words", |bencher| {
        let (mut words, mut found) = (Words::new(0), Vec::new());
        bencher.iter(|| {
            let mut sum = 0;
            for text in &texts {
                found.clear();
                words.buckets(text, &mut found);
                sum += found.len();
            }
            black_box(sum)
        });
    });
    for dim in [256, 512] {
        let options = FitOptions { dim, ..FitOptions::default() };
        let model = LsaModel::fit(&texts, options, 2, &progress).expect("a model");
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function(format!("encode/{dim}"), |bencher| {
            let mut encoder = model.encoder();
            let mut vector = vec![0.0; dim];
            bencher.iter(|| {
                for text in &texts {
                    encoder.encode(text, &mut vector);
                    black_box(&vector);
                }
            });
        });
        group.throughput(Throughput::Elements(CHUNKS as u64));
        group.bench_function(format!("fit/{dim}"), |bencher| {
            bencher.iter(|| LsaModel::fit(&texts, options, 1, &progress));
        });
    }
}

criterion_group!(all, benches);
criterion_main!(all);
