//! One pass of leader clustering over texts (Hartigan, 1975): the leaders and what they sum up.
//!
//! In: the word counts of texts, one after another. Out: the sums of the square roots of the counts of
//! the texts that joined each leader, alike leaders merged, the largest first.

use std::collections::VecDeque;
use std::sync::LazyLock;

use multiversion::multiversion;

use super::sparse::TextCounts;
use super::words::BUCKETS;

/// Centroids that are compared at once: a line of memory for each word.
pub(super) const LANES: usize = 16;
/// Leaders that are followed at once, at most.
pub(super) const LEADERS: usize = 128;
/// A text joins the nearest leader from this cosine on, else it becomes a leader.
const JOIN: f32 = 0.3;
/// While groups are found, a text joins a leader from this cosine on without a look at smaller ones.
const JOIN_AT_ONCE: f32 = 0.35;
/// From this cosine on a text is of a group without a look at smaller ones. Text of one language has
/// about .5 with its centroid, .2 with those of related languages, .05 with others.
pub(super) const ACCEPT: f32 = 0.4;
/// Two leaders are one group from this cosine on: about .1 for unrelated languages, .4 for Spanish
/// and French, .7 and more for kinds of text of one language.
const MERGE: f64 = 0.5;
/// Distinct words of a text that are compared with the largest group before all of them are with all.
pub(super) const FIRST_WORDS: usize = 64;
/// Words of a text that becomes a leader, at least: fewer are of a topic rather than of a language.
const LEADER_WORDS: usize = 12;
/// Texts from which on a centroid stays where it is.
const SETTLED: u32 = 4096;

/// Sums of the texts that joined each leader.
#[derive(Default)]
pub(super) struct Leaders {
    pub(super) panels: Vec<Vec<[f32; LANES]>>,
    pub(super) squares: Vec<f64>,
    pub(super) sizes: Vec<u32>,
    /// The words of the texts, repeats included.
    words: Vec<u64>,
    /// Leaders in the order in which they began, with the words of their first text.
    young: VecDeque<(usize, Vec<u16>)>,
    /// Leaders whose sums no longer change, with the sum of each word.
    settled: Vec<(usize, Vec<f32>)>,
}

impl Leaders {
    /// `count` leaders without texts.
    pub(super) fn with(count: usize) -> Self {
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

    pub(super) fn column(&self, leader: usize) -> impl Iterator<Item = f32> + '_ {
        self.panels[leader / LANES].iter().map(move |line| line[leader % LANES])
    }

    pub(super) fn add(&mut self, text: &TextCounts<'_>) {
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

    pub(super) fn join(&mut self, leader: usize, text: &TextCounts<'_>) {
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
    pub(super) fn tidy(&mut self, min_texts: u32, min_words: u64) {
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

pub(super) fn square_root(count: u16) -> f32 {
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
