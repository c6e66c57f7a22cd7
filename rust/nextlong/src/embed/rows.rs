//! Weighted sums of rows: the arithmetic that every vector comes from.
//!
//! Each value of the sum is a chain of one multiplication and one addition a term, in the order of
//! the terms; nothing is fused and nothing depends on how many lanes a processor has. So the same
//! terms give the same bits on any machine.

use std::hint::black_box;

use multiversion::multiversion;

use crate::error::Result;
use crate::parallel;

/// The values of one line of memory.
const LINE: usize = 64;
/// Terms whose rows are asked for together: with 256 values a row, the first-level cache holds them.
const GROUP: usize = 128;
/// The values summed at once: they stay in the registers.
const PANEL: usize = 96;
/// Rows that one thread writes at a time.
const BLOCK: usize = 4096;

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([i8; LINE]);

/// Rows of int8, each at the start of a line of memory and filled up with zeros.
#[derive(Debug, Clone)]
pub(super) struct ByteRows {
    lines: Vec<Line>,
    lines_per_row: usize,
}

impl ByteRows {
    /// Takes `values`, row-major, `dim` to a row.
    pub(super) fn new(values: &[i8], dim: usize) -> Self {
        let mut rows = Self::zeros(values.len() / dim, dim);
        for (to, row) in rows.lines.chunks_exact_mut(rows.lines_per_row).zip(values.chunks(dim)) {
            write_row(to, row);
        }
        rows
    }

    fn zeros(rows: usize, dim: usize) -> Self {
        let lines_per_row = dim.div_ceil(LINE);
        Self { lines: vec![Line([0; LINE]); rows * lines_per_row], lines_per_row }
    }

    /// Rows for `sources`, each written from the slice that `row` gives for it; zeros where it gives none.
    pub(super) fn of<'a, S: Sync>(
        sources: &[S],
        dim: usize,
        threads: usize,
        row: impl Fn(&S) -> Option<&'a [i8]> + Sync,
    ) -> Result<Self> {
        let mut rows = Self::zeros(sources.len(), dim);
        let blocks = rows.lines.chunks_mut(BLOCK * rows.lines_per_row);
        parallel::map_parts(sources.chunks(BLOCK).zip(blocks), threads, |_, (sources, lines)| {
            for (source, to) in sources.iter().zip(lines.chunks_exact_mut(dim.div_ceil(LINE))) {
                if let Some(row) = row(source) {
                    write_row(to, row);
                }
            }
            Ok(())
        })?;
        Ok(rows)
    }

    /// The values that [`ByteRows::sum`] writes: `dim` and the zeros after it.
    pub(super) fn width(&self) -> usize {
        self.lines_per_row * LINE
    }

    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        self.lines.len() / self.lines_per_row
    }

    /// The values as bytes, `dim` to a row.
    pub(super) fn bytes(&self, dim: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len() * dim);
        for row in self.lines.chunks_exact(self.lines_per_row) {
            for (number, line) in row.iter().enumerate() {
                let values = &line.0[..LINE.min(dim - number * LINE)];
                bytes.extend(values.iter().map(|value| value.cast_unsigned()));
            }
        }
        bytes
    }

    /// Writes the sum of `weight × row` over `terms` (row, weight) to `out`.
    pub(super) fn sum(&self, terms: &[(u32, f32)], out: &mut [f32]) {
        out.fill(0.0);
        for terms in terms.chunks(GROUP) {
            self.ask_for(terms);
            sum_bytes(&self.lines, self.lines_per_row, terms, out);
        }
    }

    /// Reads a byte of every line of some rows, so that many are on their way to the cache at once.
    ///
    /// In the sums there is so much to do for a line that a processor sees few lines ahead.
    fn ask_for(&self, terms: &[(u32, f32)]) {
        let lines =
            |row: u32| &self.lines[row as usize * self.lines_per_row..][..self.lines_per_row];
        let lines = terms.iter().flat_map(|&(row, _)| lines(row));
        black_box(lines.fold(0, |all, line| all ^ line.0[0]));
    }
}

/// Writes a row to its lines, zeros after it.
fn write_row(lines: &mut [Line], row: &[i8]) {
    for (line, part) in lines.iter_mut().zip(row.chunks(LINE)) {
        line.0[..part.len()].copy_from_slice(part);
    }
}

