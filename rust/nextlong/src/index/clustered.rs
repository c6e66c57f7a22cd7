//! The clustered scan: each query against the rows of the lists nearest to it, in int8.
//!
//! In: int8 queries. Out: for each the ids of the best rows of its lists, to be ranked again in
//! f32. The order in which lists are scanned does not matter to what is found.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};
use crate::index::arena::Arena;
use crate::index::cosine::Queries;
use crate::index::exclude::Exclusion;
use crate::index::inverted_lists::InvertedLists;
use crate::index::near_centroids::NearCentroids;
use crate::index::product::{Packed, Rows, Scores, packed_bytes, together};
use crate::index::quantize::Quantizer;
use crate::index::topk::{Best, Keep};
use crate::index::{Neighbours, SearchWidth};
use crate::progress::Progress;
use crate::store::Vectors;

/// Rows of a list that are packed together at most.
const BLOCK: usize = 2048;

/// Queries multiplied together at most.
const QUERIES: usize = 64;

/// (query, list) pairs that are held at a time.
const PAIRS: usize = 1 << 22;

/// Lists that a query may come to by its gap before all lists are put in order for it.
const PROBED: usize = 64;

/// A row is near the lists that are near its own. The number of these that are considered: a multiple
/// of the lists scanned, and the minimum.
pub(super) const ASKED: (usize, usize) = (12, 128);

/// The lists, once they are built or loaded, and the packed rows that may be kept.
pub struct Clustered {
    quantizer: Quantizer,
    cache_bytes: usize,
    ready: OnceLock<Ready>,
}

struct Ready {
    lists: InvertedLists,
    /// The blocks of list `l` are `blocks[l]..blocks[l + 1]`.
    blocks: Vec<usize>,
    /// The first blocks, packed when they are first used.
    kept: Vec<OnceLock<Packed>>,
    /// Their memory.
    arena: Arc<Arena>,
    /// The place of every row.
    places: Vec<u32>,
}

/// Gaps of lists below the `k`-th nearest row of a query.
#[derive(Debug, Default)]
pub struct Gaps {
    /// The lists of its nearest rows.
    pub of_rows: Vec<i32>,
    /// All lists, rising.
    pub of_lists: Vec<i32>,
    /// True if there are fewer than `k` rows.
    pub short: bool,
}

/// A query on its way from list to list.
struct Seeker<'a> {
    /// The lists to scan, nearest first, with their products.
    nearest: &'a [(i32, u32)],
    /// True if the next lists may hold rows that are near enough.
    open: bool,
    best: Best,
}

/// The queries that scan a list next, as (query) numbers sorted by list.
struct Visits {
    starts: Vec<usize>,
    queries: Vec<u32>,
}

impl Clustered {
    /// A scan without lists yet, that keeps up to `cache_bytes` of packed rows between calls.
    #[must_use]
    pub fn new(quantizer: Quantizer, cache_bytes: usize) -> Self {
        Self { quantizer, cache_bytes, ready: OnceLock::new() }
    }

    /// Builds the lists on some threads and, with a `folder`, writes them there.
    ///
    /// # Errors
    ///
    /// See [`InvertedLists::build`] and [`InvertedLists::write`].
    pub fn build(
        &self,
        vectors: &Vectors,
        folder: Option<&Path>,
        seed: u64,
        threads: usize,
        progress: &Progress,
    ) -> Result<()> {
        let mut lists = InvertedLists::build(
            vectors,
            self.quantizer,
            seed,
            self.cache_bytes / 2,
            threads,
            progress,
        )?;
        if let Some(folder) = folder {
            lists.write(folder, vectors, self.quantizer, threads, progress)?;
        }
        self.seat(lists, vectors.dim())
    }

    /// Loads lists that were written to `folder`.
    ///
    /// # Errors
    ///
    /// See [`InvertedLists::load`].
    pub fn load(&self, vectors: &Vectors, folder: &Path) -> Result<()> {
        self.seat(InvertedLists::load(folder, vectors, self.quantizer)?, vectors.dim())
    }

    fn seat(&self, lists: InvertedLists, dim: usize) -> Result<()> {
        let cache_bytes = self.cache_bytes - lists.held_bytes();
        let mut blocks = vec![0];
        let (mut kept, mut bytes) = (0, 0);
        for list in 0..lists.len() {
            let places = lists.places(list);
            blocks.push(blocks[list] + places.len().div_ceil(BLOCK));
            if places.end * dim <= cache_bytes {
                kept = blocks[list + 1];
                bytes += places.len() / BLOCK * packed_bytes(BLOCK, dim)
                    + packed_bytes(places.len() % BLOCK, dim);
            }
        }
        let arena = Arena::new(bytes)?;
        let kept = (0..kept).map(|_| OnceLock::new()).collect();
        let places = lists.places_of_rows();
        // The same if there already.
        let _ = self.ready.set(Ready { lists, blocks, kept, arena, places });
        Ok(())
    }

