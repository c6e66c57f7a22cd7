//! Documents that are worked on together: their neighbours are searched in few calls.
//!
//! In: documents, and the neighbours of their meta-chunks as they are found. Out: the searches that are
//! wanted, and documents that the pass can take negatives from.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BooleanArray, Float32Builder, ListBuilder, RecordBatch, UInt32Array, UInt32Builder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::pass::State;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::store::{ChunkStore, Vectors, ipc};
use crate::strategy::nextlong::{GramLists, SearchRequest, SearchResult, Source, mean_characters};
use crate::strategy::{REASONS, Refusals, add_since};

/// A document on its way to a sequence.
#[derive(Debug)]
pub(super) struct Document {
    pub number: u32,
    /// The negatives it can take.
    pub source: Source,
    pub state: State,
    /// Refused neighbours of its meta-chunks, by the searches and by the pass.
    pub refused: Refusals,
}

/// Documents that are worked on together.
pub struct Batch {
    pub(super) documents: Vec<Document>,
    refused: Refusals,
    /// The number of lists that looking ahead found too short for their sequence.
    pub(super) deeper: u64,
}

impl Batch {
    /// A batch of `documents`, with the first search of every meta-chunk wanted.
    #[must_use]
    pub fn new(store: &ChunkStore, settings: &Settings, documents: &[u32]) -> Self {
        Self::sharing(store, settings, documents, &Arc::new(GramLists::new(settings)))
    }

    /// As [`Batch::new`], with n-grams that other batches of the run use as well.
    #[must_use]
    pub fn sharing(
        store: &ChunkStore,
        settings: &Settings,
        documents: &[u32],
        lists: &Arc<GramLists>,
    ) -> Self {
        let others = store.len().saturating_sub(1).max(1) as u32;
        let max_depth = settings.range_max.map_or(others, |range_max| range_max.min(others));
        let mean_chars = mean_characters(store);
        let documents = documents.iter().map(|&number| {
            let chunks = store.document_chunks(number as usize);
            Document {
                number,
                source: Source::new(store, settings, lists, chunks, mean_chars, max_depth),
                state: State::Measuring,
                refused: [0; REASONS.len()],
            }
        });
        let documents = documents.collect();
        Self { documents, refused: [0; REASONS.len()], deeper: 0 }
    }

    /// The searches that are wanted, one for each k.
    #[must_use]
    pub fn wanted(&self) -> Vec<SearchRequest> {
        let mut by_depth = BTreeMap::<(bool, u32), Vec<u32>>::new();
        for Document { source, .. } in &self.documents {
            for (list, chunk) in source.lists.iter().zip(source.chunks.clone()) {
                if list.wanted > 0 {
                    by_depth.entry((list.remaining_only, list.wanted)).or_default().push(chunk);
                }
            }
        }
        let wanted = by_depth.into_iter();
        wanted
            .map(|((remaining_only, k), chunks)| SearchRequest { k, chunks, remaining_only })
            .collect()
    }

    /// Adds the neighbours that a search found, as far as the rules allow them.
    ///
    /// # Errors
    ///
    /// [`Error::Retrieval`] when the arrays do not fit together, [`Error::Cancelled`] when stopped.
    pub fn add(
        &mut self,
        found: &SearchResult<'_>,
        store: &ChunkStore,
        vectors: &Vectors,
        settings: &Settings,
        progress: &Progress,
    ) -> Result<()> {
        let found = found.by_chunk()?;
        for document in &mut self.documents {
            let before = self.refused;
            let source = &mut document.source;
            let refused = &mut self.refused;
            let added = source.add(&found, store, vectors, settings, refused, progress)?;
            add_since(&mut document.refused, &before, &self.refused);
            // Once the pass has started with a document, the pass requests its searches.
            let measuring = matches!(document.state, State::Measuring);
            if added && !source.wants_search() && measuring {
                self.deeper += source.look_ahead(store, settings, progress)?;
            }
        }
        Ok(())
    }

    /// Writes the allowed neighbours as an Arrow IPC file, one row per meta-chunk.
    ///
    /// # Errors
    ///
    /// What the file system reports.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut chunk = UInt32Builder::new();
        let mut depth = UInt32Builder::new();
        let mut complete = Vec::new();
        let mut ids = ListBuilder::new(UInt32Builder::new()).with_field(item(DataType::UInt32));
        let mut scores =
            ListBuilder::new(Float32Builder::new()).with_field(item(DataType::Float32));
        for document in &self.documents {
            for (list, number) in document.source.lists.iter().zip(document.source.chunks.clone()) {
                chunk.append_value(number);
                depth.append_value(list.depth);
                complete.push(list.complete);
                ids.values().append_slice(&list.ids);
                ids.append(true);
                scores.values().append_slice(&list.scores);
                scores.append(true);
            }
        }
        let chunk: UInt32Array = chunk.finish();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(chunk),
            Arc::new(depth.finish()),
            Arc::new(BooleanArray::from(complete)),
            Arc::new(ids.finish()),
            Arc::new(scores.finish()),
        ];
        let batch = RecordBatch::try_new(SCHEMA.clone(), columns)
            .map_err(|error| Error::Run(format!("{}: {error}", path.display())))?;
        ipc::write(path, &SCHEMA, &[batch])
    }

    /// The meta-chunks of the first `limit` sequences that are complete, and how many neighbours each
    /// was searched for, rising: the last search, except those among the remaining chunks alone.
    #[must_use]
    pub fn used_lists(&self, limit: usize) -> Vec<(u32, u32)> {
        let planned = self.documents.iter().filter(|one| matches!(one.state, State::Planned(_)));
        let sources = planned.take(limit).map(|document| &document.source);
        let lists = sources.flat_map(|source| source.chunks.clone().zip(&source.lists));
        lists.filter(|(_, list)| list.depth > 0).map(|(chunk, list)| (chunk, list.depth)).collect()
    }

    /// The number of neighbours that searches were refused so far, by reason.
    #[must_use]
    pub fn refused(&self) -> &Refusals {
        &self.refused
    }
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("chunk", DataType::UInt32, false),
        Field::new("depth", DataType::UInt32, false),
        Field::new("complete", DataType::Boolean, false),
        Field::new("ids", DataType::List(item(DataType::UInt32)), false),
        Field::new("scores", DataType::List(item(DataType::Float32)), false),
    ]))
});

fn item(kind: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", kind, false))
}
