//! The products of the word matrix with tall dense ones, strip by strip of the directions.
//!
//! The rows of a strip are short, so that those of the frequent words, most of all terms, stay in
//! the cache; and a strip is computed by one thread from first to last, so that the sums do not
//! depend on how many threads there are. The last strip is computed in two halves of the texts, always:
//! with nine of them, two threads would take five rounds otherwise.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use faer::Mat;
use multiversion::multiversion;

use super::linear::blocks;
use super::sparse::Sparse;
use crate::error::Result;
use crate::parallel;
use crate::progress::Progress;

/// The directions of a strip: rows of two lines of memory.
pub(super) const STRIP: usize = 32;
/// The rows of the word matrix between two looks at the stop flag.
const STEP: usize = 4096;

/// The values of a row, at the start of a line of memory.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
struct Row([f32; STRIP]);

const ZEROS: Row = Row([0.0; STRIP]);

/// How the products are computed: threads, the stop flag, memory that is used again.
pub(super) struct Work<'a> {
    pub(super) threads: usize,
    pub(super) progress: &'a Progress,
    buffers: Buffers,
}

impl<'a> Work<'a> {
    pub(super) fn new(threads: usize, progress: &'a Progress) -> Self {
        Self { threads, progress, buffers: Buffers::default() }
    }
}

/// Strips that are used again: memory that the system must clear first costs as much as the sums.
#[derive(Default)]
struct Buffers(Mutex<Vec<Vec<Row>>>);

impl Buffers {
    fn zeros(&self, len: usize) -> Vec<Row> {
        let mut buffer = self.lock().pop().unwrap_or_default();
        buffer.clear();
        buffer.resize(len, ZEROS);
        buffer
    }

    /// Rows with any values, for one who writes all of them.
    fn any(&self, len: usize) -> Vec<Row> {
        let mut buffer = self.lock().pop().unwrap_or_default();
        buffer.resize(len, ZEROS);
        buffer
    }

    fn give_back(&self, buffer: Vec<Row>) {
        self.lock().push(buffer);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<Row>>> {
        parallel::lock(&self.0)
    }
}

/// A random matrix that has one 1 or -1 in each row, one row for each text.
pub(super) struct Sketch {
    pub(super) width: usize,
    /// The column and the value of each row.
    pub(super) places: Vec<(usize, f32)>,
}

impl Sketch {
    /// A sketch of `width` columns; `random` gives the bits of a row. Every column gets the same number
    /// of rows, give or take one, so that independent texts give min(texts, width) directions; up to
    /// `width` texts each have a column of their own.
    pub(super) fn balanced(texts: usize, width: usize, random: impl Fn(u32) -> u64) -> Self {
        let mut order: Vec<(u64, u32)> =
            (0..texts as u32).map(|text| (random(text), text)).collect();
        order.sort_unstable();
        let mut places = vec![(0, 0.0); texts];
        for (rank, (bits, text)) in order.into_iter().enumerate() {
            places[text as usize] = (rank % width, if bits & 1 == 0 { 1.0 } else { -1.0 });
        }
        Self { width, places }
    }

    /// The sketch with a column of the `Mat` for each text.
    pub(super) fn dense(&self) -> Mat<f32> {
        let mut dense = Mat::zeros(self.width, self.places.len());
        for (text, &(place, sign)) in self.places.iter().enumerate() {
            dense[(place, text)] = sign;
        }
        dense
    }

