//! What a run says of its own quality, measured on seeded samples, without a model.
//!
//! In: the vectors, and what was made of them. Out: numbers for the report (embedding.md, "Check of
//! every embedder"; method.md, measure 3).

use serde::Serialize;

use crate::error::Result;
use crate::fan;
use crate::index::cosine::{self, Queries, dot};
use crate::index::exclude::Exclusion;
use crate::mine::made::Made;
use crate::progress::Progress;
use crate::seed;
use crate::store::ChunkStore;
use crate::vectors::Vectors;

/// Sequences whose own chunks and random chunks are compared, at most.
const SEQUENCES: usize = 256;

/// How often a chunk's nearest neighbours are chunks of its own document.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SameDocument {
    /// The share of the other chunks of the document (at most k) found among the k nearest, over
    /// the chunks that have such others.
    pub recall: f64,
    /// The share that neighbours drawn at random would have.
    pub by_chance: f64,
    /// The chunks that were looked at.
    pub chunks: usize,
}

/// Measures whether the vectors know which chunks belong together: exhaustive search in f32 for the
/// chunks `rows`, nothing excluded but the chunk itself. None where no row has a sibling.
///
/// # Errors
///
/// [`crate::Error::Cancelled`] when stopped.
pub fn same_document(
    store: &ChunkStore,
    vectors: &Vectors,
    rows: &[usize],
    k: usize,
    threads: usize,
    progress: &Progress,
) -> Result<Option<SameDocument>> {
    let rows: Vec<usize> = rows.iter().copied().filter(|&row| has_siblings(store, row)).collect();
    let measured = own_neighbours(store, vectors, &rows, k, threads, progress)?;
    Ok(SameDocument::mean(&measured))
}

/// Whether `row` is not the only chunk of its document.
pub(crate) fn has_siblings(store: &ChunkStore, row: usize) -> bool {
    store.document_chunks(store.document(row)).len() > 1
}

impl SameDocument {
    /// The means over chunks of (recall, recall by chance); None for no chunk.
    pub(crate) fn mean(measured: &[(f64, f64)]) -> Option<Self> {
        let chunks = measured.len();
        let (recall, by_chance) =
            measured.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        (chunks > 0).then(|| Self {
            recall: recall / chunks as f64,
            by_chance: by_chance / chunks as f64,
            chunks,
        })
    }
}

/// For each of `rows`, which have siblings: (recall, recall by chance) as [`same_document`] has them.
pub(crate) fn own_neighbours(
    store: &ChunkStore,
    vectors: &Vectors,
    rows: &[usize],
    k: usize,
    threads: usize,
    progress: &Progress,
) -> Result<Vec<(f64, f64)>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let parts: Vec<&[usize]> = rows.chunks(rows.len().div_ceil(threads.max(1))).collect();
    let exclusion = Exclusion::default();
    let found = fan::out(parts.len(), threads, |part| {
        let queries = Queries::of_rows(vectors, parts[part]);
        cosine::search(vectors, &queries, &exclusion, k, progress)
    })?;
    let ids = found.iter().flat_map(|part| part.ids.chunks_exact(k));
    let others = (vectors.len() - 1) as f64;
    let measured = rows.iter().zip(ids).map(|(&row, ids)| {
        let own = store.document_chunks(store.document(row));
        let count = own.len() - 1;
        let hits = ids.iter().filter(|&&id| id >= 0 && own.contains(&(id as usize))).count();
        let most = count.min(k) as f64;
        (hits as f64 / most, (k as f64).min(others) * count as f64 / others / most)
    });
    Ok(measured.collect())
}

/// Cosine similarities to the meta-chunk: of its negatives, and what to compare them with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Similarity {
    /// The mean over all negatives of all sequences.
    pub negatives: f64,
    /// The first negative of a meta-chunk, its nearest.
    pub first_negative: f64,
    /// The last one.
    pub last_negative: f64,
    /// The mean over the negatives of the first tenth of the sequences, and of the last: how much is
    /// lost while the chunks are used up; None where those have none.
    pub first_sequences: Option<f64>,
    /// See `first_sequences`.
    pub last_sequences: Option<f64>,
    /// The next meta-chunk of the same document, on a sample of the sequences.
    pub own_next_chunk: f64,
    /// A chunk drawn at random, on the same sample.
    pub random_chunk: f64,
}

