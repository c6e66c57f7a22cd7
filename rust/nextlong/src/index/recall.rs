//! How many of the true neighbours an engine finds, measured on a sample; searching wider until it
//! is enough.

use crate::error::Result;
use crate::fan;
use crate::index::cosine::{self, Queries};
use crate::index::{Neighbours, Search};
use crate::progress::Progress;
use crate::seed;

/// What was measured, and how wide the search has to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The share of the true neighbours that were found at `breadth`.
    pub recall: f64,
    /// The breadth to search with: see [`Search::search`].
    pub breadth: usize,
    /// Every breadth that was tried and its recall, in the order of the trial.
    pub tried: Vec<(usize, f64)>,
    /// The number of queries in the sample.
    pub queries: usize,
}

/// A seeded sample of `total` queries, rising: at most 256, fewer where exact search of so many
/// takes long.
#[must_use]
pub fn sample(seed: u64, total: usize, rows: usize, dim: usize) -> Vec<usize> {
    // About 100 G multiplications for the truth, a few seconds of one core.
    let affordable = (1e11 / (rows.max(1) as f64 * dim.max(1) as f64)) as usize;
    seed::sample(seed, "recall", total, affordable.clamp(32, 256))
}

/// Measures recall@k of `search` for `queries`, wider and wider until it is `min_recall`.
///
/// The truth is exhaustive search in f32 under the same exclusions. A neighbour as near as the last
/// true one counts as found, whatever its id. The result is the same for any number of `threads`.
///
/// # Errors
///
/// What the search reports; [`crate::Error::Cancelled`] when asked to stop.
pub fn measure(
    search: &Search,
    queries: &Queries,
    k: usize,
    min_recall: f64,
    threads: usize,
    progress: &Progress,
) -> Result<Report> {
    widen(
        queries,
        k,
        min_recall,
        threads,
        search.kind().first_breadth(),
        |part| cosine::search(search.vectors(), part, search.exclusion(), k, progress),
        |part, breadth| search.search(part, k, breadth, progress),
        |breadth| search.wider(k, breadth),
    )
}

/// As [`measure`], for anything that searches: `truth` is exhaustive, `search` as wide as it is
/// told, `wider` the next breadth if there is one.
///
/// # Errors
///
/// What `truth` and `search` report.
#[allow(clippy::too_many_arguments, reason = "a loop around three functions")]
pub fn widen(
    queries: &Queries,
    k: usize,
    min_recall: f64,
    threads: usize,
    first: usize,
    truth: impl Fn(&Queries) -> Result<Neighbours> + Sync,
    search: impl Fn(&Queries, usize) -> Result<Neighbours> + Sync,
    wider: impl Fn(usize) -> Option<usize>,
) -> Result<Report> {
    let truth = in_parts(queries, threads, k, truth)?;
    let mut report =
        Report { recall: 1.0, breadth: first, tried: Vec::new(), queries: queries.len() };
    loop {
        let found = in_parts(queries, threads, k, |part| search(part, report.breadth))?;
        report.recall = recall(&truth, &found);
        report.tried.push((report.breadth, report.recall));
        match wider(report.breadth) {
            Some(wider) if report.recall < min_recall => report.breadth = wider,
            _ => return Ok(report),
        }
    }
}

/// The share of the neighbours in `truth` that `found` has, or others as near; 1 when there are
/// none.
#[must_use]
pub fn recall(truth: &Neighbours, found: &Neighbours) -> f64 {
    let (mut hits, mut wanted) = (0, 0);
    if truth.k == 0 {
        return 1.0;
    }
    for (truth, found) in truth.scores.chunks_exact(truth.k).zip(found.scores.chunks_exact(found.k))
    {
        let count = truth.iter().take_while(|score| score.is_finite()).count();
        if count > 0 {
            let last = truth[count - 1];
            wanted += count;
            hits += found.iter().take_while(|&&score| score >= last).count().min(count);
        }
    }
    if wanted == 0 { 1.0 } else { f64::from(hits as u32) / f64::from(wanted as u32) }
}

/// Runs `task` on even parts of the queries, one a thread, and joins the results in order.
fn in_parts(
    queries: &Queries,
    threads: usize,
    k: usize,
    task: impl Fn(&Queries) -> Result<Neighbours> + Sync,
) -> Result<Neighbours> {
    let parts = threads.clamp(1, queries.len().max(1));
    let bounds: Vec<usize> = (0..=parts).map(|part| part * queries.len() / parts).collect();
    let parts = fan::out(parts, parts, |part| task(&queries.part(bounds[part]..bounds[part + 1])))?;
    let mut all = Neighbours::with_room(queries.len(), k);
    for part in parts {
        all.ids.extend(part.ids);
        all.scores.extend(part.scores);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbours(scores: &[f32], k: usize) -> Neighbours {
        Neighbours { ids: vec![0; scores.len()], scores: scores.to_vec(), k }
    }

    #[test]
    fn what_is_as_near_counts_and_what_is_missing_does_not() {
        let none = f32::NEG_INFINITY;
        let truth = neighbours(&[0.9, 0.5, 0.8, 0.5, 0.7, none], 2);
        let found = neighbours(&[0.9, 0.4, 0.8, 0.5, none, none], 2);
        assert!((recall(&truth, &found) - 3.0 / 5.0).abs() < 1e-12);
        assert!((recall(&truth, &truth) - 1.0).abs() < 1e-12);
        assert!((recall(&neighbours(&[none], 1), &neighbours(&[none], 1)) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_sample_shrinks_with_the_cost_of_the_truth() {
        assert_eq!(sample(0, 1000, 1000, 256).len(), 256);
        assert_eq!(sample(0, 10, 1000, 256).len(), 10);
        assert_eq!(sample(0, 1_000_000, 1_000_000_000, 256).len(), 32);
    }
}
