//! Turns the text of chunks into token ids.
//!
//! In: a `tokenizer.json` and chunks of a store. Out: the ids of each chunk as they stand in the
//! middle of a sequence: no BOS or EOS, no truncation, no padding, no space or word mark before the
//! text, and strings such as `<|endoftext|>` in the text encoded as the ordinary text they are.
//!
//! The ids are those of the `tokenizers` package for the same text.

mod borders;
mod file;
mod json;
mod names;
mod words;

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokenizers::pipeline::{EncodeOptions, Override, PipelineToken, PipelineTokenizer};
use xxhash_rust::xxh3::xxh3_128;

pub use borders::Kind;
pub use file::Added;
use file::File;
use names::Names;
use words::{Pieces, Words};

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::ragged::Ragged;
use crate::store::ChunkStore;

/// Texts longer than this, in bytes, are cut before they are encoded.
const LONG_TEXT_BYTES: usize = 1 << 20;
/// How much text is encoded between two looks at the stop flag: some 10 to 50 ms.
const CHECK_BYTES: usize = 1 << 20;

impl Kind {
    /// The kind of a `tokenizer.json`, whether or not it can be encoded with here.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the text is no `tokenizer.json`.
    pub fn of_json(json: &str) -> Result<Self> {
        File::read(json).map(|file| file.kind)
    }
}

/// A tokenizer, shared by all threads.
pub struct Tokenizer {
    pipeline: PipelineTokenizer,
    names: Names,
    added: Vec<Added>,
    kind: Kind,
    /// The ids of a newline, if chunks are encoded behind one that is then dropped.
    newline: Option<Vec<u32>>,
    adds_a_space: bool,
    /// How texts fall into pieces, if they are encoded piece by piece.
    pieces: Option<Pieces>,
    notes: Vec<String>,
    hash: u128,
    /// What calls of [`Tokenizer::encode_texts`] left behind, warm for the next.
    scratches: Mutex<Vec<Scratch>>,
}

/// Room that a thread keeps between calls of [`Tokenizer::encode`].
#[derive(Default)]
pub struct Scratch {
    text: String,
    tokens: Vec<PipelineToken>,
    words: Words,
}

impl Tokenizer {
    /// Reads the text of a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if it is none, or of a kind that the encoder cannot read.
    pub fn from_json(json: &str) -> Result<Self> {
        let hash = xxh3_128(json.as_bytes());
        let File { json, kind, marks_the_start, adds_a_space, pieces, names, added, notes } =
            File::read(json)?;
        // The reader has been seen to panic on files that contradict themselves.
        let pipeline = std::panic::catch_unwind(move || json.load()).unwrap_or_else(|_| {
            Err(Error::Tokenizer("the tokenizer contradicts itself; save it again".to_owned()))
        })?;
        let mut tokenizer = Self {
            pipeline,
            names,
            added,
            kind,
            newline: None,
            adds_a_space,
            pieces,
            notes,
            hash,
            scratches: Mutex::default(),
        };
        if marks_the_start {
            tokenizer.find_newline()?;
            if tokenizer.newline.is_none() {
                tokenizer.pieces = None;
            }
        }
        Ok(tokenizer)
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

    /// Appends the ids of `text` as a chunk in the middle of a sequence to `out`.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the tokenizer has no token for some character, and none for unknown
    /// ones.
    pub fn encode(&self, text: &str, scratch: &mut Scratch, out: &mut Vec<u32>) -> Result<()> {
        self.encode_watched(text, scratch, out, &Progress::default())
    }

    /// Appends the ids of `text` exactly as the `tokenizers` package gives them when it is asked
    /// for no special tokens: with the mark or space before the text that the file wants, and
    /// special tokens found in the text as themselves.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    pub fn encode_plain(
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

    /// The number of ids that [`Tokenizer::encode`] gives.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    pub fn count(&self, text: &str, scratch: &mut Scratch) -> Result<usize> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        self.encode(text, scratch, &mut ids)?;
        Ok(ids.len())
    }

    /// The ids of `chunks`, in their order, one row each.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a chunk that the store does not hold, [`Error::Cancelled`] when asked
    /// to stop, and as [`Tokenizer::encode`].
    pub fn encode_chunks(
        &self,
        store: &ChunkStore,
        chunks: &[u32],
        progress: &Progress,
    ) -> Result<Ragged<u32>> {
        let known = store.len();
        if let Some(chunk) = chunks.iter().find(|&&chunk| chunk as usize >= known) {
            return Err(Error::Config(format!("chunk {chunk} is not one of the {known} chunks")));
        }
        self.encode_texts(chunks.iter().map(|&chunk| store.text(chunk as usize)), progress)
    }

