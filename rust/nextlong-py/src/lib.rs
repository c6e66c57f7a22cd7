//! The binding: thin, one file per room. `nextlong_rs._nextlong`, never imported by users.

mod door;

use pyo3::prelude::*;

/// The compiled core of `nextlong_rs`.
#[pymodule]
mod _nextlong {
    #[pymodule_export]
    use crate::door::Watch;
}
