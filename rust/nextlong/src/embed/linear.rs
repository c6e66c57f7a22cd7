//! The linear algebra of the fit: tall matrices by blocks, small ones by faer.
//!
//! A tall matrix is kept with one *column* for each of its rows, so that a row is one slice. The
//! blocks have a fixed size and their results are added in order: the number of threads decides
//! who computes a block, never what comes out.

use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::matmul::{self};
use faer::{Accum, Mat, MatMut, Par, Side};

use crate::error::{Error, Result};
use crate::parallel;
use crate::progress::Progress;
use crate::seed::Rng;

/// The columns that one thread takes at a time.
const BLOCK: usize = 1024;

/// A direction whose share of the strongest one is below this is noise of the float32 sums.
const NOISE: f64 = 1e-10;

/// What is added to all eigenvalues, as a share of the largest value, while they are looked for.
/// Those of noise alone, twenty orders of magnitude below the first, may not converge otherwise.
const LIFTS: [f64; 3] = [1e-12, 1e-10, 1e-8];

/// Cuts a matrix into blocks of columns, each with the number of its first column.
pub(super) fn blocks(matrix: &mut Mat<f32>) -> Vec<(usize, MatMut<'_, f32>)> {
    let mut rest = matrix.as_mut();
    let mut start = 0;
    let mut blocks = Vec::new();
    while rest.ncols() > 0 {
        let columns = BLOCK.min(rest.ncols());
        let (block, after) = rest.split_at_col_mut(columns);
        blocks.push((start, block));
        start += BLOCK;
        rest = after;
    }
    blocks
}

/// The sum over all columns of `column × columnᵀ`, its lower half, in float64.
fn gram(tall: &Mat<f32>, threads: usize, progress: &Progress) -> Result<Mat<f64>> {
    let width = tall.nrows();
    let starts = (0..tall.ncols()).step_by(BLOCK);
    let parts = parallel::map_parts(starts, threads, |_, start| {
        progress.check()?;
        let block = tall.subcols(start, BLOCK.min(tall.ncols() - start));
        let block =
            Mat::from_fn(width, block.ncols(), |row, column| f64::from(block[(row, column)]));
        let mut part = Mat::zeros(width, width);
        triangular::matmul(
            &mut part,
            BlockStructure::TriangularLower,
            Accum::Replace,
            &block,
            BlockStructure::Rectangular,
            block.transpose(),
            BlockStructure::Rectangular,
            1.0,
            Par::Seq,
        );
        Ok(part)
    })?;
    let mut sum = Mat::zeros(width, width);
    for part in &parts {
        sum += part;
    }
    Ok(sum)
}

/// The sum over all columns of `left column × right columnᵀ`, in float64; its lower half is enough
/// where it is symmetric.
pub(super) fn cross(
    left: &Mat<f32>,
    right: &Mat<f32>,
    threads: usize,
    progress: &Progress,
) -> Result<Mat<f64>> {
    let starts = (0..left.ncols()).step_by(BLOCK);
    let parts = parallel::map_parts(starts, threads, |_, start| {
        progress.check()?;
        let columns = BLOCK.min(left.ncols() - start);
        let wide = |mat: &Mat<f32>| {
            Mat::from_fn(mat.nrows(), columns, |row, at| f64::from(mat[(row, start + at)]))
        };
        let (left, right) = (wide(left), wide(right));
        let mut part = Mat::zeros(left.nrows(), right.nrows());
        matmul::matmul(&mut part, Accum::Replace, &left, right.transpose(), 1.0, Par::Seq);
        Ok(part)
    })?;
    let mut sum = Mat::zeros(left.nrows(), right.nrows());
    for part in &parts {
        sum += part;
    }
    Ok(sum)
}

/// The directions of the tall matrix, strongest first: its right singular vectors, one a column,
/// and the squares of its singular values, 0 where there is only noise.
pub(super) fn directions(
    tall: &Mat<f32>,
    threads: usize,
    progress: &Progress,
) -> Result<(Mat<f64>, Vec<f64>)> {
    directions_of_gram(&gram(tall, threads, progress)?)
}

/// As [`directions`], of a matrix whose product with its own transpose is given (its lower half).
pub(super) fn directions_of_gram(gram: &Mat<f64>) -> Result<(Mat<f64>, Vec<f64>)> {
    let width = gram.nrows();
    let largest = (0..width).fold(0.0f64, |largest, at| largest.max(gram[(at, at)]));
    let lifted = |share: f64| {
        let mut lifted = gram.clone();
        for at in 0..width {
            lifted[(at, at)] += share * largest;
        }
        Some((lifted.self_adjoint_eigen(Side::Lower).ok()?, share * largest))
    };
    let (eigen, lift) = LIFTS.into_iter().find_map(lifted).ok_or_else(|| {
        Error::Embedding("the texts' word matrix has no eigenvalues; use another seed".into())
    })?;
    let vectors = Mat::from_fn(width, width, |row, column| eigen.U()[(row, width - 1 - column)]);
    let mut squares: Vec<f64> = (0..width).map(|at| eigen.S()[width - 1 - at] - lift).collect();
    let least = squares[0] * NOISE;
    for square in &mut squares {
        if square.is_nan() || *square <= least {
            *square = 0.0;
        }
    }
    Ok((vectors, squares))
}

