//! MB of text a second and thread: chunks through the room, and through the crate's bare loop.
//!
//! Input: 2,048-character pieces of this package's own sources, or of the file `NEXTLONG_TEXT`, with
//! the sample tokenizer or the one in the file `NEXTLONG_TOKENIZER`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nextlong::Progress;
use nextlong::tokenize::Tokenizer;
use tokenizers::pipeline::{EncodeOptions, Override};

fn file(variable: &str, default: &str) -> String {
    let path = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
    std::fs::read_to_string(&path).expect("a readable file")
}

fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.char_indices().nth(2048).map_or(rest.len(), |(place, _)| place);
        let end = rest[..end].rfind('\n').map_or(end, |newline| newline + 1);
        pieces.push(&rest[..end]);
        rest = &rest[end..];
    }
    pieces
}

fn bench(criterion: &mut Criterion) {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    let json = file("NEXTLONG_TOKENIZER", &format!("{root}python/nextlong_rs/data/tokenizer.json"));
    let text = file("NEXTLONG_TEXT", &format!("{root}python/nextlong_rs/data/tokenizer.json"));
    let chunks = pieces(&text);
    let mut group = criterion.benchmark_group("tokenize");
    group.throughput(Throughput::Bytes(text.len() as u64)).sample_size(10);

    let tokenizer = Tokenizer::from_json(&json).expect("a tokenizer");
    group.bench_function("encode_texts", |bencher| {
        bencher.iter(|| {
            tokenizer.encode_texts(chunks.iter().copied(), &Progress::default()).expect("encoded")
        });
    });

    let canonical = tokenizers::canonicalize_str(&json).expect("a tokenizer");
    let bare = tokenizers::from_json(&canonical).expect("a tokenizer");
    let options = EncodeOptions {
        add_special_tokens: false,
        encode_special_tokens: true,
        padding: Override::Off,
        truncation: Override::Off,
    };
    group.bench_function("the crate's encode_into", |bencher| {
        bencher.iter(|| {
            let mut out = Vec::new();
            for chunk in &chunks {
                bare.encode_into(chunk, &options, &mut out).expect("encoded");
            }
            black_box(out.len())
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
