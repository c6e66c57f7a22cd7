//! The order of documents, the sequential pass, and its planned sequences.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

use nextlong::assemble::{Sequence, assemble, assemble_into};
use nextlong::fill::{PlannedSequence, planned};
use nextlong::measure::{Measured, group_report, similarity};
use nextlong::segment::{Segment, SpecialTokens};
use nextlong::store::{ClosedBatch, TokenCache};
use nextlong::strategy::REASONS;
use nextlong::{Error, Progress, Ragged, config, fill, sequences};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::batch::Wave;
use crate::config::Settings;
use crate::door::{Watch, into_py, outside};
use crate::groups::Groups;
use crate::index::Hidden;
use crate::locks::{lock, read, write};
use crate::measure::as_json;
use crate::store::ChunkStore;
use crate::strategy::STRATEGY;
use crate::vectors::Vectors;
use crate::write::Sequences;

/// The documents that can become sequences, in the order in which they are tried.
#[pyfunction]
pub fn queue<'py>(
    py: Python<'py>,
    store: &ChunkStore,
    settings: &Settings,
    sources: Vec<u32>,
    weights: Vec<f64>,
) -> PyResult<Bound<'py, PyArray1<u32>>> {
    outside(py, None, |_| fill::document_order(&store.0, &settings.0, &sources, &weights))
        .map(|queue| queue.into_pyarray(py))
}

/// The sequential pass that decides which negatives every sequence takes.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Selector {
    special_tokens: SpecialTokens,
    settings: config::Settings,
    pass: Mutex<fill::Pass>,
    // Lock order: `planned` before `tokens`.
    planned: RwLock<Vec<PlannedSequence>>,
    tokens: RwLock<TokenCache>,
    /// The batch that was finished last, until its tokens are moved.
    closed: Mutex<Option<ClosedBatch>>,
}

#[pymethods]
impl Selector {
    #[new]
    #[pyo3(signature = (settings, *, bos, eos, separator, groups = None))]
    fn new(
        settings: &Settings,
        bos: Option<u32>,
        eos: Option<u32>,
        separator: Vec<u32>,
        groups: Option<&Groups>,
    ) -> Self {
        let special_tokens = SpecialTokens { bos, eos, separator };
        let mut pass = fill::Pass::new(settings.0.clone(), special_tokens.clone());
        if let Some(Groups(groups)) = groups {
            pass = pass.counting(Arc::clone(groups));
        }
        Self {
            pass: Mutex::new(pass),
            settings: settings.0.clone(),
            special_tokens,
            planned: RwLock::default(),
            tokens: RwLock::default(),
            closed: Mutex::default(),
        }
    }

