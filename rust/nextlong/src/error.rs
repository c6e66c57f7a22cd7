//! Every way a call into the core can fail, one variant per remedy.

use std::path::{Path, PathBuf};

/// The result of a call into the core.
pub type Result<T> = std::result::Result<T, Error>;

/// The reason why a call failed. The message names the thing, the value and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting or an argument is wrong: change it.
    #[error("{0}")]
    Config(String),
    /// The input corpus cannot be used: fix the input.
    #[error("{0}")]
    Corpus(String),
    /// The tokenizer cannot be loaded or used: choose another file.
    #[error("{0}")]
    Tokenizer(String),
    /// The embedder or its vectors cannot be used.
    #[error("{0}")]
    Embedding(String),
    /// An index cannot be built or searched.
    #[error("{0}")]
    Retrieval(String),
    /// A file of the run directory is missing, damaged or not ours: rerun.
    #[error("{0}")]
    Run(String),
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder concerned.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Turns an I/O error into ours, naming the path; for `map_err`.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
