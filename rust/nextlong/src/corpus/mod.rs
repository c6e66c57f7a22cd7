//! The corpus: inputs of many kinds become documents, and rows that cannot be used a quarantine.
//!
//! In: files, Arrow batches or strings. Out: [`Documents`], block by block.
//!
//! [`BlockReader`] reads and decompresses, one block after another, cut at borders that depend on
//! the inputs and the block size alone. [`Block::parse`] turns a block into documents; blocks are
//! independent of each other, so many threads parse at once. The documents are the same for every
//! block size.

mod batches;
mod documents;
mod json;
mod lines;
mod parquet;
mod read;
mod rows;
mod texts;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use documents::{BadRow, Documents, Reason};
pub use read::{Block, BlockReader};
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
    /// The most bytes a text may have.
    pub max_document_bytes: u64,
}

impl Settings {
    /// The column of ids, named or usual.
    fn id(&self) -> &str {
        self.id_column.as_deref().unwrap_or("id")
    }

    /// The most bytes a line may have: every byte of the longest text escaped, and other fields.
    fn line_limit(&self) -> usize {
        let limit = self.max_document_bytes.saturating_mul(6).saturating_add(1 << 20);
        usize::try_from(limit).unwrap_or(usize::MAX)
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
    /// The kind that a file's name tells.
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
    /// Where it lies.
    pub path: PathBuf,
    /// How it holds its documents.
    pub kind: Kind,
}