    /// The ids of `texts`, in their order, one row each; one unit of progress a text.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode_chunks`].
    pub fn encode_texts<'a>(
        &self,
        texts: impl IntoIterator<Item = &'a str>,
        progress: &Progress,
    ) -> Result<Ragged<u32>> {
        let mut rows = Ragged::default();
        let mut scratch = self.scratches().pop().unwrap_or_default();
        let mut unchecked = CHECK_BYTES;
        for text in texts {
            unchecked += text.len();
            if unchecked > CHECK_BYTES {
                progress.check()?;
                unchecked = 0;
            }
            self.encode_watched(text, &mut scratch, &mut rows.values, progress)?;
            rows.close_row();
            progress.add(1);
        }
        self.scratches().push(scratch);
        Ok(rows)
    }

    /// The text of `ids` in the middle of a sequence; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let decode = |ids: &[u32]| {
            self.pipeline.decode(ids, false).map_err(|error| {
                Error::Tokenizer(format!("{} ids cannot be decoded: {error}", ids.len()))
            })
        };
        let Some(newline) = &self.newline else { return decode(ids) };
        let text = decode(&[newline, ids].concat())?;
        Ok(text.strip_prefix('\n').map(str::to_owned).unwrap_or(text))
    }

    /// The largest id and one: the model's tokens and the added ones.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.names.len()
    }

    /// The id of `token`, spelled as in the file.
    #[must_use]
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.names.id(token)
    }

    /// The token of `id`, spelled as in the file.
    #[must_use]
    pub fn id_to_token(&self, id: u32) -> Option<&str> {
        self.names.token(id)
    }

    /// The tokens added to the model's own, in the order of the file.
    #[must_use]
    pub fn added(&self) -> &[Added] {
        &self.added
    }

    /// How the ids around a cut behave.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the ids of `left` followed by those of `right` are the ids of both together.
    #[must_use]
    pub fn is_safe_border(&self, left: &str, right: &str) -> bool {
        self.kind.is_safe_border(left, right)
    }

    /// What was found in the file and treated in a way worth knowing.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The XXH3-128 hash of the file's text.
    #[must_use]
    pub fn hash(&self) -> u128 {
        self.hash
    }

    fn scratches(&self) -> MutexGuard<'_, Vec<Scratch>> {
        self.scratches.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn encode_watched(
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
            words.encode(text, place, out, |piece, out| {
                let mut rest = piece;
                while !rest.is_empty() {
                    let (start, after) = rest.split_at(self.kind.cut(rest, LONG_TEXT_BYTES, false));
                    self.encode_piece(start, scratch, out)?;
                    rest = after;
                }
                Ok(())
            })?;
            if unchecked > CHECK_BYTES {
                progress.check()?;
                unchecked = 0;
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../../../python/nextlong_rs/data/tokenizer.json");

    fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        let mut out = Vec::new();
        tokenizer.encode(text, &mut Scratch::default(), &mut out).expect("encoded");
        out
    }

    /// A tokenizer in the style of Llama 2: bytes, `▁`, and a few merges.
    fn llama(splitter: &str, normalizer: &str, extra: &str) -> String {
        let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
        tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
        tokens.extend(["▁", "a", "b", "▁a", "ab", "▁ab", "▁▁"].map(str::to_owned));
        tokens.extend(extra.split_whitespace().map(|pair| pair.replace('+', "")));
        let vocabulary: Vec<String> =
            tokens.iter().enumerate().map(|(id, token)| format!("{token:?}:{id}")).collect();
        let pairs = ["▁+▁", "▁+a", "a+b", "▁a+b"].into_iter().chain(extra.split_whitespace());
        let merges: Vec<String> =
            pairs.map(|pair| format!("{:?}", pair.split('+').collect::<Vec<_>>())).collect();
        format!(
            r#"{{"version":"1.0","truncation":{{"max_length":2}},"added_tokens":[
            {{"id":1,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}}],
            "normalizer":{normalizer},"pre_tokenizer":{splitter},"post_processor":null,"decoder":null,
            "model":{{"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,"dropout":0.1,
            "vocab":{{{}}},"merges":[{}]}}}}"#,
            vocabulary.join(","),
            merges.join(",")
        )
    }

    const FIRST: &str =
        r#"{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":false}"#;
    const PREPEND: &str = r#"{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},
        {"type":"Replace","pattern":{"String":" "},"content":"▁"}]}"#;

    #[test]
    fn a_byte_level_tokenizer_gives_back_the_text() {
        let tokenizer = Tokenizer::from_json(SAMPLE).expect("loaded");
        assert_eq!((tokenizer.vocab_size(), tokenizer.kind()), (8192, Kind::Lines));
        assert_eq!(tokenizer.token_to_id("<|endoftext|>"), Some(1));
        assert_eq!(tokenizer.id_to_token(0), Some("<|bos|>"));
        for text in ["", "It's 12345 days.\n\n  ok\r\n", "\0<|endoftext|>é中 👩‍👩‍👧"]
        {
            let row = ids(&tokenizer, text);
            assert!(!row.contains(&1));
            assert_eq!(tokenizer.decode(&row).expect("decoded"), text);
            assert_eq!(tokenizer.count(text, &mut Scratch::default()).expect("count"), row.len());
        }
        let mut plain = Vec::new();
        tokenizer
            .encode_plain("<|endoftext|>", &mut Scratch::default(), &mut plain)
            .expect("encoded");
        assert_eq!(plain, [1]);
    }

    #[test]
    fn a_chunk_has_no_word_mark_before_it() {
        for (splitter, normalizer) in [(FIRST, "null"), ("null", PREPEND)] {
            let tokenizer = Tokenizer::from_json(&llama(splitter, normalizer, "")).expect("loaded");
            let token = |name| tokenizer.token_to_id(name).expect("a token");
            assert_eq!(tokenizer.kind(), Kind::Newline);
            assert!(tokenizer.pieces.is_some());
            assert_eq!(
                ids(&tokenizer, "ab ab\nab"),
                [token("ab"), token("▁ab"), token("<0x0A>"), token("ab")]
            );
            assert_eq!(ids(&tokenizer, " a"), [token("▁a")]);
            let mut plain = Vec::new();
            tokenizer.encode_plain("ab", &mut Scratch::default(), &mut plain).expect("encoded");
            assert_eq!(plain, [token("▁ab")]);
            assert_eq!(tokenizer.notes().len(), 2, "{:?}", tokenizer.notes());
        }
    }

    #[test]
    fn encoding_by_piece_changes_no_id() {
        for merges in ["", "b+▁a ab+▁"] {
            let by_piece = Tokenizer::from_json(&llama(FIRST, "null", merges)).expect("loaded");
            let mut whole = Tokenizer::from_json(&llama(FIRST, "null", merges)).expect("loaded");
            assert!(whole.pieces.take().is_some());
            let mut rng = crate::seed::Rng::new(1, "pieces", 0);
            for _ in 0..3000 {
                let letters = ['a', 'b', ' ', '\n', '▁', 'é', '<', '\u{2582}'];
                let text: String =
                    (0..rng.below(30)).map(|_| letters[rng.below(8) as usize]).collect();
                assert_eq!(ids(&by_piece, &text), ids(&whole, &text), "{text:?}");
            }
        }
        let whole = Tokenizer::from_json(&llama(FIRST, "null", "b+▁a")).expect("loaded");
        assert!(ids(&whole, "b a").contains(&whole.token_to_id("b▁a").expect("a token")));
    }

    #[test]
    fn texts_are_encoded_whole_where_bytes_merge() {
        let tokenizer =
            Tokenizer::from_json(&llama(FIRST, "null", "<0xC3>+<0xA9>")).expect("loaded");
        assert!(tokenizer.pieces.is_none());
    }

    #[test]
    fn a_file_that_is_no_tokenizer_is_an_error() {
        for json in ["", "[]", "{}", r#"{"model":3}"#, r#"{"model":{"type":"BPE"}}"#, "null"] {
            assert!(matches!(Tokenizer::from_json(json), Err(Error::Tokenizer(_))), "{json}");
        }
    }

    #[test]
    fn a_stop_is_heard_and_an_unknown_chunk_refused() {
        let tokenizer = Tokenizer::from_json(SAMPLE).expect("loaded");
        let progress = Progress::default();
        let rows = tokenizer.encode_texts(["one", "", "two"], &progress).expect("encoded");
        assert_eq!((rows.len(), rows.row(1).len(), progress.done()), (3, 0, 3));
        let store = ChunkStore::open(&[]).expect("an empty store");
        let unknown = tokenizer.encode_chunks(&store, &[0], &progress);
        assert!(matches!(unknown, Err(Error::Config(_))));
        progress.cancel();
        assert!(matches!(tokenizer.encode_texts(["one"], &progress), Err(Error::Cancelled)));
    }
}
