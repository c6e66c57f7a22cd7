//! The core of `nextlong_rs`: long-context training sequences from a corpus of short documents, by the
//! method NExtLong (Gao et al., ICML 2025, arXiv 2501.12766).
//!
//! A sequence is a document, cut into chunks (the meta-chunks), with hard negatives between them: chunks
//! of other documents that are similar to the meta-chunk before them. So passages that depend on each
//! other end up tens of thousands of tokens apart, separated by similar distractors.
//!
//! Data flows from left to right. Each stage is one module, and no module knows one to its right:
//!
//! ```text
//! corpus ─► chunk ─► tokenize ─► embed ─► index ─► strategy ─► fill ─► assemble ─► write ─► measure
//! texts     spans    token ids   vectors  neigh-   negatives   planned   token        files     quality
//!                                         bours                sequences sequences
//! ```
//!
//! - [`corpus`] reads documents from files, Arrow streams or a caller, block by block.
//! - [`chunk`] cuts documents into chunks, along lines or as the paper does.
//! - [`tokenize`] turns chunks into token ids, the same ids as the `tokenizers` package.
//! - [`embed`] fits a model to the corpus and turns chunks into vectors.
//! - [`index`] finds nearest neighbours: exhaustive, int8 scan, inverted lists, HNSW.
//! - [`strategy`] decides which neighbours a sequence may take.
//! - [`fill`] is the one sequential pass: it counts tokens and plans every sequence.
//! - [`assemble`] turns planned sequences ([`segment`]) into tokens and their provenance
//!   ([`sequences`]).
//! - [`write`](mod@write) writes them to files.
//! - [`measure`] reports the quality of what was made.
//!
//! Stages exchange data through the files of a run directory ([`store`]). [`config`] holds the settings
//! and the rules on them, [`error`] one error per remedy, [`progress`] a counter and a stop flag.
//!
//! Results depend on settings and inputs only, never on the number of threads or on how work is cut into
//! calls: all random choices come from [`seed`], by (seed, purpose, item).
#![deny(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::float_cmp,
        clippy::needless_pass_by_value,
        clippy::unnecessary_wraps,
        reason = "tests compare exact bytes and pass made-up data by value"
    )
)]

pub mod assemble;
pub mod chunk;
pub mod config;
pub mod corpus;
pub mod embed;
pub mod error;
pub mod fill;
mod hash;
pub mod index;
pub mod measure;
mod parallel;
pub mod progress;
mod ragged;
mod runs;
pub mod seed;
pub mod segment;
pub mod sequences;
pub mod store;
pub mod strategy;
pub mod tokenize;
pub mod write;

pub use error::{Error, Result};
pub use progress::Progress;
pub use ragged::Ragged;
pub use sequences::Sequences;
