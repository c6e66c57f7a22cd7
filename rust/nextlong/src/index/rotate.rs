//! One fixed rotation of all vectors, so that no value of a row is much larger than the others.
//!
//! Signs by place and the fast Walsh-Hadamard transform. Only additions, subtractions and products
//! with a constant, in one order: the same bits on every processor.

use multiversion::multiversion;

/// Period of the signs.
const PERIOD: usize = 1024;

/// A sign for each place, without a pattern.
const SIGNS: [f32; PERIOD] = signs();

const fn signs() -> [f32; PERIOD] {
    let mut signs = [1.0; PERIOD];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut place = 0;
    while place < PERIOD {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if state >> 63 == 1 {
            signs[place] = -1.0;
        }
        place += 1;
    }
    signs
}

/// Rotates `row` into `buffer` and returns the result.
///
/// If the length is not a power of two, the largest one below it is rotated at the front and then at
/// the back.
pub fn rotate<'a>(row: &[f32], buffer: &'a mut Vec<f32>) -> &'a [f32] {
    let length = row.len();
    buffer.resize(2 * length, 0.0);
    let (rotated, other) = buffer.split_at_mut(length);
    rotated.copy_from_slice(row);
    if length > 0 {
        let size = 1 << length.ilog2();
        let even = 1.0 / (size as f32).sqrt();
        mix(&mut rotated[..size], &mut other[..size], even);
        if size < length {
            mix(&mut rotated[length - size..], &mut other[..size], even);
        }
    }
    rotated
}

/// Rotates `values`, whose length is a power of two, with `other` as a buffer.
#[multiversion(targets = "simd")]
fn mix(values: &mut [f32], other: &mut [f32], scale: f32) {
    let size = values.len();
    for (number, value) in values.iter_mut().enumerate() {
        *value *= SIGNS[number % PERIOD] * scale;
    }
    // Each step is the same: sums and differences of the two halves, pair by pair. What comes out
    // is the Walsh-Hadamard transform in another order.
    let steps = size.trailing_zeros();
    for _ in 0..steps / 2 {
        step(values, other);
        step(other, values);
    }
    if steps % 2 == 1 {
        step(values, other);
        values.copy_from_slice(other);
    }
}

#[allow(clippy::inline_always, reason = "a call of its own would not have the wide registers")]
#[inline(always)]
fn step(values: &[f32], other: &mut [f32]) {
    let (front, back) = values.split_at(values.len() / 2);
    for ((a, b), pair) in front.iter().zip(back).zip(other.chunks_exact_mut(2)) {
        pair[0] = a + b;
        pair[1] = a - b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::cosine::dot;
    use crate::seed::Rng;

    #[test]
    fn products_stay_and_a_single_value_is_spread() {
        let mut rng = Rng::new(0, "turn", 0);
        for length in [1, 2, 3, 7, 16, 100, 256, 384, 1000, 1024, 3000] {
            let [a, b] = [0, 1]
                .map(|_| (0..length).map(|_| rng.uniform() as f32 - 0.4).collect::<Vec<f32>>());
            let (mut buffer, mut more) = (Vec::new(), Vec::new());
            let (rotated, others) = (rotate(&a, &mut buffer), rotate(&b, &mut more));
            assert_eq!(rotated.len(), length);
            let (before, after) = (dot(&a, &b), dot(rotated, others));
            assert!((before - after).abs() <= 1e-5 * length as f32, "{length}: {before} {after}");
        }
        for place in [0, 100, 255] {
            let mut one = vec![0.0; 256];
            one[place] = 1.0;
            let mut buffer = Vec::new();
            assert!(rotate(&one, &mut buffer).iter().all(|value| value.abs() == 1.0 / 16.0));
        }
        let (even, mut buffer) = (vec![1.0; 256], Vec::new());
        assert!(rotate(&even, &mut buffer).iter().all(|value| value.abs() < 5.0));
        assert!(rotate(&[], &mut buffer).is_empty());
    }
}