/// Adds the terms to `out`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn sum_bytes(lines: &[Line], lines_per_row: usize, terms: &[(u32, f32)], out: &mut [f32]) {
    for (number, out) in out.chunks_exact_mut(LINE).enumerate() {
        let mut sums = [0.0f32; LINE];
        sums.copy_from_slice(out);
        for &(row, weight) in terms {
            let line = &lines[row as usize * lines_per_row + number];
            for (sum, &value) in sums.iter_mut().zip(&line.0) {
                *sum += weight * f32::from(value);
            }
        }
        out.copy_from_slice(&sums);
    }
}

/// Writes the sum of `weight × row` over `terms` (row, weight) to `out`, all of one length.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub(super) fn sum_floats<'a>(
    terms: impl Iterator<Item = (&'a [f32], f32)> + Clone,
    out: &mut [f32],
) {
    let whole = out.len() / PANEL * PANEL;
    let (panels, rest) = out.split_at_mut(whole);
    for (number, out) in panels.chunks_exact_mut(PANEL).enumerate() {
        let mut sums = [0.0f32; PANEL];
        for (row, weight) in terms.clone() {
            for (sum, &value) in sums.iter_mut().zip(&row[number * PANEL..(number + 1) * PANEL]) {
                *sum += weight * value;
            }
        }
        out.copy_from_slice(&sums);
    }
    rest.fill(0.0);
    for (row, weight) in terms {
        for (sum, &value) in rest.iter_mut().zip(&row[whole..]) {
            *sum += weight * value;
        }
    }
}

/// Scales `values` to length 1; leaves zeros and gives false when they have no length.
pub(super) fn normalise(values: &mut [f32]) -> bool {
    // Eight sums in a fixed order: fast, and the same on every processor.
    let mut sums = [0.0f64; 8];
    for group in values.chunks(8) {
        for (sum, &value) in sums.iter_mut().zip(group) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    let length = sums.iter().sum::<f64>().sqrt();
    if !(length.is_finite() && length > 0.0) {
        values.fill(0.0);
        return false;
    }
    let scale = 1.0 / length;
    for value in values {
        *value = (f64::from(*value) * scale) as f32;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_those_of_plain_loops_to_the_bit() {
        for dim in [1, 63, 64, 96, 100, 256, 300] {
            let values: Vec<i8> = (0..50 * dim).map(|at| ((at * 37) % 255) as u8 as i8).collect();
            let floats: Vec<f32> = values.iter().map(|&value| f32::from(value) * 0.37).collect();
            let terms: Vec<(u32, f32)> =
                (0..300).map(|at| ((at * 13 % 50) as u32, 1.0 / (at as f32 + 3.0))).collect();
            let mut plain = vec![[0.0f32; 2]; dim];
            for &(row, weight) in &terms {
                for (at, sum) in plain.iter_mut().enumerate() {
                    sum[0] += weight * f32::from(values[row as usize * dim + at]);
                    sum[1] += weight * floats[row as usize * dim + at];
                }
            }
            let rows = ByteRows::new(&values, dim);
            let mut out = vec![1.0; rows.width()];
            rows.sum(&terms, &mut out);
            assert!(plain.iter().zip(&out).all(|(sum, out)| sum[0].to_bits() == out.to_bits()));
            assert!(out[dim..].iter().all(|&value| value == 0.0));
            let mut out = vec![1.0; dim];
            let terms = terms.iter().map(|&(row, weight)| {
                (&floats[row as usize * dim..(row as usize + 1) * dim], weight)
            });
            sum_floats(terms, &mut out);
            assert!(plain.iter().zip(&out).all(|(sum, out)| sum[1].to_bits() == out.to_bits()));
            assert!(rows.bytes(dim).into_iter().map(u8::cast_signed).eq(values));
        }
    }

    #[test]
    fn a_row_is_scaled_to_length_one_or_stays_zero() {
        let mut values = vec![3.0, 0.0, -4.0];
        assert!(normalise(&mut values));
        assert_eq!(values, [0.6, 0.0, -0.8]);
        for mut nothing in [vec![0.0; 5], vec![f32::NAN, 1.0], vec![]] {
            assert!(!normalise(&mut nothing));
            assert!(nothing.iter().all(|&value| value == 0.0));
        }
    }
}
