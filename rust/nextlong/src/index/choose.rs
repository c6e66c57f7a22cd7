//! `auto`: which engine is cheapest, by a model of what each costs.
//!
//! The choice is a function of the numbers alone and so the same on every machine: engines differ
//! in what they find, and the same settings and inputs are to give the same bytes. A calibration by
//! the clock would let noise decide, and one by instruction set would make a run another on another
//! processor. The price is small, because the two scans are the same products and differ in their
//! number: a processor with faster ones is faster at both. The tests hold the choice against the
//! best one for processors from scalar to matrix tiles. The constants were measured on one core with
//! AVX-512 VNNI (`benches/README.md`).

use crate::index::clustered::ASKED;
use crate::index::inverted_lists::list_count;
use crate::index::kind::FIRST_PROBES;
use crate::index::product::kernel;
use crate::index::{Kind, hnsw, hnsw_width, kmeans};

/// What a processor takes, in seconds of one core.
#[derive(Debug, Clone, Copy)]
struct Class {
    /// One int8 multiply and add of a packed product.
    product: f64,
    /// One place in the width of a graph search, and what each dimension adds.
    place: (f64, f64),
}

/// The processor that the choice is made for: AVX-512 VNNI, 200 G operations/s.
const REFERENCE: Class = Class::new(200e9, 1.0);

impl Class {
    /// Of int8 operations a second, and how much slower than the reference a graph is searched.
    const fn new(operations: f64, slower: f64) -> Self {
        Self { product: 2.0 / operations, place: (0.6e-6 * slower, 0.002e-6 * slower) }
    }

    /// Processors with a kernel, about, as they were measured; those that were not are taken for
    /// ones with AVX2.
    fn of_kernel(name: &str) -> Self {
        match name {
            "amx" => Self::new(2000e9, 0.8),
            "avx-512 vnni" => REFERENCE,
            "serial" => Self::new(4e9, 6.0),
            _ => Self::new(78e9, 1.2),
        }
    }
}

/// To hold one score against its threshold.
const SCORE: f64 = 0.2e-9;

/// To rank one candidate again, and what each dimension adds.
const CANDIDATE: (f64, f64) = (0.1e-6, 0.0005e-6);

/// One f32 multiply and add of the exhaustive scan: 10 G a second, on any processor with AVX2.
const FLOAT: f64 = 1e-10;

/// To make one value of a row int8 and pack it.
const PACK: f64 = 0.5e-9;

/// How much slower the products of lists are: few queries meet in each.
const LIST_PRODUCT: f64 = 2.0;

/// To bring one query to one list.
const VISIT: f64 = 0.05e-6;

/// Candidates that are ranked for each neighbour wanted: those that rounding may have misplaced.
const RANKED: f64 = 1.2;

/// To add a row to a graph, in places of its search.
const BUILD_PLACES: f64 = 128.0;

/// How much cheaper than the exact scan the clustered one must be, which finds a little less.
const CLUSTERED_MARGIN: f64 = 1.5;

/// How much cheaper a graph must be, which keeps all in memory and is slow to build.
const GRAPH_MARGIN: f64 = 2.0;

/// What is to be searched.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// The vectors.
    pub rows: usize,
    /// The queries, about.
    pub queries: usize,
    /// Neighbours of each.
    pub k: usize,
    /// Values in a vector.
    pub dim: usize,
    /// The share of the true neighbours to find.
    pub min_recall: f64,
}

/// The cheapest engine for a job, and why: the estimate for each, of one core with AVX-512 VNNI.
#[must_use]
pub fn choose(job: Job) -> (Kind, String) {
    let kind = pick(job, REFERENCE);
    let estimates: Vec<String> = [Kind::Exact, Kind::Clustered, Kind::Hnsw]
        .map(|kind| format!("{} {:.2e} s", kind.name(), seconds(kind, job, REFERENCE)))
        .into();
    let Job { rows, queries, k, dim, min_recall } = job;
    let reason = format!(
        "{}: {queries} queries of {rows} vectors of {dim} dimensions, k {k}, recall {min_recall}: \
         {} of one core (a model for AVX-512 VNNI, the same on every machine); \
         exact unless clustered is {CLUSTERED_MARGIN} or hnsw {GRAPH_MARGIN} times cheaper",
        kind.name(),
        estimates.join(", ")
    );
    (kind, reason)
}

/// What making the lists or the graph takes, by the model, in seconds of one core like those of this
/// machine; the scans of all rows need neither.
#[must_use]
pub fn building(kind: Kind, rows: usize, dim: usize) -> f64 {
    building_with(kernel(), kind, rows, dim)
}

/// What answering takes once all is built, by the model, in seconds of one core like those of this
/// machine.
#[must_use]
pub fn searching(kind: Kind, job: Job) -> f64 {
    let class = Class::of_kernel(kernel());
    seconds(kind, job, class) - seconds(kind, Job { queries: 0, ..job }, class)
}

fn building_with(kernel: &str, kind: Kind, rows: usize, dim: usize) -> f64 {
    let job = Job { rows, queries: 0, k: 1, dim, min_recall: 0.95 };
    if matches!(kind, Kind::Exhaustive | Kind::Exact) {
        0.0
    } else {
        seconds(kind, job, Class::of_kernel(kernel))
    }
}

fn pick(job: Job, class: Class) -> Kind {
    let weighed = [
        (seconds(Kind::Exact, job, class), Kind::Exact),
        (seconds(Kind::Clustered, job, class) * CLUSTERED_MARGIN, Kind::Clustered),
        (seconds(Kind::Hnsw, job, class) * GRAPH_MARGIN, Kind::Hnsw),
    ];
    // The first of equals, so exact for nothing.
    weighed
        .into_iter()
        .reduce(|best, next| if next.0 < best.0 { next } else { best })
        .map_or(Kind::Exact, |best| best.1)
}

