//! The matrix product of the exact scan: int8 rows against int8 rows, sums exact in `i32`.
//!
//! numkong picks the kernel of the processor at run time. The sums are whole numbers, so they are
//! the same on every processor, in every block order and at any thread count.

use std::cell::Cell;
use std::sync::{Arc, OnceLock};

use numkong::capabilities::{self, cap};
use numkong::matrix::{Dots, PackedMatrix};
use numkong::tensor::{Matrix, SIMD_ALIGNMENT, TensorError};

use crate::error::{Error, Result};
use crate::index::arena::{Arena, Home};

/// Some rows in the layout that the processor's kernel wants.
pub struct Packed {
    matrix: PackedMatrix<i8, Home>,
    /// The rows; what the matrix has more fills up its shape.
    len: usize,
}

/// Some int8 rows, row-major, where a kernel can read them.
pub struct Rows {
    matrix: Matrix<i8>,
    len: usize,
}

/// Room for the scores of one block of queries against one block of rows.
pub struct Scores {
    buffer: Matrix<i32>,
    /// The packed rows of the last product, whose scores are at the front of the buffer.
    width: usize,
}

/// The shapes in which a kernel is fast.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Queries come in multiples of it; of others the tiles are filled by hand.
    queries: usize,
    /// So do packed rows.
    packed: usize,
    /// Packed rows are at least this many times the queries, or sums are held in memory.
    wider: usize,
}

impl Shape {
    fn of_kernel() -> Self {
        match kernel() {
            "amx" => Self { queries: 32, packed: 32, wider: 0 },
            _ => Self { queries: 1, packed: 8, wider: 2 },
        }
    }
}

/// The queries, at most `most`, that are best multiplied at a time with `rows` packed rows.
#[must_use]
pub fn together(rows: usize, most: usize) -> usize {
    /// A multiple that suits all kernels.
    const STEP: usize = 16;
    let wide = rows.checked_div(Shape::of_kernel().wider).unwrap_or(most);
    (wide / STEP * STEP).clamp(STEP, most.max(STEP))
}

impl Rows {
    /// `count` rows of `dim` zeros, to be multiplied with packed ones.
    ///
    /// # Errors
    ///
    /// [`Error::Retrieval`] when there is no memory or no row.
    pub fn zeros(count: usize, dim: usize) -> Result<Self> {
        Self::filled_up(count, Shape::of_kernel().queries, dim)
    }

    /// `count` rows of `dim` zeros, to be packed.
    ///
    /// # Errors
    ///
    /// As [`Rows::zeros`].
    pub fn to_pack(count: usize, dim: usize) -> Result<Self> {
        Self::filled_up(count, Shape::of_kernel().packed, dim)
    }

    fn filled_up(count: usize, step: usize, dim: usize) -> Result<Self> {
        let matrix = Matrix::try_zeros(&[count.next_multiple_of(step), dim]);
        matrix.map(|matrix| Self { matrix, len: count }).map_err(|error| failed(&error))
    }

    /// Makes it `count` rows of any values, in the same memory where that has their shape.
    ///
    /// # Errors
    ///
    /// As [`Rows::zeros`].
    pub fn resize(&mut self, count: usize) -> Result<()> {
        let [held, dim] = [self.matrix.shape()[0], self.matrix.shape()[1]];
        if count.next_multiple_of(Shape::of_kernel().queries) == held {
            self.len = count;
        } else {
            *self = Self::zeros(count, dim)?;
        }
        Ok(())
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
        let end = self.len * self.matrix.shape()[1];
        &mut self.matrix.as_mut_slice()[..end]
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The same rows in the layout of the kernel.
    ///
    /// # Errors
    ///
    /// [`Error::Retrieval`] when there is no memory.
    pub fn pack(&self) -> Result<Packed> {
        self.pack_at(Home::Alone)
    }

    /// As [`Rows::pack`], in an arena while it has space.
    ///
    /// # Errors
    ///
    /// As [`Rows::pack`].
    pub fn pack_in(&self, arena: &Arc<Arena>) -> Result<Packed> {
        self.pack_at(Home::In(Arc::clone(arena))).or_else(|_| self.pack())
    }

    fn pack_at(&self, home: Home) -> Result<Packed> {
        configure();
        let packed = PackedMatrix::try_pack_in(&self.matrix, home);
        packed.map(|matrix| Packed { matrix, len: self.len }).map_err(|error| failed(&error))
    }
}

/// The bytes that `count` rows take in an arena once they are packed.
#[must_use]
pub fn packed_bytes(count: usize, dim: usize) -> usize {
    let filled_up = count.next_multiple_of(Shape::of_kernel().packed);
    i8::dots_packed_size(filled_up, dim).next_multiple_of(SIMD_ALIGNMENT)
}

impl Packed {
    /// The number of rows that were packed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }
}

impl Scores {
    /// Room for `queries` × `rows` scores; it grows when more are computed.
    ///
    /// # Errors
    ///
    /// [`Error::Retrieval`] when there is no memory.
    pub fn zeros(queries: usize, rows: usize) -> Result<Self> {
        let buffer = Matrix::try_zeros(&[queries, rows]).map_err(|error| failed(&error))?;
        Ok(Self { buffer, width: rows })
    }

