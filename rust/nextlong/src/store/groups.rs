//! Groups of chunks, for the report by group.
//!
//! In: the chunk store with its sources, or a group number for every chunk. Out: [`Groups`]: the
//! largest ones by name, the rest together.

use std::collections::HashMap;
use std::ops::Range;

use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Result};
use crate::store::ChunkStore;

/// Maximum number of groups that are reported one by one; the rest is one group, [`OTHER`].
pub const MAX_GROUPS: usize = 1000;

/// Maximum number of different sources that are counted; documents of further ones are [`OTHER`].
const MAX_NAMES: usize = 1 << 20;

/// The group of documents without a source.
pub const NO_SOURCE: &str = "(none)";

/// The group of all chunks that are in none of the largest groups.
pub const OTHER: &str = "(other)";

/// The group of every chunk.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Groups {
    names: Vec<String>,
    of_chunk: Vec<u16>,
    chunks: Vec<u64>,
    documents: Vec<u64>,
}

impl Groups {
    /// Groups chunks by the source of their document.
    #[must_use]
    pub fn by_source(store: &ChunkStore) -> Self {
        Self::by_first_sources(store, MAX_NAMES)
    }

    /// Groups chunks by the first `max_names` sources.
    fn by_first_sources(store: &ChunkStore, max_names: usize) -> Self {
        let mut numbers: HashMap<&str, u32> = HashMap::new();
        let mut names = Vec::new();
        let mut sizes = Vec::new();
        let mut number_of = |document: usize| {
            let name = store.source(document).unwrap_or(NO_SOURCE);
            if let Some(&number) = numbers.get(name) {
                return number as usize;
            }
            if names.len() < max_names {
                numbers.insert(name, names.len() as u32);
                names.push(name);
                return names.len() - 1;
            }
            max_names
        };
        for document in 0..store.document_count() {
            let number = number_of(document);
            sizes.resize(sizes.len().max(number + 1), 0);
            sizes[number] += store.document_chunks(document).len() as u64;
        }
        let mut of_chunk = Vec::with_capacity(store.len());
        let ranks = Ranks::new(&sizes, |number| names.get(number).copied());
        for document in 0..store.document_count() {
            let name = store.source(document).unwrap_or(NO_SOURCE);
            let number = numbers.get(name).map_or(max_names, |&number| number as usize);
            let chunks = store.document_chunks(document).len();
            of_chunk.extend(std::iter::repeat_n(ranks.of(number), chunks));
        }
        Self::counted(ranks.names, of_chunk, store)
    }

    /// Groups chunks by given numbers, one for each chunk: chunk `i` is in group `names[numbers[i]]`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when there is not one number for each chunk, or a number has no name.
    pub fn new(store: &ChunkStore, names: &[String], numbers: &[u32]) -> Result<Self> {
        if numbers.len() != store.len() {
            return Err(Error::Config(format!(
                "{} group numbers, expected one for each of {} chunks",
                numbers.len(),
                store.len()
            )));
        }
        let mut sizes = vec![0; names.len()];
        for &number in numbers {
            let size = sizes.get_mut(number as usize).ok_or_else(|| {
                Error::Config(format!("group number {number}, expected less than {}", names.len()))
            })?;
            *size += 1;
        }
        let ranks = Ranks::new(&sizes, |number| names.get(number).map(String::as_str));
        let of_chunk = numbers.iter().map(|&number| ranks.of(number as usize)).collect();
        Ok(Self::counted(ranks.names, of_chunk, store))
    }

    fn counted(names: Vec<String>, of_chunk: Vec<u16>, store: &ChunkStore) -> Self {
        let (chunks, documents) = (vec![0; names.len()], vec![0; names.len()]);
        let mut groups = Self { names, of_chunk, chunks, documents };
        for document in 0..store.document_count() {
            let group = groups.of_document(store.document_chunks(document));
            groups.documents[usize::from(group)] += 1;
        }
        for &group in &groups.of_chunk {
            groups.chunks[usize::from(group)] += 1;
        }
        groups
    }

    /// The number of groups.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True without any group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names, that of the largest group first; [`OTHER`] last.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of chunks of each group.
    #[must_use]
    pub fn chunks(&self) -> &[u64] {
        &self.chunks
    }

    /// The number of documents of each group, as [`Self::of_document`] assigns them.
    #[must_use]
    pub fn documents(&self) -> &[u64] {
        &self.documents
    }

    /// A hash of the names and of the group of every chunk.
    #[must_use]
    pub fn digest(&self) -> u128 {
        let mut hash = Xxh3::new();
        for name in &self.names {
            hash.update(&(name.len() as u64).to_le_bytes());
            hash.update(name.as_bytes());
        }
        for group in &self.of_chunk {
            hash.update(&group.to_le_bytes());
        }
        hash.digest128()
    }

    /// The group of `chunk`.
    #[must_use]
    pub fn of(&self, chunk: u32) -> u16 {
        self.of_chunk[chunk as usize]
    }

    /// The group of every chunk.
    #[must_use]
    pub fn of_chunks(&self) -> &[u16] {
        &self.of_chunk
    }