    /// Advances the batch as far as possible: (chunks to tokenize, true if searches are wanted).
    fn step<'py>(
        &self,
        py: Python<'py>,
        wave: &Wave,
        store: &ChunkStore,
    ) -> PyResult<(Bound<'py, PyArray1<u32>>, bool)> {
        let need = outside(py, None, |_| {
            let tokens = read(&self.tokens);
            Ok(lock(&self.pass).step(&mut lock(&wave.0), &store.0, &tokens))
        })?;
        Ok((need.tokens.into_pyarray(py), need.search))
    }

    /// Adds the ids of `chunks`: row `i` is `values[offsets[i]:offsets[i + 1]]`.
    fn supply(
        &self,
        py: Python<'_>,
        chunks: PyReadonlyArray1<'_, u32>,
        values: PyReadonlyArray1<'_, u32>,
        offsets: PyReadonlyArray1<'_, u64>,
    ) -> PyResult<()> {
        let (chunks, values, offsets) =
            (chunks.as_slice()?, values.as_slice()?, offsets.as_slice()?);
        outside(py, None, |_| {
            let mut tokens = write(&self.tokens);
            tokens.insert(chunks, values, offsets)
        })
    }

    /// Finishes the batch and returns the number of its sequences; its tokens stay in memory until
    /// `move_tokens`.
    fn finish(&self, py: Python<'_>, wave: &Wave) -> PyResult<usize> {
        outside(py, None, |_| {
            let mut closed = lock(&self.closed);
            if closed.is_some() {
                return Err(Error::Run("the tokens of the batch before were not moved".to_owned()));
            }
            let planned = lock(&self.pass).finish(&mut lock(&wave.0));
            let count = planned.len();
            write(&self.planned).extend(planned);
            let mut tokens = write(&self.tokens);
            *closed = Some(tokens.close_batch()?);
            Ok(count)
        })
    }

    /// Moves the tokens of the batch that was finished last to `path`, while other threads use them.
    fn move_tokens(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        outside(py, None, |_| {
            let mut closed = lock(&self.closed);
            let Some(batch) = closed.take() else {
                return Err(Error::Run("no finished batch has tokens in memory".to_owned()));
            };
            let moved = batch.moved_to(&path)?;
            write(&self.tokens).take_moved(&moved);
            Ok(())
        })
    }

    /// Writes the sequences from `start` to `stop`, a row a segment.
    fn save(&self, py: Python<'_>, start: usize, stop: usize, path: PathBuf) -> PyResult<()> {
        outside(py, None, |_| {
            let all = read(&self.planned);
            planned::write(all.get(start..stop).unwrap_or_default(), &path)
        })
    }

    /// Restores a batch that an earlier pass finished: its segments, its tokens, and the counts of the
    /// pass after it, as returned by `counts`. Returns the number of its sequences.
    fn restore(
        &self,
        py: Python<'_>,
        store: &ChunkStore,
        pieces: PathBuf,
        token_ids: PathBuf,
        counts: &str,
    ) -> PyResult<usize> {
        outside(py, None, |_| {
            let tally: fill::Tally = serde_json::from_str(counts)
                .map_err(|error| Error::Run(format!("counts of an earlier pass: {error}")))?;
            let known = lock(&self.pass).group_counts().len();
            if let Some((group, _)) =
                tally.groups.iter().find(|(group, _)| usize::from(*group) >= known)
            {
                return Err(Error::Run(format!(
                    "counts of an earlier pass: group {group}, expected less than {known}"
                )));
            }
            let mut planned = write(&self.planned);
            let mut tokens = write(&self.tokens);
            tokens.restore_batch(&token_ids)?;
            let restored = planned::read(&pieces, &store.0, &tokens)?;
            lock(&self.pass).restore(&restored, tally);
            let count = restored.len();
            planned.extend(restored);
            Ok(count)
        })
    }

    /// The counts of the pass so far, as JSON for `restore`.
    fn counts(&self) -> PyResult<String> {
        serde_json::to_string(lock(&self.pass).tally())
            .map_err(|error| into_py(Error::Run(error.to_string())))
    }

    /// The cut chunks of the sequences from `start` on: their texts, and the ids that each keeps,
    /// `values[offsets[i]:offsets[i + 1]]`.
    fn cuts<'py>(&self, py: Python<'py>, store: &ChunkStore, start: usize) -> Cuts<'py> {
        let planned = read(&self.planned);
        let tokens = read(&self.tokens);
        let mut texts = Vec::new();
        let mut kept = Ragged::default();
        for segment in planned.iter().skip(start).flat_map(|(_, segments)| segments) {
            if is_cut(segment, &tokens) {
                let ids = tokens.get(segment.chunk).unwrap_or_default();
                texts.push(store.0.text(segment.chunk as usize).to_owned());
                kept.values.extend_from_slice(&ids[..segment.tokens as usize]);
                kept.close_row();
            }
        }
        (texts, kept.values.into_pyarray(py), kept.offsets.into_pyarray(py))
    }

    /// Sets the number of characters that the kept ids of the cut chunks cover, in the order of `cuts`.
    fn set_covered(&self, start: usize, characters: PyReadonlyArray1<'_, i64>) -> PyResult<()> {
        let mut planned = write(&self.planned);
        let tokens = read(&self.tokens);
        let segments = planned.iter_mut().skip(start).flat_map(|(_, segments)| segments);
        let cut: Vec<_> = segments.filter(|segment| is_cut(segment, &tokens)).collect();
        let characters = characters.as_slice()?;
        if cut.len() != characters.len() {
            return Err(into_py(Error::Config(format!(
                "invalid `characters`: {} counts, expected one for each of {} cut chunks",
                characters.len(),
                cut.len()
            ))));
        }
        for (segment, &characters) in cut.into_iter().zip(characters) {
            segment.characters = Some(characters as u32);
        }
        Ok(())
    }

    /// The chunks that cannot be used any more, for searches that leave them out; None before one is
    /// wanted. It changes with every step.
    #[getter]
    fn hidden(&self) -> Option<Hidden> {
        let pass = lock(&self.pass);
        pass.exhausted().map(|rows| Hidden { rows, few: pass.remaining() })
    }

    /// Drops the pending documents that the chunks left under `max_reuse` cannot fill; None if (nearly)
    /// all can be filled.
    fn sift<'py>(
        &self,
        py: Python<'py>,
        documents: PyReadonlyArray1<'_, u32>,
        store: &ChunkStore,
    ) -> PyResult<Option<Bound<'py, PyArray1<u32>>>> {
        let documents = documents.as_slice()?;
        let rest = outside(py, None, |_| {
            let tokens = read(&self.tokens);
            Ok(lock(&self.pass).prune(documents, &store.0, &tokens))
        })?;
        Ok(rest.map(|rest| rest.into_pyarray(py)))
    }

    /// True if all sequences that were asked for are made.
    #[getter]
    fn finished(&self) -> bool {
        lock(&self.pass).finished()
    }

    fn __len__(&self) -> usize {
        read(&self.planned).len()
    }

    /// Counts of sequences made, documents dropped and neighbours refused, by name.
    fn tally<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let pass = lock(&self.pass);
        let tally = pass.tally();
        let uses = pass.uses();
        let refused = PyDict::new(py);
        for (reason, count) in REASONS.iter().zip(tally.refused) {
            refused.set_item(reason, count)?;
        }
        let out = PyDict::new(py);
        for (name, count) in [
            ("made", tally.made),
            ("shortened", tally.shortened),
            ("dropped_short", tally.dropped_short),
            ("no_chunks_left", tally.no_chunks_left),
            ("long_skipped", tally.long_skipped),
            ("long_passed", tally.long_passed),
            ("meta_chunks", tally.meta_chunks),
            ("negatives", tally.negatives),
            ("cut_negatives", tally.cut_negatives),
            ("deeper_searches", tally.deeper_searches),
            ("tokenized_unused", tally.tokenized_unused),
            ("negatives_distinct", uses.len() as u64),
            ("reuse_most", uses.iter().map(|&(_, count)| u64::from(count)).max().unwrap_or(0)),
        ] {
            out.set_item(name, count)?;
        }
        out.set_item("chunks_tokenized", read(&self.tokens).len())?;
        out.set_item("refused", refused)?;
        Ok(out)
    }

    /// The similarity of the negatives to their meta-chunks, as JSON; null if there are none.
    fn similarity(&self, py: Python<'_>, vectors: &Vectors) -> PyResult<String> {
        outside(py, None, |_| {
            let planned = read(&self.planned);
            as_json(serde_json::to_string(&similarity(&vectors.0, &planned, self.settings.seed)))
        })
    }

    /// The report by group, as a JSON list; refused neighbours in the order of `tally`. None without
    /// groups.
    fn group_report(
        &self,
        py: Python<'_>,
        store: &ChunkStore,
        vectors: &Vectors,
        threads: usize,
        watch: &Watch,
    ) -> PyResult<Option<String>> {
        outside(py, Some(watch), |progress| {
            let planned = read(&self.planned);
            let (groups, counts) = {
                let pass = lock(&self.pass);
                (pass.groups().cloned(), pass.group_counts().to_vec())
            };
            let Some(groups) = groups else { return Ok(None) };
            let measured = Measured {
                store: &store.0,
                vectors: &vectors.0,
                groups: &groups,
                sequences: &planned,
                counts: &counts,
                seed: self.settings.seed,
            };
            let reports = group_report(&measured, threads, progress)?;
            as_json(serde_json::to_string(&reports)).map(Some)
        })
    }

    /// The sequences from `start` to before `stop`, assembled.
    fn assemble(
        &self,
        py: Python<'_>,
        store: &ChunkStore,
        start: usize,
        stop: usize,
        watch: &Watch,
    ) -> PyResult<Sequences> {
        outside(py, Some(watch), |progress| {
            self.with_rows(start, stop, |rows, tokens| {
                assemble(rows, STRATEGY, &self.special_tokens, &store.0, tokens, progress)
            })
        })
        .map(Sequences)
    }
}

