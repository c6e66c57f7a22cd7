//! A run directory from elsewhere is data: bytes changed or cut off give an error, or other data,
//! and never a crash.
//!
//! `PROPTEST_CASES` sets how many changes are tried.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use nextlong::Error;
use nextlong::embed::{FitOptions, LsaModel};
use nextlong::store::{ChunkStore, Origin, PartWriter, Vectors, write_npy};
use proptest::prelude::*;

fn part(path: &Path) -> Vec<u8> {
    let mut writer = PartWriter::default();
    for row in 0..20 {
        let id = format!("document {row}");
        let (score, source) = ((row % 3 == 0).then_some(0.5), (row % 2 == 0).then_some("web"));
        let origin = Origin { doc_id: &id, input: 0, row, score, source };
        writer.document(origin, [("é text\n", 0..7), ("more 中文", 7..14)]).expect("added");
    }
    writer.write(path).expect("written");
    std::fs::read(path).expect("read")
}

static PART: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    part(&folder.path().join("part.arrow"))
});

static VECTORS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("part.npy");
    write_npy(&path, &[half::f16::ONE; 12], 4).expect("written");
    std::fs::read(path).expect("read")
});

static MODEL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let options = FitOptions { dim: 2, ..FitOptions::default() };
    let texts = ["a cat sat", "a dog ran", "the cat ran", "shares fell"];
    let model = LsaModel::fit(&texts, options, 1, &nextlong::Progress::default()).expect("fitted");
    model.save(&path).expect("saved");
    std::fs::read(path).expect("read")
});

/// What is done to a file: bytes set, and perhaps its end cut off or bytes added.
#[derive(Debug, Clone)]
struct Damage {
    edits: Vec<(f64, u8)>,
    cut: Option<f64>,
    added: Vec<u8>,
}

fn damage() -> impl Strategy<Value = Damage> {
    // The beginning and the end are where lengths and offsets stand.
    let place = prop_oneof![0.0..1.0f64, 0.0..0.02f64, 0.5..1.0f64, 0.95..1.0f64];
    let byte = prop_oneof![any::<u8>(), Just(0), Just(0xff), Just(0x7f), Just(0x80)];
    let edits = prop::collection::vec((place, byte), 0..6);
    let added = prop::collection::vec(any::<u8>(), 0..9);
    (
        edits,
        prop::option::weighted(0.2, 0.0..1.0f64),
        prop_oneof![4 => Just(Vec::new()), 1 => added],
    )
        .prop_map(|(edits, cut, added)| Damage { edits, cut, added })
}

impl Damage {
    fn apply(&self, whole: &[u8], head: usize) -> Vec<u8> {
        let mut bytes = whole.to_vec();
        // The size of the part that is edited: `head` leaves out a long body.
        let size = bytes.len().min(head);
        for &(place, byte) in &self.edits {
            bytes[(place * size as f64) as usize] = byte;
        }
        if let Some(cut) = self.cut {
            bytes.truncate((cut * size as f64) as usize);
        }
        bytes.extend(&self.added);
        bytes
    }
}

fn written(bytes: &[u8], name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("written");
    (folder, path)
}

/// Touches all that a store has.
fn visit(store: &ChunkStore) -> usize {
    let mut seen = 0;
    for chunk in 0..store.len() {
        let origin = store.origin(chunk);
        assert!(store.document(chunk) < store.document_count());
        assert!(store.document_chunks(store.document(chunk)).contains(&chunk));
        seen += store.text(chunk).chars().count() + origin.doc_id.chars().count();
        seen +=
            usize::from(store.characters(chunk).is_empty()) + store.text_hash(chunk) as usize % 2;
        seen += usize::from(store.chunk_number(chunk) == 0) + usize::from(origin.score.is_some());
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(2000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_chunk_store_is_an_error_or_other_chunks(damage in damage()) {
        let (_folder, path) = written(&damage.apply(&PART, usize::MAX), "part.arrow");
        match ChunkStore::open(&[path]) {
            Ok(store) => { visit(&store); }
            Err(error) => prop_assert!(matches!(error, Error::Run(_)), "{error:?}"),
        }
    }

    #[test]
    fn damaged_vectors_are_an_error_or_other_vectors(damage in damage()) {
        let (_folder, path) = written(&damage.apply(&VECTORS, usize::MAX), "part.npy");
        match Vectors::open(&[path]) {
            Ok(vectors) => {
                let mut rows = vec![0.0; vectors.len() * vectors.dim()];
                vectors.read(0..vectors.len(), &mut rows);
            }
            Err(error) => prop_assert!(matches!(error, Error::Run(_)), "{error:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(300), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_model_is_an_error_or_another_model(damage in damage()) {
        let (_folder, path) = written(&damage.apply(&MODEL, 600), "model.safetensors");
        match LsaModel::load(&path) {
            Ok(model) => {
                let mut row = vec![0.0; model.dim()];
                model.encoder().encode("a cat and a dog", &mut row);
            }
            Err(error) => prop_assert!(matches!(error, Error::Embedding(_)), "{error:?}"),
        }
    }
}

fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}

#[test]
fn an_npy_header_that_claims_more_rows_than_there_are_is_refused() {
    for claim in
        ["(9, 4)", "(3, 9223372036854775807)", "(18446744073709551615, 4)", "(-3, 4)", "(3)"]
    {
        let whole = String::from_utf8_lossy(&VECTORS[..128]).into_owned();
        let end = whole.find("'shape': (3, 4)").expect("a shape");
        let mut bytes = VECTORS.clone();
        let text = format!("'shape': {claim}, }}");
        bytes[end - 2..end - 2 + text.len()].copy_from_slice(text.as_bytes());
        let (_folder, path) = written(&bytes, "part.npy");
        assert!(matches!(Vectors::open(&[path]), Err(Error::Run(_))), "{claim}");
    }
}
