//! Rows of unequal length as two flat arrays: how they cross every border.

/// `values[offsets[i]..offsets[i + 1]]` is row `i`; `offsets` starts with 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ragged<T> {
    /// All rows, one after another.
    pub values: Vec<T>,
    /// Where each row starts, and the end of the last.
    pub offsets: Vec<u64>,
}

impl<T> Default for Ragged<T> {
    fn default() -> Self {
        Self { values: Vec::new(), offsets: vec![0] }
    }
}

impl<T> Ragged<T> {
    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// True if there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row `row`.
    #[must_use]
    pub fn row(&self, row: usize) -> &[T] {
        &self.values[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }

    /// Ends the row whose values were pushed onto `values` since the last call.
    pub fn close_row(&mut self) {
        self.offsets.push(self.values.len() as u64);
    }
}
