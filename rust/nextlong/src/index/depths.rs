//! How wide to search for each number of neighbours, so that recall is reached at every depth.
//!
//! In: a sample of the queries. Out: for each depth `k` the width that reaches `min_recall`, and
//! the recall that it has. A width follows from the vectors, the sample and `k` alone: not from the
//! depths that were asked for before, and not from threads.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::error::Result;
use crate::index::clustered::Gaps;
use crate::index::cosine::{self, Queries};
use crate::index::recall::{self, Measured, Report, in_parts};
use crate::index::{Engine, Kind, Neighbours, Search, SearchWidth};
use crate::parallel::lock;
use crate::progress::Progress;

/// True neighbours of all queries of a sample that are found at once, at most: of very deep
/// searches fewer queries are measured.
const NEIGHBOURS: usize = 1 << 21;

/// True neighbours that are found at first, at least: finding them again for a deeper search takes
/// longer than finding more of them at once.
const DEEP: usize = 1024;

/// The fewest queries that are measured, if there are as many.
const LEAST: usize = 32;

/// The hard queries are one of this number.
const HARD: usize = 4;

/// What rounding to int8 may cost in recall, about: so much more than wanted is aimed at.
const ROUNDING: f64 = 0.0005;

/// The search widths of an engine, each measured when it is first asked for.
pub struct Depths {
    queries: Queries,
    total: usize,
    min_recall: f64,
    copies: f64,
    hard: bool,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The true neighbours of the whole sample, to the largest depth so far.
    truth: Option<Neighbours>,
    depths: BTreeMap<usize, Depth>,
}

/// What is known of one depth.
#[derive(Debug, Clone, PartialEq)]
pub struct Depth {
    /// Recall and the width that it wants.
    pub report: Report,
    /// The lists that a query of the clustered scan scans, on the average, about; 0 for other engines.
    pub lists: f64,
}

impl Depths {
    /// The search widths for queries that are rows, by a sample of them. Where `some` of the queries may be
    /// searched deeper than others, those whose neighbours lie far away have to reach `min_recall`
    /// by themselves.
    #[must_use]
    pub fn of_rows(search: &Search, rows: &[usize], min_recall: f64, some: bool) -> Self {
        let vectors = search.vectors();
        let sample = recall::distinct_sample(
            search.seed,
            rows.len(),
            vectors.len(),
            vectors.dim(),
            |number, out| vectors.read(rows[number]..rows[number] + 1, out),
        );
        let drawn: Vec<usize> = sample.numbers.iter().map(|&number| rows[number]).collect();
        let queries = Queries::of_rows(vectors, &drawn);
        Self { hard: some, ..Self::new(search, queries, rows.len(), min_recall) }
    }

    /// The search widths for queries that are vectors, by a sample of them.
    #[must_use]
    pub fn of_queries(search: &Search, queries: &Queries, min_recall: f64) -> Self {
        let sample = recall::distinct_sample(
            search.seed,
            queries.len(),
            search.vectors().len(),
            queries.dim(),
            |number, out| out.copy_from_slice(queries.values(number..number + 1)),
        );
        Self::new(search, queries.some(&sample.numbers), queries.len(), min_recall)
    }

    fn new(search: &Search, queries: Queries, total: usize, min_recall: f64) -> Self {
        let vectors = search.vectors();
        let (rows, dim) = (vectors.len(), vectors.dim());
        // Copies lead a graph to each other alone.
        let drawn = (search.kind() == Kind::Hnsw).then(|| {
            let read = |row: usize, out: &mut [f32]| vectors.read(row..row + 1, out);
            recall::distinct_sample(search.seed, rows, rows, dim, read)
        });
        let copies = drawn.map_or(0.0, |sample| sample.copies);
        Self { queries, total, min_recall, copies, hard: false, known: Mutex::default() }
    }

    /// The queries of the sample.
    #[must_use]
    pub fn queries(&self) -> &Queries {
        &self.queries
    }

    /// The share of the vectors of a graph, in a sample, that are copies of others; 0 for other
    /// engines.
    #[must_use]
    pub fn copies(&self) -> f64 {
        self.copies
    }

    /// The width for the `k` nearest, and the recall of it.
    ///
    /// # Errors
    ///
    /// What the search reports; [`crate::Error::Cancelled`] when asked to stop.
    pub fn at(
        &self,
        search: &Search,
        k: usize,
        threads: usize,
        progress: &Progress,
    ) -> Result<Depth> {
        let mut known = lock(&self.known);
        if let Some(depth) = known.depths.get(&k) {
            return Ok(depth.clone());
        }
        let depth = self.measure(search, k, threads, &mut known.truth, progress)?;
        known.depths.insert(k, depth.clone());
        Ok(depth)
    }

    /// The recall of other queries, `rows` of `total`, at the width for the `k` nearest.
    ///
    /// # Errors
    ///
    /// As [`Depths::at`].
    pub fn recall_of(
        &self,
        search: &Search,
        rows: &[usize],
        total: usize,
        k: usize,
        threads: usize,
        progress: &Progress,
    ) -> Result<Measured> {
        let search_width = self.at(search, k, threads, progress)?.report.search_width;
        if search.kind() == Kind::Exhaustive {
            return Ok(Measured { recall: 1.0, error: 0.0 });
        }
        let queries = Queries::of_rows(search.vectors(), rows);
        let truth = true_neighbours(search, &queries, k, threads, progress)?;
        let found =
            in_parts(&queries, threads, k, |part| search.search(part, k, search_width, progress))?;
        Ok(recall::recall(&truth, &found, total))
    }