    /// Adds `matrixᵀ × sketch` to a strip.
    fn add_to(&self, matrix: &Sparse, start: usize, sums: &mut [Row]) {
        for (text, &(place, sign)) in self.places.iter().enumerate() {
            if (start..start + STRIP).contains(&place) {
                let (columns, values) = matrix.entries(text);
                for (&column, value) in columns.iter().zip(values) {
                    sums[column as usize].0[place - start] += sign * value;
                }
            }
        }
    }
}

/// `matrixᵀ × sketch`.
pub(super) fn sketched(matrix: &Sparse, sketch: &Sketch, work: &Work<'_>) -> Result<Mat<f32>> {
    let starts = (0..sketch.width).step_by(STRIP);
    let parts = parallel::map_parts(starts, work.threads, |_, start| {
        work.progress.check()?;
        let mut rows = work.buffers.zeros(matrix.columns());
        sketch.add_to(matrix, start, &mut rows);
        Ok(Part { strip: start, first: 0, rows })
    })?;
    joined(parts, sketch.width, matrix.columns(), work)
}

/// `matrix × dense`, whose rows, like those of `dense`, are columns of the `Mat`.
pub(super) fn product(matrix: &Sparse, dense: &Mat<f32>, work: &Work<'_>) -> Result<Mat<f32>> {
    let parts =
        parallel::map_parts(pieces(matrix, dense.nrows()), work.threads, |_, (start, texts)| {
            let strip = strip(dense, start, work);
            let mut rows = work.buffers.any(texts.len());
            for (first, rows) in texts.clone().step_by(STEP).zip(rows.chunks_mut(STEP)) {
                work.progress.check()?;
                forward(matrix, first, &strip, rows);
            }
            work.buffers.give_back(strip);
            Ok(Part { strip: start, first: texts.start, rows })
        })?;
    joined(parts, dense.nrows(), matrix.rows(), work)
}

/// `matrixᵀ × (matrix × dense)`, both products of a row while its words' rows are in the cache.
pub(super) fn normal_product(
    matrix: &Sparse,
    dense: &Mat<f32>,
    work: &Work<'_>,
) -> Result<Mat<f32>> {
    normal(matrix, dense.nrows(), work, |start| strip(dense, start, work))
}

/// `matrixᵀ × matrix × matrixᵀ × sketch`.
pub(super) fn normal_product_of_sketch(
    matrix: &Sparse,
    sketch: &Sketch,
    work: &Work<'_>,
) -> Result<Mat<f32>> {
    normal(matrix, sketch.width, work, |start| {
        let mut rows = work.buffers.zeros(matrix.columns());
        sketch.add_to(matrix, start, &mut rows);
        rows
    })
}

/// `matrixᵀ × matrix` times the matrix whose strips `source` gives.
fn normal(
    matrix: &Sparse,
    width: usize,
    work: &Work<'_>,
    source: impl Fn(usize) -> Vec<Row> + Sync,
) -> Result<Mat<f32>> {
    summed(matrix, width, work, |start, texts, sums| {
        let strip = source(start);
        for first in texts.clone().step_by(STEP) {
            work.progress.check()?;
            forward_and_back(matrix, first, texts.end.min(first + STEP), &strip, sums);
        }
        work.buffers.give_back(strip);
        Ok(())
    })
}

/// `matrixᵀ × dense`, whose rows are columns of the `Mat`.
pub(super) fn back_product(matrix: &Sparse, dense: &Mat<f32>, work: &Work<'_>) -> Result<Mat<f32>> {
    summed(matrix, dense.nrows(), work, |start, texts, sums| {
        let strip = strip(dense, start, work);
        back_all(matrix, texts, &strip, sums, work)?;
        work.buffers.give_back(strip);
        Ok(())
    })
}

/// `matrix × (matrixᵀ × dense)`: the product between the two is never held whole.
pub(super) fn gram_product(matrix: &Sparse, dense: &Mat<f32>, work: &Work<'_>) -> Result<Mat<f32>> {
    let starts = (0..dense.nrows()).step_by(STRIP);
    let parts = parallel::map_parts(starts, work.threads, |_, start| {
        let strip = strip(dense, start, work);
        let mut words = work.buffers.zeros(matrix.columns());
        back_all(matrix, 0..matrix.rows(), &strip, &mut words, work)?;
        let mut rows = strip;
        forward(matrix, 0, &words, &mut rows);
        work.buffers.give_back(words);
        Ok(Part { strip: start, first: 0, rows })
    })?;
    joined(parts, dense.nrows(), matrix.rows(), work)
}

/// Adds `matrixᵀ × strip` of some texts to `sums`.
fn back_all(
    matrix: &Sparse,
    texts: Range<usize>,
    strip: &[Row],
    sums: &mut [Row],
    work: &Work<'_>,
) -> Result<()> {
    for first in texts.clone().step_by(STEP) {
        work.progress.check()?;
        back(matrix, first, texts.end.min(first + STEP), strip, sums);
    }
    Ok(())
}

/// Some rows of a strip of a matrix: by its first direction, from the row `first` on.
struct Part {
    strip: usize,
    first: usize,
    rows: Vec<Row>,
}

/// What `add` adds to the rows of every strip, for one piece of the texts after another.
fn summed(
    matrix: &Sparse,
    width: usize,
    work: &Work<'_>,
    add: impl Fn(usize, Range<usize>, &mut [Row]) -> Result<()> + Sync,
) -> Result<Mat<f32>> {
    let whole: Vec<_> = (0..width).step_by(STRIP).map(|_| Mutex::default()).collect();
    parallel::map_parts(pieces(matrix, width), work.threads, |_, (start, texts)| {
        let mut sums = work.buffers.zeros(matrix.columns());
        add(start, texts, &mut sums)?;
        let strip: &Mutex<Option<Vec<Row>>> = &whole[start / STRIP];
        let mut strip = parallel::lock(strip);
        // Which half is first makes no difference: a + b is b + a.
        let Some(held) = strip.as_mut() else {
            *strip = Some(sums);
            return Ok(());
        };
        for (sum, more) in held.iter_mut().zip(&sums) {
            sum.0.iter_mut().zip(&more.0).for_each(|(sum, more)| *sum += more);
        }
        work.buffers.give_back(sums);
        Ok(())
    })?;
    let rows =
        whole.into_iter().map(|sums| sums.into_inner().unwrap_or_else(PoisonError::into_inner));
    let parts: Vec<Part> = (0..width)
        .step_by(STRIP)
        .zip(rows)
        .map(|(strip, rows)| Part { strip, first: 0, rows: rows.unwrap_or_default() })
        .collect();
    joined(parts, width, matrix.columns(), work)
}

/// The strips of `width` directions, by the first of each, with the rows of the word matrix: all of
/// them, but half for the last strip, which comes twice.
fn pieces(matrix: &Sparse, width: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let (rows, half) = (matrix.rows(), matrix.rows() / 2);
    let last = width.saturating_sub(1) / STRIP * STRIP;
    let whole = (0..last).step_by(STRIP).map(move |start| (start, 0..rows));
    whole.chain([(last, 0..half), (last, half..rows)])
}

/// Some directions of `dense`, filled up with zeros.
fn strip(dense: &Mat<f32>, start: usize, work: &Work<'_>) -> Vec<Row> {
    let count = STRIP.min(dense.nrows() - start);
    let mut rows = work.buffers.any(dense.ncols());
    for (row, column) in rows.iter_mut().zip(dense.col_iter()) {
        row.0[count..].fill(0.0);
        let column = column.subrows(start, count);
        row.0[..count].iter_mut().zip(column.iter()).for_each(|(to, from)| *to = *from);
    }
    rows
}

/// Parts of all rows and strips, next to each other; `width` is a multiple of [`STRIP`].
fn joined(parts: Vec<Part>, width: usize, columns: usize, work: &Work<'_>) -> Result<Mat<f32>> {
    let mut whole = Mat::zeros(width, columns);
    parallel::map_parts(blocks(&mut whole), work.threads, |_, (start, mut block)| {
        for Part { strip, first, rows } in &parts {
            let from = start.max(*first);
            let to = (start + block.ncols()).min(first + rows.len());
            for column in from..to {
                let values = block.as_mut().col_mut(column - start).subrows_mut(*strip, STRIP);
                values.iter_mut().zip(&rows[column - first].0).for_each(|(to, from)| *to = *from);
            }
        }
        Ok(())
    })?;
    for part in parts {
        work.buffers.give_back(part.rows);
    }
    Ok(whole)
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn forward(matrix: &Sparse, first: usize, strip: &[Row], out: &mut [Row]) {
    for (row, out) in (first..).zip(out) {
        let (columns, values) = matrix.entries(row);
        // Two sums side by side: an addition need not wait for the one before it.
        let (mut even, mut odd) = ([0.0; STRIP], [0.0; STRIP]);
        let pairs = columns.chunks_exact(2).zip(values.chunks_exact(2));
        for (columns, values) in pairs {
            let (left, right) = (&strip[columns[0] as usize].0, &strip[columns[1] as usize].0);
            for at in 0..STRIP {
                even[at] += values[0] * left[at];
                odd[at] += values[1] * right[at];
            }
        }
        if columns.len() % 2 == 1 {
            let (last, value) = (columns[columns.len() - 1], values[values.len() - 1]);
            for (sum, other) in even.iter_mut().zip(&strip[last as usize].0) {
                *sum += value * other;
            }
        }
        for at in 0..STRIP {
            out.0[at] = even[at] + odd[at];
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn forward_and_back(matrix: &Sparse, first: usize, last: usize, strip: &[Row], out: &mut [Row]) {
    let mut sum = [ZEROS];
    for row in first..last {
        forward(matrix, row, strip, &mut sum);
        let (columns, values) = matrix.entries(row);
        for (&column, &value) in columns.iter().zip(values) {
            for (out, sum) in out[column as usize].0.iter_mut().zip(&sum[0].0) {
                *out += value * sum;
            }
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn back(matrix: &Sparse, first: usize, last: usize, strip: &[Row], out: &mut [Row]) {
    for (row, dense) in (first..last).zip(&strip[first..last]) {
        // In a sketch most rows have no value in a strip.
        if dense.0.iter().all(|&value| value == 0.0) {
            continue;
        }
        let (columns, values) = matrix.entries(row);
        for (&column, &value) in columns.iter().zip(values) {
            for (out, other) in out[column as usize].0.iter_mut().zip(&dense.0) {
                *out += value * other;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Rng;

    #[test]
    fn the_products_are_those_of_plain_loops() {
        let progress = Progress::default();
        let work = Work::new(2, &progress);
        let mut rng = Rng::new(3, "strips", 0);
        let words = 70;
        let rows: Vec<Vec<(u32, f32)>> = (0..STEP + 30)
            .map(|row| {
                (0..words)
                    .filter(|word| (word * 7 + row as u32 * 13) % 11 < (row % 5) as u32)
                    .map(|word| (word, rng.uniform() as f32))
                    .collect()
            })
            .collect();
        let matrix = Sparse::of_rows(&rows, words as usize);
        let dense = Mat::from_fn(96, words as usize, |row, column| {
            ((row * 31 + column * 17) % 23) as f32 - 11.0
        });
        let once = product(&matrix, &dense, &work).expect("product");
        let twice = normal_product(&matrix, &dense, &work).expect("product");
        let mut back = vec![[0.0f64; 96]; words as usize];
        for (number, row) in rows.iter().enumerate() {
            for at in 0..96 {
                let expected: f64 = row
                    .iter()
                    .map(|&(word, value)| f64::from(value) * f64::from(dense[(at, word as usize)]))
                    .sum();
                assert!((f64::from(once[(at, number)]) - expected).abs() < 1e-3);
                for &(word, value) in row {
                    back[word as usize][at] += f64::from(value) * expected;
                }
            }
        }
        for word in 0..words as usize {
            for at in 0..96 {
                let found = f64::from(twice[(at, word)]);
                assert!((found - back[word][at]).abs() < 1e-4 * (1.0 + back[word][at].abs()));
            }
        }
        let back = back_product(&matrix, &once, &work).expect("product");
        for word in 0..words as usize {
            for at in 0..96 {
                let (one, other) = (f64::from(back[(at, word)]), f64::from(twice[(at, word)]));
                assert!((one - other).abs() < 1e-4 * (1.0 + other.abs()));
            }
        }
        let gram = gram_product(&matrix, &once, &work).expect("product");
        let expected = product(&matrix, &back, &work).expect("product");
        for text in 0..rows.len() {
            for at in 0..96 {
                let (one, other) = (gram[(at, text)], expected[(at, text)]);
                // The sums are of products of up to a hundred thousand.
                assert!((one - other).abs() < 0.05 + 1e-4 * other.abs(), "{one} {other}");
            }
        }
        for threads in [1, 4] {
            let work = Work::new(threads, &progress);
            let again = normal_product(&matrix, &dense, &work).expect("product");
            assert_eq!(again, twice);
        }
    }
}