    /// The group of the document whose chunks are `chunks`: that of most of them, the larger group
    /// where two have as many.
    #[must_use]
    pub fn of_document(&self, chunks: Range<usize>) -> u16 {
        let own = &self.of_chunk[chunks];
        let first = own.first().copied().unwrap_or(0);
        if own.iter().all(|&group| group == first) {
            return first;
        }
        let mut sorted = own.to_vec();
        sorted.sort_unstable();
        let runs = sorted.chunk_by(|a, b| a == b);
        // `max_by_key` gives the last of equals.
        runs.rev().max_by_key(|run| run.len()).map_or(first, |run| run[0])
    }
}

/// The numbers that names of any number get: the largest first.
struct Ranks {
    names: Vec<String>,
    ranks: Vec<u16>,
}

impl Ranks {
    /// Ranks names by `sizes`; a size whose name is None belongs to [`OTHER`].
    fn new<'a>(sizes: &[u64], name_of: impl Fn(usize) -> Option<&'a str>) -> Self {
        let mut order: Vec<usize> = (0..sizes.len())
            .filter(|&number| sizes[number] > 0 && name_of(number).is_some())
            .collect();
        order.sort_unstable_by_key(|&number| (std::cmp::Reverse(sizes[number]), name_of(number)));
        order.truncate(MAX_GROUPS);
        let mut ranks = vec![order.len() as u16; sizes.len()];
        let mut names = Vec::with_capacity(order.len() + 1);
        for number in order {
            ranks[number] = names.len() as u16;
            names.push(name_of(number).unwrap_or_default().to_owned());
        }
        let others = ranks
            .iter()
            .zip(sizes)
            .any(|(&rank, &size)| size > 0 && usize::from(rank) == names.len());
        if others {
            names.push(OTHER.to_owned());
        }
        Self { names, ranks }
    }

    fn of(&self, number: usize) -> u16 {
        self.ranks[number]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Origin, PartWriter};

    /// A store of documents: (source, number of chunks).
    fn store(documents: &[(Option<String>, usize)]) -> ChunkStore {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("part.arrow");
        let mut writer = PartWriter::default();
        for (source, chunks) in documents {
            let source = source.as_deref();
            let origin = Origin { doc_id: "a", input: 0, row: 0, score: None, source };
            writer.document(origin, vec![("text", 0..4); *chunks]).expect("added");
        }
        writer.write(&path).expect("written");
        ChunkStore::open(&[path]).expect("opened")
    }

    #[test]
    fn groups_are_the_sources_largest_first() {
        let source = |name: &str| Some(name.to_owned());
        let store = store(&[(source("b"), 1), (None, 2), (source("c"), 5), (source("b"), 1)]);
        let groups = Groups::by_source(&store);
        assert_eq!(groups.names(), ["c", "(none)", "b"]);
        assert_eq!(groups.of_chunks(), [2, 1, 1, 0, 0, 0, 0, 0, 2]);
        assert_eq!((groups.chunks(), groups.documents()), (&[5, 2, 2][..], &[1, 1, 2][..]));
    }

    #[test]
    fn beyond_the_most_groups_the_rest_is_one() {
        let documents: Vec<(Option<String>, usize)> = (0..MAX_GROUPS + 7)
            .map(|number| (Some(format!("{number:04}")), 1 + usize::from(number >= 7)))
            .collect();
        let groups = Groups::by_source(&store(&documents));
        assert_eq!(groups.len(), MAX_GROUPS + 1);
        assert_eq!(groups.names()[MAX_GROUPS], OTHER);
        assert_eq!((groups.chunks()[MAX_GROUPS], groups.documents()[MAX_GROUPS]), (7, 7));
        assert_eq!(groups.chunks().iter().sum::<u64>(), 7 + 2 * MAX_GROUPS as u64);
    }

    #[test]
    fn sources_beyond_the_first_ones_are_other() {
        let source = |name: &str| Some(name.to_owned());
        let store =
            store(&[(source("a"), 1), (source("b"), 2), (source("c"), 5), (source("a"), 2)]);
        let groups = Groups::by_first_sources(&store, 2);
        assert_eq!(groups.names(), ["a", "b", OTHER]);
        assert_eq!((groups.chunks(), groups.documents()), (&[3, 2, 5][..], &[2, 1, 1][..]));
    }

    #[test]
    fn a_document_is_in_the_group_of_most_of_its_chunks() {
        let store = store(&[(None, 3), (None, 2)]);
        let names = ["a", "unused", "b"].map(str::to_owned);
        let groups = Groups::new(&store, &names, &[2, 0, 2, 2, 0]).expect("groups");
        assert_eq!(groups.names(), ["b", "a"]);
        assert_eq!((groups.of_document(0..3), groups.of_document(3..5)), (0, 0));
        assert_eq!((groups.chunks(), groups.documents()), (&[3, 2][..], &[2, 0][..]));
        assert!(Groups::new(&store, &names, &[0, 0]).is_err());
        assert!(Groups::new(&store, &names, &[0, 0, 0, 0, 3]).is_err());
    }
}
