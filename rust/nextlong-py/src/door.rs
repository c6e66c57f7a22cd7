//! The one door out of Python: detaches, watches for a stop, translates errors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use nextlong::{Error, Progress};
use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError};
use pyo3::prelude::*;

mod python {
    pyo3::import_exception!(nextlong_rs.errors, ConfigError);
    pyo3::import_exception!(nextlong_rs.errors, CorpusError);
    pyo3::import_exception!(nextlong_rs.errors, TokenizerError);
    pyo3::import_exception!(nextlong_rs.errors, EmbeddingError);
    pyo3::import_exception!(nextlong_rs.errors, RetrievalError);
    pyo3::import_exception!(nextlong_rs.errors, RunError);
    pyo3::import_exception!(nextlong_rs.errors, NextlongError);
}

/// A counter and a stop flag that Python shares with the calls it starts.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
#[derive(Default)]
pub struct Watch(pub(crate) Arc<Progress>);

#[pymethods]
impl Watch {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Units done by all calls that were given this watch.
    #[getter]
    fn done(&self) -> u64 {
        self.0.done()
    }

    /// Count `units` more as done.
    fn add(&self, units: u64) {
        self.0.add(units);
    }

    /// Ask the calls that were given this watch to stop.
    fn cancel(&self) {
        self.0.cancel();
    }
}

/// Runs `work` without the interpreter: watched, stoppable, its error translated.
///
/// Called on worker threads of Python's pool; the main thread waits there for signals and sets the
/// watch's stop flag, which `work` asks for at least every 100 ms.
pub(crate) fn outside<T: Send>(
    py: Python<'_>,
    watch: Option<&Watch>,
    work: impl FnOnce(&Progress) -> nextlong::Result<T> + Send,
) -> PyResult<T> {
    let progress = watch.map_or_else(Arc::default, |watch| Arc::clone(&watch.0));
    // A bug of the core, or a damaged file that it did not notice, ends the call and not the process.
    match py.detach(|| catch_unwind(AssertUnwindSafe(|| work(&progress)))) {
        Ok(result) => result.map_err(into_py),
        Err(panic) => {
            let said = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(python::NextlongError::new_err(format!(
                "internal error ({said}): this is a bug or a corrupted file; please report it"
            )))
        }
    }
}

/// The exception of each error of the core.
pub(crate) fn into_py(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Config(_) => python::ConfigError::new_err(text),
        Error::Corpus(_) => python::CorpusError::new_err(text),
        Error::Tokenizer(_) => python::TokenizerError::new_err(text),
        Error::Embedding(_) => python::EmbeddingError::new_err(text),
        Error::Retrieval(_) => python::RetrievalError::new_err(text),
        Error::Run(_) => python::RunError::new_err(text),
        // OSError(errno, text) becomes FileNotFoundError, PermissionError … by its number.
        Error::Io { source, path } => match source.raw_os_error() {
            Some(number) => {
                PyOSError::new_err((number, source.to_string(), path.display().to_string()))
            }
            None => PyOSError::new_err(text),
        },
        Error::Cancelled => PyKeyboardInterrupt::new_err(()),
    }
}
