//! Sequences to files: one module a format.
//!
//! In: [`crate::Sequences`]. Out: a file that is whole or not there, the same bytes every time.

mod parquet;

pub use parquet::{ParquetWriter, STEP_TOKENS, parquet};
