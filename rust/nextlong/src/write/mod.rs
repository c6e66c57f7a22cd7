//! Writes sequences to files: one file per format.
//!
//! In: [`crate::Sequences`]. Out: a file that appears when it is complete, the same bytes every time.

mod parquet;

pub use parquet::{ParquetWriter, STEP_TOKENS, parquet};
