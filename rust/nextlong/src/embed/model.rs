//! The fitted model: int8 rows for the words of each group, and how texts are embedded with them.

use std::ops::Range;
use std::path::Path;

use super::boilerplate::Boilerplate;
use super::counter::Counter;
use super::fit::GroupRows;
use super::groups::Centroids;
use super::rows::{ByteRows, normalise};
use super::words::BUCKETS;
use super::{FitOptions, write_part};
use crate::error::Result;
use crate::progress::Progress;
use crate::store::ChunkStore;
use crate::store::npy;

/// Rows beyond one for each bucket, at most: 64 MB with 256 values a row.
const MOST_OWN_ROWS: usize = 1 << 18;

/// Latent semantic analysis: embeds a text as the weighted sum of the rows of its words.
#[derive(Debug, Clone)]
pub struct LsaModel {
    pub(super) options: FitOptions,
    /// For each row: the weight of its word times the scale of the row; 0 for unknown words.
    pub(super) weights: Vec<f32>,
    /// A row for each bucket, then those that single groups have of their own.
    pub(super) rows: ByteRows,
    pub(super) centroids: Centroids,
    /// The largest group first.
    pub(super) groups: Vec<Group>,
    pub(super) boilerplate: Boilerplate,
}

/// What a model knows of one group of texts.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) average_words: f32,
    /// The number of texts that it was fitted on.
    pub(super) texts: usize,
    /// Frequent words, for people.
    pub(super) name: String,
    /// A unit vector that all texts of the group share; zeros for the largest group.
    pub(super) identity: Vec<f32>,
    /// The words whose rows in this group are its own.
    pub(super) own: WordSet,
    /// The first of these rows.
    pub(super) first_row: usize,
}

impl LsaModel {
    /// Puts the rows of all groups together. Every word has the row of the largest group that knows it, and
    /// a row for each further group, as far as there is room: the most frequent first.
    pub(super) fn new(
        options: FitOptions,
        fitted: &[GroupRows],
        centroids: Centroids,
        boilerplate: Boilerplate,
        threads: usize,
    ) -> Result<Self> {
        let dim = options.dim;
        // The group whose row a bucket has: the one with the most texts that have the word.
        let mut home = vec![(0u32, usize::MAX); BUCKETS];
        for (number, group) in fitted.iter().enumerate() {
            for (&bucket, &frequency) in group.buckets.iter().zip(&group.frequency) {
                let home = &mut home[usize::from(bucket)];
                let wins = if home.1 == 0 { false } else { frequency > home.0 };
                if wins {
                    *home = (frequency, number);
                }
            }
        }
        let is_own = |number: usize, bucket: u16| home[usize::from(bucket)].1 != number;
        let least = least_frequency(fitted, is_own);
        let mut groups = Vec::with_capacity(fitted.len());
        let mut sources: Vec<Option<(usize, usize)>> = vec![None; BUCKETS];
        for (number, group) in fitted.iter().enumerate() {
            let mut own: Vec<(u16, usize)> = Vec::new();
            for (column, &bucket) in group.buckets.iter().enumerate() {
                if !is_own(number, bucket) {
                    sources[usize::from(bucket)] = Some((number, column));
                } else if group.frequency[column] >= least {
                    own.push((bucket, column));
                }
            }
            own.sort_unstable();
            groups.push(Group {
                average_words: group.average_words,
                texts: group.texts,
                name: group.name.clone(),
                identity: group.identity.clone(),
                own: WordSet::new(own.iter().map(|&(bucket, _)| bucket)),
                first_row: sources.len(),
            });
            sources.extend(own.into_iter().map(|(_, column)| Some((number, column))));
        }
        let weight = |source: &Option<(usize, usize)>| {
            source.map_or(0.0, |(group, at)| fitted[group].weights[at])
        };
        let weights = sources.iter().map(weight).collect();
        let rows = ByteRows::of(&sources, dim, threads, |source| {
            source.map(|(group, at)| &fitted[group].rows[at * dim..(at + 1) * dim])
        })?;
        Ok(Self { options, weights, rows, centroids, groups, boilerplate })
    }

    /// The values of a vector.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.options.dim
    }

    /// The groups of texts that the model tells apart (languages, scripts, code beside prose), the
    /// largest first: frequent words of each, and the number of texts that it was fitted on.
    pub fn groups(&self) -> impl Iterator<Item = (&str, usize)> {
        self.groups.iter().map(|group| (&*group.name, group.texts))
    }

    /// What embeds texts one after another with its own scratch memory: one for each thread.
    #[must_use]
    pub fn encoder(&self) -> Encoder<'_> {
        Encoder {
            model: self,
            counter: Counter::new(self.options.seed),
            terms: Vec::new(),
            sum: vec![0.0; self.rows.width()],
            group: 0,
        }
    }

    /// Embeds the chunks of `range` and writes them as one float16 `.npy` part; their groups go to
    /// `groups`, uint16, where it is given.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) for chunks that the store does not have, what the file
    /// system reports, [`Error::Cancelled`](crate::Error::Cancelled).
    pub fn embed_part(
        &self,
        store: &ChunkStore,
        range: Range<usize>,
        path: &Path,
        groups: Option<&Path>,
        progress: &Progress,
    ) -> Result<()> {
        let mut encoder = self.encoder();
        let mut found = Vec::with_capacity(range.len());
        write_part(store, range, path, self.dim(), progress, |text, row| {
            encoder.encode(text, row);
            found.push(encoder.group() as u16);
            Ok(())
        })?;
        let Some(groups) = groups else { return Ok(()) };
        npy::write(groups, npy::U16, &[found.len()], |write| write(bytemuck::cast_slice(&found)))
    }
}

