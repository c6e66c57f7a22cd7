//! The settings of a run.

use nextlong::config;
use nextlong::config::rules::{self, Given};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyString};

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

/// Checks `value` by the rule of `setting`, which the message calls `name`.
#[pyfunction]
pub fn check_setting(setting: &str, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let text;
    let given = if value.is_none() {
        Given::Nothing
    } else if let Ok(flag) = value.cast::<PyBool>() {
        Given::Flag(flag.is_true())
    } else if value.is_instance_of::<PyInt>() {
        // Beyond 128 bits a number is beyond every bound.
        value.extract().map_or(Given::Other, Given::Count)
    } else if value.is_instance_of::<PyFloat>() {
        Given::Number(value.extract()?)
    } else if let Ok(string) = value.cast::<PyString>() {
        // A text with a lone surrogate is not one.
        match string.to_str() {
            Ok(valid) => {
                text = valid.to_owned();
                Given::Text(&text)
            }
            Err(_) => Given::Other,
        }
    } else {
        Given::Other
    };
    let shown = value.repr()?.to_string_lossy().into_owned();
    rules::check(setting, name, given, &shown).map_err(into_py)
}

/// For every setting: its name, and what it takes in words.
#[pyfunction]
pub fn setting_rules() -> Vec<(&'static str, String)> {
    rules::RULES.iter().map(|rule| (rule.name, rule.expected())).collect()
}
