//! Damaged files of a run directory, memory-mapped or loaded: an error or other data, and no
//! foreign memory.

use std::path::Path;
use std::sync::LazyLock;

use nextlong::embed::{FitOptions, LsaModel};
use nextlong::index::{Kind, Queries, Search, Settings};
use nextlong::store::{ChunkStore, Origin, PartWriter, TokenCache, Vectors, write_npy};
use nextlong::{Error, Progress, Result};

use super::Bytes;

/// What reads a file, with others of its kind beside it.
type Reader = fn(&Path) -> Result<()>;

/// The files of a run, as it writes them, and what reads each.
static WHOLE: LazyLock<Vec<(&str, Vec<u8>, Reader)>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let mut writer = PartWriter::default();
    for row in 0..20 {
        let id = format!("document {row}");
        let origin = Origin {
            doc_id: &id,
            input: 0,
            row,
            score: (row % 3 == 0).then_some(0.5),
            source: None,
        };
        writer.document(origin, [("é text\n", 0..7), ("more 中文", 7..14)]).expect("added");
    }
    writer.write(&path("part.arrow")).expect("written");
    write_npy(&path("part.npy"), &[half::f16::ONE; 12], 4).expect("written");
    let options = FitOptions { dim: 2, ..FitOptions::default() };
    let texts = ["a cat sat", "a dog ran", "the cat ran", "shares fell"];
    let model = LsaModel::fit(&texts, options, 1, &Progress::default()).expect("fitted");
    model.save(&path("model.safetensors")).expect("saved");
    let mut tokens = TokenCache::default();
    tokens.insert(&[3, 1, 7], &[1, 2, 3, 4, 5], &[0, 2, 2, 5]).expect("inserted");
    let closed = tokens.close_batch().expect("closed");
    closed.moved_to(&path("wave.arrow")).expect("written");
    search(Kind::Clustered)
        .build_lists(Some(folder.path()), 1, &Progress::default())
        .expect("lists");
    search(Kind::Hnsw).build_shard(0, Some(folder.path()), &Progress::default()).expect("a shard");
    let files: [(&str, Reader); 8] = [
        ("part.arrow", store),
        ("part.npy", vectors),
        ("lists.npy", lists),
        ("list-rows.npy", lists),
        ("list-starts.npy", lists),
        ("shard-0000.usearch", shard),
        ("wave.arrow", wave),
        ("model.safetensors", lsa),
    ];
    files
        .map(|(name, read)| (name, std::fs::read(path(name)).expect("read"), read))
        .into_iter()
        .collect()
});

fn search(kind: Kind) -> Search {
    let values: Vec<f32> = (0..90 * 6).map(|place| (place as f32 * 0.7).sin()).collect();
    let vectors = Vectors::from_f32(&values, 6).expect("vectors");
    let settings = Settings { kind, groups: None, seed: 0, callers: 1, cache_bytes: 1 << 20 };
    Search::new(vectors, settings).expect("a search")
}

fn found(search: &Search) {
    let queries = Queries::of_rows(search.vectors(), &(0..90).collect::<Vec<_>>());
    for breadth in [1, 5] {
        let found = search.search(&queries, 4, breadth, &Progress::default()).expect("neighbours");
        assert!(found.ids.iter().all(|&id| id < 90));
    }
}

fn lists(path: &Path) -> Result<()> {
    let search = search(Kind::Clustered);
    search.load_lists(path.parent().expect("a folder"))?;
    found(&search);
    Ok(())
}

fn shard(path: &Path) -> Result<()> {
    let search = search(Kind::Hnsw);
    search.load_shard(0, path.parent().expect("a folder"))?;
    found(&search);
    Ok(())
}

fn wave(path: &Path) -> Result<()> {
    let mut tokens = TokenCache::default();
    tokens.restore_batch(path)?;
    for chunk in 0..9 {
        let ids = tokens.get(chunk).map_or(0, <[u32]>::len);
        assert_eq!(tokens.count(chunk).unwrap_or_default() as usize, ids);
    }
    Ok(())
}

fn lsa(path: &Path) -> Result<()> {
    let model = LsaModel::load(path)?;
    let mut row = vec![0.0; model.dim()];
    model.encoder().encode("a cat and a dog", &mut row);
    Ok(())
}

fn store(path: &Path) -> Result<()> {
    let store = ChunkStore::open(&[path.to_owned()])?;
    for chunk in 0..store.len() {
        assert!(store.document_chunks(store.document(chunk)).contains(&chunk));
        let seen = store.text(chunk).chars().count() + store.origin(chunk).doc_id.len();
        std::hint::black_box((seen, store.characters(chunk), store.text_hash(chunk)));
    }
    Ok(())
}

fn vectors(path: &Path) -> Result<()> {
    let vectors = Vectors::open(&[path.to_owned()])?;
    let mut rows = vec![0.0; vectors.len() * vectors.dim()];
    vectors.read(0..vectors.len(), &mut rows);
    std::hint::black_box(&rows);
    Ok(())
}

/// One case: which file, whether its end is missing, and edits: two bytes of place and one to set.
pub fn run(data: &[u8]) {
    let mut data = Bytes(data);
    let whole = &*WHOLE;
    let (which, cut) = (data.below(whole.len()), data.byte());
    let (name, bytes, read) = &whole[which];
    let mut bytes = bytes.clone();
    for edit in data.0.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % bytes.len();
        bytes[place] = edit[2];
    }
    if cut > 200 {
        bytes.truncate(bytes.len() * usize::from(cut - 200) / 55);
    }
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes, _) in whole.iter().filter(|file| file.0.starts_with("list")) {
        std::fs::write(folder.path().join(name), bytes).expect("written");
    }
    let path = folder.path().join(name);
    std::fs::write(&path, &bytes).expect("written");
    match read(&path) {
        Ok(()) => {}
        Err(error) => {
            let ours = matches!(error, Error::Run(_) | Error::Embedding(_) | Error::Retrieval(_));
            assert!(ours, "{error:?}");
        }
    }
}
