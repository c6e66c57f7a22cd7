//! Groups of texts that share their frequent words: languages, scripts, code beside prose.
//!
//! In: the word counts of a sample. Out: one centroid a group, the largest group first, and for any
//! text the group whose centroid is nearest. Texts are compared by the cosine of the square roots of
//! their word counts, without inverse document frequencies: function words decide, not topics.
//!
//! One pass of leader clustering (Hartigan, 1975): a text joins the nearest leader, whose centroid
//! moves, or becomes a leader itself. Leaders that have become alike are merged. The pass is
//! sequential, so the groups depend on the texts alone.

use std::collections::VecDeque;
use std::sync::LazyLock;

use multiversion::multiversion;

use super::sparse::TextCounts;
use super::words::BUCKETS;
use crate::error::Result;
use crate::progress::Progress;

/// Centroids that are compared at once: a line of memory for each word.
const LANES: usize = 16;
/// Leaders that are followed at once, at most.
const LEADERS: usize = 128;
/// A text joins the nearest leader from this cosine on, else it becomes a leader.
const JOIN: f32 = 0.3;
/// While groups are found, a text joins a leader from this cosine on without a look at smaller ones.
const JOIN_AT_ONCE: f32 = 0.35;
/// From this cosine on a text is of a group without a look at smaller ones. Text of one language has
/// about .5 with its centroid, .2 with those of related languages, .05 with others.
const ACCEPT: f32 = 0.4;
/// Two leaders are one group from this cosine on: about .1 for unrelated languages, .4 for Spanish
/// and French, .7 and more for kinds of text of one language.
const MERGE: f64 = 0.5;
/// Distinct words of a text that are compared with the largest group before all of them are with all.
const FIRST_WORDS: usize = 64;
/// Words of a text that becomes a leader, at least: fewer are of a topic rather than of a language.
const LEADER_WORDS: usize = 12;
/// Texts of a group in the sample, at least.
const MIN_TEXTS: u32 = 8;
/// Words of these texts, at least: the frequent words of fewer are chance.
const MIN_WORDS: u64 = 640;
/// Texts from which on a centroid stays where it is.
const SETTLED: u32 = 4096;
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

/// Sums of the texts that joined each leader.
#[derive(Default)]
struct Leaders {
    panels: Vec<Vec<[f32; LANES]>>,
    squares: Vec<f64>,
    sizes: Vec<u32>,
    /// The words of the texts, repeats included.
    words: Vec<u64>,
    /// Leaders in the order in which they began, with the words of their first text.
    young: VecDeque<(usize, Vec<u16>)>,
    /// Leaders whose sums no longer change, with the sum of each word.
    settled: Vec<(usize, Vec<f32>)>,
}

impl Leaders {
    /// `count` leaders without texts.
    fn with(count: usize) -> Self {
        let mut leaders = Self::default();
        (0..count).for_each(|_| leaders.open());
        leaders
    }

    fn open(&mut self) {
        if self.sizes.len().is_multiple_of(LANES) {
            self.panels.push(vec![[0.0; LANES]; BUCKETS]);
        }
        self.sizes.push(0);
        self.words.push(0);
        self.squares.push(0.0);
    }

