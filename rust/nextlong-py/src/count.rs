//! What counts the tokens of chunks: a tokenizer of the core, or a function of Python.
//!
//! A function is the one thing that the core calls in Python; its exception ends the call it was for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Mutex;

use nextlong::chunk::{Counter, Unit};
use nextlong::{Error, Progress};
use pyo3::prelude::*;

use crate::door::{Watch, into_py, outside};
use crate::locks::lock;
use crate::tokenize::Tokenizer;

/// Texts of at most this many bytes are counted once and remembered.
const REMEMBERED_BYTES: usize = 1024;
/// The memory is emptied when it holds this many texts.
const REMEMBERED: usize = 1 << 16;

/// Runs `work` without the interpreter, with chunks measured by `counter`: in characters for None, in
/// the tokens of a [`Tokenizer`], or in what a function `str -> int` gives.
pub(crate) fn measured<T: Send>(
    py: Python<'_>,
    watch: Option<&Watch>,
    counter: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(Unit<'_>, &Progress) -> nextlong::Result<T> + Send,
) -> PyResult<T> {
    let Some(counter) = counter else {
        return outside(py, watch, |progress| work(Unit::Characters, progress));
    };
    if let Ok(tokenizer) = counter.cast::<Tokenizer>() {
        let tokenizer = tokenizer.get();
        return outside(py, watch, |progress| {
            let counter = tokenizer.0.counter(progress)?;
            work(Unit::Tokens(&counter), progress)
        });
    }
    let function = Function { call: counter.clone().unbind(), failure: Mutex::default() };
    let outcome = outside(py, watch, |progress| {
        let counter = FunctionCounter { function: &function, progress, known: RefCell::default() };
        work(Unit::Tokens(&counter), progress)
    });
    match lock(&function.failure).take() {
        Some(failure) => Err(failure),
        None => outcome,
    }
}

/// A function of Python that counts, and the exception that it ended with.
struct Function {
    call: Py<PyAny>,
    failure: Mutex<Option<PyErr>>,
}

impl Function {
    fn call(&self, text: &str) -> PyResult<usize> {
        Python::attach(|py| {
            py.check_signals()?;
            let answer = self.call.bind(py).call1((text,))?;
            answer.extract().map_err(|_| {
                into_py(Error::Tokenizer(format!(
                    "invalid count of tokens: {answer:?}, expected a whole number of at least 0 from \
                     the function that counts"
                )))
            })
        })
    }
}

/// Counts with a function, each short text once.
struct FunctionCounter<'a> {
    function: &'a Function,
    progress: &'a Progress,
    known: RefCell<HashMap<Box<str>, usize>>,
}

impl Counter for FunctionCounter<'_> {
    fn count(&self, text: &str) -> nextlong::Result<usize> {
        let mut known = self.known.borrow_mut();
        if let Some(&count) = known.get(text) {
            return Ok(count);
        }
        self.progress.check()?;
        let count = self.function.call(text).map_err(|failure| {
            *lock(&self.function.failure) = Some(failure);
            Error::Cancelled
        })?;
        if text.len() <= REMEMBERED_BYTES {
            if known.len() == REMEMBERED {
                known.clear();
            }
            known.insert(text.into(), count);
        }
        Ok(count)
    }
}
