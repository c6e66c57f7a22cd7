//! Chance: every random number comes from (seed, stage, item), never from a worker or an order.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// 64 random bits for one item of one stage.
#[must_use]
pub fn bits(seed: u64, stage: &str, item: u64) -> u64 {
    let stage = xxh3_64_with_seed(stage.as_bytes(), seed);
    xxh3_64_with_seed(&item.to_le_bytes(), stage)
}

/// A uniform number in the open interval (0, 1) for one item of one stage.
#[must_use]
pub fn uniform(seed: u64, stage: &str, item: u64) -> f64 {
    ((bits(seed, stage, item) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// A small generator (SplitMix64) for one item that needs many numbers.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The generator of one item of one stage.
    #[must_use]
    pub fn new(seed: u64, stage: &str, item: u64) -> Self {
        Self(bits(seed, stage, item))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The next uniform number in the open interval (0, 1).
    pub fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// A uniform whole number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(limit)) >> 64) as u64
    }
}

/// `count` different row numbers below `total`, rising, the same for the same seed.
///
/// All rows when `count >= total`.
#[must_use]
pub fn sample(seed: u64, stage: &str, total: usize, count: usize) -> Vec<usize> {
    if count >= total {
        return (0..total).collect();
    }
    // Floyd's algorithm: `count` draws whatever the total.
    let mut rng = Rng::new(seed, stage, 0);
    let mut chosen = std::collections::BTreeSet::new();
    for top in total - count..total {
        let draw = rng.below(top as u64 + 1) as usize;
        if !chosen.insert(draw) {
            chosen.insert(top);
        }
    }
    chosen.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_no_repeats_and_is_the_same_twice() {
        let rows = sample(7, "recall", 1000, 100);
        assert_eq!(rows.len(), 100);
        assert!(rows.windows(2).all(|pair| pair[0] < pair[1]) && rows[99] < 1000);
        assert_eq!(rows, sample(7, "recall", 1000, 100));
        assert_ne!(rows, sample(8, "recall", 1000, 100));
    }

    #[test]
    fn the_stages_do_not_share_their_chance() {
        assert_ne!(bits(0, "a", 1), bits(0, "b", 1));
        assert!((0..1000).all(|item| (0.0..1.0).contains(&uniform(3, "x", item))));
    }
}
