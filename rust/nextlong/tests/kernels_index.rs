//! Both scans, and the lists of one, are the same bytes whatever instruction set the processor has.
//!
//! In a process of its own, because it changes which kernels numkong takes.

use nextlong::Progress;
use nextlong::index::{Kind, Neighbours, Queries, Search, SearchWidth, Settings};
use nextlong::seed::Rng;
use nextlong::store::Vectors;
use numkong::capabilities::{self, cap};

unsafe extern "C" {
    fn nk_dispatch_table_update(capabilities: u64);
}

fn found(vectors: &Vectors) -> Vec<Neighbours> {
    let rows: Vec<usize> = (0..vectors.len()).step_by(7).collect();
    let queries = Queries::of_rows(vectors, &rows);
    let progress = Progress::default();
    [(Kind::Exact, false), (Kind::Clustered, false), (Kind::Clustered, true)]
        .map(|(kind, by_gap)| {
            let settings =
                Settings { kind, groups: None, seed: 0, callers: 1, cache_bytes: 1 << 20 };
            let search = Search::new(vectors.clone(), settings).expect("search");
            if kind == Kind::Clustered {
                search.build_lists(None, 2, &progress).expect("lists");
            }
            let gap = by_gap.then(|| search.square() / 10);
            let breadth = SearchWidth { width: 1, gap };
            search.search(&queries, 10, breadth, &progress).expect("found")
        })
        .into()
}

#[test]
fn every_kernel_finds_the_same() {
    let mut rng = Rng::new(0, "kernels", 0);
    for (rows, dim) in [(3000, 70), (2500, 256)] {
        let values: Vec<f32> = (0..rows * dim).map(|_| rng.uniform() as f32 - 0.5).collect();
        let vectors = Vectors::from_f32(&values, dim).expect("vectors");
        let best = found(&vectors);
        let all = capabilities::available();
        let weaker = [cap::SAPPHIREAMX, cap::ICELAKE, cap::SIERRA, cap::ALDER, cap::HASWELL]
            .into_iter()
            .chain([cap::SME, cap::NEONSDOT])
            .filter(|bit| all & bit != 0)
            .chain([0]);
        for bit in weaker {
            // SAFETY: only kernels that the processor has; nothing is packed across the change.
            unsafe { nk_dispatch_table_update(cap::SERIAL | bit) };
            assert!(found(&vectors) == best, "kernel {bit:#x}");
        }
        // SAFETY: as above.
        unsafe { nk_dispatch_table_update(all) };
    }
}
