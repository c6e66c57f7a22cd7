//! The binding: thin, one file per room. `nextlong_rs._nextlong`, never imported by users.

mod door;
mod store;
mod tokenize;
mod vectors;

use pyo3::prelude::*;

/// The compiled core of `nextlong_rs`.
#[pymodule]
mod _nextlong {
    #[pymodule_export]
    use crate::door::Watch;

    #[pymodule_export]
    use crate::store::ChunkStore;

    #[pymodule_export]
    use crate::tokenize::{Tokenizer, border_kind, is_safe_border};

    #[pymodule_export]
    use crate::vectors::{Vectors, write_vectors};
}
