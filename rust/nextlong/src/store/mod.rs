//! Files of a run directory and the data that they hold: chunks, vectors, token ids.
//!
//! In: the data of a stage. Out: files that appear whole or not at all, read back memory-mapped and
//! checked. A run directory is untrusted input: a damaged file is an error, never a crash.

pub(crate) mod atomic;
mod chunks;
mod groups;
pub(crate) mod huge_pages;
pub(crate) mod ipc;
pub(crate) mod npy;
mod tokens;
pub(crate) mod vectors;

pub use atomic::hash as file_hash;
pub use chunks::{ChunkStore, Origin, PartWriter};
pub use groups::{Groups, MAX_GROUPS, NO_SOURCE, OTHER};
pub use tokens::{ClosedBatch, TokenCache};
pub use vectors::{Vectors, write_npy};
