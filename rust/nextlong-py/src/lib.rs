//! The binding, `nextlong_rs._nextlong`: converts between Python and the core, one file per module.
//!
//! Imported by the package alone, never by users. Everything slow goes through `door::outside`.

#![deny(unsafe_code)]
#![allow(clippy::needless_pass_by_value, reason = "PyO3 passes arguments by value")]
#![allow(clippy::too_many_arguments, reason = "one argument per keyword of the Python layer")]

mod batch;
mod chunk;
mod config;
mod corpus;
mod count;
mod door;
mod embed;
mod fill;
mod graph;
mod groups;
mod index;
mod locks;
mod measure;
mod store;
mod strategy;
mod tokenize;
mod vectors;
mod write;

use pyo3::prelude::*;

/// The compiled core of `nextlong_rs`.
#[pymodule]
mod _nextlong {
    #[pymodule_export]
    use crate::chunk::{chunk_part, chunk_spans, chunk_texts};

    #[pymodule_export]
    use crate::corpus::{Block, BlockReader, Documents, corpus_kind};

    #[pymodule_export]
    use crate::door::Watch;

    #[pymodule_export]
    use crate::embed::{LsaModel, StaticModel, embed_sample, normalise_rows};

    #[pymodule_export]
    use crate::graph::Graph;

    #[pymodule_export]
    use crate::groups::Groups;

    #[pymodule_export]
    use crate::index::{
        Depths, Hidden, Search, building_seconds, choose_engine, recall_sample, sample_keys,
        searching_seconds,
    };

    #[pymodule_export]
    use crate::measure::same_document;

    #[pymodule_export]
    use crate::batch::Wave;

    #[pymodule_export]
    use crate::config::{Settings, check_setting, setting_rules};

    #[pymodule_export]
    use crate::fill::{Selector, queue};

    #[pymodule_export]
    use crate::strategy::GramLists;

    #[pymodule_export]
    use crate::store::{ChunkStore, file_hash};

    #[pymodule_export]
    use crate::tokenize::{Tokenizer, chunk_file, is_safe_border};

    #[pymodule_export]
    use crate::vectors::{Vectors, write_vectors};

    #[pymodule_export]
    use crate::write::{Part, Sequences, write_parquet};
}
