//! Groups of chunks, for the report by group.

use std::sync::Arc;

use nextlong::store;
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;

use crate::door::outside;
use crate::store::ChunkStore;

/// The group of every chunk: the largest groups by name, the rest together.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Groups(pub(crate) Arc<store::Groups>);

#[pymethods]
impl Groups {
    /// Chunk `i` of the store is in group `names[numbers[i]]`.
    #[new]
    fn new(
        py: Python<'_>,
        store: &ChunkStore,
        names: Vec<String>,
        numbers: PyReadonlyArray1<'_, u32>,
    ) -> PyResult<Self> {
        let numbers = numbers.as_slice()?;
        outside(py, None, |_| store::Groups::new(&store.0, &names, numbers))
            .map(|groups| Self(Arc::new(groups)))
    }

    /// The chunks of the store by the source of their document.
    #[staticmethod]
    fn by_source(py: Python<'_>, store: &ChunkStore) -> PyResult<Self> {
        outside(py, None, |_| Ok(store::Groups::by_source(&store.0)))
            .map(|groups| Self(Arc::new(groups)))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// The names, that of the largest group first.
    #[getter]
    fn names(&self) -> Vec<String> {
        self.0.names().to_vec()
    }

    /// A hash of the names and of the group of every chunk.
    fn digest(&self, py: Python<'_>) -> PyResult<String> {
        outside(py, None, |_| Ok(format!("{:032x}", self.0.digest())))
    }
}
