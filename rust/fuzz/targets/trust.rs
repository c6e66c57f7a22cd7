//! Damaged files of a run directory.
#![no_main]

#[path = "../bodies/mod.rs"]
mod bodies;
mod start;

use std::sync::Once;

static QUIET: Once = Once::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // The core turns panics of decoders into errors; libFuzzer's hook would end them here. A panic
    // that nobody catches still ends the run.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| ())));
    bodies::trust::run(data);
});
