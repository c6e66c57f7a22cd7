//! The cosine in f32 that candidates are ranked by in the end, and that recall is measured against.
//!
//! The order of the sums is fixed and nothing is fused, so a score is the same bits on every
//! processor.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use crate::error::Result;
use crate::index::exclude::Exclusion;
use crate::index::{NO_NEIGHBOUR, Neighbours};
use crate::progress::Progress;
use crate::store::Vectors;

/// Sums kept side by side: two AVX-512 registers.
const LANES: usize = 32;

/// Rows read at once by the exhaustive search: so few that they stay in the second-level cache.
const READ: usize = 256;

/// The length of a query times that of a row from which on the error of a product is relative to it.
const LEAST_LENGTH: f32 = 1e-20;

/// Queries of a search, as f32 with their lengths.
#[derive(Debug, Clone)]
pub struct Queries {
    values: Vec<f32>,
    norms: Vec<f32>,
    dim: usize,
    /// The row that each query is, when the queries are rows.
    rows: Option<Vec<usize>>,
}

impl Queries {
    /// The given rows of `vectors`.
    ///
    /// # Panics
    ///
    /// When a row passes the end of the vectors.
    #[must_use]
    pub fn of_rows(vectors: &Vectors, rows: &[usize]) -> Self {
        let dim = vectors.dim();
        let mut values = vec![0.0; rows.len() * dim];
        for (&row, values) in rows.iter().zip(values.chunks_exact_mut(dim)) {
            vectors.read(row..row + 1, values);
        }
        Self { rows: Some(rows.to_vec()), ..Self::of_values(values, dim) }
    }

    /// Vectors of the caller, `[q, d]` row-major.
    #[must_use]
    pub fn of_values(values: Vec<f32>, dim: usize) -> Self {
        let norms = values.chunks_exact(dim).map(|row| dot(row, row).sqrt()).collect();
        Self { values, norms, dim, rows: None }
    }

    /// The number of queries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.norms.len()
    }

    /// True if there is no query.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of values in a query.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The queries of `range` alone.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Self {
        Self {
            values: self.values(range.clone()).to_vec(),
            norms: self.norms[range.clone()].to_vec(),
            dim: self.dim,
            rows: self.rows.as_ref().map(|rows| rows[range].to_vec()),
        }
    }

    /// The queries of these numbers.
    #[must_use]
    pub fn some(&self, numbers: &[usize]) -> Self {
        let rows = numbers.iter().map(|&number| number..number + 1);
        Self {
            values: rows.flat_map(|row| self.values(row)).copied().collect(),
            norms: numbers.iter().map(|&number| self.norms[number]).collect(),
            dim: self.dim,
            rows: self.rows.as_ref().map(|rows| numbers.iter().map(|&n| rows[n]).collect()),
        }
    }

    /// The same values, not known to be rows.
    #[must_use]
    pub fn without_rows(&self) -> Self {
        Self { rows: None, ..self.clone() }
    }

    /// The row that query `query` is.
    #[must_use]
    pub fn row_of(&self, query: usize) -> Option<usize> {
        self.rows.as_ref().map(|rows| rows[query])
    }

    /// The values of the queries of `range`.
    #[must_use]
    pub fn values(&self, range: Range<usize>) -> &[f32] {
        &self.values[range.start * self.dim..range.end * self.dim]
    }

    /// The cosine of query `query` and `other`; 0 where one of them has no direction.
    #[must_use]
    pub fn cosine(&self, query: usize, other: &[f32], norm: f32) -> f32 {
        self.scaled(query, dot(self.values(query..query + 1), other), norm)
    }

    fn scaled(&self, query: usize, product: f32, norm: f32) -> f32 {
        let cosine = product / (self.norms[query] * norm);
        if cosine.is_finite() { cosine.clamp(-1.0, 1.0) } else { 0.0 }
    }
}

/// Buffers that [`rank`] reuses.
#[derive(Debug, Default)]
pub struct RankBuffer {
    values: Vec<f32>,
    scored: Vec<(f32, u32)>,
}

/// The `k` best of `candidates` (ids) by cosine, score falling, id rising.
pub fn rank(
    vectors: &Vectors,
    queries: &Queries,
    query: usize,
    mut candidates: Vec<u32>,
    k: usize,
    buffer: &mut RankBuffer,
    found: &mut Neighbours,
) {
    candidates.sort_unstable(); // Read the file from front to back.
    let RankBuffer { values, scored } = buffer;
    let own = queries.values(query..query + 1);
    scored.clear();
    for id in candidates {
        let (product, square) = products(own, vectors.row(id as usize, values));
        scored.push((queries.scaled(query, product, square.sqrt()), id));
    }
    let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if k > 0 && k < scored.len() {
        scored.select_nth_unstable_by(k - 1, order);
        scored.truncate(k);
    }
    scored.sort_unstable_by(order);
    scored.truncate(k);
    found.push_row(scored, k);
}