    fn column(&self, leader: usize) -> impl Iterator<Item = f32> + '_ {
        self.panels[leader / LANES].iter().map(move |line| line[leader % LANES])
    }

    fn add(&mut self, text: &TextCounts<'_>) {
        let glance = self.settled_at_a_glance(text).or_else(|| self.nearest_at_a_glance(text));
        if let Some(leader) = glance {
            self.join(leader, text);
            return;
        }
        let unit = 1.0 / (text.length as f32).sqrt();
        let mut best = (JOIN, None);
        for (number, panel) in self.panels.iter().enumerate() {
            let sums = dots(panel, text.words, text.counts);
            let leaders = number * LANES..self.sizes.len().min((number + 1) * LANES);
            for (leader, sum) in leaders.zip(sums) {
                let cosine = sum * unit / self.squares[leader].sqrt() as f32;
                if cosine >= best.0 {
                    best = (cosine, Some(leader));
                }
            }
            if best.0 >= JOIN_AT_ONCE && best.1.is_some() {
                break;
            }
        }
        if let Some(leader) = best.1 {
            self.join(leader, text);
        } else if text.length >= LEADER_WORDS
            && let Some(leader) = self.begin()
        {
            self.young.push_back((leader, text.words.to_vec()));
            self.join(leader, text);
        }
    }

    /// A leader without a text: a new one, or that of the oldest text that no other has joined. None
    /// where there is neither.
    fn begin(&mut self) -> Option<usize> {
        if self.sizes.len() < LEADERS {
            self.open();
            return Some(self.sizes.len() - 1);
        }
        while let Some((leader, words)) = self.young.pop_front() {
            if self.sizes[leader] == 1 {
                for word in words {
                    self.panels[leader / LANES][usize::from(word)][leader % LANES] = 0.0;
                }
                (self.sizes[leader], self.words[leader], self.squares[leader]) = (0, 0, 0.0);
                return Some(leader);
            }
        }
        None
    }

    /// The first settled leader that the first words of a text are close to.
    fn settled_at_a_glance(&self, text: &TextCounts<'_>) -> Option<usize> {
        let (leader, _) = self.settled.iter().find(|(leader, sums)| {
            let (mut sum, mut squares) = (0.0, 0.0);
            for (&word, &count) in text.words.iter().zip(text.counts).take(FIRST_WORDS) {
                let value = square_root(count);
                sum += value * sums[usize::from(word)];
                squares += value * value;
            }
            sum >= ACCEPT * squares.sqrt() * self.squares[*leader].sqrt() as f32
        })?;
        Some(*leader)
    }

    /// The leader, among the largest, that the first words of a text are close to.
    fn nearest_at_a_glance(&self, text: &TextCounts<'_>) -> Option<usize> {
        let first = text.words.len().min(FIRST_WORDS);
        let counts = &text.counts[..first];
        let length: u32 = counts.iter().map(|&count| u32::from(count)).sum();
        let unit = 1.0 / (length as f32).sqrt();
        let sums = dots(self.panels.first()?, &text.words[..first], counts);
        let cosines =
            sums.iter().zip(&self.squares).map(|(sum, square)| sum * unit / square.sqrt() as f32);
        let best = cosines.enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
        (best.1 >= ACCEPT).then_some(best.0)
    }

    fn join(&mut self, leader: usize, text: &TextCounts<'_>) {
        self.sizes[leader] += 1;
        self.words[leader] += text.length as u64;
        if self.sizes[leader] > SETTLED {
            return;
        }
        let unit = 1.0 / (text.length as f32).sqrt();
        let (panel, lane) = (&mut self.panels[leader / LANES], leader % LANES);
        let mut squares = 0.0;
        for (&word, &count) in text.words.iter().zip(text.counts) {
            let sum = &mut panel[usize::from(word)][lane];
            let before = f64::from(*sum);
            *sum += square_root(count) * unit;
            squares += f64::from(*sum).powi(2) - before.powi(2);
        }
        self.squares[leader] += squares;
        self.settle(leader);
    }

    /// Keeps the sums of a leader within reach, if they no longer change.
    fn settle(&mut self, leader: usize) {
        if self.sizes[leader] >= SETTLED {
            self.settled.push((leader, self.column(leader).collect()));
        }
    }

    /// Merges leaders that are alike, drops those of fewer than `min_texts` texts or `min_words` words
    /// (unless nothing would be left), and sorts the others by size.
    fn tidy(&mut self, min_texts: u32, min_words: u64) {
        let count = self.sizes.len();
        if count == 0 {
            return;
        }
        let mut products = self.products();
        // Follows which leaders each one has taken in.
        let mut members: Vec<Vec<usize>> = (0..count).map(|leader| vec![leader]).collect();
        let cosine = |products: &[Vec<f64>], a: usize, b: usize| {
            products[a][b] / (products[a][a] * products[b][b]).sqrt()
        };
        let mut left: Vec<usize> = (0..count).collect();
        loop {
            let mut best = (MERGE, None);
            for (number, &a) in left.iter().enumerate() {
                for &b in &left[..number] {
                    let cosine = cosine(&products, a, b);
                    if cosine >= best.0 {
                        best = (cosine, Some((a, b)));
                    }
                }
            }
            let Some((a, b)) = best.1 else { break };
            left.retain(|&leader| leader != a);
            let taken = std::mem::take(&mut members[a]);
            members[b].extend(taken);
            let row = products[a].clone();
            products[b].iter_mut().zip(row).for_each(|(sum, more)| *sum += more);
            for row in &mut products {
                row[b] += row[a];
            }
        }
        let size =
            |members: &[usize]| members.iter().map(|&leader| self.sizes[leader]).sum::<u32>();
        let words =
            |members: &[usize]| members.iter().map(|&leader| self.words[leader]).sum::<u64>();
        members.retain(|members| !members.is_empty());
        // The first of equals is the one that began earlier.
        members.sort_by_key(|members| std::cmp::Reverse(size(members)));
        let largest = members[0].clone();
        members.retain(|members| size(members) >= min_texts && words(members) >= min_words);
        if members.is_empty() {
            members.push(largest);
        }
        let mut tidied = Self::with(members.len());
        let mut place_of = vec![None; self.panels.len() * LANES];
        for (leader, members) in members.iter().enumerate() {
            for &member in members {
                place_of[member] = Some(leader);
            }
            tidied.sizes[leader] = size(members);
            tidied.words[leader] = words(members);
        }
        let mut squares = vec![[0.0f64; LANES]; tidied.panels.len()];
        for word in 0..BUCKETS {
            let mut is_used = false;
            for (panel, places) in self.panels.iter().zip(place_of.chunks_exact(LANES)) {
                if is_empty(&panel[word]) {
                    continue;
                }
                for (&value, place) in panel[word].iter().zip(places) {
                    if let (true, Some(place)) = (value != 0.0, *place) {
                        tidied.panels[place / LANES][word][place % LANES] += value;
                        is_used = true;
                    }
                }
            }
            if is_used {
                for (panel, squares) in tidied.panels.iter().zip(&mut squares) {
                    for (square, &sum) in squares.iter_mut().zip(&panel[word]) {
                        *square += f64::from(sum) * f64::from(sum);
                    }
                }
            }
        }
        tidied.squares = squares.concat();
        tidied.squares.truncate(tidied.sizes.len());
        (0..tidied.sizes.len()).for_each(|leader| tidied.settle(leader));
        *self = tidied;
    }

    /// The products of all pairs of sums.
    fn products(&self) -> Vec<Vec<f64>> {
        let count = self.sizes.len();
        let width = self.panels.len() * LANES;
        let mut products = vec![vec![0.0f32; width]; width];
        add_products(&self.panels, &mut products);
        let at = |a: usize, b: usize| f64::from(products[a.max(b)][a.min(b)]);
        (0..count).map(|a| (0..count).map(|b| at(a, b)).collect()).collect()
    }
}

