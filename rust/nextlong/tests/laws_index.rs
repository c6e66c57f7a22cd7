//! Laws of the index room.

use std::sync::Arc;

use nextlong::Progress;
use nextlong::index::depths::Depths;
use nextlong::index::exclude::Exclusion;
use nextlong::index::graph::{self, Graph};
use nextlong::index::topk::{Best, Keep};
use nextlong::index::{
    Kind, Mask, NO_NEIGHBOUR, Neighbours, Queries, Search, SearchWidth, Settings, cosine, recall,
};
use nextlong::seed::Rng;
use nextlong::store::Vectors;
use proptest::prelude::*;

fn settings(kind: Kind, groups: Option<Vec<u32>>) -> Settings {
    Settings { kind, groups, seed: 0, callers: 2, cache_bytes: 1 << 20 }
}

/// Random rows around a few centres, with rows of zeros and repeated rows.
fn vectors(rows: usize, dim: usize, seed: u64) -> Vectors {
    let mut rng = Rng::new(seed, "law", rows as u64);
    let centres: Vec<f32> = (0..8 * dim).map(|_| rng.uniform() as f32 - 0.5).collect();
    let mut values: Vec<f32> = Vec::with_capacity(rows * dim);
    for row in 0..rows {
        let centre = rng.below(8) as usize * dim;
        match rng.below(20) {
            0 => values.extend(std::iter::repeat_n(0.0, dim)),
            1 if row > 0 => {
                let twin = rng.below(row as u64) as usize * dim;
                values.extend_from_within(twin..twin + dim);
            }
            _ => values.extend(
                (0..dim).map(|place| centres[centre + place] + 0.5 * (rng.uniform() as f32 - 0.5)),
            ),
        }
    }
    Vectors::from_f32(&values, dim).expect("vectors")
}

fn search(search: &Search, rows: &[usize], k: usize, breadth: usize) -> Neighbours {
    let queries = Queries::of_rows(search.vectors(), rows);
    search.search(&queries, k, breadth, &Progress::default()).expect("found")
}

fn hnsw(vectors: &Vectors) -> Search {
    let search = Search::new(vectors.clone(), settings(Kind::Hnsw, None)).expect("search");
    for shard in 0..search.shard_count() {
        search.build_shard(shard, None, &Progress::default()).expect("built");
    }
    search
}

