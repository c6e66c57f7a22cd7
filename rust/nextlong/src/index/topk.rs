//! The best candidates of one query: score falling, id rising, in any order of arrival.

use multiversion::multiversion;

/// Scores looked at together: only a block whose largest score is high enough is looked into.
const LANES: usize = 64;

/// Places of good scores that are collected before they are taken.
const GOOD: usize = 64;

/// Columns of scores whose highest are compared for a first threshold.
const COLUMNS: usize = 32;

/// Maximum number of candidates estimated from them.
const GUESSED: usize = COLUMNS / 2;

/// Which candidates are kept, to be ranked by a better score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// The best by score, which are kept in any case.
    pub sure: usize,
    /// Maximum number of candidates.
    pub most: usize,
    /// Beyond the sure ones, those whose score is at most this much below the last of them.
    pub margin: i32,
}

/// Keeps the best of the (score, id) pairs it is shown; the lower id wins a tie.
#[derive(Debug, Clone)]
pub struct Best {
    keep: Keep,
    /// Candidates held before those that cannot stay are dropped.
    capacity: usize,
    /// Pairs as numbers that compare like the ranking: see [`key`].
    keys: Vec<u64>,
    /// No lower key can stay.
    floor: u64,
}

impl Best {
    /// Keeps at most `limit` pairs.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self::keeping(Keep { sure: limit, most: limit, margin: 0 })
    }

    /// Keeps what `keep` says.
    #[must_use]
    pub fn keeping(keep: Keep) -> Self {
        let keep = Keep { most: keep.most.max(keep.sure), ..keep };
        Self { keep, capacity: capacity_for(keep, keep.sure), keys: Vec::new(), floor: 0 }
    }

    /// The lowest score that may still enter.
    #[must_use]
    pub fn threshold(&self) -> i32 {
        score_of(self.floor)
    }

    /// The score of the last of the sure ones so far; none while there are fewer.
    pub fn last_sure(&mut self) -> Option<i32> {
        self.shrink();
        let last = self.keep.sure.checked_sub(1).filter(|&last| last < self.keys.len())?;
        let (_, &mut key, _) = self.keys.select_nth_unstable_by(last, |a, b| b.cmp(a));
        Some(score_of(key))
    }

    /// Takes the pair if it may be among the best.
    pub fn push(&mut self, score: i32, id: u32) {
        let key = key(score, id);
        if key >= self.floor {
            if self.keys.capacity() == 0 {
                self.keys.reserve_exact(self.capacity);
            }
            self.keys.push(key);
            if self.keys.len() >= self.capacity {
                self.shrink();
                self.capacity = capacity_for(self.keep, self.keys.len());
            }
        }
    }

    /// Takes what is good enough of `scores`, whose ids `name` gives by place, unless `skip`.
    pub fn extend(
        &mut self,
        scores: &[i32],
        name: impl Fn(usize) -> u32,
        skip: impl Fn(u32) -> bool,
    ) {
        let Keep { sure, margin, .. } = self.keep;
        if self.floor == 0 && self.keys.is_empty() && (1..=GUESSED).contains(&sure) {
            // Nothing is known yet, and nearly all that is shown would be taken first.
            let last = guess(scores, sure);
            let floor = key(last.saturating_sub(margin), u32::MAX);
            self.floor = floor;
            self.take(scores, &name, &skip);
            let enough = self.keys.iter().filter(|&&key| score_of(key) >= last).count() >= sure;
            if enough || last == i32::MIN {
                return;
            }
            // Some were skipped, and what is below the guess is wanted as well.
            self.keys.clear();
            self.floor = 0;
        }
        self.take(scores, name, skip);
    }

    fn take(&mut self, scores: &[i32], name: impl Fn(usize) -> u32, skip: impl Fn(u32) -> bool) {
        let mut places = [0; GOOD + LANES];
        let mut from = 0;
        while from < scores.len() {
            let (count, next) = good(scores, from, self.threshold(), &mut places);
            for &place in &places[..count] {
                let id = name(place as usize);
                if !skip(id) {
                    self.push(scores[place as usize], id);
                }
            }
            from = next;
        }
    }

    /// The ids kept, in any order, to be ranked again.
    #[must_use]
    pub fn into_kept(mut self) -> Vec<u32> {
        self.shrink();
        self.keys.into_iter().map(id_of).collect()
    }

    /// The ids kept, best first.
    #[must_use]
    pub fn into_ids(self) -> Vec<u32> {
        self.into_keys().into_iter().map(id_of).collect()
    }

    /// The scores and ids kept, best first.
    #[must_use]
    pub fn into_pairs(self) -> Vec<(i32, u32)> {
        self.into_keys().into_iter().map(|key| (score_of(key), id_of(key))).collect()
    }

    fn into_keys(mut self) -> Vec<u64> {
        self.shrink();
        self.keys.sort_unstable_by(|a, b| b.cmp(a));
        self.keys
    }

    /// Forgets what cannot stay.
    fn shrink(&mut self) {
        let Keep { sure, most, margin } = self.keep;
        if sure == 0 {
            self.keys.clear();
            self.floor = u64::MAX;
            return;
        }
        if self.keys.len() < sure {
            return;
        }
        let (_, &mut last, _) = self.keys.select_nth_unstable_by(sure - 1, |a, b| b.cmp(a));
        self.floor = self.floor.max(key(score_of(last).saturating_sub(margin), u32::MAX));
        let floor = self.floor;
        self.keys.retain(|&key| key >= floor);
        if self.keys.len() > most {
            let (_, &mut last, _) = self.keys.select_nth_unstable_by(most - 1, |a, b| b.cmp(a));
            self.floor = last;
            self.keys.truncate(most);
        }
    }
}

