//! The sequential pass that decides what every sequence contains.
//!
//! In: documents in their order, what a strategy would take for each, and the token ids of chunks.
//! Out: planned sequences of exactly `seq_len` tokens: which chunks, in which order, how many tokens
//! of each.
//!
//! - `order`: the documents that can become sequences, and their order
//! - `batch`: documents whose neighbours are searched together
//! - `pass`: the pass itself: tokens are counted, negatives taken until a sequence is full
//! - `layout`: the order of the segments of a sequence, and the cut at its end
//! - `supply`: what is left for sequences where the reuse of chunks is limited
//! - `by_group`: counts for the report by group
//! - `planned`: planned sequences on disk, so that a pass can be resumed

mod batch;
mod by_group;
mod layout;
mod order;
mod pass;
pub mod planned;
mod supply;

pub use batch::Batch;
pub use by_group::GroupCounts;
pub use order::document_order;
pub use pass::{Need, Pass, Tally};
pub use planned::PlannedSequence;
pub use supply::Supply;
