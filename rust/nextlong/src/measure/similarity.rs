//! How similar negatives are to their meta-chunks, compared with random chunks.
//!
//! In: the vectors and the planned sequences. Out: mean cosine similarities, partly on seeded samples
//! (method.md, measure 3).

use serde::Serialize;

use crate::fill::PlannedSequence;
use crate::index::cosine::dot;
use crate::seed;
use crate::store::Vectors;

/// Sequences whose own chunks and random chunks are compared, at most.
const SEQUENCES: usize = 256;

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
pub fn similarity(
    vectors: &Vectors,
    sequences: &[PlannedSequence],
    seed: u64,
) -> Option<Similarity> {
    let mut all = Mean::default();
    let (mut first, mut last) = (Mean::default(), Mean::default());
    let tenth = sequences.len().div_ceil(10);
    let (mut early, mut late) = (Mean::default(), Mean::default());
    for (number, (_, segments)) in sequences.iter().enumerate() {
        let mut ends: Vec<(f32, f32)> = Vec::new();
        let mut metas: Vec<u32> = Vec::new();
        for segment in segments.iter().filter(|segment| !segment.is_meta()) {
            all.add(segment.score);
            if number < tenth {
                early.add(segment.score);
            }
            if number >= sequences.len() - tenth {
                late.add(segment.score);
            }
            if metas.last() == Some(&segment.meta) {
                if let Some(pair) = ends.last_mut() {
                    pair.1 = segment.score;
                }
            } else {
                metas.push(segment.meta);
                ends.push((segment.score, segment.score));
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
    for sequence in seed::sample(seed, "similarity", sequences.len(), SEQUENCES) {
        let metas: Vec<u32> = sequences[sequence]
            .1
            .iter()
            .filter(|segment| segment.is_meta())
            .map(|segment| segment.chunk)
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

/// The cosine of two chunks, read into `buffers`; 0 where one has no direction.
pub(crate) fn cosine_of(vectors: &Vectors, chunks: [u32; 2], buffers: [&mut [f32]; 2]) -> f32 {
    let [left, right] = buffers;
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
    use crate::segment::Segment;

    /// Four rows in two directions.
    fn vectors() -> Vectors {
        let rows = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0];
        Vectors::from_f32(&rows, 2).expect("vectors")
    }

    #[test]
    fn similarities_are_those_of_the_pieces() {
        let segments = vec![
            Segment::meta_chunk(0, 0),
            Segment::negative(2, 0, 0.75),
            Segment::negative(3, 0, 0.25),
            Segment::meta_chunk(1, 1),
            Segment::negative(3, 1, 0.5),
        ];
        let measured = similarity(&vectors(), &[(0, segments)], 0).expect("there are negatives");
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
        let sequences: Vec<PlannedSequence> = (0..20u8)
            .map(|number| (0, vec![Segment::negative(2, 0, f32::from(number) / 32.0)]))
            .map(|(document, negative)| {
                (document, [vec![Segment::meta_chunk(0, 0)], negative].concat())
            })
            .collect();
        let measured = similarity(&vectors(), &sequences, 0).expect("there are negatives");
        assert!((measured.first_sequences.expect("negatives") - 0.5 / 32.0).abs() < 1e-9);
        assert!((measured.last_sequences.expect("negatives") - 18.5 / 32.0).abs() < 1e-9);
    }

    #[test]
    fn a_tenth_without_negatives_has_no_similarity() {
        let meta = Segment::meta_chunk(0, 0);
        let sequences: Vec<PlannedSequence> = [(0, vec![meta, Segment::negative(2, 0, 0.5)])]
            .into_iter()
            .chain((1..20).map(|document| (document, vec![meta])))
            .collect();
        let measured = similarity(&vectors(), &sequences, 0).expect("there are negatives");
        assert_eq!((measured.first_sequences, measured.last_sequences), (Some(0.5), None));
    }

    #[test]
    fn without_negatives_there_is_nothing_to_measure() {
        assert_eq!(similarity(&vectors(), &[(0, vec![Segment::meta_chunk(0, 0)])], 0), None);
        assert_eq!(similarity(&vectors(), &[], 0), None);
    }
}
