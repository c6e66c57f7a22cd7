//! A `tokenizer.json` for another encoder, changed so that it gives the ids of chunks.

use super::boundaries::Kind;
use super::file::{self, Rules};
use super::json::Json;
use crate::error::{Error, Result};

impl Kind {
    /// The kind of a `tokenizer.json`, whether or not it can be encoded with here.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the text is not a `tokenizer.json`.
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
    /// True if it still puts something before a text.
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