/// Adds the products of all pairs of columns to the lower half of `products`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add_products(panels: &[Vec<[f32; LANES]>], products: &mut [Vec<f32>]) {
    for word in 0..BUCKETS {
        for (number, panel) in panels.iter().enumerate() {
            // Most words are of few leaders.
            if is_empty(&panel[word]) {
                continue;
            }
            for (lane, &value) in panel[word].iter().enumerate().filter(|place| *place.1 > 0.0) {
                let sums = products[number * LANES + lane].chunks_exact_mut(LANES);
                for (sums, panel) in sums.zip(&panels[..=number]) {
                    for (sum, other) in sums.iter_mut().zip(panel[word]) {
                        *sum += value * other;
                    }
                }
            }
        }
    }
}

/// Whether no leader of a panel has a word.
fn is_empty(line: &[f32; LANES]) -> bool {
    line.iter().all(|&value| value <= 0.0)
}

/// The square roots of small numbers.
static SQUARE_ROOTS: LazyLock<[f32; 64]> =
    LazyLock::new(|| std::array::from_fn(|number| (number as f32).sqrt()));

fn square_root(count: u16) -> f32 {
    SQUARE_ROOTS.get(usize::from(count)).copied().unwrap_or_else(|| f32::from(count).sqrt())
}

/// The products of a text's square roots of counts with the centroids of a panel.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn dots(panel: &[[f32; LANES]], words: &[u16], counts: &[u16]) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for (&word, &count) in words.iter().zip(counts) {
        let value = square_root(count);
        for (sum, other) in sums.iter_mut().zip(&panel[usize::from(word)]) {
            *sum += value * other;
        }
    }
    sums
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
