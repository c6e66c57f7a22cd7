//! What encodes and decodes: the crate's tables, and what a chunk needs around them.

use tokenizers::pipeline::{EncodeOptions, Override, PipelineToken, PipelineTokenizer};

use super::borders::Kind;
use super::file::{Added, Rules};
use super::json::Json;
use super::names::Names;
use super::words::{Pieces, Words};
use crate::error::{Error, Result};
use crate::progress::Progress;

mod coverage;

/// Texts longer than this, in bytes, are cut before they are encoded.
const LONG_TEXT_BYTES: usize = 1 << 20;
/// How much text is encoded between two looks at the stop flag: some 10 to 50 ms.
pub(super) const CHECK_BYTES: usize = 1 << 20;

/// Room that a thread keeps between calls of [`super::Tokenizer::encode`].
#[derive(Default)]
pub struct Scratch {
    text: String,
    tokens: Vec<PipelineToken>,
    words: Words,
    stages: coverage::Stages,
}

/// A tokenizer that encodes.
pub(super) struct Encoder {
    pipeline: PipelineTokenizer,
    pub(super) kind: Kind,
    /// The ids of a newline, if chunks are encoded behind one that is then dropped.
    newline: Option<Vec<u32>>,
    adds_a_space: bool,
    /// What the model writes before tokens inside a word, and after the last token of a word.
    affixes: (String, String),
    /// How texts fall into pieces, if they are encoded piece by piece.
    pub(super) pieces: Option<Pieces>,
    pub(super) notes: Vec<String>,
}

impl Encoder {
    /// Of the text of a `tokenizer.json` that has these tokens.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the crate cannot encode with it.
    pub(super) fn new(text: &str, names: &Names, added: &[Added]) -> Result<Self> {
        let mut json = Json::read(text)?;
        let Rules { kind, marks_the_start, adds_a_space, pieces, notes } =
            Rules::of(&mut json, names, added);
        let affix = |name: &str| json.settings["model"][name].as_str().unwrap_or_default();
        let affixes =
            (affix("continuing_subword_prefix").to_owned(), affix("end_of_word_suffix").to_owned());
        // The reader has been seen to panic on files that contradict themselves.
        let pipeline = std::panic::catch_unwind(move || json.load()).unwrap_or_else(|_| {
            Err(Error::Tokenizer("the tokenizer contradicts itself; save it again".to_owned()))
        })?;
        let mut encoder =
            Self { pipeline, kind, newline: None, adds_a_space, affixes, pieces, notes };
        if marks_the_start {
            encoder.find_newline()?;
            if encoder.newline.is_none() {
                encoder.pieces = None;
            }
        }
        Ok(encoder)
    }

    /// Finds the ids of a newline that can stand before a chunk and be dropped, if there are any.
    fn find_newline(&mut self) -> Result<()> {
        let mut scratch = Scratch::default();
        let mut newline = Vec::new();
        self.call(Mode::Chunk, "\n", &mut scratch, &mut newline)?;
        if newline.is_empty() {
            // White space leaves no trace, so every word has its mark wherever it stands.
            return Ok(());
        }
        for text in
            ["a", "The cat", " sat", "  1", "\nnext", "\n\n", "\t", "é", "中文", "▁a", ".", "/a"]
        {
            let mut behind = Vec::new();
            self.call(Mode::Chunk, &format!("\n{text}"), &mut scratch, &mut behind)?;
            if !behind.starts_with(&newline) {
                self.notes.push(
                    "a newline before a chunk joins the chunk's first token, so chunks are \
                     encoded alone and may begin with a word mark"
                        .to_owned(),
                );
                self.kind = Kind::Unknown;
                return Ok(());
            }
        }
        self.newline = Some(newline);
        Ok(())
    }

    /// The ids that the `tokenizers` package gives without special tokens added.
    pub(super) fn encode_plain(
        &self,
        text: &str,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        if self.adds_a_space && !text.is_empty() && !text.starts_with(' ') {
            return self.call(Mode::Plain, &format!(" {text}"), scratch, out);
        }
        self.call(Mode::Plain, text, scratch, out)
    }