    /// Computes every query's product with every row; reallocates if the buffer is too small.
    ///
    /// # Errors
    ///
    /// [`Error::Retrieval`] when there is no memory or the dimensions differ.
    pub fn fill(&mut self, queries: &Rows, rows: &Packed) -> Result<()> {
        configure();
        let (height, width) = (queries.matrix.shape()[0], rows.matrix.dims().0);
        let (high, wide) = (self.buffer.shape()[0], self.buffer.shape()[1]);
        if high < height || wide < width {
            *self = Self::zeros(high.max(height), wide.max(width))?;
        }
        self.width = rows.len;
        let mut some =
            self.buffer.slice_mut((0..height, 0..width)).map_err(|error| failed(&error))?;
        let into = queries.matrix.try_dots_packed_into(&rows.matrix, &mut some);
        into.map_err(|error| failed(&error))
    }

    /// The scores of query `query`, one a row.
    #[must_use]
    pub fn of(&self, query: usize) -> &[i32] {
        let stride = self.buffer.shape()[1];
        &self.buffer.as_slice()[query * stride..][..self.width]
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

/// The names of the kernels, in the order in which numkong looks for an int8 product.
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

/// Has numkong take the kernel that the environment variable `NEXTLONG_KERNEL` names, by a name of
/// [`kernel`], instead of the processor's best: to measure it, or to find out whether one is broken.
/// What is found is the same.
///
/// # Errors
///
/// [`Error::Config`] for a kernel that there is not or that the processor lacks.
pub fn obey_environment() -> Result<()> {
    taken().as_ref().map(drop).map_err(|message| Error::Config(message.clone()))
}

/// The name of the int8 kernel that numkong takes on this processor; `"serial"` is the slow one.
#[must_use]
pub fn kernel() -> &'static str {
    taken().as_ref().copied().unwrap_or("serial")
}

/// The kernel that is taken, found once and for all: asking a processor takes long.
fn taken() -> &'static std::result::Result<&'static str, String> {
    static TAKEN: OnceLock<std::result::Result<&str, String>> = OnceLock::new();
    TAKEN.get_or_init(|| {
        let available = capabilities::available() | cap::SERIAL;
        let mut known = KERNELS.iter().filter(|(bit, _)| available & bit != 0);
        let wanted = std::env::var_os("NEXTLONG_KERNEL").filter(|name| !name.is_empty());
        let Some(wanted) = wanted else {
            let best = known.next().filter(|_| capabilities::uses_dynamic_dispatch());
            return Ok(best.map_or("serial", |best| best.1));
        };
        let names: Vec<&str> = known.clone().map(|kernel| kernel.1).collect();
        let Some(&(bit, name)) = known.find(|(_, name)| wanted == **name) else {
            let (wanted, names) = (wanted.display(), names.join(", "));
            return Err(format!("NEXTLONG_KERNEL is {wanted}; this processor has {names}"));
        };
        use_only(bit | cap::SERIAL);
        Ok(name)
    })
}

#[allow(unsafe_code, reason = "numkong's Rust side cannot switch kernels off")]
fn use_only(kernels: u64) {
    unsafe extern "C" {
        fn nk_dispatch_table_update(capabilities: u64);
    }
    // SAFETY: the processor has these kernels, and no product was made yet: the shape of the first
    // rows asks for the kernel.
    unsafe { nk_dispatch_table_update(kernels) };
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
            let mut left = Rows::zeros(queries, dim).expect("memory");
            let mut right = Rows::zeros(rows, dim).expect("memory");
            let mut rng = crate::seed::Rng::new(1, "test", dim as u64);
            for value in left.values().iter_mut().chain(right.values()) {
                *value = (rng.below(255) as i16 - 127) as i8;
            }
            left.values()[..dim].fill(127);
            right.values()[..dim].fill(-127);
            let mut scores = Scores::zeros(1, 1).expect("memory");
            scores.fill(&left, &right.pack().expect("packed")).expect("product");
            for query in 0..queries {
                for row in 0..rows {
                    let a = &left.values()[query * dim..][..dim].to_vec();
                    let b = &right.values()[row * dim..][..dim].to_vec();
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
