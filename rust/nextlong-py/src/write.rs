//! stub until merge
use pyo3::prelude::*;
/// x
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Sequences(pub(crate) nextlong::sequences::Sequences);
