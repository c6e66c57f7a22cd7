//! The order of documents: a seeded sample, weighted on request.
//!
//! In: the chunk store, the settings, optional weights of sources. Out: the documents that can become
//! sequences, in the order in which they are tried.

use crate::config::Settings;
use crate::error::{Error, Result};
use crate::seed;
use crate::store::ChunkStore;

/// The documents with at least `min_meta_chunks` chunks, in the order in which they are tried.
///
/// Without weights every order is equally likely. A document's weight is its score (where a score
/// column was named; a missing score is a weight of 0), times the weight of its source shared among
/// the source's documents. `sources` has the source of every input, `weights` the weight of every
/// source; without them all documents count the same. The order is that of weighted sampling
/// without replacement (Efraimidis and Spirakis 2006); documents of weight 0 are left out.
///
/// # Errors
///
/// [`Error::Corpus`] for a score that is negative or not a number.
pub fn document_order(
    store: &ChunkStore,
    settings: &Settings,
    sources: &[u32],
    weights: &[f64],
) -> Result<Vec<u32>> {
    let mut documents: Vec<(u32, usize, f64)> = Vec::new();
    let mut sums = vec![0.0_f64; weights.len()];
    for document in 0..store.document_count() {
        let chunks = store.document_chunks(document);
        if chunks.len() < settings.min_meta_chunks as usize {
            continue;
        }
        let origin = store.origin(chunks.start);
        let weight = match (&settings.score_column, origin.score) {
            (None, _) => 1.0,
            (Some(_), None) => 0.0,
            (Some(column), Some(score)) if !(score >= 0.0 && score.is_finite()) => {
                return Err(Error::Corpus(format!(
                    "document {:?}: {column} is {score}, expected a number of at least 0",
                    origin.doc_id
                )));
            }
            (Some(_), Some(score)) => score,
        };
        let source = sources.get(origin.input as usize).map_or(usize::MAX, |&s| s as usize);
        documents.push((document as u32, source, weight));
    }
    // Only proportions count: against the largest of each kind no sum and no product overflows.
    let largest = documents.iter().map(|&(_, _, weight)| weight).fold(0.0, f64::max);
    for (_, source, weight) in &mut documents {
        *weight /= largest;
        if let Some(sum) = sums.get_mut(*source) {
            *sum += *weight;
        }
    }
    let heaviest = weights.iter().copied().fold(0.0, f64::max);
    let mut keys: Vec<(f64, u32)> = documents
        .into_iter()
        .map(|(document, source, weight)| {
            let share = weights.get(source).map_or(1.0, |weight| weight / heaviest / sums[source]);
            let chance = seed::uniform(settings.seed, "queue", u64::from(document));
            (-chance.ln() / (weight * share), document)
        })
        .filter(|(key, _)| key.is_finite())
        .collect();
    keys.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    Ok(keys.into_iter().map(|(_, document)| document).collect())
}