    fn ready(&self) -> Result<&Ready> {
        self.ready.get().ok_or_else(|| {
            Error::Retrieval(
                "the lists of the clustered scan are not built yet; build or load them first"
                    .into(),
            )
        })
    }

    /// The number of lists; 0 before they are there.
    #[must_use]
    pub fn list_count(&self) -> usize {
        self.ready.get().map_or(0, |ready| ready.lists.len())
    }

    /// The place of a row among the rows in the order of the lists; its number before there are any.
    #[must_use]
    pub fn place_of(&self, row: usize) -> usize {
        self.ready.get().map_or(row, |ready| ready.places[row] as usize)
    }

    /// The best rows of each query by int8 product, as many as `keep` says, in any order: in the
    /// lists nearest to it, as many as `search_width` says.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`] when asked to stop; [`Error::Retrieval`] without memory or lists.
    pub fn candidates(
        &self,
        vectors: &Vectors,
        queries: &Queries,
        exclusion: &Exclusion,
        keep: Keep,
        search_width: SearchWidth,
        progress: &Progress,
    ) -> Result<Vec<Vec<u32>>> {
        let ready = self.ready()?;
        let (dim, lists) = (vectors.dim(), ready.lists.len());
        let probes =
            if search_width.gap.is_some() { PROBED } else { search_width.width }.min(lists);
        if probes == 0 {
            return Ok(vec![Vec::new(); queries.len()]);
        }
        // The nearest list of all queries first: it raises the threshold for the others.
        let rounds = match search_width.gap {
            None => vec![0..1, 1..probes],
            Some(_) => rounds_of(1, probes),
        };
        let mut found = Vec::with_capacity(queries.len());
        let batch = (PAIRS / probes).max(QUERIES);
        let mut buffer = (Rows::zeros(1, dim)?, Scores::zeros(1, 1)?);
        for start in (0..queries.len()).step_by(batch) {
            let range = start..(start + batch).min(queries.len());
            let values = self.values(ready, queries, range.clone());
            let nearest = ready.nearest(&values, probes, queries, start, progress)?;
            let mut seekers: Vec<Seeker<'_>> = nearest
                .chunks_exact(probes)
                .map(|nearest| Seeker { nearest, open: true, best: Best::keeping(keep) })
                .collect();
            let numbers: Vec<usize> = range.collect();
            let mut scan = |seekers: &mut [Seeker<'_>], ranks, values: &[i8], numbers: &[usize]| {
                let visits = Visits::new(seekers, ranks, search_width.gap, lists);
                let see = |query: usize, scores: &[i32], ids: &[u32]| {
                    let own = exclusion.of(queries.row_of(numbers[query]));
                    let name = |place: usize| ids[place];
                    seekers[query].best.extend(scores, name, |id| own.excludes(id));
                };
                self.visit(vectors, ready, values, &visits, &mut buffer, progress, see)
            };
            for ranks in rounds.iter().cloned() {
                scan(&mut seekers, ranks, &values, &numbers)?;
            }
            if search_width.gap.is_some() && probes < lists {
                let open: Vec<usize> =
                    (0..seekers.len()).filter(|&query| seekers[query].open).collect();
                for some in open.chunks(QUERIES) {
                    let values: Vec<i8> = some
                        .iter()
                        .flat_map(|&query| &values[query * dim..][..dim])
                        .copied()
                        .collect();
                    let numbers: Vec<usize> = some.iter().map(|&query| numbers[query]).collect();
                    let all = ready.lists.centroids().nearest_some(&values, lists, progress)?;
                    let rest = |(nearest, &query): (&[(i32, u32)], &usize)| {
                        let seen: HashSet<u32> =
                            seekers[query].nearest.iter().map(|pair| pair.1).collect();
                        nearest.iter().filter(|pair| !seen.contains(&pair.1)).copied().collect()
                    };
                    let rest: Vec<Vec<(i32, u32)>> =
                        all.chunks_exact(lists).zip(some).map(rest).collect();
                    let mut others: Vec<Seeker<'_>> = Vec::with_capacity(some.len());
                    for (nearest, &query) in rest.iter().zip(some) {
                        let best = std::mem::replace(&mut seekers[query].best, Best::new(0));
                        others.push(Seeker { nearest, open: true, best });
                    }
                    for ranks in rounds_of(PROBED, lists - probes) {
                        scan(&mut others, ranks, &values, &numbers)?;
                    }
                    for (other, &query) in others.into_iter().zip(some) {
                        seekers[query].best = other.best;
                    }
                }
            }
            found.extend(seekers.into_iter().map(|seeker| seeker.best.into_kept()));
        }
        Ok(found)
    }