/// Capacity for `stay` candidates that stay and enough new ones to make it worth looking through all.
fn capacity_for(keep: Keep, stay: usize) -> usize {
    stay + keep.sure.max(LANES)
}

/// A number that is larger for a higher score, and for a lower id at the same score.
fn key(score: i32, id: u32) -> u64 {
    u64::from(score as u32 ^ (1 << 31)) << 32 | u64::from(!id)
}

/// The id in a [`key`].
fn id_of(key: u64) -> u32 {
    !(key as u32)
}

/// The score in a [`key`].
fn score_of(key: u64) -> i32 {
    ((key >> 32) as u32 ^ (1 << 31)) as i32
}

/// A score that at least `rank` others are above, often not many more; the lowest if none is found.
#[multiversion(targets = "simd")]
fn guess(scores: &[i32], rank: usize) -> i32 {
    let mut highest = [i32::MIN; COLUMNS];
    let (blocks, rest) = scores.as_chunks::<COLUMNS>();
    for block in blocks {
        for (highest, &score) in highest.iter_mut().zip(block) {
            *highest = score.max(*highest);
        }
    }
    for (highest, &score) in highest.iter_mut().zip(rest) {
        *highest = score.max(*highest);
    }
    let mut above = [0u32; COLUMNS];
    for other in highest {
        for (above, &one) in above.iter_mut().zip(&highest) {
            *above += u32::from(other > one);
        }
    }
    let wanted = |(&one, &above): (&i32, &u32)| if above as usize >= rank { one } else { i32::MIN };
    highest.iter().zip(&above).map(wanted).fold(i32::MIN, i32::max)
}

/// Writes the places from `from` on whose score is at least `threshold` to `places`, at least
/// `GOOD` of them if there are; returns their number and where to go on.
#[multiversion(targets = "simd")]
fn good(
    scores: &[i32],
    from: usize,
    threshold: i32,
    places: &mut [u32; GOOD + LANES],
) -> (usize, usize) {
    let mut count = 0;
    let mut next = from;
    for block in scores[from..].chunks(LANES) {
        if block.iter().fold(i32::MIN, |max, &score| max.max(score)) >= threshold {
            let mut passes = [0u8; LANES];
            for (passes, &score) in passes.iter_mut().zip(block) {
                *passes = u8::from(score >= threshold);
            }
            // Eight flags at a time, as most of them are off.
            for (eight, place) in passes.as_chunks::<8>().0.iter().zip((next as u32..).step_by(8)) {
                let mut flags = u64::from_le_bytes(*eight);
                while flags != 0 {
                    places[count] = place + flags.trailing_zeros() / 8;
                    count += 1;
                    flags &= flags - 1;
                }
            }
        }
        next += block.len();
        if count >= GOOD {
            break;
        }
    }
    (count, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_id_wins_a_tie() {
        let mut best = Best::new(3);
        best.extend(&[5; 200], |place| 10 + place as u32, |_| false);
        assert_eq!(best.into_ids(), [10, 11, 12]);
        let mut backwards = Best::new(3);
        for id in (0..200).rev() {
            backwards.push(5, id);
        }
        assert_eq!(backwards.into_ids(), [0, 1, 2]);
    }

    #[test]
    fn what_is_within_the_margin_stays_up_to_the_most() {
        let keep = Keep { sure: 2, most: 4, margin: 10 };
        let kept = |scores: &[i32]| {
            let mut best = Best::keeping(keep);
            best.extend(scores, |place| place as u32, |_| false);
            best.into_pairs()
        };
        assert_eq!(kept(&[50, 90, 79, 80, 89]), [(90, 1), (89, 4), (80, 3), (79, 2)]);
        assert_eq!(kept(&[50, 90, 78, 80, 89]), [(90, 1), (89, 4), (80, 3)]);
        assert_eq!(kept(&[5; 300]), [(5, 0), (5, 1), (5, 2), (5, 3)]);
        assert_eq!(kept(&[i32::MIN, 3]), [(3, 1), (i32::MIN, 0)]);
    }

    #[test]
    fn the_last_sure_one_is_known_once_there_are_enough() {
        let mut best = Best::keeping(Keep { sure: 2, most: 4, margin: 10 });
        best.push(7, 1);
        assert_eq!(best.last_sure(), None);
        for (score, id) in [(90, 2), (50, 3), (81, 4), (85, 5), (82, 6), (83, 7)] {
            best.push(score, id);
        }
        assert_eq!(best.last_sure(), Some(85));
        assert_eq!(best.into_ids(), [2, 5, 7, 6]);
        assert_eq!(Best::new(0).last_sure(), None);
    }

    #[test]
    fn extremes_and_nothing_are_fine() {
        let mut best = Best::new(4);
        best.extend(&[i32::MIN, i32::MAX, 0, -1], |place| place as u32, |_| false);
        assert_eq!(best.clone().into_ids(), [1, 2, 3, 0]);
        let mut none = Best::new(0);
        none.extend(&[1; 300], |place| place as u32, |_| false);
        assert!(none.into_ids().is_empty());
        best.extend(&[i32::MAX; 2], |place| 4 + place as u32, |id| id == 4);
        assert_eq!(best.into_ids(), [1, 5, 2, 3]);
    }
}
