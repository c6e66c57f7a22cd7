//! Counts of the pass by group, for the report.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::batch::Document;
use super::pass::Pass;
use crate::store::Groups;
use crate::strategy::{Refusals, add};

/// Counts of the documents of one group.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCounts {
    /// Documents that became a sequence or were dropped.
    pub tried: u64,
    /// Refused neighbours of their meta-chunks, by reason (as in [`REASONS`]).
    pub refused: Refusals,
}

impl GroupCounts {
    fn add(&mut self, other: &Self) {
        self.tried += other.tried;
        add(&mut self.refused, &other.refused);
    }
}

/// Counts by group; saved with every batch for that batch alone, since most batches have few groups.
#[derive(Debug, Default)]
pub(super) struct ByGroup {
    groups: Option<Arc<Groups>>,
    counts: Vec<GroupCounts>,
}

impl Pass {
    /// Also counts by group.
    #[must_use]
    pub fn counting(mut self, groups: Arc<Groups>) -> Self {
        self.by_group =
            ByGroup { counts: vec![GroupCounts::default(); groups.len()], groups: Some(groups) };
        self
    }

    /// The groups that the pass counts by, if any.
    #[must_use]
    pub fn groups(&self) -> Option<&Arc<Groups>> {
        self.by_group.groups.as_ref()
    }

    /// The counts of each group so far; empty without groups.
    #[must_use]
    pub fn group_counts(&self) -> &[GroupCounts] {
        &self.by_group.counts
    }

    /// Counts a complete batch, of which the first `tried` documents were tried.
    pub(super) fn count_groups(&mut self, documents: &[Document], tried: usize) {
        let Some(groups) = self.by_group.groups.clone() else { return };
        let mut batch = BTreeMap::<u16, GroupCounts>::new();
        for (number, document) in documents.iter().enumerate() {
            let chunks = document.source.chunks.start as usize..document.source.chunks.end as usize;
            let counts = batch.entry(groups.of_document(chunks)).or_default();
            counts.tried += u64::from(number < tried);
            add(&mut counts.refused, &document.refused);
        }
        self.tally.groups = batch.into_iter().collect();
        self.add_groups();
    }

    /// Adds the counts of the batch that the tally is of.
    pub(super) fn add_groups(&mut self) {
        for (group, counts) in &self.tally.groups {
            if let Some(sum) = self.by_group.counts.get_mut(usize::from(*group)) {
                sum.add(counts);
            }
        }
    }
}