/// Texts, and flat rows of ids.
type Cuts<'py> = (Vec<String>, Bound<'py, PyArray1<u32>>, Bound<'py, PyArray1<u64>>);

/// True if a sequence holds only some of the tokens of a chunk.
fn is_cut(segment: &Segment, tokens: &TokenCache) -> bool {
    tokens.count(segment.chunk).is_some_and(|count| segment.tokens < count)
}

impl Selector {
    /// Assembles the sequences from `start` to before `stop` into `out`, replacing its content.
    pub(crate) fn assemble_into(
        &self,
        out: &mut sequences::Sequences,
        store: &ChunkStore,
        start: usize,
        stop: usize,
        progress: &Progress,
    ) -> nextlong::Result<()> {
        self.with_rows(start, stop, |rows, tokens| {
            assemble_into(out, rows, &self.special_tokens, &store.0, tokens, progress)
        })
    }

    /// The tokens of a sequence.
    pub(crate) fn seq_len(&self) -> u32 {
        self.settings.seq_len
    }

    /// Calls `work` with the sequences from `start` to before `stop` and the tokens of their chunks.
    fn with_rows<T>(
        &self,
        start: usize,
        stop: usize,
        work: impl FnOnce(&[Sequence<'_>], &TokenCache) -> nextlong::Result<T>,
    ) -> nextlong::Result<T> {
        let planned = read(&self.planned);
        let tokens = read(&self.tokens);
        let rows = planned.get(start..stop).ok_or_else(|| {
            Error::Config(format!("sequences {start} to {stop} of {}", planned.len()))
        })?;
        let sequences: Vec<Sequence<'_>> = (start as i64..)
            .zip(rows)
            .map(|(id, (document, segments))| Sequence {
                id,
                document: *document,
                seq_len: self.settings.seq_len,
                segments,
            })
            .collect();
        work(&sequences, &tokens)
    }
}
