//! The cosine in f32 that candidates are ranked by in the end, and that recall is measured against.
//!
//! The order of the sums is fixed and nothing is fused, so a score is the same bits on every
//! processor.

use std::ops::Range;

use crate::error::Result;
use crate::index::exclude::Exclusion;
use crate::index::{NO_NEIGHBOUR, Neighbours};
use crate::progress::Progress;
use crate::store::Vectors;

/// Sums kept side by side: two AVX-512 registers.
const LANES: usize = 32;

/// Rows read at once by the exhaustive search: so few that all queries pass while they are in the
/// first-level cache.
const READ: usize = 32;

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
    let mut products = Vec::with_capacity(READ);
    let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    for start in (0..vectors.len()).step_by(READ) {
        progress.check()?;
        let stop = (start + READ).min(vectors.len());
        let values = &mut values[..(stop - start) * dim];
        vectors.read(start..stop, values);
        products.resize(stop - start, 0.0);
        let norms: Vec<f32> = values.chunks_exact(dim).map(|row| dot(row, row).sqrt()).collect();
        for (query, (best, floor)) in best.iter_mut().zip(&mut floors).enumerate() {
            let own = exclusion.of(queries.row_of(query));
            dots(queries.values(query..query + 1), values, &mut products);
            for (place, (&product, &norm)) in products.iter().zip(&norms).enumerate() {
                let id = (start + place) as u32;
                let score = queries.scaled(query, product, norm);
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

/// `dot(one, row)` for each of some rows, the same bits, four rows at a time.
#[multiversion::multiversion(targets = "simd")]
fn dots(one: &[f32], rows: &[f32], out: &mut [f32]) {
    let dim = one.len();
    let (blocks, tail) = one.as_chunks();
    let mut start = 0;
    while start + 4 <= out.len() {
        let rows: [(&[[f32; LANES]], &[f32]); 4] =
            std::array::from_fn(|number| rows[(start + number) * dim..][..dim].as_chunks());
        let [a, b, c, d] = rows.map(|row| row.0);
        let mut sums = [[0.0f32; LANES]; 4];
        for (one, ((a, b), (c, d))) in blocks.iter().zip(a.iter().zip(b).zip(c.iter().zip(d))) {
            add(&mut sums[0], one, a);
            add(&mut sums[1], one, b);
            add(&mut sums[2], one, c);
            add(&mut sums[3], one, d);
        }
        for (sums, row) in sums.iter_mut().zip(rows) {
            if !tail.is_empty() {
                add(sums, &padded(tail), &padded(row.1));
            }
        }
        for (out, sums) in out[start..].iter_mut().zip(&sums) {
            *out = total(sums);
        }
        start += 4;
    }
    for (number, out) in out.iter_mut().enumerate().skip(start) {
        *out = dot_lanes(one, &rows[number * dim..][..dim]);
    }
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
            let rows: Vec<f32> = (0..7 * length).map(|value| (value as f32).cos()).collect();
            let mut found = [0.0; 7];
            dots(&a, &rows, &mut found);
            for (number, found) in found.into_iter().enumerate() {
                let row = &rows[number * length..][..length];
                assert_eq!(found.to_bits(), dot(&a, row).to_bits());
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
