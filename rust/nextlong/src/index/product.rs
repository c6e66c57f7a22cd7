//! The matrix product of the exact scan: int8 rows against int8 rows, sums exact in `i32`.
//!
//! numkong picks the kernel of the processor at run time. The sums are whole numbers, so they are
//! the same on every processor, in every block order and at any thread count.

use std::cell::Cell;

use numkong::capabilities::{self, cap};
use numkong::matrix::PackedMatrix;
use numkong::tensor::{Matrix, TensorError};

use crate::error::{Error, Result};

/// Some rows in the layout that the processor's kernel wants.
pub struct Packed(PackedMatrix<i8>);

/// Some int8 rows, row-major, where a kernel can read them.
pub struct Rows(Matrix<i8>);

/// Room for the scores of one block of queries against one block of rows.
pub struct Scores {
    room: Matrix<i32>,
    /// The queries and rows of the last product, at the front of the room.
    shape: (usize, usize),
}

/// The kernels of AVX-512 are fastest where rows are a multiple of so many and at least twice the
/// queries; of other shapes they hold the sums in memory.
const STEP: usize = 8;

/// Queries are best a multiple of what a matrix tile holds.
const TILE: usize = 16;

/// `count` or a few more, so that the products of so many packed rows are fast.
#[must_use]
pub fn even(count: usize) -> usize {
    count.next_multiple_of(STEP)
}

/// The queries, at most `most`, that are best multiplied at a time with `rows` packed rows.
#[must_use]
pub fn together(rows: usize, most: usize) -> usize {
    (rows / 2 / TILE * TILE).clamp(TILE, most.max(TILE))
}

impl Rows {
    /// `count` rows of `dim` zeros.
    ///
    /// # Errors
    ///
    /// [`Error::Retrieval`] when there is no memory or no row.
    pub fn zeros(count: usize, dim: usize) -> Result<Self> {
        Matrix::try_zeros(&[count, dim]).map(Self).map_err(|error| failed(&error))
    }

    /// A copy of some rows, row-major.
    ///
    /// # Errors
    ///
    /// As [`Rows::zeros`].
    pub fn of(values: &[i8], dim: usize) -> Result<Self> {
        let mut rows = Self::zeros(values.len() / dim.max(1), dim)?;
        rows.values().copy_from_slice(values);
        Ok(rows)
    }

    /// The values, row after row.
    #[must_use]
    pub fn values(&mut self) -> &mut [i8] {
        self.0.as_mut_slice()
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.shape()[0]
    }

    /// Never: [`Rows::zeros`] refuses to make no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same rows in the layout of the kernel.
    ///
    /// # Errors
    ///
    /// [`Error::Retrieval`] when there is no memory.
    pub fn pack(&self) -> Result<Packed> {
        configure();
        PackedMatrix::try_pack(&self.0).map(Packed).map_err(|error| failed(&error))
    }
}

impl Packed {
    /// The number of rows that were packed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.dims().0
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Scores {
    /// Room for `queries` × `rows` scores; it grows when more are computed.
    ///
    /// # Errors
    ///
    /// [`Error::Retrieval`] when there is no memory.
    pub fn zeros(queries: usize, rows: usize) -> Result<Self> {
        let room = Matrix::try_zeros(&[queries, rows]).map_err(|error| failed(&error))?;
        Ok(Self { room, shape: (queries, rows) })
    }

    /// Computes every query's product with every row; makes new room if there is too little.
    ///
    /// # Errors
    ///
    /// [`Error::Retrieval`] when there is no memory or the dimensions differ.
    pub fn fill(&mut self, queries: &Rows, rows: &Packed) -> Result<()> {
        configure();
        let (height, width) = (queries.len(), rows.len());
        let (high, wide) = (self.room.shape()[0], self.room.shape()[1]);
        if high < height || wide < width {
            *self = Self::zeros(high.max(height), wide.max(width))?;
        }
        self.shape = (height, width);
        let mut some =
            self.room.slice_mut((0..height, 0..width)).map_err(|error| failed(&error))?;
        queries.0.try_dots_packed_into(&rows.0, &mut some).map_err(|error| failed(&error))
    }

    /// The scores of query `query`, one a row.
    #[must_use]
    pub fn of(&self, query: usize) -> &[i32] {
        let stride = self.room.shape()[1];
        &self.room.as_slice()[query * stride..][..self.shape.1]
    }
}

/// Allows this thread the tile registers, where the processor has them.
fn configure() {
    thread_local! { static READY: Cell<bool> = const { Cell::new(false) } }
    if !READY.get() {
        capabilities::configure_thread();
        READY.set(true);
    }
}

/// The name of the int8 kernel that numkong takes on this processor; `"serial"` is the slow one.
#[must_use]
pub fn kernel() -> &'static str {
    // In the order in which numkong looks for an int8 product.
    const KERNELS: [(u64, &str); 13] = [
        (cap::V128RELAXED, "relaxed simd"),
        (cap::SME, "sme"),
        (cap::NEONSDOT, "neon sdot"),
        (cap::NEON, "neon"),
        (cap::SAPPHIREAMX, "amx"),
        (cap::ICELAKE, "avx-512 vnni"),
        (cap::SIERRA, "avx-vnni-int8"),
        (cap::ALDER, "avx-vnni"),
        (cap::HASWELL, "avx2"),
        (cap::POWERVSX, "vsx"),
        (cap::LOONGSONASX, "lasx"),
        (cap::RVV, "rvv"),
        (cap::SERIAL, "serial"),
    ];
    let available = capabilities::available();
    let found = KERNELS.iter().find(|(bit, _)| available & bit != 0);
    if capabilities::uses_dynamic_dispatch() {
        found.map_or("serial", |found| found.1)
    } else {
        "serial"
    }
}

fn failed(error: &TensorError) -> Error {
    Error::Retrieval(format!("the int8 product failed: {error:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_exact() {
        for (queries, rows, dim) in [(1, 1, 1), (3, 70, 33), (64, 130, 256), (5, 9, 4096)] {
            let mut left = Rows::zeros(queries, dim).expect("room");
            let mut right = Rows::zeros(rows, dim).expect("room");
            let mut rng = crate::seed::Rng::new(1, "test", dim as u64);
            for value in left.values().iter_mut().chain(right.values()) {
                *value = (rng.below(255) as i16 - 127) as i8;
            }
            left.values()[..dim].fill(127);
            right.values()[..dim].fill(-127);
            let mut scores = Scores::zeros(1, 1).expect("room");
            scores.fill(&left, &right.pack().expect("packed")).expect("product");
            for query in 0..queries {
                for row in 0..rows {
                    let a = &left.0.as_slice()[query * dim..][..dim];
                    let b = &right.0.as_slice()[row * dim..][..dim];
                    let sum: i32 =
                        a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
                    assert_eq!(scores.of(query)[row], sum);
                }
            }
        }
    }

    #[test]
    fn the_kernel_has_a_name() {
        assert!(!kernel().is_empty());
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            assert_ne!(kernel(), "serial");
        }
    }
}
