//! The corpus: inputs of many kinds become documents, and rows that cannot be used a quarantine.
//!
//! In: files, Arrow batches or strings. Out: [`Documents`], block by block.
//!
//! [`BlockReader`] reads and decompresses, one block after another, cut at borders that depend on
//! the inputs and the block size alone. [`Block::parse`] turns a block into documents; blocks are
//! independent of each other, so many threads parse at once. The documents are the same for every
//! block size.

mod batches;
mod buffer_pool;
mod columns;
mod documents;
mod escapes;
mod json;
mod lines;
mod parquet;
mod read;
mod rows;
mod texts;
mod unpack;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub use documents::{BadRow, Documents, MOST_LISTED, Reason};
pub use read::{Block, BlockReader, Place};
pub use rows::{Field, Item};

/// The size of a block unless said otherwise: bytes after decompression.
pub const BLOCK_BYTES: usize = 16 << 20;

/// Which columns hold what, and how long a document may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The column of texts.
    pub text_column: String,
    /// The column of ids, which must then be there; none: `id` where it is present, else made.
    pub id_column: Option<String>,
    /// The column of scores; none: no scores.
    pub score_column: Option<String>,
    /// The column that names each document's source; none: no sources.
    pub source_column: Option<String>,
    /// The most bytes a text may have.
    pub max_document_bytes: u64,
}

impl Settings {
    /// The column of ids, named or usual.
    fn id(&self) -> &str {
        self.id_column.as_deref().unwrap_or("id")
    }

    /// The most bytes that the line which begins with `head` may have.
    ///
    /// A record has room for the longest text written in escapes (`\u0444`: three times its UTF-8)
    /// and for other fields. What begins as no object is no record however long it is, and needs
    /// not be held to know that. `head` is at least the first [`HEAD_BYTES`] of a longer line.
    fn line_limit(&self, head: &[u8]) -> usize {
        let limit = self.max_document_bytes.saturating_mul(3).saturating_add(HEAD_BYTES as u64);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let head = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head);
        let head = &head[..head.len().min(HEAD_BYTES - BYTE_ORDER_MARK.len())];
        if head.trim_ascii_start().first() == Some(&b'{') { limit } else { limit.min(HEAD_BYTES) }
    }
}

/// What may stand at the beginning of a file of text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// Maximum length of any line, in bytes.
const HEAD_BYTES: usize = 1 << 20;

/// Stops a file that grows out of all proportion when it is decompressed.
///
/// Text packs to a tenth, a log of one repeated line perhaps to a hundredth.
///
/// # Errors
///
/// [`Error::Corpus`] for more than [`MOST_GROWTH`] bytes of text from every byte of the file.
fn check_growth(input: &Input, packed: u64, unpacked: u64, free: u64) -> Result<()> {
    if unpacked <= free || unpacked / MOST_GROWTH <= packed {
        return Ok(());
    }
    Err(Error::Corpus(format!(
        "cannot read `{}`: suspected decompression bomb, {packed} bytes expanded to more than \
         {unpacked}; hint: exclude the file, or decompress it first",
        input.name
    )))
}

/// The bytes of text that may come from one byte of a compressed file.
const MOST_GROWTH: u64 = 250;
/// So much text is taken from any file.
const FREE_BYTES: u64 = 1 << 30;

/// An input file that cannot be read is the corpus's fault, not the run's.
fn unreadable(file: &InputFile) -> impl FnOnce(std::io::Error) -> Error + '_ {
    |error| {
        Error::Corpus(format!(
            "cannot read `{}`: {error}; hint: fix or exclude the file",
            file.input.name
        ))
    }
}

/// How a file holds its documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One JSON object a line.
    Jsonl,
    /// The same, compressed by gzip; several members follow each other.
    JsonlGzip,
    /// The same, compressed by Zstandard; several frames follow each other.
    JsonlZstd,
    /// Parquet.
    Parquet,
    /// The whole file is one document.
    Text,
}

impl Kind {
    /// The kind by a file's name.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_lowercase();
        let (stem, packed) = match name.rsplit_once('.')? {
            (stem, "gz") => (stem, Self::JsonlGzip),
            (stem, "zst" | "zstd") => (stem, Self::JsonlZstd),
            _ => (&*name, Self::Jsonl),
        };
        match (stem.rsplit_once('.')?.1, packed) {
            ("jsonl" | "json" | "ndjson", packed) => Some(packed),
            ("parquet" | "pq", Self::Jsonl) => Some(Self::Parquet),
            ("txt" | "text" | "md", Self::Jsonl) => Some(Self::Text),
            _ => None,
        }
    }

    /// The kind's name: how a listing shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::JsonlGzip => "jsonl.gz",
            Self::JsonlZstd => "jsonl.zst",
            Self::Parquet => "parquet",
            Self::Text => "text",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Jsonl, Self::JsonlGzip, Self::JsonlZstd, Self::Parquet, Self::Text]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// One input of the run: a file, a table or an iterable.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its number in the listing.
    pub number: i32,
    /// What messages and the quarantine call it: a path as the user gave it.
    pub name: Arc<str>,
    /// What ids are made of: `<label>:<row>`, rows from 1; the label alone where a file is one row.
    pub label: Arc<str>,
}

/// A file to read.
#[derive(Debug, Clone)]
pub struct InputFile {
    /// Its number and names.
    pub input: Input,
    /// Its path.
    pub path: PathBuf,
    /// How it holds its documents.
    pub kind: Kind,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_grow_as_text_does_and_no_more() {
        let input = Input { number: 0, name: "a".into(), label: "a".into() };
        let check = |packed, unpacked| check_growth(&input, packed, unpacked, FREE_BYTES);
        assert!(check(0, FREE_BYTES).is_ok());
        assert!(check(1 << 30, 250 << 30).is_ok());
        assert!(matches!(check(1 << 30, 252 << 30), Err(Error::Corpus(_))));
        assert!(matches!(check(100, FREE_BYTES + 1), Err(Error::Corpus(_))));
    }

    #[test]
    fn only_a_line_that_may_be_a_record_may_be_long() {
        let settings = Settings {
            text_column: "text".to_owned(),
            id_column: None,
            score_column: None,
            source_column: None,
            max_document_bytes: 1 << 30,
        };
        let long = (3 << 30) + HEAD_BYTES;
        assert_eq!(settings.line_limit(b"\xEF\xBB\xBF {\"text\""), long);
        assert_eq!(settings.line_limit(b"{"), long);
        assert_eq!(settings.line_limit(&vec![b' '; 2 << 20]), HEAD_BYTES);
        assert_eq!(settings.line_limit(&vec![0; 2 << 20]), HEAD_BYTES);
        assert_eq!(settings.line_limit(b"[{"), HEAD_BYTES);
    }
}