/// Measures how similar the negatives of the sequences are; None where there are none.
#[must_use]
pub fn similarity(vectors: &Vectors, made: &[Made], seed: u64) -> Option<Similarity> {
    let mut all = Mean::default();
    let (mut first, mut last) = (Mean::default(), Mean::default());
    let tenth = made.len().div_ceil(10);
    let (mut early, mut late) = (Mean::default(), Mean::default());
    for (number, (_, pieces)) in made.iter().enumerate() {
        let mut ends: Vec<(f32, f32)> = Vec::new();
        let mut metas: Vec<u32> = Vec::new();
        for piece in pieces.iter().filter(|piece| !piece.is_meta()) {
            all.add(piece.score);
            if number < tenth {
                early.add(piece.score);
            }
            if number >= made.len() - tenth {
                late.add(piece.score);
            }
            if metas.last() == Some(&piece.meta) {
                if let Some(pair) = ends.last_mut() {
                    pair.1 = piece.score;
                }
            } else {
                metas.push(piece.meta);
                ends.push((piece.score, piece.score));
            }
        }
        for (nearest, furthest) in ends {
            first.add(nearest);
            last.add(furthest);
        }
    }
    let (mut own, mut random) = (Mean::default(), Mean::default());
    let dim = vectors.dim();
    let (mut left, mut right) = (vec![0.0; dim], vec![0.0; dim]);
    let mut cosine = |a: u32, b: u32| cosine_of(vectors, [a, b], [&mut left, &mut right]);
    for sequence in seed::sample(seed, "similarity", made.len(), SEQUENCES) {
        let metas: Vec<u32> = made[sequence]
            .1
            .iter()
            .filter(|piece| piece.is_meta())
            .map(|piece| piece.chunk)
            .collect();
        for pair in metas.windows(2) {
            own.add(cosine(pair[0], pair[1]));
        }
        for &chunk in &metas {
            let mut rng = seed::Rng::new(seed, "similarity", u64::from(chunk));
            random.add(cosine(chunk, rng.below(vectors.len() as u64) as u32));
        }
    }
    Some(Similarity {
        negatives: all.value()?,
        first_negative: first.value()?,
        last_negative: last.value()?,
        first_sequences: early.value(),
        last_sequences: late.value(),
        own_next_chunk: own.value().unwrap_or_default(),
        random_chunk: random.value()?,
    })
}

/// The cosine of two chunks, read into `room`; 0 where one has no direction.
pub(crate) fn cosine_of(vectors: &Vectors, chunks: [u32; 2], room: [&mut [f32]; 2]) -> f32 {
    let [left, right] = room;
    vectors.read(chunks[0] as usize..chunks[0] as usize + 1, left);
    vectors.read(chunks[1] as usize..chunks[1] as usize + 1, right);
    let cosine = dot(left, right) / (dot(left, left) * dot(right, right)).sqrt();
    if cosine.is_finite() { cosine } else { 0.0 }
}

#[derive(Default)]
struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    fn add(&mut self, value: f32) {
        self.sum += f64::from(value);
        self.count += 1;
    }

    fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::Piece;

    /// Four rows in two directions.
    fn vectors() -> Vectors {
        let rows = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0];
        Vectors::from_f32(&rows, 2).expect("vectors")
    }

    #[test]
    fn similarities_are_those_of_the_pieces() {
        let pieces = vec![
            Piece::meta_chunk(0, 0),
            Piece::negative(2, 0, 0.75),
            Piece::negative(3, 0, 0.25),
            Piece::meta_chunk(1, 1),
            Piece::negative(3, 1, 0.5),
        ];
        let measured = similarity(&vectors(), &[(0, pieces)], 0).expect("there are negatives");
        assert!((measured.negatives - 0.5).abs() < 1e-9);
        assert!((measured.first_negative - 0.625).abs() < 1e-9);
        assert!((measured.last_negative - 0.375).abs() < 1e-9);
        assert!((measured.first_sequences.expect("negatives") - 0.5).abs() < 1e-9);
        assert!((measured.last_sequences.expect("negatives") - 0.5).abs() < 1e-9);
        assert!((measured.own_next_chunk - 1.0).abs() < 1e-6);
        assert!((0.0..=1.0).contains(&measured.random_chunk));
    }

    #[test]
    fn the_first_and_the_last_sequences_are_told_apart() {
        let made: Vec<Made> = (0..20u8)
            .map(|number| (0, vec![Piece::negative(2, 0, f32::from(number) / 32.0)]))
            .map(|(document, negative)| {
                (document, [vec![Piece::meta_chunk(0, 0)], negative].concat())
            })
            .collect();
        let measured = similarity(&vectors(), &made, 0).expect("there are negatives");
        assert!((measured.first_sequences.expect("negatives") - 0.5 / 32.0).abs() < 1e-9);
        assert!((measured.last_sequences.expect("negatives") - 18.5 / 32.0).abs() < 1e-9);
    }

    #[test]
    fn a_tenth_without_negatives_has_no_similarity() {
        let meta = Piece::meta_chunk(0, 0);
        let made: Vec<Made> = [(0, vec![meta, Piece::negative(2, 0, 0.5)])]
            .into_iter()
            .chain((1..20).map(|document| (document, vec![meta])))
            .collect();
        let measured = similarity(&vectors(), &made, 0).expect("there are negatives");
        assert_eq!((measured.first_sequences, measured.last_sequences), (Some(0.5), None));
    }

    #[test]
    fn without_negatives_there_is_nothing_to_measure() {
        assert_eq!(similarity(&vectors(), &[(0, vec![Piece::meta_chunk(0, 0)])], 0), None);
        assert_eq!(similarity(&vectors(), &[], 0), None);
    }
}
