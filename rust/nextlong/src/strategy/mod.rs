//! What fills a sequence: which segments it takes, in order of preference.
//!
//! In: the chunks of a corpus and their neighbours. Out: the next segment of a sequence, each time the
//! pass asks for one. A strategy knows no tokens, files or threads: the pass ([`crate::fill`]) counts
//! tokens and decides when a sequence is full.
//!
//! One file or folder per strategy; so far there is [`nextlong`]. What strategies share:
//! `ledger` (how often each chunk was used) and `refusals` (why a chunk was refused).

mod ledger;
pub mod nextlong;
mod refusals;

pub(crate) use ledger::Ledger;
pub use refusals::{REASONS, Refusals};
pub(crate) use refusals::{Reason, add, add_since};
