//! The core of `nextlong_rs`: NExtLong long-context sequences from a corpus of short documents.
//!
//! Data goes left to right, one module a room; a room knows nothing to its right:
//!
//! ```text
//! corpus ─► chunk ─► embed ─► index ─► mine ─► assemble ─► write
//! ```
//!
//! The method is NExtLong (Gao et al., ICML 2025, arXiv 2501.12766).
#![deny(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::float_cmp,
        clippy::needless_pass_by_value,
        clippy::unnecessary_wraps,
        reason = "tests compare exact bytes and hand made-up parts around"
    )
)]

pub mod assemble;
pub mod chunk;
pub mod config;
pub mod corpus;
pub mod embed;
pub mod error;
pub mod fan;
pub mod files;
pub mod group_report;
pub mod groups;
pub mod index;
pub mod ipc;
pub mod large;
pub mod measure;
pub mod mine;
pub mod progress;
pub mod ragged;
mod runs;
pub mod seed;
pub mod sequences;
pub mod store;
pub mod tokenize;
pub mod tokens;
pub mod vectors;
pub mod write;

pub use error::{Error, Result};
pub use progress::Progress;
pub use ragged::Ragged;
pub use sequences::Sequences;
