//! Any texts, held against each other by n-grams.
#![no_main]

#[path = "../bodies/mod.rs"]
mod bodies;
mod start;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::ngrams::run(data));
