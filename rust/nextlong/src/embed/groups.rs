//! Groups of texts that share their frequent words: languages, scripts, code beside prose.
//!
//! In: the word counts of a sample. Out: one centroid a group, the largest group first, and for any
//! text the group whose centroid is nearest. Texts are compared by the cosine of the square roots of
//! their word counts, without inverse document frequencies: function words decide, not topics.
//!
//! One pass of leader clustering (Hartigan, 1975): a text joins the nearest leader, whose centroid
//! moves, or becomes a leader itself. Leaders that have become alike are merged. The pass is
//! sequential, so the groups depend on the texts alone.

use multiversion::multiversion;

use super::leaders::{ACCEPT, FIRST_WORDS, LANES, LEADERS, Leaders, square_root};
use super::sparse::TextCounts;
use super::words::BUCKETS;
use crate::error::Result;
use crate::progress::Progress;

/// Texts of a group in the sample, at least.
const MIN_TEXTS: u32 = 8;
/// Words of these texts, at least: the frequent words of fewer are chance.
const MIN_WORDS: u64 = 640;
/// Texts between two merges of leaders, where there are many; two merges come earlier.
const TIDY: usize = 16_384;

/// The frequent words of each group, as unit vectors in int8, for comparing texts with them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Centroids {
    /// The value of each word in the largest group's centroid.
    largest: Vec<i8>,
    /// The values of each word in `LANES` centroids, the largest group's among them.
    panels: Vec<Vec<[i8; LANES]>>,
    scales: Vec<f32>,
}

impl Centroids {
    /// Finds the groups of `texts`.
    pub(super) fn find(texts: &[TextCounts<'_>], progress: &Progress) -> Result<Self> {
        let mut leaders = Leaders::default();
        for (number, text) in texts.iter().enumerate() {
            if text.length == 0 {
                continue;
            }
            leaders.add(text);
            let number = number + 1;
            if number % TIDY == 0 || number == TIDY / 4 || number == TIDY / 16 {
                progress.check()?;
                if number <= TIDY || leaders.sizes.len() > LEADERS / 2 {
                    leaders.tidy(2, 0);
                }
            }
        }
        leaders.tidy(MIN_TEXTS.min(texts.len() as u32), MIN_WORDS);
        // Once more, from centroids that no longer move: what joined a leader early may be nearer
        // to another one.
        let first = Self::new(&leaders);
        if first.len() > 1 {
            leaders = Leaders::with(first.len());
            for text in texts.iter().filter(|text| text.length > 0) {
                leaders.join(first.nearest(text.words.iter().zip(text.counts), text.length), text);
            }
            leaders.tidy(MIN_TEXTS, MIN_WORDS);
        }
        Ok(Self::new(&leaders))
    }

    fn new(leaders: &Leaders) -> Self {
        let mut panels = Vec::with_capacity(leaders.panels.len());
        let mut scales = vec![0.0; leaders.sizes.len().max(1)];
        for (number, sums) in leaders.panels.iter().enumerate() {
            let mut largest = [0.0f32; LANES];
            for line in sums {
                for (largest, &sum) in largest.iter_mut().zip(line) {
                    *largest = largest.max(sum);
                }
            }
            let factors = largest.map(|largest| if largest > 0.0 { 127.0 / largest } else { 0.0 });
            let byte = |line: &[f32; LANES]| -> [i8; LANES] {
                std::array::from_fn(|lane| (line[lane] * factors[lane] + 0.5) as i8)
            };
            panels.push(sums.iter().map(byte).collect());
            for (lane, scale) in scales.iter_mut().skip(number * LANES).take(LANES).enumerate() {
                let length = leaders.squares[number * LANES + lane].sqrt();
                *scale = (f64::from(largest[lane]) / 127.0 / length) as f32;
            }
        }
        if panels.is_empty() {
            panels.push(vec![[0; LANES]; BUCKETS]);
        }
        Self::from_panels(panels, scales)
    }

    fn from_panels(panels: Vec<Vec<[i8; LANES]>>, scales: Vec<f32>) -> Self {
        let largest = panels[0].iter().map(|line| line[0]).collect();
        Self { largest, panels, scales }
    }

    /// Centroids by their `BUCKETS` values each, and the factor that makes a unit vector of them.
    pub(super) fn from_values(values: &[Vec<i8>], scales: Vec<f32>) -> Self {
        let panels = values.chunks(LANES).map(|values| {
            let mut panel = vec![[0; LANES]; BUCKETS];
            for (lane, values) in values.iter().enumerate() {
                panel.iter_mut().zip(values).for_each(|(line, &value)| line[lane] = value);
            }
            panel
        });
        Self::from_panels(panels.collect(), scales)
    }

    /// The values of one centroid.
    pub(super) fn values(&self, group: usize) -> impl Iterator<Item = i8> + '_ {
        self.panels[group / LANES].iter().map(move |line| line[group % LANES])
    }

