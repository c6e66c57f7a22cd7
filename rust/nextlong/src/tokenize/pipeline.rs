//! The one place where the crate `tokenizers` is called to encode or decode.
//!
//! In: a text. Out: its ids as the file's settings give them, or an error; a panic inside the crate
//! is an error too.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use tokenizers::pipeline::{
    EncodeOptions, Model, PipelineModelScratch, PipelineToken, PipelineTokenizer, Segment, Span,
    SpecialSegmentIterator, normalize_all,
};

use super::splitter::{SplitBuffers, Splitter};
use crate::error::{Error, Result};

/// The tables that encode.
pub(super) struct Pipeline {
    tokenizer: PipelineTokenizer,
    /// Splits texts where the crate cannot.
    splitter: Option<Splitter>,
}

/// Buffers of one thread.
#[derive(Default)]
pub(super) struct Buffers {
    tokens: Vec<PipelineToken>,
    spans: Vec<Span>,
    split: SplitBuffers,
    model: PipelineModelScratch,
}

impl Pipeline {
    /// Builds the tables with `load`.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the crate cannot read the file.
    pub(super) fn new(load: impl FnOnce() -> Result<PipelineTokenizer>) -> Result<Self> {
        let built = guarded(|| {
            let tokenizer = load()?;
            let splitter = Splitter::new(tokenizer.get_pre_tokenizer()).map_err(|error| {
                Error::Tokenizer(format!("this tokenizer cannot split texts: {error}"))
            })?;
            Ok(Self { tokenizer, splitter })
        });
        // Seen on files whose members contradict each other.
        built.unwrap_or_else(|| {
            Err(Error::Tokenizer("inconsistent tokenizer.json; hint: export it again".to_owned()))
        })
    }

    /// The crate's own tables.
    pub(super) fn tokenizer(&self) -> &PipelineTokenizer {
        &self.tokenizer
    }

    /// Appends the spans of a normalized text that the model encodes to `spans`, which is empty.
    ///
    /// # Errors
    ///
    /// The reason if the text cannot be split.
    pub(super) fn split(
        &self,
        text: &str,
        buffers: &mut SplitBuffers,
        spans: &mut Vec<Span>,
    ) -> std::result::Result<(), String> {
        match &self.splitter {
            Some(splitter) => splitter.split(text, buffers, spans),
            None => buffers.native(self.tokenizer.get_pre_tokenizer(), text, spans),
        }
    }

    /// Appends the ids of `text` to `out`; on an error `out` is as it was.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the crate fails or panics.
    pub(super) fn encode(
        &self,
        text: &str,
        options: &EncodeOptions,
        buffers: &mut Buffers,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        buffers.tokens.clear();
        let outcome = guarded(|| match &self.splitter {
            None => self
                .tokenizer
                .encode_into(text, options, &mut buffers.tokens)
                .map_err(|error| error.to_string()),
            Some(splitter) => self.encode_split(splitter, text, options, buffers),
        });
        let why = match outcome {
            Some(Ok(())) => {
                out.extend_from_slice(PipelineToken::cast_slice(&buffers.tokens));
                return Ok(());
            }
            Some(Err(error)) => error,
            None => {
                *buffers = Buffers::default();
                "the encoder panicked".to_owned()
            }
        };
        let start: String = text.chars().take(40).collect();
        Err(Error::Tokenizer(format!("the text {start:?}… cannot be encoded: {why}")))
    }

    /// As `PipelineTokenizer::encode_into`, with a splitter of ours.
    fn encode_split(
        &self,
        splitter: &Splitter,
        text: &str,
        options: &EncodeOptions,
        buffers: &mut Buffers,
    ) -> std::result::Result<(), String> {
        let Buffers { tokens, spans, split, model: scratch } = buffers;
        let model = self.tokenizer.get_model();
        if matches!(scratch, PipelineModelScratch::None) {
            *scratch = model.init_scratch();
        }
        let added = self.tokenizer.get_added_vocabulary();
        let as_text = options.encode_special_tokens;
        for segment in SpecialSegmentIterator::new(text, added, false, as_text) {
            let (part, offset) = match segment {
                Segment::SpecialToken(id) => {
                    tokens.push(id.into());
                    continue;
                }
                Segment::Text { text, input_offset } => (text, input_offset),
            };
            let normal = normalize_all(self.tokenizer.get_normalizers(), part, offset)
                .map_err(|error| error.to_string())?;
            for segment in SpecialSegmentIterator::new(&normal, added, true, as_text) {
                let part = match segment {
                    Segment::SpecialToken(id) => {
                        tokens.push(id.into());
                        continue;
                    }
                    Segment::Text { text, .. } => text,
                };
                if u32::try_from(part.len()).is_err() {
                    return Err("more than 4 GiB".to_owned());
                }
                spans.clear();
                splitter.split(part, split, spans)?;
                model
                    .tokenize_spans(part, spans, scratch, tokens)
                    .map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// The text of `ids`.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the crate fails or panics.
    pub(super) fn decode(&self, ids: &[u32]) -> Result<String> {
        let outcome =
            guarded(|| self.tokenizer.decode(ids, false).map_err(|error| error.to_string()));
        outcome.unwrap_or_else(|| Err("the decoder panicked".to_owned())).map_err(|error| {
            Error::Tokenizer(format!("{} ids cannot be decoded: {error}", ids.len()))
        })
    }
}

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; None if it panicked, of which nothing is printed.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let other = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_GUARDED.get() {
                other(panic);
            }
        }));
    });
    let before = IS_GUARDED.replace(true);
    // What a panic may leave half done is thrown away by the callers.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    IS_GUARDED.set(before);
    outcome.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_no_result_and_leaves_the_thread_as_it_was() {
        assert_eq!(guarded(|| 3), Some(3));
        assert_eq!(guarded(|| -> u32 { panic!("inside") }), None);
        assert!(!IS_GUARDED.get());
    }
}
