//! Reading the corpus. Unit: bytes of JSON lines after decompression, one thread.
//!
//! Input: the file named by `NEXTLONG_CORPUS` (JSON lines, Zstandard), else made-up lines. Peers:
//! zstd by itself, and simd-json's tape over the same lines.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nextlong::Progress;
use nextlong::corpus::{BLOCK_BYTES, BlockReader, Input, InputFile, Kind, Settings};

fn settings() -> Settings {
    Settings {
        text_column: "text".to_owned(),
        id_column: None,
        score_column: None,
        source_column: None,
        max_document_bytes: 256 << 20,
    }
}

fn reader(path: &Path, kind: Kind) -> BlockReader {
    let input = Input { number: 0, name: "bench".into(), label: "bench".into() };
    let file = InputFile { input, path: path.to_owned(), kind };
    BlockReader::of_files(vec![file], settings(), BLOCK_BYTES)
}

fn read(path: &Path, kind: Kind, parse: bool) -> usize {
    let progress = Progress::default();
    let mut reader = reader(path, kind);
    let mut documents = 0;
    while let Some(block) = reader.next(&progress).expect("read") {
        if parse {
            documents += block.parse(&settings()).expect("parsed").len();
        }
    }
    documents
}

fn corpus(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let packed = if let Some(path) = std::env::var_os("NEXTLONG_CORPUS") {
        std::fs::read(path).expect("NEXTLONG_CORPUS is readable")
    } else {
        let mut lines = Vec::new();
        for row in 0..20_000 {
            let text = format!("Line {row} of \"nothing\" much.\n").repeat(60);
            serde_json::to_writer(&mut lines, &serde_json::json!({ "id": row, "text": text }))
                .expect("JSON");
            lines.push(b'\n');
        }
        zstd::encode_all(&lines[..], 3).expect("packed")
    };
    let lines = zstd::decode_all(&packed[..]).expect("unpacked");
    let (plain_path, packed_path) = (folder.path().join("a.jsonl"), folder.path().join("a.zst"));
    std::fs::write(&plain_path, &lines).expect("written");
    std::fs::write(&packed_path, &packed).expect("written");

    let mut group = criterion.benchmark_group("corpus");
    group.sample_size(10).throughput(Throughput::Bytes(lines.len() as u64));
    group.bench_function("peer: zstd alone", |bencher| {
        let mut out = Vec::with_capacity(lines.len());
        bencher.iter(|| {
            out.clear();
            zstd::stream::copy_decode(&packed[..], &mut out).expect("unpacked");
            black_box(out.len())
        });
    });
    group.bench_function("peer: simd-json tape", |bencher| {
        let mut buffers = simd_json::Buffers::default();
        bencher.iter_batched(
            || lines.clone(),
            |mut lines| {
                let mut fields = 0;
                for line in lines.split_mut(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                    let tape = simd_json::to_tape_with_buffers(line, &mut buffers).expect("JSON");
                    fields += tape.0.len();
                }
                black_box(fields)
            },
            criterion::BatchSize::PerIteration,
        );
    });
    group.bench_function("read jsonl", |bencher| {
        bencher.iter(|| black_box(read(&plain_path, Kind::Jsonl, false)));
    });
    group.bench_function("read and parse jsonl", |bencher| {
        bencher.iter(|| black_box(read(&plain_path, Kind::Jsonl, true)));
    });
    group.bench_function("read and parse jsonl.zst", |bencher| {
        bencher.iter(|| black_box(read(&packed_path, Kind::JsonlZstd, true)));
    });
    group.finish();
}

criterion_group!(benches, corpus);
criterion_main!(benches);
