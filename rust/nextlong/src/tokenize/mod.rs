//! Turns the text of chunks into token ids.
//!
//! In: a `tokenizer.json` and chunks of a store. Out: the ids of each chunk as they stand in the
//! middle of a sequence: no BOS or EOS, no truncation, no padding, no space or word mark before the
//! text, and strings such as `<|endoftext|>` in the text encoded as the ordinary text they are.
//!
//! The ids are those of the `tokenizers` package for the same text.

mod boundaries;
mod counter;
mod encoder;
mod file;
mod json;
mod kinds;
mod names;
mod parity;
mod piece_cache;
mod pipeline;
mod probes;
mod splitter;

use std::sync::{Mutex, MutexGuard, OnceLock};

use xxhash_rust::xxh3::xxh3_128;

pub use boundaries::Kind;
pub use counter::TokenCounter;
pub use encoder::Scratch;
use encoder::{CHECK_BYTES, Encoder};
pub use file::Added;
use file::Rules;
use json::Json;
use names::Names;

use crate::error::{Error, Result};
use crate::parallel::lock;
use crate::progress::Progress;
use crate::ragged::Ragged;
use crate::store::ChunkStore;

impl Kind {
    /// The kind of a `tokenizer.json`, whether or not it can be encoded with here.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the text is no `tokenizer.json`.
    pub fn of_json(text: &str) -> Result<Self> {
        ChunkFile::of_json(text).map(|file| file.kind)
    }
}

/// A `tokenizer.json` for an encoder other than ours, so that it gives the ids of chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkFile {
    /// The file without what must never touch a chunk: truncation, padding, BOS and EOS, dropout,
    /// the space of a byte-level tokenizer before a text.
    pub text: String,
    /// How the ids around a cut behave.
    pub kind: Kind,
    /// Whether it still puts something before a text.
    pub marks_the_start: bool,
    /// What was found in the file and treated in a way worth knowing.
    pub notes: Vec<String>,
}

impl ChunkFile {
    /// The file of a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the text is none, or an id is far above the number of tokens.
    pub fn of_json(text: &str) -> Result<Self> {
        let mut json = Json::read(text)?;
        let (names, added) = file::tokens(&json)?;
        let Rules { kind, marks_the_start, notes, .. } = Rules::of(&mut json, &names, &added);
        let text = json.to_text().ok_or_else(|| {
            Error::Tokenizer("the tokenizer cannot be written; save it again".to_owned())
        })?;
        Ok(Self { text, kind, marks_the_start, notes })
    }
}

/// A tokenizer, shared by all threads.
///
/// Reading a file is quick; the tables that encode take a second for a large one. They are made once,
/// by the first who needs them: all others wait.
pub struct Tokenizer {
    names: Names,
    added: Vec<Added>,
    hash: u128,
    unproven: Option<String>,
    /// The file, until the tables are made of it.
    text: Mutex<Option<String>>,
    encoder: OnceLock<std::result::Result<Encoder, String>>,
    /// What calls of [`Tokenizer::encode_texts`] left behind, warm for the next.
    scratches: Mutex<Vec<Scratch>>,
}

impl Tokenizer {
    /// Reads the text of a `tokenizer.json` and makes its tables.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if it is none, or of a kind that the encoder cannot read.
    pub fn from_json(json: &str) -> Result<Self> {
        let tokenizer = Self::read(json.to_owned())?;
        tokenizer.ready()?;
        Ok(tokenizer)
    }

    /// Reads the text of a `tokenizer.json` and leaves its tables to [`Tokenizer::ready`].
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if it is none, an id is far above the number of tokens, or the encoder
    /// is known to give other ids than the package. One that it cannot read is found out later.
    pub fn read(text: String) -> Result<Self> {
        let json = Json::read(&text)?;
        let (names, added) = file::tokens(&json)?;
        if let Some(part) = parity::differs(&json.settings) {
            return Err(Error::Tokenizer(format!(
                "the fast encoder gives other ids than the `tokenizers` package: {part}"
            )));
        }
        let unproven = parity::unproven(&json.settings);
        Ok(Self {
            names,
            added,
            unproven,
            hash: xxh3_128(text.as_bytes()),
            text: Mutex::new(Some(text)),
            encoder: OnceLock::new(),
            scratches: Mutex::default(),
        })
    }

    /// Makes the tables, or waits for them.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the encoder cannot read the file; all that encodes fails with it then.
    pub fn ready(&self) -> Result<()> {
        self.encoder().map(|_| ())
    }

    fn encoder(&self) -> Result<&Encoder> {
        let made = self.encoder.get_or_init(|| {
            let text = lock(&self.text).take();
            let text = text.ok_or_else(|| "the tokenizer was not read to its end".to_owned())?;
            Encoder::new(&text, &self.names, &self.added).map_err(|error| match error {
                Error::Tokenizer(why) => why,
                other => other.to_string(),
            })
        });
        made.as_ref().map_err(|why| Error::Tokenizer(why.clone()))
    }

