//! Mining as Python drives it: the queue of documents, waves of candidates, the selecting pass.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use nextlong::assemble::{Frame, Piece, Sequence, assemble, assemble_into};
use nextlong::group_report::{Measured, group_report};
use nextlong::mine::made::{self, Made};
use nextlong::mine::{self, Found, REASONS, select};
use nextlong::tokens::{ClosedWave, TokenCache};
use nextlong::{Error, Progress, Ragged, config, measure, sequences};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::door::{Watch, into_py, outside};
use crate::groups::Groups;
use crate::index::Hidden;
use crate::measure::as_json;
use crate::store::ChunkStore;
use crate::vectors::Vectors;
use crate::write::Sequences;

/// The settings of a run, checked.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Settings(pub(crate) config::Settings);

#[pymethods]
impl Settings {
    #[new]
    fn new(json: &str) -> PyResult<Self> {
        config::Settings::from_json(json).map(Self).map_err(into_py)
    }
}

/// The documents that can become sequences, in the order in which they are tried.
#[pyfunction]
pub fn queue<'py>(
    py: Python<'py>,
    store: &ChunkStore,
    settings: &Settings,
    sources: Vec<u32>,
    weights: Vec<f64>,
) -> PyResult<Bound<'py, PyArray1<u32>>> {
    outside(py, None, |_| mine::queue(&store.0, &settings.0, &sources, &weights))
        .map(|queue| queue.into_pyarray(py))
}

/// The n-grams of chunks, for all waves of a run.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct GramLists(Arc<mine::GramLists>);

#[pymethods]
impl GramLists {
    /// An empty cache of lists with a maximum size in bytes.
    #[new]
    fn new(settings: &Settings, bytes: usize) -> Self {
        Self(Arc::new(mine::GramLists::new(&settings.0).within(bytes)))
    }

    /// Bytes of the list of one chunk, about.
    #[staticmethod]
    fn bytes_of_one(settings: &Settings) -> usize {
        mine::GramLists::new(&settings.0).bytes_of_one()
    }
}

/// Some documents that are mined together.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Wave(Mutex<mine::Wave>);

#[pymethods]
impl Wave {
    #[new]
    #[pyo3(signature = (store, settings, documents, lists = None))]
    fn new(
        py: Python<'_>,
        store: &ChunkStore,
        settings: &Settings,
        documents: PyReadonlyArray1<'_, u32>,
        lists: Option<&GramLists>,
    ) -> PyResult<Self> {
        let documents = documents.as_slice()?;
        outside(py, None, |_| {
            let known = store.0.document_count();
            if let Some(document) = documents.iter().find(|&&document| document as usize >= known) {
                return Err(Error::Config(format!("document {document} of {known}")));
            }
            Ok(match lists {
                Some(GramLists(shared)) => {
                    mine::Wave::sharing(&store.0, &settings.0, documents, shared)
                }
                None => mine::Wave::new(&store.0, &settings.0, documents),
            })
        })
        .map(|wave| Self(Mutex::new(wave)))
    }

    /// The searches that are wanted: `[(k, chunks, open), …]`; open ones leave out the chunks of
    /// `Selector.hidden`.
    fn wanted<'py>(&self, py: Python<'py>) -> Vec<(u32, Bound<'py, PyArray1<i64>>, bool)> {
        let wanted = lock(&self.0).wanted();
        let rows = |chunks: Vec<u32>| chunks.into_iter().map(i64::from).collect::<Vec<_>>();
        let search = |one: mine::Wanted| (one.k, rows(one.chunks).into_pyarray(py), one.open);
        wanted.into_iter().map(search).collect()
    }

    /// Takes the neighbours that a search found and keeps the allowed ones.
    #[allow(clippy::too_many_arguments, reason = "each is one part of a search or its context")]
    fn fill(
        &self,
        py: Python<'_>,
        store: &ChunkStore,
        vectors: &Vectors,
        settings: &Settings,
        chunks: PyReadonlyArray1<'_, i64>,
        ids: PyReadonlyArray2<'_, i64>,
        scores: PyReadonlyArray2<'_, f32>,
        watch: &Watch,
    ) -> PyResult<()> {
        let k = ids.shape()[1];
        let (chunks, ids, scores) = (chunks.as_slice()?, ids.as_slice()?, scores.as_slice()?);
        outside(py, Some(watch), |progress| {
            let chunks: Vec<u32> = chunks.iter().map(|&chunk| chunk as u32).collect();
            let found = Found { chunks: &chunks, k, ids, scores };
            lock(&self.0).fill(&found, &store.0, &vectors.0, &settings.0, progress)
        })
    }

    /// The meta-chunks of the first `most` sequences that are made, and how deep each was searched.
    fn used_lists<'py>(
        &self,
        py: Python<'py>,
        most: usize,
    ) -> (Bound<'py, PyArray1<u32>>, Bound<'py, PyArray1<u32>>) {
        let (chunks, depths): (Vec<u32>, Vec<u32>) =
            lock(&self.0).used_lists(most).into_iter().unzip();
        (chunks.into_pyarray(py), depths.into_pyarray(py))
    }

    /// Writes the allowed neighbours, a row a meta-chunk.
    fn write(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        outside(py, None, |_| lock(&self.0).write(&path))
    }
}