    pub(super) fn decode(&self, ids: &[u32]) -> Result<String> {
        let decode = |ids: &[u32]| {
            self.pipeline.decode(ids, false).map_err(|error| {
                Error::Tokenizer(format!("{} ids cannot be decoded: {error}", ids.len()))
            })
        };
        let Some(newline) = &self.newline else { return decode(ids) };
        let text = decode(&[newline, ids].concat())?;
        Ok(text.strip_prefix('\n').map(str::to_owned).unwrap_or(text))
    }

    /// Appends the ids of `text` as a chunk in the middle of a sequence to `out`.
    pub(super) fn encode(
        &self,
        text: &str,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
        progress: &Progress,
    ) -> Result<()> {
        if let Some(pieces) = &self.pieces {
            let mut words = std::mem::take(&mut scratch.words);
            let outcome = self.encode_by_piece(pieces, text, &mut words, scratch, out, progress);
            scratch.words = words;
            return outcome;
        }
        let between_words = self.newline.is_none() && self.kind != Kind::Newline;
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(self.kind.cut(rest, LONG_TEXT_BYTES, between_words));
            self.encode_piece(piece, scratch, out)?;
            rest = after;
            if !rest.is_empty() {
                progress.check()?;
            }
        }
        Ok(())
    }

    fn encode_by_piece(
        &self,
        pieces: &Pieces,
        text: &str,
        words: &mut Words,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
        progress: &Progress,
    ) -> Result<()> {
        let mut unchecked = 0;
        let mut at = 0;
        while at < text.len() {
            let place = pieces.next(text, at);
            unchecked += place.end - at;
            at = place.end;
            words
                .encode(text, place, out, |piece, out| self.encode_by_cuts(piece, scratch, out))?;
            if unchecked > CHECK_BYTES {
                progress.check()?;
                unchecked = 0;
            }
        }
        Ok(())
    }

    /// Encodes a piece, in parts where it is long.
    fn encode_by_cuts(&self, piece: &str, scratch: &mut Scratch, out: &mut Vec<u32>) -> Result<()> {
        let mut rest = piece;
        while !rest.is_empty() {
            let (start, after) = rest.split_at(self.kind.cut(rest, LONG_TEXT_BYTES, false));
            self.encode_piece(start, scratch, out)?;
            rest = after;
        }
        Ok(())
    }

    fn encode_piece(&self, text: &str, scratch: &mut Scratch, out: &mut Vec<u32>) -> Result<()> {
        let Some(newline) = &self.newline else {
            return self.call(Mode::Chunk, text, scratch, out);
        };
        let mut behind = std::mem::take(&mut scratch.text);
        behind.clear();
        behind.push('\n');
        behind.push_str(text);
        let start = out.len();
        let outcome = self.call(Mode::Chunk, &behind, scratch, out);
        scratch.text = behind;
        outcome?;
        if out[start..].starts_with(newline) {
            out.drain(start..start + newline.len());
            return Ok(());
        }
        // Seen by no probe: this text takes the newline into its first token.
        out.truncate(start);
        self.call(Mode::Chunk, text, scratch, out)
    }

    fn call(
        &self,
        mode: Mode,
        text: &str,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        scratch.tokens.clear();
        self.pipeline.encode_into(text, mode.options(), &mut scratch.tokens).map_err(|error| {
            let start: String = text.chars().take(40).collect();
            Error::Tokenizer(format!("the text {start:?}… cannot be encoded: {error}"))
        })?;
        out.extend_from_slice(PipelineToken::cast_slice(&scratch.tokens));
        Ok(())
    }
}

/// Whether special tokens found in a text are text.
#[derive(Clone, Copy)]
enum Mode {
    Chunk,
    Plain,
}

impl Mode {
    fn options(self) -> &'static EncodeOptions {
        const fn options(encode_special_tokens: bool) -> EncodeOptions {
            EncodeOptions {
                add_special_tokens: false,
                encode_special_tokens,
                padding: Override::Off,
                truncation: Override::Off,
            }
        }
        static CHUNK: EncodeOptions = options(true);
        static PLAIN: EncodeOptions = options(false);
        match self {
            Self::Chunk => &CHUNK,
            Self::Plain => &PLAIN,
        }
    }
}
