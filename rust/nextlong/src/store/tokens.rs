//! The token cache: token ids of the chunks that sequences use, each tokenized once.
//!
//! In: ids of chunks, batch by batch. Out: the ids of any chunk seen so far, in memory or memory-mapped.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::{AsArray, LargeListArray, RecordBatch, UInt32Array};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};

use crate::error::{Error, Result};
use crate::hash::BuildIntHasher;
use crate::ragged::Ragged;
use crate::store::ipc;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("chunk", DataType::UInt32, false),
        Field::new("ids", DataType::LargeList(item()), false),
    ]))
});

fn item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::UInt32, false))
}

/// The place and the number of the ids of a chunk.
#[derive(Clone, Copy)]
struct Place {
    /// The part (the number of closed parts for the open one), and the row there.
    part: u32,
    row: u32,
    count: u32,
}

/// The ids of a closed batch, to be moved to disk while they are in use.
pub struct ClosedBatch {
    part: usize,
    batch: RecordBatch,
}

impl ClosedBatch {
    /// Writes the ids to `path` and maps them from there.
    ///
    /// # Errors
    ///
    /// What the file system reports.
    pub fn moved_to(self, path: &Path) -> Result<Self> {
        ipc::write(path, &SCHEMA, &[self.batch])?;
        Ok(Self { part: self.part, batch: map(path)? })
    }
}

/// Token ids by chunk: those of the open batch in memory, those of closed batches memory-mapped.
#[derive(Default)]
pub struct TokenCache {
    closed: Vec<LargeListArray>,
    open: Ragged<u32>,
    open_chunks: Vec<u32>,
    places: HashMap<u32, Place, BuildIntHasher>,
}

impl TokenCache {
    /// The number of chunks that were tokenized.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True if no chunk was tokenized yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Adds the ids of `chunks`, one row each. A known chunk is an error.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] when the rows are not those of `chunks`, or one comes twice.
    pub fn insert(&mut self, chunks: &[u32], values: &[u32], offsets: &[u64]) -> Result<()> {
        let rising = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        let last = offsets.last().copied().unwrap_or(u64::MAX);
        if offsets.len() != chunks.len() + 1 || !rising || last > values.len() as u64 {
            return Err(Error::Tokenizer(format!(
                "shape mismatch: expected {} rising offsets into {} ids, got {}",
                chunks.len() + 1,
                values.len(),
                offsets.len()
            )));
        }
        for (&chunk, bounds) in chunks.iter().zip(offsets.windows(2)) {
            let place = Place {
                part: self.closed.len() as u32,
                row: self.open_chunks.len() as u32,
                count: (bounds[1] - bounds[0]) as u32,
            };
            if self.places.insert(chunk, place).is_some() {
                return Err(Error::Tokenizer(format!("chunk {chunk} was tokenized twice")));
            }
            let ids = &values[bounds[0] as usize..bounds[1] as usize];
            self.open.values.extend_from_slice(ids);
            self.open.close_row();
            self.open_chunks.push(chunk);
        }
        Ok(())
    }

    /// The ids of `chunk`, once it was tokenized.
    #[must_use]
    pub fn get(&self, chunk: u32) -> Option<&[u32]> {
        let &Place { part, row, .. } = self.places.get(&chunk)?;
        let Some(part) = self.closed.get(part as usize) else {
            return Some(self.open.row(row as usize));
        };
        let offsets = part.value_offsets();
        let bounds = offsets[row as usize] as usize..offsets[row as usize + 1] as usize;
        Some(&part.values().as_primitive::<UInt32Type>().values()[bounds])
    }

    /// The number of ids of `chunk`, once it was tokenized.
    #[must_use]
    pub fn count(&self, chunk: u32) -> Option<u32> {
        self.places.get(&chunk).map(|place| place.count)
    }

    /// Closes the open batch: its ids stay in memory until they are moved ([`ClosedBatch::moved_to`],
    /// [`TokenCache::take_moved`]).
    ///
    /// # Errors
    ///
    /// [`Error::Run`] for more ids than arrow can hold.
    pub fn close_batch(&mut self) -> Result<ClosedBatch> {
        let Ragged { values, offsets } = std::mem::take(&mut self.open);
        let offsets: ScalarBuffer<i64> = offsets.into_iter().map(|offset| offset as i64).collect();
        let list = LargeListArray::try_new(
            item(),
            OffsetBuffer::new(offsets),
            Arc::new(UInt32Array::from(values)),
            None,
        );
        let chunks = UInt32Array::from(std::mem::take(&mut self.open_chunks));
        let batch = list
            .and_then(|list| {
                RecordBatch::try_new(SCHEMA.clone(), vec![Arc::new(chunks), Arc::new(list)])
            })
            .map_err(|error| Error::Run(format!("the ids of a batch: {error}")))?;
        self.closed.push(ids_of(&batch));
        Ok(ClosedBatch { part: self.closed.len() - 1, batch })
    }

    /// Uses the moved ids of a closed batch from now on, and frees those in memory.
    pub fn take_moved(&mut self, moved: &ClosedBatch) {
        self.closed[moved.part] = ids_of(&moved.batch);
    }

    /// Maps what [`ClosedBatch::moved_to`] left at `path` as the next closed batch.
    ///
    /// # Errors
    ///
    /// [`Error::Run`] when the file is damaged, or holds a chunk that is known already.
    pub fn restore_batch(&mut self, path: &Path) -> Result<()> {
        let batch = map(path)?;
        let part = self.closed.len() as u32;
        let chunks = batch.column(0).as_primitive::<UInt32Type>().values();
        let ids = ids_of(&batch);
        for (row, &chunk) in chunks.iter().enumerate() {
            let place = Place { part, row: row as u32, count: ids.value_length(row) as u32 };
            if self.places.insert(chunk, place).is_some() {
                return Err(Error::Run(format!(
                    "{}: chunk {chunk} is there twice or in an earlier file",
                    path.display()
                )));
            }
        }
        self.closed.push(ids);
        Ok(())
    }
}

fn map(path: &Path) -> Result<RecordBatch> {
    let mut batches = ipc::map(path, &SCHEMA)?;
    match batches.pop() {
        Some(batch) if batches.is_empty() => Ok(batch),
        _ => Err(Error::Run(format!("{}: not one batch; it is damaged", path.display()))),
    }
}

fn ids_of(batch: &RecordBatch) -> LargeListArray {
    batch.column(1).as_list::<i64>().clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_memory_and_on_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut cache = TokenCache::default();
        cache.insert(&[7, 3], &[1, 2, 3], &[0, 2, 3]).expect("inserted");
        let path = folder.path().join("a.arrow");
        let closed = cache.close_batch().expect("closed");
        assert_eq!(cache.get(3), Some(&[3][..]));
        cache.insert(&[9], &[4, 5], &[0, 2]).expect("inserted");
        assert_eq!(cache.get(7), Some(&[1, 2][..]));
        assert_eq!(cache.get(3), Some(&[3][..]));
        assert_eq!(cache.get(9), Some(&[4, 5][..]));
        cache.take_moved(&closed.moved_to(&path).expect("moved"));
        assert_eq!((cache.get(3), cache.get(9)), (Some(&[3][..]), Some(&[4, 5][..])));
        assert_eq!((cache.get(1), cache.len()), (None, 3));
        assert!(cache.insert(&[3], &[1], &[0, 1]).is_err());
        let mut again = TokenCache::default();
        again.restore_batch(&path).expect("restored");
        assert_eq!((again.get(7), again.get(3)), (Some(&[1, 2][..]), Some(&[3][..])));
        assert!(again.restore_batch(&path).is_err());
    }
}
