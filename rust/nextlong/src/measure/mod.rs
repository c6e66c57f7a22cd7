//! Quality measures of a run, without a model: on all sequences or on seeded samples.
//!
//! In: chunks, vectors and planned sequences. Out: numbers for the report. One measure per file.

mod by_group;
mod same_document;
mod similarity;

pub use by_group::{Estimate, GroupReport, Measured, group_report};
pub use same_document::{SameDocument, same_document};
pub use similarity::{Similarity, similarity};
