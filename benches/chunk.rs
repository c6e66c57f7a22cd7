//! How fast documents are cut: bytes a second on one core, by rule and kind of text.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nextlong::Progress;
use nextlong::chunk::{Mode, Rule, Unit, spans, with_characters};

/// About 8 MB of lines of the given text, `words` copies a line, a blank line after every fifth.
fn document(words: &str, copies: usize) -> String {
    let line = words.repeat(copies);
    let mut text = String::new();
    while text.len() < 8 << 20 {
        for number in 0..5 {
            text.push_str(&line[..line.len() - words.len() * (number % 2)]);
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

fn benches(criterion: &mut Criterion) {
    let texts = [
        ("english", document("The rain in Spain stays mainly in the plain. ", 6)),
        ("chinese", document("西班牙的雨主要下在平原上。", 8)),
        ("one_long_line", "The rain in Spain stays mainly in the plain. ".repeat(100_000)),
        ("one_long_word", "QmFzZTY0".repeat(500_000)),
    ];
    let progress = Progress::default();
    let mut group = criterion.benchmark_group("chunk");
    group.sample_size(20);
    for (name, text) in &texts {
        group.throughput(Throughput::Bytes(text.len() as u64));
        for (mode_name, mode) in [("lossless", Mode::Lossless), ("paper", Mode::Paper)] {
            let rule = Rule { mode, size: 2048, overlap: 0, unit: Unit::Characters };
            group.bench_function(format!("{mode_name}/{name}"), |bencher| {
                let mut found = Vec::new();
                bencher.iter(|| {
                    found.clear();
                    spans(black_box(text), &rule, &progress, &mut found).expect("cut");
                });
            });
        }
        let rule = Rule { mode: Mode::Lossless, size: 2048, overlap: 0, unit: Unit::Characters };
        group.bench_function(format!("lossless_with_characters/{name}"), |bencher| {
            let mut found = Vec::new();
            bencher.iter(|| {
                found.clear();
                with_characters(black_box(text), &rule, &progress, &mut found).expect("cut");
            });
        });
    }
    group.finish();
}

criterion_group!(chunk, benches);
criterion_main!(chunk);