/// The sequential pass that decides which negatives every sequence takes.
#[pyclass(frozen, module = "nextlong_rs._nextlong")]
pub struct Selector {
    frame: Frame,
    settings: config::Settings,
    pass: Mutex<select::Selector>,
    // Who locks both locks `made` first.
    made: RwLock<Vec<Made>>,
    tokens: RwLock<TokenCache>,
    /// The wave that was finished last, until its tokens are moved.
    closed: Mutex<Option<ClosedWave>>,
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
        let frame = Frame { bos, eos, separator };
        let mut pass = select::Selector::new(settings.0.clone(), frame.clone());
        if let Some(Groups(groups)) = groups {
            pass = pass.counting(Arc::clone(groups));
        }
        Self {
            pass: Mutex::new(pass),
            settings: settings.0.clone(),
            frame,
            made: RwLock::default(),
            tokens: RwLock::default(),
            closed: Mutex::default(),
        }
    }

    /// Takes the wave as far as it comes: (chunks to tokenize, whether searches are wanted).
    fn step<'py>(
        &self,
        py: Python<'py>,
        wave: &Wave,
        store: &ChunkStore,
    ) -> PyResult<(Bound<'py, PyArray1<u32>>, bool)> {
        let need = outside(py, None, |_| {
            let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
            Ok(lock(&self.pass).step(&mut lock(&wave.0), &store.0, &tokens))
        })?;
        Ok((need.tokens.into_pyarray(py), need.search))
    }

    /// Takes the ids of `chunks`: row `i` is `values[offsets[i]:offsets[i + 1]]`.
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
            let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
            tokens.insert(chunks, values, offsets)
        })
    }

    /// Ends the wave: its sequences are kept, its tokens stay in memory until `move_tokens`. Gives
    /// how many were made.
    fn finish(&self, py: Python<'_>, wave: &Wave) -> PyResult<usize> {
        outside(py, None, |_| {
            let mut closed = lock(&self.closed);
            if closed.is_some() {
                return Err(Error::Run("the tokens of the wave before were not moved".to_owned()));
            }
            let made = lock(&self.pass).finish(&mut lock(&wave.0));
            let count = made.len();
            self.made.write().unwrap_or_else(PoisonError::into_inner).extend(made);
            let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
            *closed = Some(tokens.close_wave()?);
            Ok(count)
        })
    }

    /// Moves the tokens of the wave that was finished last to `path`, while others work with them.
    fn move_tokens(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        outside(py, None, |_| {
            let mut closed = lock(&self.closed);
            let Some(wave) = closed.take() else {
                return Err(Error::Run("no finished wave has tokens in memory".to_owned()));
            };
            let moved = wave.moved_to(&path)?;
            self.tokens.write().unwrap_or_else(PoisonError::into_inner).take_moved(&moved);
            Ok(())
        })
    }

    /// Writes the sequences from `start` to `stop`, a row a piece.
    fn save(&self, py: Python<'_>, start: usize, stop: usize, path: PathBuf) -> PyResult<()> {
        outside(py, None, |_| {
            let all = self.made.read().unwrap_or_else(PoisonError::into_inner);
            made::write(all.get(start..stop).unwrap_or_default(), &path)
        })
    }

    /// Takes up a wave that an earlier pass finished: its pieces, its tokens, and the counts of
    /// the pass after it, as `counts` gave them. Gives how many sequences it made.
    fn restore(
        &self,
        py: Python<'_>,
        store: &ChunkStore,
        pieces: PathBuf,
        token_ids: PathBuf,
        counts: &str,
    ) -> PyResult<usize> {
        outside(py, None, |_| {
            let tally: select::Tally = serde_json::from_str(counts)
                .map_err(|error| Error::Run(format!("counts of an earlier pass: {error}")))?;
            let known = lock(&self.pass).group_counts().len();
            if let Some((group, _)) =
                tally.groups.iter().find(|(group, _)| usize::from(*group) >= known)
            {
                return Err(Error::Run(format!(
                    "counts of an earlier pass: group {group}, expected less than {known}"
                )));
            }
            let mut made = self.made.write().unwrap_or_else(PoisonError::into_inner);
            let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
            tokens.restore_wave(&token_ids)?;
            let restored = made::read(&pieces, &store.0, &tokens)?;
            lock(&self.pass).restore(&restored, tally);
            let count = restored.len();
            made.extend(restored);
            Ok(count)
        })
    }

    /// What the pass counted so far, as JSON for `restore`.
    fn counts(&self) -> PyResult<String> {
        serde_json::to_string(lock(&self.pass).tally())
            .map_err(|error| into_py(Error::Run(error.to_string())))
    }

    /// The cut chunks of the sequences from `start` on: their texts, and the ids that each keeps,
    /// `values[offsets[i]:offsets[i + 1]]`.
    fn cuts<'py>(&self, py: Python<'py>, store: &ChunkStore, start: usize) -> Cuts<'py> {
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let mut texts = Vec::new();
        let mut kept = Ragged::default();
        for piece in made.iter().skip(start).flat_map(|(_, pieces)| pieces) {
            if is_cut(piece, &tokens) {
                let ids = tokens.get(piece.chunk).unwrap_or_default();
                texts.push(store.0.text(piece.chunk as usize).to_owned());
                kept.values.extend_from_slice(&ids[..piece.tokens as usize]);
                kept.close_row();
            }
        }
        (texts, kept.values.into_pyarray(py), kept.offsets.into_pyarray(py))
    }

    /// Takes how many characters the kept ids of the cut chunks cover, in the order of `cuts`.
    fn set_covered(&self, start: usize, characters: PyReadonlyArray1<'_, i64>) -> PyResult<()> {
        let mut made = self.made.write().unwrap_or_else(PoisonError::into_inner);
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let pieces = made.iter_mut().skip(start).flat_map(|(_, pieces)| pieces);
        let cut: Vec<_> = pieces.filter(|piece| is_cut(piece, &tokens)).collect();
        let characters = characters.as_slice()?;
        if cut.len() != characters.len() {
            return Err(into_py(Error::Config(format!(
                "invalid `characters`: {} counts, expected one for each of {} cut chunks",
                characters.len(),
                cut.len()
            ))));
        }
        for (piece, &characters) in cut.into_iter().zip(characters) {
            piece.characters = Some(characters as u32);
        }
        Ok(())
    }

    /// The chunks that cannot be used any more, for searches that leave them out; None before one is
    /// wanted. It changes with every step.
    #[getter]
    fn hidden(&self) -> Option<Hidden> {
        let pass = lock(&self.pass);
        pass.hidden().map(|rows| Hidden { rows, few: pass.few() })
    }

    /// Those of `documents`, not begun yet, that what is left under `max_reuse` can still fill; None
    /// while that is surely or nearly all of them.
    fn sift<'py>(
        &self,
        py: Python<'py>,
        documents: PyReadonlyArray1<'_, u32>,
        store: &ChunkStore,
    ) -> PyResult<Option<Bound<'py, PyArray1<u32>>>> {
        let documents = documents.as_slice()?;
        let rest = outside(py, None, |_| {
            let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
            Ok(lock(&self.pass).sift(documents, &store.0, &tokens))
        })?;
        Ok(rest.map(|rest| rest.into_pyarray(py)))
    }

    /// Whether all sequences that were asked for are made.
    #[getter]
    fn finished(&self) -> bool {
        lock(&self.pass).finished()
    }

    fn __len__(&self) -> usize {
        self.made.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What was made, dropped and refused, by name.
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
        out.set_item(
            "chunks_tokenized",
            self.tokens.read().unwrap_or_else(PoisonError::into_inner).len(),
        )?;
        out.set_item("refused", refused)?;
        Ok(out)
    }

    /// How similar the negatives are to their meta-chunks, as JSON; null where there are none.
    fn similarity(&self, py: Python<'_>, vectors: &Vectors) -> PyResult<String> {
        outside(py, None, |_| {
            let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
            as_json(serde_json::to_string(&measure::similarity(
                &vectors.0,
                &made,
                self.settings.seed,
            )))
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
            let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
            let (groups, counts) = {
                let pass = lock(&self.pass);
                (pass.groups().cloned(), pass.group_counts().to_vec())
            };
            let Some(groups) = groups else { return Ok(None) };
            let measured = Measured {
                store: &store.0,
                vectors: &vectors.0,
                groups: &groups,
                made: &made,
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
                assemble(rows, STRATEGY, &self.frame, &store.0, tokens, progress)
            })
        })
        .map(Sequences)
    }
}

