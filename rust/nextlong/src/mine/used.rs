//! The lists of neighbours that sequences are made of, and how deep each was searched.

use super::{Wave, select};

impl Wave {
    /// The meta-chunks of the first `most` sequences that are made, and how many neighbours each was
    /// searched for, rising: the last search, but for those among the chunks left alone.
    #[must_use]
    pub fn used_lists(&self, most: usize) -> Vec<(u32, u32)> {
        let made = self.documents.iter().filter(|one| matches!(one.state, select::State::Made(_)));
        let lists = made.take(most).flat_map(|one| one.chunks.clone().zip(&one.lists));
        lists.filter(|(_, list)| list.depth > 0).map(|(chunk, list)| (chunk, list.depth)).collect()
    }
}