    /// Appends the ids of `text` as a chunk in the middle of a sequence to `out`.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the tokenizer has no token for some character, and none for unknown
    /// ones.
    pub fn encode(&self, text: &str, scratch: &mut Scratch, out: &mut Vec<u32>) -> Result<()> {
        self.encoder()?.encode(text, scratch, out, &Progress::default())
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
        self.encoder()?.encode_plain(text, scratch, out)
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
        let encoder = self.encoder()?;
        let mut rows = Ragged::default();
        let mut scratch = self.scratches().pop().unwrap_or_default();
        let mut unchecked = CHECK_BYTES;
        for text in texts {
            unchecked += text.len();
            if unchecked > CHECK_BYTES {
                progress.check()?;
                unchecked = 0;
            }
            encoder.encode(text, &mut scratch, &mut rows.values, progress)?;
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
        self.encoder()?.decode(ids)
    }

    /// The number of characters of `text` that `kept`, the first of its ids as a chunk, cover: those
    /// of the longest prefix whose normal form is the beginning of the text's and holds nothing of the
    /// next token. None if `kept` are not the first ids that this encoder gives.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    pub fn characters_of(
        &self,
        text: &str,
        kept: &[u32],
        scratch: &mut Scratch,
    ) -> Result<Option<usize>> {
        self.encoder()?.characters_of(text, kept, scratch)
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

    /// How the ids around a cut behave; unknown if the encoder cannot read the file.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.encoder().map_or(Kind::Unknown, |encoder| encoder.kind)
    }

    /// Whether the ids of `left` followed by those of `right` are the ids of both together.
    #[must_use]
    pub fn is_safe_border(&self, left: &str, right: &str) -> bool {
        self.kind().is_safe_border(left, right)
    }

    /// What was found in the file and treated in a way worth knowing.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        self.encoder().map_or(&[], |encoder| &encoder.notes)
    }

    /// A part of the file with which the ids are not known to be those of the `tokenizers` package;
    /// None where tests hold them to it.
    #[must_use]
    pub fn unproven(&self) -> Option<&str> {
        self.unproven.as_deref()
    }

    /// The texts on which the tokenizer was tried when it was loaded: scripts, digits, white space,
    /// code, and the added tokens that are looked for in chunks.
    #[must_use]
    pub fn probes(&self) -> Vec<String> {
        probes::texts(&self.added)
    }

    /// The XXH3-128 hash of the file's text.
    #[must_use]
    pub fn hash(&self) -> u128 {
        self.hash
    }

    fn scratches(&self) -> MutexGuard<'_, Vec<Scratch>> {
        lock(&self.scratches)
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
            assert!(tokenizer.encoder().expect("made").pieces.is_some());
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
    fn a_panic_of_the_crate_is_an_error() {
        // The crate looks for the second word from the middle of a character.
        let token = r#""added_tokens":[{"id":262,"content":"ab","single_word":true,"lstrip":false,
            "rstrip":false,"normalized":true,"special":false},"#;
        let text = llama("null", PREPEND, "").replace("\"added_tokens\":[", token);
        let json = Json::read(&text).expect("read");
        let (names, added) = file::tokens(&json).expect("tokens");
        let panicked = Encoder::new(&text, &names, &added).err().expect("an error").to_string();
        assert!(panicked.contains("panicked"), "{panicked}");
        let refused = Tokenizer::from_json(&text).err().expect("refused").to_string();
        assert!(refused.contains("single_word"), "{refused}");
    }

    #[test]
    fn ids_far_above_the_number_of_tokens_are_refused() {
        let text = llama(FIRST, "null", "");
        for (from, to) in
            [("\"ab\":263", "\"ab\":4294967295"), ("{\"id\":1,", "{\"id\":1073741824,")]
        {
            let far = text.replace(from, to);
            assert_ne!(far, text);
            let refused = Tokenizer::read(far).err().expect("refused").to_string();
            assert!(refused.contains("expected ids below"), "{refused}");
        }
    }

    #[test]
    fn encoding_by_piece_changes_no_id() {
        for merges in ["", "b+▁a ab+▁"] {
            let by_piece = Tokenizer::from_json(&llama(FIRST, "null", merges)).expect("loaded");
            let mut whole = Tokenizer::from_json(&llama(FIRST, "null", merges)).expect("loaded");
            let made = whole.encoder.get_mut().expect("made").as_mut().expect("no error");
            assert!(made.pieces.take().is_some());
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
        assert!(tokenizer.encoder().expect("made").pieces.is_none());
    }

    #[test]
    fn a_file_that_is_no_tokenizer_is_an_error() {
        for json in ["", "[]", "{}", r#"{"model":3}"#, r#"{"model":{"type":"BPE"}}"#, "null"] {
            assert!(matches!(Tokenizer::from_json(json), Err(Error::Tokenizer(_))), "{json}");
        }
    }

    #[test]
    fn tables_are_made_once_by_whoever_needs_them_first() {
        let lazy = Tokenizer::read(SAMPLE.to_owned()).expect("read");
        assert!(lazy.encoder.get().is_none());
        assert_eq!((lazy.vocab_size(), lazy.token_to_id("<|bos|>")), (8192, Some(0)));
        let whole = Tokenizer::from_json(SAMPLE).expect("loaded");
        assert!(whole.encoder.get().is_some());
        assert_eq!(lazy.hash(), whole.hash());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(ids(&lazy, "It's day 12."), ids(&whole, "It's day 12.")));
            }
        });
        assert_eq!(lazy.kind(), whole.kind());
    }

    #[test]
    fn what_the_encoder_cannot_read_fails_each_time_it_is_needed() {
        let file = SAMPLE.replace("\"BPE\"", "\"Telepathy\"");
        let first = Tokenizer::from_json(&file).err().expect("no encoder").to_string();
        let lazy = Tokenizer::read(file).expect("read");
        assert_eq!(lazy.token_to_id("<|bos|>"), Some(0));
        for _ in 0..2 {
            assert_eq!(lazy.ready().expect_err("no encoder").to_string(), first);
            assert!(matches!(lazy.decode(&[2]), Err(Error::Tokenizer(_))));
        }
        assert_eq!((lazy.kind(), lazy.notes().len()), (Kind::Unknown, 0));
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
