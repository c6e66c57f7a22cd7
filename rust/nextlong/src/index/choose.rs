//! `auto`: which engine is cheapest, from counts and fixed constants, so the same on every machine.

use crate::index::Kind;

/// Seconds that one int8 multiply and add of the scan takes (150 G operations/s, two each).
const SCAN_PRODUCT: f64 = 2.0 / 150e9;

/// Seconds that the scan takes to hold one score against its threshold.
const SCAN_SCORE: f64 = 0.2e-9;

/// Seconds that a node and its links cost when HNSW is built, and what each dimension adds.
const BUILD_NODE: (f64, f64) = (100e-6, 0.4e-6);

/// Seconds for each place in the width of a search in one shard, and what each dimension adds.
const SEARCH_PLACE: (f64, f64) = (0.6e-6, 0.002e-6);

/// How much cheaper HNSW must be: it keeps all in memory and finds less, and the scan has much
/// faster processors.
const MARGIN: f64 = 2.0;

/// The cheaper engine for `queries` queries of `k` neighbours among `rows` rows, and why.
///
/// The times are those of one core with AVX-512 VNNI; only their relation counts.
#[must_use]
pub fn choose(rows: usize, queries: usize, k: usize, dim: usize) -> (Kind, String) {
    let (n, q, d) = (rows as f64, queries as f64, dim as f64);
    let exact = n * q * (d * SCAN_PRODUCT + SCAN_SCORE);
    let shards = super::hnsw::shard_count(rows) as f64;
    let width = super::hnsw_width(k, Kind::Hnsw.first_breadth()) as f64;
    let build = n * (BUILD_NODE.0 + d * BUILD_NODE.1);
    let hnsw = build + q * shards * width * (SEARCH_PLACE.0 + d * SEARCH_PLACE.1);
    let (kind, than) =
        if exact <= MARGIN * hnsw { (Kind::Exact, "not over") } else { (Kind::Hnsw, "over") };
    let reason = format!(
        "{}: {queries} queries of {rows} vectors of {dim} dimensions, k {k}: the exact \
         scan takes about {exact:.2e} s of one core, {than} twice the {hnsw:.2e} s of hnsw (fixed constants)",
        kind.name()
    );
    (kind, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_queries_are_scanned_and_many_against_many_take_the_graph() {
        assert_eq!(choose(100_000, 100_000, 32, 256).0, Kind::Exact);
        assert_eq!(choose(640_000_000, 100_000, 128, 256).0, Kind::Exact);
        assert_eq!(choose(50_000_000, 50_000_000, 32, 256).0, Kind::Hnsw);
        assert_eq!(choose(0, 0, 1, 1).0, Kind::Exact);
    }
}