    /// Holds the queries that visit lists against the rows of these.
    #[allow(clippy::too_many_arguments, reason = "the inside of one loop, cut out to be read")]
    fn visit(
        &self,
        vectors: &Vectors,
        ready: &Ready,
        values: &[i8],
        visits: &Visits,
        buffer: &mut (Rows, Scores),
        progress: &Progress,
        mut see: impl FnMut(usize, &[i32], &[u32]),
    ) -> Result<()> {
        for list in 0..ready.lists.len() {
            let visitors = visits.of(list);
            if visitors.is_empty() {
                continue;
            }
            for block in ready.blocks[list]..ready.blocks[list + 1] {
                let buffer = (&mut buffer.0, &mut buffer.1);
                self.scan(
                    vectors, ready, list, block, values, visitors, buffer, progress, &mut see,
                )?;
            }
        }
        Ok(())
    }

    /// How far the lists lie below the `k`-th nearest row of each query: those of its `k` nearest
    /// rows in `truth`, and all lists.
    ///
    /// # Errors
    ///
    /// As [`Clustered::candidates`].
    pub fn gaps(
        &self,
        queries: &Queries,
        truth: &Neighbours,
        k: usize,
        progress: &Progress,
    ) -> Result<Vec<Gaps>> {
        let ready = self.ready()?;
        let lists = ready.lists.len();
        let square = f64::from(self.quantizer.scale()).powi(2);
        let mut all = Vec::with_capacity(queries.len());
        let mut products = vec![0; lists];
        for start in (0..queries.len()).step_by(QUERIES) {
            let range = start..(start + QUERIES).min(queries.len());
            let values = self.values(ready, queries, range.clone());
            let nearest = ready.lists.centroids().nearest_some(&values, lists, progress)?;
            for (query, nearest) in range.zip(nearest.chunks_exact(lists.max(1))) {
                for &(product, list) in nearest {
                    products[list as usize] = product;
                }
                let ids = &truth.ids[query * truth.k..][..k];
                let count = ids.iter().take_while(|&&id| id >= 0).count();
                let Some(last) = count.checked_sub(1) else {
                    all.push(Gaps::default());
                    continue;
                };
                let last = (f64::from(truth.scores[query * truth.k + last]) * square) as i32;
                let below = |list: usize| last - products[list];
                let list = |&id: &i64| ready.lists.list_at(ready.places[id as usize] as usize);
                let of_rows = ids[..count].iter().map(|id| below(list(id))).collect();
                let of_lists = nearest.iter().map(|pair| last - pair.0).collect();
                // Where there are fewer than `k`, all lists are scanned.
                let short = count < k;
                all.push(Gaps { of_rows, of_lists, short });
            }
        }
        Ok(all)
    }

    /// Some queries in int8.
    fn values(&self, ready: &Ready, queries: &Queries, range: Range<usize>) -> Vec<i8> {
        let dim = queries.dim();
        let (mut values, mut buffer) = (vec![0; range.len() * dim], Vec::new());
        let rows = range.clone().zip(queries.values(range).chunks_exact(dim));
        for ((query, row), out) in rows.zip(values.chunks_exact_mut(dim)) {
            let place = queries.row_of(query).map(|row| ready.places[row] as usize);
            if !place.is_some_and(|place| ready.lists.copy(place..place + 1, dim, out)) {
                self.quantizer.row(row, &mut buffer, out);
            }
        }
        values
    }

