//! Turns the text of chunks into token ids.
//!
//! In: a `tokenizer.json` and chunks of a store. Out: the ids of each chunk as they stand in the
//! middle of a sequence: no BOS or EOS, no truncation, no padding, no space or word mark before the
//! text, and strings such as `<|endoftext|>` in the text encoded as the ordinary text they are.
//!
//! The ids are those of the `tokenizers` package for the same text.

mod boundaries;
mod chunk_file;
mod counter;
mod encoder;
mod file;
mod json;
mod kinds;
mod names;
mod parity;
mod piece_cache;
mod pieces;
mod pipeline;
mod probes;
mod splitter;
mod tokenizer;

pub use boundaries::Kind;
pub use chunk_file::ChunkFile;
pub use counter::TokenCounter;
pub use encoder::Scratch;
pub use file::Added;
pub use tokenizer::Tokenizer;
