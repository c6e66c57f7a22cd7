//! The settings of a run.

use nextlong::config;
use pyo3::prelude::*;

use crate::door::into_py;

/// The settings of a run, checked.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Settings(pub(crate) config::Settings);

#[pymethods]
impl Settings {
    #[new]
    fn new(json: &str) -> PyResult<Self> {
        config::Settings::from_json(json).map(Self).map_err(into_py)
    }
}