/// Makes the columns of the tall matrix (the rows here) orthonormal; what is noise becomes zero.
pub(super) fn orthonormalise(
    tall: &mut Mat<f32>,
    threads: usize,
    progress: &Progress,
) -> Result<()> {
    let (vectors, squares) = directions(tall, threads, progress)?;
    let rotation = whitening(&vectors, &squares);
    *tall = rotate(tall, &rotation, threads, progress)?;
    Ok(())
}

/// The matrix that makes the columns of a tall matrix (the rows here) orthonormal, given its
/// [`directions`]; what is noise becomes zero.
pub(super) fn whitening(vectors: &Mat<f64>, squares: &[f64]) -> Mat<f32> {
    let width = vectors.nrows();
    Mat::from_fn(width, width, |row, column| {
        if squares[column] == 0.0 {
            0.0
        } else {
            (vectors[(row, column)] / squares[column].sqrt()) as f32
        }
    })
}

/// `rotationᵀ × column` for every column of the tall matrix.
pub(super) fn rotate(
    tall: &Mat<f32>,
    rotation: &Mat<f32>,
    threads: usize,
    progress: &Progress,
) -> Result<Mat<f32>> {
    let mut turned = Mat::zeros(rotation.ncols(), tall.ncols());
    parallel::map_parts(blocks(&mut turned), threads, |_, (start, block)| {
        progress.check()?;
        let source = tall.subcols(start, block.ncols());
        matmul::matmul(block, Accum::Replace, rotation.transpose(), source, 1.0, Par::Seq);
        Ok(())
    })?;
    Ok(turned)
}

/// A random orthogonal matrix, `dim` by `dim`: turns the vectors of one group away from those of the
/// others. Blocks of powers of two are mixed by Hadamard matrices with random signs, after a random
/// permutation.
pub(super) fn rotation(dim: usize, rng: &mut Rng) -> Mat<f32> {
    let mut order: Vec<usize> = (0..dim).collect();
    for last in (1..dim).rev() {
        order.swap(last, rng.below(last as u64 + 1) as usize);
    }
    let signs: Vec<f32> = (0..dim).map(|_| if rng.bits() & 1 == 0 { 1.0 } else { -1.0 }).collect();
    let mut rotation = Mat::zeros(dim, dim);
    let mut start = 0;
    while start < dim {
        let size: usize = 1 << (dim - start).ilog2();
        let scale = 1.0 / (size as f32).sqrt();
        for row in 0..size {
            for column in 0..size {
                let hadamard = if (row & column).count_ones() % 2 == 0 { scale } else { -scale };
                rotation[(order[start + row], start + column)] = hadamard * signs[start + row];
            }
        }
        start += size;
    }
    rotation
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(rows: usize, columns: usize) -> Mat<f32> {
        let mut rng = Rng::new(1, "test", 0);
        let mut matrix = Mat::zeros(rows, columns);
        for column in 0..columns {
            for row in 0..rows {
                matrix[(row, column)] = rng.uniform() as f32 - 0.5;
            }
        }
        matrix
    }

    #[test]
    fn an_orthonormal_matrix_has_the_identity_as_its_gram() {
        let progress = Progress::default();
        let mut tall = random(12, 3000);
        // Two equal rows: one direction is lost and must become zero.
        for column in 0..3000 {
            tall[(11, column)] = tall[(10, column)];
        }
        orthonormalise(&mut tall, 2, &progress).expect("orthonormal");
        let gram = gram(&tall, 1, &progress).expect("gram");
        for row in 0..12 {
            for column in 0..=row {
                let expected = f64::from(row == column && row < 11);
                assert!((gram[(row, column)] - expected).abs() < 1e-5, "{row} {column}");
            }
        }
    }

    #[test]
    fn a_rotation_is_orthogonal() {
        for dim in [1, 7, 256, 300] {
            let turn = rotation(dim, &mut Rng::new(5, "rotation", 0));
            let gram = turn.transpose() * &turn;
            for row in 0..dim {
                for column in 0..dim {
                    let expected = f32::from(u8::from(row == column));
                    assert!((gram[(row, column)] - expected).abs() < 1e-5, "{dim} {row} {column}");
                }
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let progress = Progress::default();
        let make = |threads| {
            let mut tall = random(33, 5000);
            orthonormalise(&mut tall, threads, &progress).expect("orthonormal");
            tall
        };
        let one = make(1);
        for threads in [2, 4] {
            let other = make(threads);
            assert!(
                (0..5000)
                    .all(|c| (0..33).all(|r| one[(r, c)].to_bits() == other[(r, c)].to_bits()))
            );
        }
    }
}
