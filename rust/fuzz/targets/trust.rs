//! Damaged files of a run directory, memory-mapped: an error or other data, and no foreign memory.
#![no_main]

mod start;

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nextlong::Error;
use nextlong::store::{ChunkStore, Origin, PartWriter};
use nextlong::vectors::{Vectors, write_npy};

/// A chunk store and vectors as a run writes them.
static WHOLE: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    // The store turns panics of the Arrow reader into errors; libFuzzer's hook would end them here.
    // A panic that nobody catches still ends the run.
    std::panic::set_hook(Box::new(|_| ()));
    let folder = tempfile::tempdir().expect("a folder");
    let paths = ["part.arrow", "part.npy"].map(|name| folder.path().join(name));
    let mut writer = PartWriter::default();
    for row in 0..20 {
        let id = format!("document {row}");
        let origin = Origin { doc_id: &id, input: 0, row, score: (row % 3 == 0).then_some(0.5) };
        writer.document(origin, [("é text\n", 0..7), ("more 中文", 7..14)]).expect("added");
    }
    writer.write(&paths[0]).expect("written");
    write_npy(&paths[1], &[half::f16::ONE; 12], 4).expect("written");
    paths.map(|path| std::fs::read(path).expect("read"))
});

fn store(path: &Path) -> nextlong::Result<()> {
    let store = ChunkStore::open(&[path.to_owned()])?;
    for chunk in 0..store.len() {
        assert!(store.document_chunks(store.document(chunk)).contains(&chunk));
        let seen = store.text(chunk).chars().count() + store.origin(chunk).doc_id.len();
        std::hint::black_box((seen, store.characters(chunk), store.text_hash(chunk)));
    }
    Ok(())
}

fn vectors(path: &Path) -> nextlong::Result<()> {
    let vectors = Vectors::open(&[path.to_owned()])?;
    let mut rows = vec![0.0; vectors.len() * vectors.dim()];
    vectors.read(0..vectors.len(), &mut rows);
    std::hint::black_box(&rows);
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    let [which, cut, edits @ ..] = data else { return };
    let which = usize::from(which % 2);
    let mut bytes = WHOLE[which].clone();
    // Each edit is a place of two bytes and what stands there then.
    for edit in edits.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % bytes.len();
        bytes[place] = edit[2];
    }
    if *cut > 200 {
        bytes.truncate(bytes.len() * usize::from(*cut - 200) / 55);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("part");
    std::fs::write(&path, &bytes).expect("written");
    match if which == 0 { store(&path) } else { vectors(&path) } {
        Ok(()) => {}
        Err(error) => assert!(matches!(error, Error::Run(_)), "{error:?}"),
    }
});
