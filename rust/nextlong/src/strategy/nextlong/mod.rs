//! NExtLong: a document's chunks, each followed by hard negatives.
//!
//! In: the neighbours of the meta-chunks (chunks) of one document. Out: the next negative in turn
//! that the rules allow.
//!
//! - `candidates`: the allowed neighbours of each meta-chunk, and the searches that are wanted
//! - `rules`: the rules on one neighbour that need neither text nor other sequences
//! - `near_duplicates`, `overlap`, `gram_lists`, `ngrams`: the rule on near-duplicates
//! - `prefetch`: looks ahead of the pass, so that it rarely waits for a search
//! - `turns`: the meta-chunks take their negatives in turns
//! - `estimate`: how many negatives a sequence needs

mod candidates;
mod estimate;
mod gram_lists;
mod near_duplicates;
mod ngrams;
mod overlap;
mod prefetch;
mod rules;
mod turns;

pub use candidates::{SearchRequest, SearchResult};
pub(crate) use candidates::{Source, identity};
pub use estimate::paper_k;
pub(crate) use estimate::{document_characters, mean_characters};
pub use gram_lists::GramLists;
pub use near_duplicates::shares_in_the_others;
pub use ngrams::grams;
pub(crate) use turns::{Next, Selection, Turns};
