//! Why a neighbour was refused, and how often.

/// Why a neighbour was refused, in the order in which the rules are checked.
pub const REASONS: [&str; 10] = [
    "range_min",
    "same_document",
    "min_score",
    "max_score",
    "margin",
    "same_chunk",
    "same_text",
    "max_reuse",
    "max_per_doc",
    "containment",
];

/// The number of refused neighbours, by reason (as in [`REASONS`]).
pub type Refusals = [u64; REASONS.len()];

/// The reasons by their place in [`REASONS`].
#[derive(Clone, Copy)]
pub(crate) enum Reason {
    RangeMin,
    SameDocument,
    MinScore,
    MaxScore,
    Margin,
    SameChunk,
    SameText,
    MaxReuse,
    MaxPerDoc,
    Containment,
}

/// Adds `counts` to `sums`.
pub(crate) fn add(sums: &mut Refusals, counts: &Refusals) {
    sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
}

/// Adds to `sums` what was counted between `before` and `now`.
pub(crate) fn add_since(sums: &mut Refusals, before: &Refusals, now: &Refusals) {
    for reason in 0..REASONS.len() {
        sums[reason] += now[reason] - before[reason];
    }
}