/// The smallest number of texts of a word from which on groups may have rows of their own for it.
fn least_frequency(fitted: &[GroupRows], is_own: impl Fn(usize, u16) -> bool) -> u32 {
    let mut frequencies: Vec<u32> = Vec::new();
    for (number, group) in fitted.iter().enumerate() {
        let words = group.buckets.iter().zip(&group.frequency);
        frequencies.extend(
            words.filter(|&(&bucket, _)| is_own(number, bucket)).map(|(_, &frequency)| frequency),
        );
    }
    if frequencies.len() <= MOST_OWN_ROWS {
        return 1;
    }
    let (_, &mut last, _) = frequencies.select_nth_unstable_by(MOST_OWN_ROWS, |a, b| b.cmp(a));
    // Words with as many texts as the first that has no room have none either.
    last + 1
}

/// The share of what tells the groups apart in the squared length of a vector: .3 with 256 values. The
/// cosine of two texts of one group (but the largest) is this and the rest of their cosine within the
/// group. Cosines between groups spread around 0 by 1 / √dim, so that it must be several times as much.
fn identity_share(dim: usize) -> f32 {
    (4.8 / (dim as f32).sqrt()).clamp(0.2, 0.6)
}

/// A set of buckets that knows the rank of each of its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WordSet {
    /// Bits, and the number of members before them; empty for the empty set.
    words: Vec<(u64, u32)>,
    len: usize,
}

impl WordSet {
    /// The set of some distinct buckets.
    pub(super) fn new(buckets: impl Iterator<Item = u16>) -> Self {
        let mut words = vec![(0u64, 0u32); BUCKETS / 64];
        let mut len = 0;
        for bucket in buckets {
            words[usize::from(bucket >> 6)].0 |= 1 << (bucket & 63);
            len += 1;
        }
        if len == 0 {
            return Self { words: Vec::new(), len };
        }
        let mut before = 0;
        for (bits, rank) in &mut words {
            *rank = before;
            before += bits.count_ones();
        }
        Self { words, len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The buckets, rising.
    pub(super) fn buckets(&self) -> impl Iterator<Item = u16> + '_ {
        (0..=u16::MAX).filter(|&bucket| self.rank(bucket).is_some())
    }

    /// How many members are before `bucket`, if it is one.
    fn rank(&self, bucket: u16) -> Option<usize> {
        let (bits, before) = *self.words.get(usize::from(bucket >> 6))?;
        let bit = 1u64 << (bucket & 63);
        (bits & bit != 0).then(|| before as usize + (bits & (bit - 1)).count_ones() as usize)
    }
}

/// Embeds texts one after another.
#[derive(Debug, Clone)]
pub struct Encoder<'a> {
    model: &'a LsaModel,
    counter: Counter,
    terms: Vec<(u32, f32)>,
    sum: Vec<f32>,
    group: usize,
}

impl Encoder<'_> {
    /// Writes the vector of `text`, of length 1, to `out`; zeros when it has no word that the
    /// model knows, and gives false.
    ///
    /// # Panics
    ///
    /// When `out` does not have `dim` values.
    pub fn encode(&mut self, text: &str, out: &mut [f32]) -> bool {
        let model = self.model;
        self.counter.count(model.boilerplate.rest(text));
        self.group = model.centroids.nearest(self.counter.counts(), self.counter.len());
        let group = &model.groups[self.group];
        self.terms.clear();
        let weights = self.counter.weights(group.average_words);
        if group.own.len() == 0 {
            self.terms.extend(weights.filter_map(|(word, weight)| {
                let weight = weight * model.weights[usize::from(word)];
                (weight != 0.0).then_some((u32::from(word), weight))
            }));
        } else {
            self.terms.extend(weights.filter_map(|(word, weight)| {
                let own = group.own.rank(word).map(|rank| group.first_row + rank);
                let row = own.unwrap_or(usize::from(word));
                let weight = weight * model.weights[row];
                (weight != 0.0).then_some((row as u32, weight))
            }));
        }
        model.rows.sum(&self.terms, &mut self.sum);
        out.copy_from_slice(&self.sum[..model.dim()]);
        let known = normalise(out);
        if known && self.group > 0 {
            let share = identity_share(model.dim());
            let (shared, rest) = (share.sqrt(), (1.0 - share).sqrt());
            for (value, identity) in out.iter_mut().zip(&group.identity) {
                *value = rest * *value + shared * identity;
            }
            normalise(out);
        }
        known
    }

    /// The group of the last text, by its place in [`LsaModel::groups`].
    #[must_use]
    pub fn group(&self) -> usize {
        self.group
    }
}
