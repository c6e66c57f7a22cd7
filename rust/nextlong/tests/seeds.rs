//! What the fuzz targets found worth keeping, run again: `rust/fuzz/seeds/TARGET/*`.

#[path = "../../fuzz/bodies/mod.rs"]
mod bodies;

use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("the seeds of a target")
        .map(|entry| entry.expect("a file").path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 10, "{} seeds of {target}", paths.len());
    for path in paths {
        // Shown where the test fails.
        println!("{}", path.display());
        run(&std::fs::read(&path).expect("a seed"));
    }
}

#[test]
fn the_seeds_of_all_targets_pass() {
    replay("assemble", bodies::assemble::run);
    replay("chunk", bodies::chunk::run);
    replay("jsonl", bodies::jsonl::run);
    replay("ngrams", bodies::ngrams::run);
    replay("trust", bodies::trust::run);
    replay("write", bodies::write::run);
}