    fn measure(
        &self,
        search: &Search,
        k: usize,
        threads: usize,
        held: &mut Option<Neighbours>,
        progress: &Progress,
    ) -> Result<Depth> {
        let first = SearchWidth::from(search.kind().first_width());
        if search.kind() == Kind::Exhaustive {
            let measured = Measured { recall: 1.0, error: 0.0 };
            let tried = vec![(first, 1.0)];
            let report = Report { measured, search_width: first, tried, queries: 0 };
            return Ok(Depth { report, lists: 0.0 });
        }
        let all = self.queries.len();
        let count = (NEIGHBOURS / k.max(1)).clamp(LEAST.min(all), all);
        let fewer;
        let (queries, truth) = if count < all {
            let numbers: Vec<usize> = (0..count).map(|number| number * all / count).collect();
            let queries = self.queries.some(&numbers);
            fewer = true_neighbours(search, &queries, k, threads, progress)?;
            (queries, &fewer)
        } else {
            if held.as_ref().is_none_or(|truth| truth.k < k) {
                // As deep as is likely to be asked for next.
                let most = (NEIGHBOURS / all.max(1)).min(search.vectors().len());
                let depth = k.next_power_of_two().max(DEEP).min(most).max(k);
                *held = Some(true_neighbours(search, &self.queries, depth, threads, progress)?);
            }
            let Some(truth) = held.as_ref() else { unreachable!("it was just put there") };
            (self.queries.clone(), truth)
        };
        let hard = self.hard_queries(truth, k);
        let enough = |whole: Measured, shares: &[(usize, usize)]| {
            let hardest = hard.iter().map(|&query| shares[query]);
            whole.reaches(self.min_recall)
                && recall::measured(hardest, self.total / HARD).recall >= self.min_recall
        };
        let mut lists = 0.0;
        let first = match &search.engine {
            Engine::Clustered(clustered) if clustered.list_count() > 0 => {
                let gaps = clustered.gaps(&queries, truth, k, progress)?;
                let gap = self.gap(&gaps, 2 * search.quantizer.square(), enough);
                lists = mean_lists(&gaps, gap);
                SearchWidth { gap: Some(gap), ..first }
            }
            _ => first,
        };
        let report = recall::widen(
            truth,
            self.total,
            first,
            |search_width| {
                in_parts(&queries, threads, k, |part| {
                    search.search(part, k, search_width, progress)
                })
            },
            |search_width| search.wider(k, search_width),
            enough,
        )?;
        Ok(Depth { report, lists })
    }

    /// The smallest gap, up to `most`, within which the lists of enough true neighbours lie.
    fn gap(
        &self,
        gaps: &[Gaps],
        most: i32,
        enough: impl Fn(Measured, &[(usize, usize)]) -> bool,
    ) -> i32 {
        let measured = |gap: i32| {
            let share = |gaps: &Gaps| {
                let rows = &gaps.of_rows;
                let found = rows.iter().filter(|&&below| gaps.short || below <= gap).count();
                (found, rows.len())
            };
            let shares: Vec<(usize, usize)> = gaps.iter().map(share).collect();
            let whole = recall::measured(shares.iter().copied(), self.total);
            let recall = (whole.recall - ROUNDING).max(0.0);
            (Measured { recall, ..whole }, shares)
        };
        let (mut low, mut high) = (0, most);
        while low < high {
            let middle = i32::midpoint(low, high);
            let (whole, shares) = measured(middle);
            if enough(whole, &shares) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    /// The queries of which most deeper searches are, if these are to be measured by themselves: those
    /// whose `k` nearest rows lie the farthest away.
    fn hard_queries(&self, truth: &Neighbours, k: usize) -> Vec<usize> {
        if !self.hard {
            return Vec::new();
        }
        let last = |query: usize| {
            let scores = &truth.scores[query * truth.k..][..k];
            scores.iter().rev().find(|score| score.is_finite()).copied().unwrap_or(1.0)
        };
        let mut order: Vec<usize> = (0..truth.queries()).collect();
        order.sort_by(|&a, &b| last(a).total_cmp(&last(b)).then(a.cmp(&b)));
        order.truncate(order.len().div_ceil(HARD));
        order
    }
}

/// The lists that a query scans with a gap, on the average, about.
fn mean_lists(gaps: &[Gaps], gap: i32) -> f64 {
    let within = |gaps: &Gaps| {
        if gaps.short {
            gaps.of_lists.len()
        } else {
            gaps.of_lists.partition_point(|&below| below <= gap).max(1)
        }
    };
    gaps.iter().map(within).sum::<usize>() as f64 / gaps.len().max(1) as f64
}

/// The `k` nearest of all rows in f32, under the rules of the search.
fn true_neighbours(
    search: &Search,
    queries: &Queries,
    k: usize,
    threads: usize,
    progress: &Progress,
) -> Result<Neighbours> {
    in_parts(queries, threads, k, |part| {
        cosine::search(search.vectors(), part, search.exclusion(), k, progress)
    })
}