    pub(super) fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// The number of groups, at least 1.
    pub(super) fn len(&self) -> usize {
        self.scales.len()
    }

    /// The group of a text of `length` words, given its distinct words with their counts.
    pub(super) fn nearest<'a, W, C>(
        &self,
        words: impl Iterator<Item = (W, C)> + Clone + 'a,
        length: usize,
    ) -> usize
    where
        W: std::borrow::Borrow<u16>,
        C: std::borrow::Borrow<u16>,
    {
        if self.len() == 1 || length == 0 {
            return 0;
        }
        let words = words.map(|(word, count)| (*word.borrow(), square_root(*count.borrow())));
        // The first words are enough to recognise the largest group.
        let first = words.clone().take(FIRST_WORDS);
        let (mut sum, mut squares) = (0.0, 0.0);
        for (word, value) in first.clone() {
            sum += value * f32::from(self.largest[usize::from(word)]);
            squares += value * value;
        }
        if sum * self.scales[0] >= ACCEPT * squares.sqrt() {
            return 0;
        }
        // Nor are more needed for a group that they are as close to.
        let (cosine, group) = self.nearest_of(&first, 1.0 / squares.sqrt());
        if cosine >= ACCEPT {
            return group;
        }
        self.nearest_of(&words, 1.0 / (length as f32).sqrt()).1
    }

    /// The cosine with the nearest centroid, and its number; those of smaller groups are not looked at
    /// once it is [`ACCEPT`]. `unit` makes a unit vector of the values of `words`.
    fn nearest_of(
        &self,
        words: &(impl Iterator<Item = (u16, f32)> + Clone),
        unit: f32,
    ) -> (f32, usize) {
        let mut best = (f32::NEG_INFINITY, 0);
        for (number, panel) in self.panels.iter().enumerate() {
            let sums = dots_of_bytes(panel, words.clone());
            let groups = number * LANES..self.len().min((number + 1) * LANES);
            for (group, sum) in groups.zip(sums) {
                let cosine = sum * self.scales[group] * unit;
                if cosine > best.0 {
                    best = (cosine, group);
                }
            }
            if best.0 >= ACCEPT {
                break;
            }
        }
        best
    }
}

/// The products of the values of words with the centroids of a panel.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn dots_of_bytes(panel: &[[i8; LANES]], words: impl Iterator<Item = (u16, f32)>) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for (word, value) in words {
        for (sum, &other) in sums.iter_mut().zip(&panel[usize::from(word)]) {
            *sum += value * f32::from(other);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::boilerplate::Boilerplate;
    use super::super::sparse::{Counts, texts};
    use super::*;
    use crate::seed::Rng;

    /// A text of a made-up language: half of its words are among 20 frequent ones, the others are rare.
    fn text(language: usize, number: usize) -> String {
        let mut rng = Rng::new(language as u64, "text", number as u64);
        let word = |_| match rng.below(2) {
            0 => format!("f{language}x{} ", rng.below(20)),
            _ => format!("r{language}x{} ", rng.below(2000)),
        };
        (0..80).map(word).collect()
    }

    /// The group of each text.
    fn groups(all: &[String]) -> Vec<usize> {
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let progress = Progress::default();
        let counts = Counts::new(&all, 0, &Boilerplate::default(), 1, &progress).expect("counts");
        let all: Vec<_> = texts(&counts).collect();
        let centroids = Centroids::find(&all, &progress).expect("centroids");
        all.iter()
            .map(|text| centroids.nearest(text.words.iter().zip(text.counts), text.length))
            .collect()
    }

    #[test]
    fn languages_are_groups_the_largest_first() {
        for sizes in [vec![1500, 40, 12], vec![200; 3], vec![20; 100]] {
            let of = |language: usize| (0..sizes[language]).map(move |n| text(language, n));
            let all: Vec<String> = (0..sizes.len()).flat_map(of).collect();
            let found = groups(&all);
            let mut start = 0;
            let mut seen = std::collections::HashSet::new();
            for &size in &sizes {
                let own = &found[start..start + size];
                assert!(own.iter().all(|group| group == &own[0]), "{sizes:?} {own:?}");
                assert!(seen.insert(own[0]), "two languages are one group");
                start += size;
            }
            assert_eq!(found[0], 0, "the largest group is the first");
        }
    }

    #[test]
    fn one_language_is_one_group_however_short_its_texts() {
        for words in [5, 15, 40, 80] {
            let short = |n| text(1, n).split_inclusive(' ').take(words).collect::<String>();
            let all: Vec<String> = (0..2000).map(short).collect();
            assert!(groups(&all).iter().all(|&group| group == 0), "{words} words");
        }
    }

    #[test]
    fn few_texts_are_one_group() {
        let all: Vec<String> = (0..6).map(|language| text(language, 0)).collect();
        assert_eq!(groups(&all), [0; 6]);
        assert_eq!(groups(&[String::new(), "a".into()]), [0; 2]);
    }
}