    /// Multiplies one block of a list with the queries that visit it.
    #[allow(clippy::too_many_arguments, reason = "the inside of one loop, cut out to be read")]
    fn scan(
        &self,
        vectors: &Vectors,
        ready: &Ready,
        list: usize,
        block: usize,
        values: &[i8],
        visitors: &[u32],
        (some, scores): (&mut Rows, &mut Scores),
        progress: &Progress,
        mut see: impl FnMut(usize, &[i32], &[u32]),
    ) -> Result<()> {
        let dim = vectors.dim();
        let places = ready.lists.places(list);
        let first = places.start + (block - ready.blocks[list]) * BLOCK;
        let places = first..(first + BLOCK).min(places.end);
        let read = || {
            let mut rows = Rows::to_pack(places.len(), dim)?;
            ready.lists.read(places.clone(), vectors, self.quantizer, rows.values());
            Ok::<Rows, Error>(rows)
        };
        let packed;
        let rows = match ready.kept.get(block).map(|kept| (kept, kept.get())) {
            Some((_, Some(rows))) => rows,
            Some((kept, None)) => {
                // Two threads may both pack it: one is kept, they are the same.
                let rows = read()?.pack_in(&ready.arena)?;
                kept.get_or_init(|| rows)
            }
            None => {
                packed = read()?.pack()?;
                &packed
            }
        };
        let ids = ready.lists.rows(places.clone());
        for visitors in visitors.chunks(together(rows.len(), QUERIES)) {
            progress.check()?;
            some.resize(visitors.len())?;
            for (&query, row) in visitors.iter().zip(some.values().chunks_exact_mut(dim)) {
                row.copy_from_slice(&values[query as usize * dim..][..dim]);
            }
            scores.fill(some, rows)?;
            for (place, &query) in visitors.iter().enumerate() {
                see(query as usize, scores.of(place), ids);
            }
        }
        Ok(())
    }
}

impl Ready {
    /// The `probes` lists nearest to each of some queries, with their products, nearest first, for rows among the lists
    /// near their own.
    fn nearest(
        &self,
        values: &[i8],
        probes: usize,
        queries: &Queries,
        first: usize,
        progress: &Progress,
    ) -> Result<Vec<(i32, u32)>> {
        let centroids = self.lists.centroids();
        let dim = centroids.dim();
        let asked = (probes * ASKED.0).max(ASKED.1);
        if asked > centroids.len() / 2 || queries.row_of(first).is_none() {
            return centroids.nearest_some(values, probes, progress);
        }
        let own: Vec<u32> = (first..first + values.len() / dim)
            .filter_map(|query| queries.row_of(query))
            .map(|row| self.lists.list_at(self.places[row] as usize) as u32)
            .collect();
        let mut lists = own.clone();
        lists.sort_unstable();
        lists.dedup();
        let anchors = centroids.some(lists.iter().map(|&list| list as usize));
        let near = NearCentroids::new(centroids, &anchors, asked, 1, progress)?;
        let own: Vec<u32> =
            own.iter().map(|list| lists.partition_point(|other| other < list) as u32).collect();
        let mut nearest = vec![(0, 0); own.len() * probes];
        near.products(values, &own, progress, |query, scores, ids| {
            let mut best = Best::new(probes);
            best.extend(scores, |place| ids[place], |_| false);
            nearest[query * probes..][..probes].copy_from_slice(&best.into_pairs());
        })?;
        Ok(nearest)
    }
}

/// Ranks from 0 to `end` in rounds, the first of `first`, each three times as long as all before it.
fn rounds_of(first: usize, end: usize) -> Vec<Range<usize>> {
    let mut rounds = Vec::with_capacity(4);
    rounds.push(0..first.min(end));
    while let Some(last) = rounds.last().map(|range| range.end).filter(|&last| last < end) {
        rounds.push(last..(last * 4).min(end));
    }
    rounds
}

impl Visits {
    /// Sorts the lists of the given ranks of every open query by list: those whose product is at most
    /// `gap` below that of its last sure row, if there is a gap. Queries are closed that leave any out.
    fn new(
        seekers: &mut [Seeker<'_>],
        ranks: Range<usize>,
        gap: Option<i32>,
        lists: usize,
    ) -> Self {
        let mut wanted: Vec<&[(i32, u32)]> = Vec::with_capacity(seekers.len());
        for seeker in seekers {
            let nearest = &seeker.nearest[ranks.clone()];
            let count = match gap {
                _ if !seeker.open => 0,
                None => nearest.len(),
                Some(gap) => {
                    let last = seeker.best.last_sure().unwrap_or(i32::MIN);
                    let least = last.saturating_sub(gap);
                    nearest.partition_point(|pair| pair.0 >= least)
                }
            };
            seeker.open &= count == nearest.len();
            wanted.push(&nearest[..count]);
        }
        let mut starts = vec![0; lists + 1];
        for &(_, list) in wanted.iter().copied().flatten() {
            starts[list as usize + 1] += 1;
        }
        for list in 0..lists {
            starts[list + 1] += starts[list];
        }
        let mut next = starts.clone();
        let mut queries = vec![0; starts[lists]];
        for (query, some) in wanted.into_iter().enumerate() {
            for &(_, list) in some {
                queries[next[list as usize]] = query as u32;
                next[list as usize] += 1;
            }
        }
        Self { starts, queries }
    }

    fn of(&self, list: usize) -> &[u32] {
        &self.queries[self.starts[list]..self.starts[list + 1]]
    }
}
