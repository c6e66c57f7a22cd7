//! Who may not be whose neighbour: a row not its own, and no row of the same group.

use crate::error::{Error, Result};

/// The rules that every engine keeps while it searches.
#[derive(Debug, Clone, Default)]
pub struct Exclusion {
    groups: Option<Vec<u32>>,
}

/// The rules for one query.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    row: Option<u32>,
    group: Option<(u32, &'a [u32])>,
}

impl Exclusion {
    /// Rows of the same group (the document number of each chunk) are no neighbours.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when there is not one group a row.
    pub fn new(groups: Option<Vec<u32>>, rows: usize) -> Result<Self> {
        match &groups {
            Some(groups) if groups.len() != rows => Err(Error::Config(format!(
                "groups has {} entries for {rows} vectors; give one number a vector",
                groups.len()
            ))),
            _ => Ok(Self { groups }),
        }
    }

    /// Whether rows are excluded by more than themselves.
    #[must_use]
    pub fn has_groups(&self) -> bool {
        self.groups.is_some()
    }

    /// The rules for the query that is row `row`; none for a foreign query.
    #[must_use]
    pub fn of(&self, row: Option<usize>) -> Own<'_> {
        let group = row.zip(self.groups.as_deref()).map(|(row, groups)| (groups[row], groups));
        Own { row: row.map(|row| row as u32), group }
    }
}

impl Own<'_> {
    /// Whether `id` may not be a neighbour.
    #[must_use]
    pub fn excludes(&self, id: u32) -> bool {
        self.row == Some(id) || self.group.is_some_and(|(own, groups)| groups[id as usize] == own)
    }
}