proptest! {
    #[test]
    fn the_best_are_those_of_a_full_sort(
        scores in prop::collection::vec(prop_oneof![-3i32..3, any::<i32>()], 0..700),
        limit in 0usize..90,
        more in 0usize..90,
        margin in prop_oneof![Just(0), 0i32..9, any::<i32>().prop_map(|value| value & i32::MAX)],
        cut in 1usize..700,
        banned in 0u32..700,
    ) {
        let keep = Keep { sure: limit, most: limit + more, margin };
        let mut pairs: Vec<(i32, u32)> =
            scores.iter().copied().zip(0..).filter(|pair| pair.1 != banned).collect();
        pairs.sort_by_key(|&(score, id)| (std::cmp::Reverse(score), id));
        let last = limit.checked_sub(1).and_then(|last| pairs.get(last)).map(|pair| pair.0);
        let lowest = last.map_or(i32::MIN, |last| last.saturating_sub(margin));
        let most = if limit == 0 { 0 } else { keep.most };
        let expected: Vec<u32> = pairs
            .iter()
            .take(most)
            .filter(|pair| pair.0 >= lowest)
            .map(|pair| pair.1)
            .collect();

        let mut forwards = Best::keeping(keep);
        let mut backwards = Best::keeping(keep);
        let blocks: Vec<(u32, &[i32])> = (0..).step_by(cut).zip(scores.chunks(cut)).collect();
        for &(first, block) in &blocks {
            forwards.extend(block, |place| first + place as u32, |id| id == banned);
        }
        for &(first, block) in blocks.iter().rev() {
            backwards.extend(block, |place| first + place as u32, |id| id == banned);
        }
        prop_assert_eq!(forwards.into_ids(), expected.clone());
        prop_assert_eq!(backwards.into_ids(), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn keeping_all_candidates_is_exhaustive_search(
        rows in 1usize..300, dim in 1usize..40, k in 1usize..20, seed in any::<u64>(), grouped: bool,
    ) {
        let groups = grouped.then(|| (0..rows as u32).map(|row| row / 3).collect());
        let exact =
            Search::new(vectors(rows, dim, seed), settings(Kind::Exact, groups.clone())).expect("search");
        let all: Vec<usize> = (0..rows).collect();
        let found = search(&exact, &all, k, rows);
        let exclusion = Exclusion::new(groups.clone(), rows).expect("exclusion");
        let queries = Queries::of_rows(exact.vectors(), &all);
        let truth = cosine::search(exact.vectors(), &queries, &exclusion, k, &Progress::default())
            .expect("truth");
        prop_assert_eq!(&found, &truth);
        for (query, ids) in found.ids.chunks(k).enumerate() {
            let valid = ids.iter().take_while(|&&id| id != NO_NEIGHBOUR).count();
            let may = (0..rows).filter(|&id| match &groups {
                Some(groups) => groups[id] != groups[query],
                None => id != query,
            });
            prop_assert_eq!(valid, may.count().min(k));
            prop_assert!(ids[valid..].iter().all(|&id| id == NO_NEIGHBOUR));
            prop_assert!(!ids.contains(&(query as i64)));
        }
    }

    #[test]
    fn the_cut_into_calls_does_not_matter(cut in 1usize..400, seed in any::<u64>()) {
        let exact = Search::new(vectors(400, 24, seed), settings(Kind::Exact, None)).expect("search");
        let graph = hnsw(exact.vectors());
        let all: Vec<usize> = (0..400).collect();
        for engine in [&exact, &graph] {
            let whole = search(engine, &all, 7, 3);
            for (number, part) in all.chunks(cut).enumerate() {
                let found = search(engine, part, 7, 3);
                prop_assert_eq!(&found.ids, &whole.ids[number * cut * 7..][..part.len() * 7]);
                prop_assert_eq!(&found.scores, &whole.scores[number * cut * 7..][..part.len() * 7]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn hidden_rows_are_nobody_s_neighbours_and_others_take_their_place(
        rows in 2usize..1500, k in 1usize..200, share in 0u64..100, seed in any::<u64>(),
    ) {
        let vectors = vectors(rows, 24, seed);
        let exact = Search::new(vectors.clone(), settings(Kind::Exact, None)).expect("search");
        let clustered =
            Search::new(vectors.clone(), settings(Kind::Clustered, None)).expect("search");
        clustered.build_lists(None, 1, &Progress::default()).expect("lists");
        let hidden = Arc::new(Mask::none_of(rows));
        let mut rng = Rng::new(seed, "hidden", 0);
        (0..rows as u32).filter(|_| rng.below(100) < share).for_each(|row| hidden.set(row, true));
        let shown = |id: usize| !hidden.contains(id as u32);

        let some: Vec<usize> = (0..rows).step_by(7).collect();
        let queries = Queries::of_rows(&vectors, &some);
        let everything = Exclusion::new(None, rows).expect("exclusion");
        let truth = cosine::search(&vectors, &queries, &everything, rows, &Progress::default())
            .expect("truth");
        // All that are shown, and some that are not.
        let few: Vec<u32> = (0..rows as u32)
            .filter(|&row| shown(row as usize) || rng.below(3) == 0)
            .collect();
        let few = Arc::new(few);
        let graph = hnsw(&vectors);
        for engine in [&exact, &clustered, &graph] {
            let search = || {
                engine.search_subset(&few, &hidden, &queries, k, &Progress::default()).expect("found")
            };
            let (first, again) = (search(), search());
            prop_assert_eq!(&first, &again);
            let whole =
                exact.search_masked(&hidden, &queries, k, 8, &Progress::default()).expect("all");
            prop_assert_eq!(&first, &whole);
        }
        for (engine, breadth) in [(&exact, rows), (&clustered, 1), (&graph, 1)] {
            let found = engine
                .search_masked(&hidden, &queries, k, breadth, &Progress::default())
                .expect("found");
            for (number, &row) in some.iter().enumerate() {
                let ids: Vec<i64> = found.ids[number * k..][..k]
                    .iter().copied().take_while(|&id| id != NO_NEIGHBOUR).collect();
                prop_assert!(ids.iter().all(|&id| shown(id as usize) && id != row as i64));
                let may: Vec<i64> = truth.ids[number * rows..][..rows]
                    .iter().copied().filter(|&id| id >= 0 && shown(id as usize)).take(k).collect();
                match engine.kind() {
                    Kind::Exact => prop_assert_eq!(ids, may),
                    Kind::Clustered => prop_assert_eq!(ids.len(), may.len()),
                    Kind::Exhaustive => unreachable!("not among the engines"),
                    // A graph may not lead to every row.
                    Kind::Hnsw => prop_assert!(ids.len() * 10 >= may.len() * 9),
                }
            }
        }
        hidden.set(0, true);
        hidden.set(0, false);
        prop_assert!(!hidden.contains(0));
    }
}

#[test]
fn keeping_packed_rows_changes_nothing() {
    let vectors = vectors(5000, 32, 3);
    let rows: Vec<usize> = (0..5000).step_by(11).collect();
    let found: Vec<Neighbours> = [0, 2048 * 32, usize::MAX]
        .map(|cache_bytes| {
            let settings = Settings { cache_bytes, ..settings(Kind::Exact, None) };
            search(&Search::new(vectors.clone(), settings).expect("search"), &rows, 10, 3)
        })
        .into();
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
}

fn clustered(vectors: &Vectors, threads: usize) -> Search {
    let search = Search::new(vectors.clone(), settings(Kind::Clustered, None)).expect("search");
    search.build_lists(None, threads, &Progress::default()).expect("lists");
    search
}

#[test]
fn all_engines_reach_the_recall_that_is_asked_for() {
    let vectors = vectors(6000, 48, 5);
    let exact = Search::new(vectors.clone(), settings(Kind::Exact, None)).expect("search");
    let rows: Vec<usize> = (0..6000).collect();
    for engine in [&exact, &hnsw(&vectors), &clustered(&vectors, 2)] {
        let all: Vec<_> = [1, 2, 4]
            .map(|threads| {
                let depths = Depths::of_rows(engine, &rows, 0.99, false);
                depths.at(engine, 10, threads, &Progress::default()).expect("measured")
            })
            .into();
        assert!(all[0].report.measured.recall >= 0.99, "{all:?}");
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
    }
}

#[test]
fn an_impossible_recall_ends_with_every_row_searched() {
    let vectors = vectors(300, 8, 5);
    let exact = Search::new(vectors.clone(), settings(Kind::Exact, None)).expect("search");
    for engine in [&exact, &clustered(&vectors, 1)] {
        let depths = Depths::of_rows(engine, &[0, 7, 9], 2.0, true);
        let report = depths.at(engine, 5, 1, &Progress::default()).expect("measured").report;
        assert!(report.search_width.width * 5 >= 300 && report.tried.len() > 1, "{report:?}");
        assert!((report.measured.recall - 1.0).abs() < 1e-12);
    }
}

#[test]
fn a_gap_is_the_same_in_any_parts_and_the_widest_scans_all() {
    let vectors = vectors(5000, 24, 11);
    let search = clustered(&vectors, 2);
    let rows: Vec<usize> = (0..5000).step_by(13).collect();
    let progress = Progress::default();
    let exact = Search::new(vectors.clone(), settings(Kind::Exact, None)).expect("search");
    let truth = self::search(&exact, &rows, 40, 8);
    let mut before = 0.0;
    for gap in [0, search.square() / 20, search.square() / 5, 2 * search.square()] {
        let breadth = SearchWidth { width: 8, gap: Some(gap) };
        let queries = Queries::of_rows(&vectors, &rows);
        let whole = search.search(&queries, 40, breadth, &progress).expect("found");
        let parts: Vec<i64> = rows
            .chunks(7)
            .flat_map(|rows| {
                let queries = Queries::of_rows(&vectors, rows);
                search.search(&queries, 40, breadth, &progress).expect("found").ids
            })
            .collect();
        assert_eq!(parts, whole.ids);
        let recall = recall::recall(&truth, &whole, rows.len()).recall;
        assert!(recall >= before, "{recall} after {before}");
        before = recall;
    }
    assert!((before - 1.0).abs() < 1e-3, "{before}");
}

#[test]
fn the_exhaustive_engine_is_the_full_scan() {
    let vectors = vectors(1500, 20, 12);
    let groups: Vec<u32> = (0..1500).map(|row| row / 6).collect();
    let exclusion = Exclusion::new(Some(groups.clone()), 1500).expect("groups");
    let search =
        Search::new(vectors.clone(), settings(Kind::Exhaustive, Some(groups))).expect("search");
    let rows: Vec<usize> = (0..1500).step_by(7).collect();
    let queries = Queries::of_rows(&vectors, &rows);
    let progress = Progress::default();
    let truth = cosine::search(&vectors, &queries, &exclusion, 30, &progress).expect("truth");
    assert_eq!(self::search(&search, &rows, 30, 1), truth);
    let hidden = Arc::new(Mask::none_of(1500));
    (0..1400).for_each(|row| hidden.set(row, true));
    assert_eq!(hidden.count(), 1400);
    let few: Arc<Vec<u32>> = Arc::new((1390..1500).collect());
    let found = search.search_subset(&few, &hidden, &queries, 30, &progress).expect("found");
    let hiding = exclusion.masking(Arc::clone(&hidden));
    assert_eq!(found, cosine::search(&vectors, &queries, &hiding, 30, &progress).expect("truth"));
    let depths = Depths::of_rows(&search, &rows, 0.95, true);
    let depth = depths.at(&search, 30, 1, &progress).expect("depth");
    assert!((depth.report.measured.recall - 1.0).abs() < 1e-12);
}

#[test]
fn a_shard_is_the_same_bytes_again_and_finds_the_same_when_loaded() {
    let vectors = vectors(3000, 32, 9);
    let folders = [tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder")];
    let mut bytes = Vec::new();
    for (folder, callers) in folders.iter().zip([1, 7]) {
        let settings = Settings { callers, ..settings(Kind::Hnsw, None) };
        let built = Search::new(vectors.clone(), settings.clone()).expect("search");
        built.build_shard(0, Some(folder.path()), &Progress::default()).expect("built");
        let path = folder.path().join("shard-0000.usearch");
        assert_eq!(std::fs::read_dir(folder.path()).expect("listing").count(), 1);
        bytes.push(std::fs::read(path).expect("read"));
        let loaded = Search::new(vectors.clone(), settings).expect("search");
        loaded.load_shard(0, folder.path()).expect("loaded");
        let rows: Vec<usize> = (0..3000).step_by(37).collect();
        assert_eq!(search(&loaded, &rows, 10, 1), search(&built, &rows, 10, 1));
    }
    assert!(bytes[0] == bytes[1]);
}

#[test]
fn a_shard_of_other_vectors_or_none_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let first = Search::new(vectors(300, 16, 1), settings(Kind::Hnsw, None)).expect("search");
    let queries = Queries::of_rows(first.vectors(), &[0]);
    let missing = first.search(&queries, 1, 1, &Progress::default()).expect_err("not built");
    assert!(missing.to_string().contains("shard 0 of 1 is not built"), "{missing}");
    first.build_shard(0, Some(folder.path()), &Progress::default()).expect("built");
    for other in [vectors(301, 16, 1), vectors(300, 17, 1), vectors(300, 16, 2)] {
        let other = Search::new(other, settings(Kind::Hnsw, None)).expect("search");
        let error = other.load_shard(0, folder.path()).expect_err("refused").to_string();
        assert!(error.contains("other vectors"), "{error}");
    }
    let path = folder.path().join("shard-0000.usearch");
    let whole = std::fs::read(&path).expect("read");
    for length in [0, 10, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).expect("cut");
        assert!(first.load_shard(0, folder.path()).is_err(), "{length} bytes");
    }
    assert!(first.build_shard(1, None, &Progress::default()).is_err());
}

#[test]
fn a_stop_is_heard() {
    let vectors = vectors(3000, 32, 9);
    let stopped = Progress::default();
    stopped.cancel();
    for kind in Kind::ALL {
        let engine = Search::new(vectors.clone(), settings(kind, None)).expect("search");
        let queries = Queries::of_rows(&vectors, &[1, 2]);
        let outcome = match kind {
            Kind::Exhaustive | Kind::Exact => engine.search(&queries, 3, 3, &stopped).map(drop),
            Kind::Hnsw => engine.build_shard(0, None, &stopped),
            Kind::Clustered => engine.build_lists(None, 1, &stopped),
        };
        assert!(matches!(outcome, Err(nextlong::Error::Cancelled)));
    }
}

#[test]
fn many_callers_search_a_graph_at_once() {
    let graph = hnsw(&vectors(2000, 16, 2));
    let rows: Vec<usize> = (0..2000).step_by(5).collect();
    let alone = search(&graph, &rows, 5, 1);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(search(&graph, &rows, 5, 1), alone));
        }
    });
}

fn graph(vectors: Vectors) -> Graph {
    let graph = Graph::new(vectors, 0, 2).expect("graph");
    build(&graph);
    graph
}

fn build(graph: &Graph) {
    for shard in graph.missing() {
        graph.build_shard(shard, &Progress::default()).expect("built");
    }
}

#[test]
fn a_grown_graph_is_the_one_that_was_built_at_once() {
    let all = vectors(36_000, 8, 4);
    let whole = graph(all.clone());
    assert_eq!((whole.shard_count(), whole.missing().len()), (2, 0));
    let mut grown = graph(all.slice(0..17_000));
    for range in [17_000..17_001, 17_001..20_000, 20_000..36_000] {
        grown = grown.grown(&all.slice(range)).expect("grown");
        build(&grown);
    }
    let rows: Vec<usize> = (0..36_000).step_by(997).collect();
    let queries = Queries::of_rows(&all, &rows);
    let progress = Progress::default();
    for (k, breadth) in [(5, 1), (90, 3)] {
        let found = whole.search(&queries, k, breadth, &progress).expect("found");
        assert_eq!(grown.search(&queries, k, breadth, &progress).expect("found"), found);
        let by_one: Vec<i64> = rows
            .iter()
            .flat_map(|&row| {
                let query = Queries::of_rows(&all, &[row]);
                whole.search(&query, k, breadth, &progress).expect("found").ids
            })
            .collect();
        assert_eq!(by_one, found.ids);
    }
    let report = whole.measure(10, 0.98, 2, &progress).expect("measured");
    assert!(report.0.measured.recall >= 0.98, "{report:?}");
    assert_eq!(grown.measure(10, 0.98, 1, &progress).expect("measured"), report);
}

#[test]
fn a_graph_without_its_shards_says_so() {
    let missing = Graph::new(vectors(16_384, 4, 4), 0, 1).expect("graph");
    let queries = Queries::of_rows(missing.vectors(), &[0]);
    let error = missing.search(&queries, 1, 1, &Progress::default()).expect_err("not built");
    assert!(error.to_string().contains("not built"), "{error}");
    assert!(missing.build_shard(1, &Progress::default()).is_err());
}

#[test]
fn no_damaged_shard_is_followed() {
    // With a hash that fits, as a forger would write it.
    let folder = tempfile::tempdir().expect("folder");
    let built = graph(vectors(16_384, 4, 4));
    let saved = built.save_shard(folder.path(), 0).expect("saved");
    let files = [built.save_vectors(folder.path(), 0).expect("saved")];
    let stored = graph::load_vectors(folder.path(), &files, 16_384, 4, &Progress::default())
        .expect("vectors");
    let path = folder.path().join(&saved.name);
    let whole = std::fs::read(&path).expect("read");
    let queries = Queries::of_rows(&stored, &(0..16_384).step_by(60).collect::<Vec<_>>());
    let mut rng = Rng::new(0, "damage", 0);
    let mut refused = 0;
    for round in 0..150 {
        let mut bytes = whole.clone();
        // Behind the vectors, whose values are free.
        let from = 8 + 16_384 * 4;
        let to = if round % 3 == 0 { from + 64 + 40 + 2 * 16_384 } else { bytes.len() };
        for _ in 0..=round % 5 {
            let place = from + rng.below((to - from) as u64) as usize;
            bytes[place] = rng.below(256) as u8;
        }
        if round % 10 == 9 {
            bytes.truncate(rng.below(bytes.len() as u64) as usize);
        }
        let hash = xxhash_rust::xxh3::xxh3_128(&bytes);
        let forged = graph::Saved { hash, bytes: bytes.len() as u64, ..saved.clone() };
        std::fs::write(&path, &bytes).expect("written");
        let loaded = Graph::new(stored.clone(), 0, 1).expect("graph");
        match loaded.load_shard(folder.path(), 0, &forged, &Progress::default()) {
            Ok(()) => drop(loaded.search(&queries, 5, 2, &Progress::default()).expect("found")),
            Err(nextlong::Error::Retrieval(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 60, "{refused}");
}

#[test]
fn neighbours_that_int8_cannot_tell_apart_are_all_ranked() {
    let (dim, clumps, rows, k) = (64, 30, 60, 10);
    let mut rng = Rng::new(0, "clumps", 0);
    let mut values: Vec<f32> = Vec::with_capacity(clumps * rows * dim);
    for _ in 0..clumps {
        let centre: Vec<f32> = (0..dim).map(|_| rng.uniform() as f32 - 0.5).collect();
        for _ in 0..rows {
            values.extend(centre.iter().map(|value| value + 0.004 * (rng.uniform() as f32 - 0.5)));
        }
    }
    let vectors = Vectors::in_full(&values, dim, 1).expect("vectors");
    let queries = Queries::of_rows(&vectors, &(0..vectors.len()).step_by(17).collect::<Vec<_>>());
    let progress = Progress::default();
    let none = Exclusion::new(None, vectors.len()).expect("none");
    let truth = cosine::search(&vectors, &queries, &none, k, &progress).expect("truth");
    for kind in [Kind::Exact, Kind::Clustered] {
        let search = Search::new(vectors.clone(), settings(kind, None)).expect("search");
        if kind == Kind::Clustered {
            search.build_lists(None, 1, &progress).expect("lists");
        }
        let found = search.search(&queries, k, kind.first_width(), &progress).expect("found");
        let share = recall::recall(&truth, &found, vectors.len()).recall;
        assert!(share > 0.99, "{kind:?} finds {share} of the clumps");
    }
}