/// What the engine takes to be built and to answer, in seconds of one core.
fn seconds(kind: Kind, job: Job, class: Class) -> f64 {
    let [n, q, k, d] = [job.rows, job.queries, job.k, job.dim].map(|count| count as f64);
    let score = d * class.product + SCORE;
    let ranked = q * (RANKED * k).min(n) * (CANDIDATE.0 + d * CANDIDATE.1);
    let place = class.place.0 + d * class.place.1;
    match kind {
        Kind::Exhaustive => n * q * (d * FLOAT + SCORE),
        Kind::Exact => n * d * PACK + n * q * score + ranked,
        Kind::Clustered => {
            let lists = list_count(job.rows) as f64;
            let sample = (kmeans::SAMPLE as f64 * lists).min(n);
            let first = (lists.sqrt() * (1.0 + kmeans::GROUPS_AROUND as f64)).min(lists);
            let again = (kmeans::STILL_NEAR as f64).min(lists) * (kmeans::ROUNDS - 1) as f64;
            let beside = lists * lists * kmeans::ROUNDS as f64;
            let build =
                ((n + sample) * first + sample * again + beside) * score + 2.0 * n * d * PACK;
            let probes = probes(job, lists);
            let asked = (probes * ASKED.0 as f64).max(ASKED.1 as f64);
            let asked = if asked > lists / 2.0 { lists } else { asked };
            let scan =
                probes * (n / lists.max(1.0) * (LIST_PRODUCT * d * class.product + SCORE) + VISIT);
            build + (q * asked + q.min(lists) * lists) * score + q * scan + ranked
        }
        Kind::Hnsw => {
            let shards = hnsw::shard_count(job.rows) as f64;
            let width = hnsw_width(job.k, Kind::Hnsw.first_width()) as f64;
            n * BUILD_PLACES * place + q * shards * width * place + ranked
        }
    }
}

/// The lists that a query has to scan, about: as LSA vectors of text were measured. The neighbours
/// of many lists lie in more, and halving what is missed takes 1.6 times as many.
fn probes(job: Job, lists: f64) -> f64 {
    let spanned = job.k as f64 * lists / (job.rows as f64).max(1.0);
    let missed = (1.0 - job.min_recall).max(5e-4);
    let wanted = (7.0 + 9.0 * spanned) * (0.05 / missed).powf(0.7);
    wanted.max(FIRST_PROBES as f64).min(lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_takes_longest_to_build_and_a_scan_nothing() {
        let with = |kernel| {
            [Kind::Exact, Kind::Clustered, Kind::Hnsw]
                .map(|kind| building_with(kernel, kind, 1_000_000, 256))
        };
        let [exact, clustered, hnsw] = with("avx-512 vnni");
        assert!(exact == 0.0 && 1.0 < clustered && 5.0 * clustered < hnsw && hnsw < 300.0);
        let lesser = with("avx2");
        assert!(lesser[0] == 0.0 && lesser[1] > 1.5 * clustered && lesser[2] > 1.1 * hnsw);
        assert_eq!(building(Kind::Hnsw, 1_000_000, 256), with(kernel())[2]);
    }

    fn job(rows: usize, queries: usize, k: usize, dim: usize, min_recall: f64) -> Job {
        Job { rows, queries, k, dim, min_recall }
    }

    #[test]
    fn few_queries_are_scanned_and_many_take_the_lists() {
        let kind = |rows, queries, k| choose(job(rows, queries, k, 256, 0.95)).0;
        assert_eq!(kind(100_000, 1000, 128), Kind::Exact);
        assert_eq!(kind(100_000, 100_000, 10), Kind::Clustered);
        assert_eq!(kind(3000, 3000, 32), Kind::Exact);
        assert_eq!(kind(50_000_000, 50_000_000, 32), Kind::Clustered);
        assert_eq!(kind(640_000_000, 100, 128), Kind::Exact);
        assert_eq!(choose(job(0, 0, 1, 1, 1.0)).0, Kind::Exact);
    }

    #[test]
    fn the_reason_names_what_each_engine_costs() {
        let reason = choose(job(100_000, 1000, 10, 256, 0.95)).1;
        for part in
            ["exact: 1000 queries of 100000 vectors", "clustered ", "hnsw ", " s of one core"]
        {
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn the_choice_is_nearly_the_best_on_other_processors_too() {
        for (name, limit) in [("amx", 1.6), ("avx2", 2.0), ("serial", 3.5)] {
            let class = Class::of_kernel(name);
            let mut worst = 1.0f64;
            for rows in [1_000, 20_000, 100_000, 1_000_000, 30_000_000] {
                for share in [1, 10, 100, 10_000] {
                    for (k, dim, min_recall) in
                        [(10, 256, 0.95), (128, 256, 0.95), (600, 384, 0.99)]
                    {
                        let job = job(rows, rows / share, k, dim, min_recall);
                        let paid = seconds(pick(job, REFERENCE), job, class);
                        let best = [Kind::Exact, Kind::Clustered, Kind::Hnsw]
                            .map(|kind| seconds(kind, job, class))
                            .into_iter()
                            .fold(f64::INFINITY, f64::min);
                        worst = worst.max(paid / best);
                    }
                }
            }
            assert!(worst < limit, "{name}: {worst:.2} times the best");
            println!("{name}: {worst:.2} times the best");
        }
    }
}
