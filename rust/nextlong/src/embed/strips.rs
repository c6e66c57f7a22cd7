//! The products of the word matrix with tall dense ones, strip by strip of the directions.
//!
//! The rows of a strip are short, so that those of the frequent words, most of all terms, stay in
//! the cache; and a strip is computed by one thread from first to last, so that the sums do not
//! depend on how many threads there are. The last strip is computed in two halves of the texts, always:
//! with nine of them, two threads would take five rounds otherwise.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

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

/// A random matrix of `width` columns that has one 1 or -1 in each row: the place and the value of
/// each. `random` gives the bits of a row. Every column gets the same number of rows, give or take one,
/// so that independent texts give min(texts, width) directions; up to `width` texts each have a column
/// of their own.
pub(super) fn balanced(
    texts: usize,
    width: usize,
    random: impl Fn(u32) -> u64,
) -> Vec<(usize, f32)> {
    let mut order: Vec<(u64, u32)> = (0..texts as u32).map(|text| (random(text), text)).collect();
    order.sort_unstable();
    let mut places = vec![(0, 0.0); texts];
    for (rank, (bits, text)) in order.into_iter().enumerate() {
        places[text as usize] = (rank % width, if bits & 1 == 0 { 1.0 } else { -1.0 });
    }
    places
}

/// `matrixᵀ` times the matrix of `width` columns with one value in each row, given by its place.
pub(super) fn sketched(
    matrix: &Sparse,
    width: usize,
    places: &[(usize, f32)],
    threads: usize,
    progress: &Progress,
) -> Result<Mat<f32>> {
    summed(matrix, width, threads, |start, texts, sums| {
        progress.check()?;
        for text in texts {
            let (place, sign) = places[text];
            if (start..start + STRIP).contains(&place) {
                let (columns, values) = matrix.entries(text);
                for (&column, value) in columns.iter().zip(values) {
                    sums[column as usize].0[place - start] += sign * value;
                }
            }
        }
        Ok(())
    })
}

/// `matrix × dense`, whose rows, like those of `dense`, are columns of the `Mat`.
pub(super) fn product(
    matrix: &Sparse,
    dense: &Mat<f32>,
    threads: usize,
    progress: &Progress,
) -> Result<Mat<f32>> {
    let parts =
        parallel::map_parts(pieces(matrix, dense.nrows()), threads, |_, (start, texts)| {
            let strip = strip(dense, start);
            let mut rows = vec![ZEROS; texts.len()];
            for (first, rows) in texts.clone().step_by(STEP).zip(rows.chunks_mut(STEP)) {
                progress.check()?;
                forward(matrix, first, &strip, rows);
            }
            Ok(Part { strip: start, first: texts.start, rows })
        })?;
    joined(&parts, dense.nrows(), matrix.rows(), threads)
}

/// `matrixᵀ × (matrix × dense)`, both products of a row while its words' rows are in the cache.
pub(super) fn normal_product(
    matrix: &Sparse,
    dense: &Mat<f32>,
    threads: usize,
    progress: &Progress,
) -> Result<Mat<f32>> {
    summed(matrix, dense.nrows(), threads, |start, texts, sums| {
        let strip = strip(dense, start);
        for first in texts.clone().step_by(STEP) {
            progress.check()?;
            forward_and_back(matrix, first, texts.end.min(first + STEP), &strip, sums);
        }
        Ok(())
    })
}

/// `matrixᵀ × dense`, whose rows are columns of the `Mat`.
pub(super) fn back_product(
    matrix: &Sparse,
    dense: &Mat<f32>,
    threads: usize,
    progress: &Progress,
) -> Result<Mat<f32>> {
    summed(matrix, dense.nrows(), threads, |start, texts, sums| {
        let strip = strip(dense, start);
        for first in texts.clone().step_by(STEP) {
            progress.check()?;
            back(matrix, first, texts.end.min(first + STEP), &strip, sums);
        }
        Ok(())
    })
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
    threads: usize,
    add: impl Fn(usize, Range<usize>, &mut [Row]) -> Result<()> + Sync,
) -> Result<Mat<f32>> {
    let whole: Vec<_> = (0..width).step_by(STRIP).map(|_| Mutex::default()).collect();
    parallel::map_parts(pieces(matrix, width), threads, |_, (start, texts)| {
        let mut sums = vec![ZEROS; matrix.columns()];
        add(start, texts, &mut sums)?;
        let strip: &Mutex<Option<Vec<Row>>> = &whole[start / STRIP];
        let mut strip = strip.lock().unwrap_or_else(PoisonError::into_inner);
        // Which half is first makes no difference: a + b is b + a.
        let Some(held) = strip.as_mut() else {
            *strip = Some(sums);
            return Ok(());
        };
        for (sum, more) in held.iter_mut().zip(&sums) {
            sum.0.iter_mut().zip(&more.0).for_each(|(sum, more)| *sum += more);
        }
        Ok(())
    })?;
    let rows =
        whole.into_iter().map(|sums| sums.into_inner().unwrap_or_else(PoisonError::into_inner));
    let parts: Vec<Part> = (0..width)
        .step_by(STRIP)
        .zip(rows)
        .map(|(strip, rows)| Part { strip, first: 0, rows: rows.unwrap_or_default() })
        .collect();
    joined(&parts, width, matrix.columns(), threads)
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
fn strip(dense: &Mat<f32>, start: usize) -> Vec<Row> {
    let count = STRIP.min(dense.nrows() - start);
    let mut rows = vec![ZEROS; dense.ncols()];
    for (row, column) in rows.iter_mut().zip(dense.col_iter()) {
        let column = column.subrows(start, count);
        row.0[..count].iter_mut().zip(column.iter()).for_each(|(to, from)| *to = *from);
    }
    rows
}

/// Parts of all rows and strips, side by side.
fn joined(parts: &[Part], width: usize, columns: usize, threads: usize) -> Result<Mat<f32>> {
    let mut whole = Mat::zeros(width, columns);
    parallel::map_parts(blocks(&mut whole), threads, |_, (start, mut block)| {
        for Part { strip, first, rows } in parts {
            let from = start.max(*first);
            let to = (start + block.ncols()).min(first + rows.len());
            for column in from..to {
                let values = block.as_mut().col_mut(column - start).subrows_mut(*strip, STRIP);
                values.iter_mut().zip(&rows[column - first].0).for_each(|(to, from)| *to = *from);
            }
        }
        Ok(())
    })?;
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
        let once = product(&matrix, &dense, 2, &progress).expect("product");
        let twice = normal_product(&matrix, &dense, 2, &progress).expect("product");
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
        let back = back_product(&matrix, &once, 2, &progress).expect("product");
        for word in 0..words as usize {
            for at in 0..96 {
                let (one, other) = (f64::from(back[(at, word)]), f64::from(twice[(at, word)]));
                assert!((one - other).abs() < 1e-4 * (1.0 + other.abs()));
            }
        }
        for threads in [1, 4] {
            let again = normal_product(&matrix, &dense, threads, &progress).expect("product");
            assert_eq!(again, twice);
        }
    }
}