/// Texts, and flat rows of ids.
type Cuts<'py> = (Vec<String>, Bound<'py, PyArray1<u32>>, Bound<'py, PyArray1<u64>>);

/// Whether a sequence holds only some of the tokens of a chunk.
fn is_cut(piece: &Piece, tokens: &TokenCache) -> bool {
    tokens.count(piece.chunk).is_some_and(|count| piece.tokens < count)
}

/// What fills the sequences.
pub(crate) const STRATEGY: &str = "nextlong";

impl Selector {
    /// Assembles the sequences from `start` to before `stop` in the place of those of `out`.
    pub(crate) fn assemble_into(
        &self,
        out: &mut sequences::Sequences,
        store: &ChunkStore,
        start: usize,
        stop: usize,
        progress: &Progress,
    ) -> nextlong::Result<()> {
        self.with_rows(start, stop, |rows, tokens| {
            assemble_into(out, rows, &self.frame, &store.0, tokens, progress)
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
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let rows = made.get(start..stop).ok_or_else(|| {
            Error::Config(format!("sequences {start} to {stop} of {}", made.len()))
        })?;
        let sequences: Vec<Sequence<'_>> = (start as i64..)
            .zip(rows)
            .map(|(id, (document, pieces))| Sequence {
                id,
                document: *document,
                seq_len: self.settings.seq_len,
                pieces,
            })
            .collect();
        work(&sequences, &tokens)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
