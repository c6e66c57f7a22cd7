//! What encodes and decodes: the crate's tables, and what a chunk needs around them.

use tokenizers::pipeline::{EncodeOptions, Override};

use super::boundaries::Kind;
use super::file::{Added, Rules};
use super::json::Json;
use super::names::Names;
use super::piece_cache::PieceCache;
use super::pieces::Pieces;
use super::pipeline::{Buffers, Pipeline};
use super::probes::{self, OPENED};
use crate::error::Result;
use crate::progress::Progress;

mod coverage;

/// Texts longer than this, in bytes, are cut before they are encoded.
const LONG_TEXT_BYTES: usize = 1 << 20;
/// How much text is encoded between two looks at the stop flag: some 10 to 50 ms.
pub(super) const CHECK_BYTES: usize = 1 << 20;
/// What may stand before a chunk to show its ids in the middle of a text, in the order of trying.
const OPENERS: [&str; 2] = ["\n", "."];

/// Room that a thread keeps between calls of [`super::Tokenizer::encode`].
#[derive(Default)]
pub struct Scratch {
    text: String,
    buffers: Buffers,
    cache: PieceCache,
    stages: coverage::Stages,
}

/// A text before a chunk, whose ids are dropped.
struct Opener {
    text: &'static str,
    ids: Vec<u32>,
    /// What its ids decode to.
    decoded: String,
}

/// A tokenizer that encodes.
pub(super) struct Encoder {
    pipeline: Pipeline,
    pub(super) kind: Kind,
    /// What chunks are encoded after, the first that works; none if they are encoded as they are.
    openers: Vec<Opener>,
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
        let pipeline = Pipeline::new(move || json.load())?;
        let mut encoder =
            Self { pipeline, kind, openers: Vec::new(), adds_a_space, affixes, pieces, notes };
        if marks_the_start {
            encoder.find_openers()?;
        }
        encoder.try_probes(added)?;
        Ok(encoder)
    }

    /// Encodes the probes, so that what cannot be encoded at all is found out before any work.
    fn try_probes(&self, added: &[Added]) -> Result<()> {
        let (mut scratch, mut ids) = (Scratch::default(), Vec::new());
        for text in probes::texts(added) {
            ids.clear();
            self.encode(&text, &mut scratch, &mut ids, &Progress::default())?;
        }
        Ok(())
    }

    /// Finds what can stand before a chunk and be dropped, so that the chunk has no word mark that
    /// it would not have in the middle of a text.
    fn find_openers(&mut self) -> Result<()> {
        let mut scratch = Scratch::default();
        let mut ids = |text: &str| -> Result<Vec<u32>> {
            let mut ids = Vec::new();
            self.call(Mode::Chunk, text, &mut scratch, &mut ids)?;
            Ok(ids)
        };
        let newline = ids("\n")?;
        let mut changes = false;
        let mut joins = false;
        for text in OPENED {
            let after = ids(&format!("\n{text}"))?;
            match after.strip_prefix(&*newline) {
                Some(rest) => changes |= rest != ids(text)?,
                None => joins = true,
            }
        }
        if !changes && !joins {
            // White space leaves no trace, so every word has its mark wherever it stands.
            self.pieces = None;
            return Ok(());
        }
        let openers = OPENERS.map(|text| {
            let ids = ids(text)?;
            let decoded = self.pipeline.decode(&ids)?;
            Ok(Opener { text, ids, decoded })
        });
        self.openers = openers.into_iter().collect::<Result<_>>()?;
        if joins {
            self.notes.push(
                "a newline before a chunk joins the chunk's first token, so some chunks may begin \
                 with a word mark"
                    .to_owned(),
            );
            self.kind = Kind::Unknown;
            self.pieces = None;
        }
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
        let Some(opener) = self.openers.first() else { return self.pipeline.decode(ids) };
        let text = self.pipeline.decode(&[&*opener.ids, ids].concat())?;
        Ok(text.strip_prefix(&*opener.decoded).map(str::to_owned).unwrap_or(text))
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
            let mut cache = std::mem::take(&mut scratch.cache);
            let outcome = self.encode_by_piece(pieces, text, &mut cache, scratch, out, progress);
            scratch.cache = cache;
            return outcome;
        }
        let between_words = self.openers.is_empty() && self.kind != Kind::Newline;
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
        cache: &mut PieceCache,
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
            cache
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
        for opener in &self.openers {
            let mut opened = std::mem::take(&mut scratch.text);
            opened.clear();
            opened.push_str(opener.text);
            opened.push_str(text);
            let start = out.len();
            let outcome = self.call(Mode::Chunk, &opened, scratch, out);
            scratch.text = opened;
            outcome?;
            if out[start..].starts_with(&opener.ids) {
                out.drain(start..start + opener.ids.len());
                return Ok(());
            }
            // This text takes the opener into its first token.
            out.truncate(start);
        }
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
        self.pipeline.encode(text, mode.options(), &mut scratch.buffers, out)
    }
}

/// True if special tokens found in a text are text.
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
