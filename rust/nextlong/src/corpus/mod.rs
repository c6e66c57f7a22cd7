//! The corpus: inputs of many kinds become documents, and rows that cannot be used a quarantine.
//!
//! In: files, Arrow batches or strings. Out: [`Documents`], block by block.
//!
//! [`BlockReader`] reads and decompresses, one block after another, cut at borders that depend on
//! the input alone. [`parse`] turns a block into documents; blocks are independent, so many threads
//! parse at once.

mod documents;

pub use documents::{BadRow, Documents, Reason};
