//! The tokenizer: ids, names and properties of one `tokenizer.json`.

use std::sync::{Mutex, MutexGuard, OnceLock};

use xxhash_rust::xxh3::xxh3_128;

use super::boundaries::Kind;
use super::encoder::{CHECK_BYTES, Encoder, Scratch};
use super::file::{self, Added};
use super::json::Json;
use super::names::Names;
use super::{parity, probes};
use crate::error::{Error, Result};
use crate::parallel::lock;
use crate::progress::Progress;
use crate::ragged::Ragged;
use crate::store::ChunkStore;

/// A tokenizer, shared by all threads.
///
/// Reading a file is quick; the tables that encode take a second for a large one. They are
/// built once, on first use; other threads wait.
pub struct Tokenizer {
    names: Names,
    added: Vec<Added>,
    hash: u128,
    unproven: Option<String>,
    /// The file, until the tables are built.
    text: Mutex<Option<String>>,
    encoder: OnceLock<std::result::Result<Encoder, String>>,
    /// Buffers of finished calls of [`Tokenizer::encode_texts`], for reuse.
    scratches: Mutex<Vec<Scratch>>,
}

impl Tokenizer {
    /// Reads the text of a `tokenizer.json` and builds its tables.
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

    pub(super) fn encoder(&self) -> Result<&Encoder> {
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

    /// The text of `ids` in the middle of a sequence; bytes that are not UTF-8 become U+FFFD.
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

    /// True if the ids of `left` followed by those of `right` are the ids of both together.
    #[must_use]
    pub fn is_safe_boundary(&self, left: &str, right: &str) -> bool {
        self.kind().is_safe_boundary(left, right)
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

    pub(super) fn scratches(&self) -> MutexGuard<'_, Vec<Scratch>> {
        lock(&self.scratches)
    }
}

#[cfg(test)]
mod tests;
