//! Counts tokens, for chunks that are cut by tokens.
//!
//! In: pieces of a text. Out: how many tokens each has, counted with buffers that come from the
//! tokenizer and go back to it.

use std::cell::RefCell;

use super::encoder::{Encoder, Scratch};
use super::{Kind, Tokenizer};
use crate::chunk::Counter;
use crate::error::Result;
use crate::progress::Progress;

/// Counts the tokens of pieces of text, on one thread.
pub struct TokenCounter<'a> {
    tokenizer: &'a Tokenizer,
    encoder: &'a Encoder,
    progress: &'a Progress,
    buffers: RefCell<(Scratch, Vec<u32>)>,
}

impl Tokenizer {
    /// What counts tokens for [`crate::chunk::Unit::Tokens`]; stops when `progress` says so.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`](crate::Error::Tokenizer) if the encoder cannot read the file.
    pub fn counter<'a>(&'a self, progress: &'a Progress) -> Result<TokenCounter<'a>> {
        let scratch = self.scratches().pop().unwrap_or_default();
        let buffers = RefCell::new((scratch, Vec::new()));
        Ok(TokenCounter { tokenizer: self, encoder: self.encoder()?, progress, buffers })
    }
}

impl TokenCounter<'_> {
    /// As [`Tokenizer::characters_of`].
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::characters_of`].
    pub fn characters_of(&self, text: &str, kept: &[u32]) -> Result<Option<usize>> {
        let (scratch, _) = &mut *self.buffers.borrow_mut();
        self.encoder.characters_of(text, kept, scratch)
    }
}

impl Counter for TokenCounter<'_> {
    fn count(&self, text: &str) -> Result<usize> {
        let (scratch, ids) = &mut *self.buffers.borrow_mut();
        ids.clear();
        self.encoder.encode(text, scratch, ids, self.progress)?;
        Ok(ids.len())
    }

    fn adds_up(&self, left: &str, right: &str) -> bool {
        self.encoder.kind != Kind::Unknown && self.encoder.kind.is_safe_boundary(left, right)
    }
}

impl Drop for TokenCounter<'_> {
    fn drop(&mut self) {
        let (scratch, _) = std::mem::take(self.buffers.get_mut());
        self.tokenizer.scratches().push(scratch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_counts_what_the_tokenizer_encodes_and_gives_its_buffers_back() {
        let json = include_str!("../../../../python/nextlong_rs/data/tokenizer.json");
        let tokenizer = Tokenizer::from_json(json).expect("loaded");
        let progress = Progress::default();
        for _ in 0..3 {
            let counter = tokenizer.counter(&progress).expect("a counter");
            for text in ["", "It's day 12.\n", "\n\n", "é中 👩‍👩‍👧"] {
                let expected = tokenizer.count(text, &mut Scratch::default()).expect("counted");
                assert_eq!(counter.count(text).expect("counted"), expected);
            }
            assert!(counter.adds_up("a\n", "b") && !counter.adds_up("a", "b"));
        }
        assert_eq!(tokenizer.scratches().len(), 1);
    }
}