/// The `k` best of all rows by cosine in f32: what the other engines are measured against.
///
/// # Errors
///
/// [`crate::Error::Cancelled`] when asked to stop.
pub fn search(
    vectors: &Vectors,
    queries: &Queries,
    exclusion: &Exclusion,
    k: usize,
    progress: &Progress,
) -> Result<Neighbours> {
    let dim = vectors.dim();
    let mut best: Vec<Vec<(f32, u32)>> = vec![Vec::new(); queries.len()];
    let mut floors = vec![f32::NEG_INFINITY; queries.len()];
    let mut values = vec![0.0; READ.min(vectors.len()) * dim];
    let mut estimates = Vec::new();
    // How far a cosine from a product in any order of its sums may be from the right one, twice.
    let margin = 4.0 * dim as f32 * f32::EPSILON;
    let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    for start in (0..vectors.len()).step_by(READ) {
        progress.check()?;
        let stop = (start + READ).min(vectors.len());
        let values = &mut values[..(stop - start) * dim];
        vectors.read(start..stop, values);
        let norms: Vec<f32> = values.chunks_exact(dim).map(|row| dot(row, row).sqrt()).collect();
        estimate(queries, values, &mut estimates);
        let estimates = estimates.chunks_exact(stop - start);
        for (query, ((best, floor), estimates)) in
            best.iter_mut().zip(&mut floors).zip(estimates).enumerate()
        {
            let own = exclusion.of(queries.row_of(query));
            let length = queries.norms[query];
            for (place, (&estimate, &norm)) in estimates.iter().zip(&norms).enumerate() {
                if estimate < (*floor - margin) * (length * norm) && length * norm > LEAST_LENGTH {
                    continue;
                }
                let id = (start + place) as u32;
                let score = queries.cosine(query, &values[place * dim..][..dim], norm);
                // Ids rise, so an equal score comes too late.
                if score > *floor && !own.excludes(id) {
                    best.push((score, id));
                    if best.len() >= 2 * k.max(32) {
                        best.select_nth_unstable_by(k.max(1) - 1, order);
                        best.truncate(k);
                        *floor = best.iter().fold(f32::INFINITY, |min, pair| min.min(pair.0));
                    }
                }
            }
        }
    }
    let mut found = Neighbours::with_capacity(queries.len(), k);
    for mut best in best {
        best.sort_unstable_by(order);
        best.truncate(k);
        found.push_row(&best, k);
    }
    Ok(found)
}

/// The products of all queries with some rows, those of a query one after another: fast, but with sums
/// in an order that depends on the processor.
fn estimate(queries: &Queries, rows: &[f32], products: &mut Vec<f32>) {
    let dim = queries.dim;
    let count = rows.len() / dim;
    products.resize(queries.len() * count, 0.0);
    matmul(
        MatMut::from_column_major_slice_mut(products, count, queries.len()),
        Accum::Replace,
        MatRef::from_row_major_slice(rows, count, dim),
        MatRef::from_column_major_slice(&queries.values, dim, queries.len()),
        1.0,
        Par::Seq,
    );
}

impl Neighbours {
    /// An empty result with capacity for the neighbours of `queries` queries.
    #[must_use]
    pub fn with_capacity(queries: usize, k: usize) -> Self {
        Self { ids: Vec::with_capacity(queries * k), scores: Vec::with_capacity(queries * k), k }
    }

    /// Adds the neighbours of one more query, filled up to `k`.
    fn push_row(&mut self, row: &[(f32, u32)], k: usize) {
        self.ids.extend(row.iter().map(|pair| i64::from(pair.1)));
        self.scores.extend(row.iter().map(|pair| pair.0));
        self.ids.extend(std::iter::repeat_n(NO_NEIGHBOUR, k - row.len()));
        self.scores.extend(std::iter::repeat_n(f32::NEG_INFINITY, k - row.len()));
    }
}

/// The sum of the products, in 32 sums side by side that are then added in one fixed order.
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    dot_lanes(a, b)
}

#[multiversion::multiversion(targets = "simd")]
fn dot_lanes(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let ((a, tail_a), (b, tail_b)) = (a.as_chunks(), b.as_chunks());
    for (a, b) in a.iter().zip(b) {
        add(&mut sums, a, b);
    }
    if !tail_a.is_empty() {
        add(&mut sums, &padded(tail_a), &padded(tail_b));
    }
    total(&sums)
}

/// `dot(a, b)` and `dot(b, b)`, the same bits, reading `b` once.
#[multiversion::multiversion(targets = "simd")]
fn products(a: &[f32], b: &[f32]) -> (f32, f32) {
    let (mut sums, mut squares) = ([0.0f32; LANES], [0.0f32; LANES]);
    let ((a, tail_a), (b, tail_b)) = (a.as_chunks(), b.as_chunks());
    for (a, b) in a.iter().zip(b) {
        add(&mut sums, a, b);
        add(&mut squares, b, b);
    }
    if !tail_b.is_empty() {
        let b = padded(tail_b);
        add(&mut sums, &padded(tail_a), &b);
        add(&mut squares, &b, &b);
    }
    (total(&sums), total(&squares))
}

#[allow(clippy::inline_always, reason = "a call of its own would not have the wide registers")]
#[inline(always)]
fn add(sums: &mut [f32; LANES], a: &[f32; LANES], b: &[f32; LANES]) {
    for lane in 0..LANES {
        sums[lane] += a[lane] * b[lane];
    }
}

/// The values and zeros: no sum that begins with zero is another after zero is added.
fn padded(values: &[f32]) -> [f32; LANES] {
    let mut block = [0.0; LANES];
    block[..values.len()].copy_from_slice(values);
    block
}

/// The sum of the sums, halved again and again.
///
/// Not inlined: its last halvings would make the compiler hold the sums of the loops before it in
/// vectors of two.
#[inline(never)]
fn total(sums: &[f32; LANES]) -> f32 {
    let mut sums = *sums;
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_of_any_length_is_right() {
        for length in 0..200 {
            let a: Vec<f32> = (0..length).map(|value| value as f32).collect();
            let exact: f32 = (0..length).map(|value| (value * value) as f32).sum();
            assert!((dot(&a, &a) - exact).abs() <= exact * 1e-6, "{length}");
            let b: Vec<f32> = a.iter().map(|value| (value * 0.7).sin()).collect();
            let (product, square) = products(&a, &b);
            assert_eq!(product.to_bits(), dot(&a, &b).to_bits());
            assert_eq!(square.to_bits(), dot(&b, &b).to_bits());
        }
    }

    proptest::proptest! {
        #[test]
        fn the_search_is_that_of_plain_loops(
            seed in 0u64..1000, dim in 1usize..40, k in 0usize..5, spread in 0..30,
        ) {
            // Rows of very different lengths, copies and zeros among them.
            let mut rng = crate::seed::Rng::new(seed, "cosine", 0);
            let rows = 3 * READ + 7;
            let mut values: Vec<f32> = Vec::with_capacity(rows * dim);
            for row in 0..rows {
                if row % 5 == 4 {
                    let first = rng.below(row as u64) as usize * dim;
                    values.extend_from_within(first..first + dim);
                    continue;
                }
                let power = rng.below(2 * spread as u64 + 1) as i32 - spread;
                let scale = if row % 97 == 0 { 0.0 } else { 10f32.powi(power) };
                values.extend((0..dim).map(|_| (rng.uniform() as f32 - 0.5) * scale));
            }
            let vectors = Vectors::in_full(&values, dim, 1).expect("vectors");
            let numbers: Vec<usize> = (0..rows).step_by(23).collect();
            let queries = Queries::of_rows(&vectors, &numbers);
            let exclusion = Exclusion::new(None, rows).expect("exclusion");
            let found = search(&vectors, &queries, &exclusion, k, &Progress::default());
            let found = found.expect("found");
            for (query, &own) in numbers.iter().enumerate() {
                let score = |row: usize| {
                    let values = &values[row * dim..][..dim];
                    (queries.cosine(query, values, dot(values, values).sqrt()), row as i64)
                };
                let mut all: Vec<_> = (0..rows).filter(|&row| row != own).map(score).collect();
                all.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                all.truncate(k);
                let ids: Vec<i64> = all.iter().map(|pair| pair.1).collect();
                proptest::prop_assert_eq!(&found.ids[query * k..(query + 1) * k], &ids[..]);
            }
        }
    }

    #[test]
    fn a_vector_without_direction_scores_nothing() {
        let queries = Queries::of_values(vec![0.0, 0.0, 1.0, 1.0], 2);
        assert_eq!(queries.cosine(0, &[1.0, 0.0], 1.0).to_bits(), 0);
        assert_eq!(queries.cosine(1, &[0.0, 0.0], 0.0).to_bits(), 0);
    }
}
