//! Fits the model: the directions along which the texts of a sample differ most.
//!
//! A randomized singular value decomposition (Halko, Martinsson, Tropp, 2011) of the BM25-weighted
//! word matrix X, worked from the side of the words: W = Xᵀ × random, then W = orthonormal(Xᵀ (X W))
//! for every power iteration, then the right singular vectors of X W turn W into the rows.
//!
//! Each group of texts ([`Centroids`]) has a decomposition of its own, or the languages that are few
//! would share what dimensions the others leave. The vectors of different groups are turned against
//! each other at random, so that they are close to orthogonal.

use super::boilerplate::Boilerplate;
use super::groups::Centroids;
use super::linear::{
    cross, directions, directions_of_gram, orthonormalise, rotate, rotation, whitening,
};
use super::model::LsaModel;
use super::names;
use super::sparse::{Counts, Sample, Sparse, TextCounts, texts};
use super::strips::{
    STRIP, Sketch, Work, back_product, gram_product, normal_product, normal_product_of_sketch,
    product, sketched,
};
use crate::config::rules::{self, Given};
use crate::error::{Error, Result};
use crate::parallel;
use crate::progress::Progress;
use crate::seed;
use crate::store::ChunkStore;

use faer::Mat;

/// Directions followed beyond those asked for, at least; they make the last ones right.
const OVERSAMPLE: usize = 16;
/// The directions followed are a multiple of this, the width of the summing kernel.
const WIDTH_STEP: usize = 96;
/// Texts that are looked through for small groups, as a multiple of the sample.
pub const CANDIDATES: usize = 4;
/// Words that one thread takes at a time.
const BLOCK: usize = 4096;
/// A group with fewer texts in the sample than this times `dim` takes more of them.
const SMALL_GROUP: usize = 8;

/// How a model is fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitOptions {
    /// The values of a vector.
    pub dim: usize,
    /// Of the hashing and of the random start.
    pub seed: u64,
    /// A word's weight is its inverse document frequency to this power.
    pub idf_power: f64,
    /// More make the directions more exact: 1 or 2 are enough for text.
    pub power_iterations: usize,
    /// Texts that are fitted on, at most; small groups take more from all texts that are given.
    pub sample: usize,
    /// Lines that more than this share of the documents contain are left out of the embedded text.
    pub boilerplate_share: f64,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self {
            dim: 256,
            seed: 0,
            idf_power: 1.5,
            power_iterations: 1,
            sample: 50_000,
            boilerplate_share: 0.01,
        }
    }
}

impl FitOptions {
    fn check(&self) -> Result<()> {
        let Self { dim, idf_power, sample, boilerplate_share, .. } = *self;
        let check =
            |setting, name, value, shown: String| rules::check(setting, name, value, &shown);
        check("dim", "dim", Given::Count(dim as i128), dim.to_string())?;
        check("idf_power", "idf_power", Given::Number(idf_power), idf_power.to_string())?;
        check("fit_chunks", "sample", Given::Count(sample as i128), sample.to_string())?;
        let share = Given::Number(boilerplate_share);
        check("boilerplate_share", "boilerplate_share", share, boilerplate_share.to_string())?;
        Ok(())
    }
}

/// The fitted rows of one group.
pub(super) struct GroupRows {
    /// `dim` values for each word of the group.
    pub(super) rows: Vec<i8>,
    /// The bucket of each word.
    pub(super) buckets: Vec<u16>,
    /// The number of texts with each word.
    pub(super) frequency: Vec<u32>,
    /// The weight of each word times the scale of its row; 0 for a row without a value.
    pub(super) weights: Vec<f32>,
    pub(super) average_words: f32,
    /// A unit vector orthogonal to all rows, the same for every text of the group; zeros for the
    /// largest group.
    pub(super) identity: Vec<f32>,
    /// Frequent words, for people.
    pub(super) name: String,
    pub(super) texts: usize,
}

impl LsaModel {
    /// Fits a model on `texts`, each a document of its own; `progress` counts a unit for each text.
    ///
    /// Where the texts of a group have fewer directions than `dim` (a small or repetitive sample), its
    /// vectors lie in fewer dimensions. The model is the same for any number of `threads`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for an option out of range, [`Error::Embedding`] when no text has a word,
    /// [`Error::Cancelled`].
    pub fn fit(
        texts: &[&str],
        options: FitOptions,
        threads: usize,
        progress: &Progress,
    ) -> Result<Self> {
        options.check()?;
        let boilerplate = Boilerplate::find(
            texts.len(),
            options.boilerplate_share,
            options.seed,
            |document| std::iter::once(texts[document]),
            threads,
            progress,
        )?;
        Self::fit_on(texts, boilerplate, options, threads, progress)
    }

    /// Fits a model on the chunks `rows` of a store; lines are compared between its documents.
    ///
    /// # Errors
    ///
    /// As [`LsaModel::fit`]; [`Error::Config`] for a chunk that the store does not have.
    pub fn fit_store(
        store: &ChunkStore,
        rows: &[usize],
        options: FitOptions,
        threads: usize,
        progress: &Progress,
    ) -> Result<Self> {
        options.check()?;
        if let Some(row) = rows.iter().find(|&&row| row >= store.len()) {
            return Err(Error::Config(format!(
                "chunk {row} was asked for, the store has {}",
                store.len()
            )));
        }
        let boilerplate = Boilerplate::find(
            store.document_count(),
            options.boilerplate_share,
            options.seed,
            |document| store.document_chunks(document).map(|chunk| store.text(chunk)),
            threads,
            progress,
        )?;
        let texts: Vec<&str> = rows.iter().map(|&row| store.text(row)).collect();
        Self::fit_on(&texts, boilerplate, options, threads, progress)
    }

    fn fit_on(
        all: &[&str],
        boilerplate: Boilerplate,
        options: FitOptions,
        threads: usize,
        progress: &Progress,
    ) -> Result<Self> {
        let seed = options.seed;
        let chosen = seed::sample(seed, "embed base", all.len(), options.sample);
        let mut is_chosen = vec![false; all.len()];
        for row in chosen {
            is_chosen[row] = true;
        }
        let (base, others): (Vec<_>, Vec<_>) =
            all.iter().zip(&is_chosen).partition(|&(_, &chosen)| chosen);
        let base: Vec<_> = base.into_iter().map(|(text, _)| *text).collect();
        let others: Vec<_> = others.into_iter().map(|(text, _)| *text).collect();
        let counts = Counts::new(&base, seed, &boilerplate, threads, progress)?;
        let sample: Vec<TextCounts<'_>> = texts(&counts).collect();
        if sample.iter().all(|text| text.length == 0) {
            return Err(Error::Embedding(format!(
                "none of the {} texts to fit on has a word; give texts with letters or digits",
                base.len()
            )));
        }
        let centroids = Centroids::find(&sample, progress)?;
        let nearest = |text: &TextCounts<'_>| {
            centroids.nearest(text.words.iter().zip(text.counts), text.length)
        };
        let mut members = vec![Vec::new(); centroids.len()];
        let mut examples = vec![Vec::new(); centroids.len()];
        for (text, original) in sample.iter().zip(&base) {
            let group = nearest(text);
            members[group].push(*text);
            names::add_example(&mut examples[group], original);
        }
        let is_small = |group: usize| members[group].len() < SMALL_GROUP * options.dim;
        let more = if (0..centroids.len()).any(is_small) && centroids.len() > 1 {
            let mut more = Counts::new(&others, seed, &boilerplate, threads, progress)?;
            for block in &mut more {
                let keep: Vec<bool> = texts(std::slice::from_ref(block))
                    .map(|text| text.length > 0 && is_small(nearest(&text)))
                    .collect();
                block.retain(&keep);
            }
            more
        } else {
            progress.add(others.len() as u64);
            Vec::new()
        };
        let limit = SMALL_GROUP * options.dim;
        for text in texts(&more) {
            let group = nearest(&text);
            if members[group].len() < limit {
                members[group].push(text);
            }
        }
        let work = Work::new(threads, progress);
        let mut groups = Vec::with_capacity(members.len());
        for (group, texts) in members.iter().enumerate() {
            let mut fitted = fit_group(texts, options, group, &work)?;
            fitted.name = names::name(&examples[group]);
            groups.push(fitted);
        }
        Self::new(options, &groups, centroids, boilerplate, threads)
    }
}

/// The rows of the words of one group's `texts`. The largest group, the first, keeps its directions as
/// they are; those of the others are turned at random, one of them kept free.
fn fit_group(
    texts: &[TextCounts<'_>],
    options: FitOptions,
    group: usize,
    work: &Work<'_>,
) -> Result<GroupRows> {
    let FitOptions { dim, seed, idf_power, power_iterations, .. } = options;
    let available = if group == 0 { dim } else { dim - 1 };
    // In a small group with more texts than directions, words of one text only cost time.
    let min_texts = if group == 0 || texts.len() <= available { 1 } else { 2 };
    let sample = Sample::new(texts, min_texts, idf_power, work.threads)?;
    let matrix = &sample.matrix;
    // No more directions than texts or words: following others costs much and finds noise.
    let most = available.min(matrix.rows()).min(sample.buckets.len());
    let is_whole = matrix.rows() <= most;
    let width = if is_whole {
        most.next_multiple_of(STRIP)
    } else {
        (most + OVERSAMPLE).next_multiple_of(WIDTH_STEP)
    };
    let random = |text| seed::bits(seed, "embed sketch", u64::from(text));
    let sketch = Sketch::balanced(matrix.rows(), width, random);
    let is_by_texts = is_whole || matrix.rows() * 2 < matrix.columns();
    let (basis, vectors, squares) = if is_whole {
        from_few(matrix, &sketch, work)?
    } else if is_by_texts {
        from_texts(matrix, &sketch, power_iterations, work)?
    } else {
        from_words(matrix, &sketch, power_iterations, work)?
    };
    let found = |row: usize, column: usize| {
        if column >= width || column >= available || squares[column] == 0.0 {
            0.0
        } else {
            vectors[(row, column)]
        }
    };
    let (turned, identity) = if group == 0 {
        (Mat::from_fn(width, dim, found), vec![0.0; dim])
    } else {
        let turn = rotation(dim, &mut seed::Rng::new(seed, "embed rotation", group as u64));
        let identity = turn.col(0).iter().copied().collect();
        let found = Mat::from_fn(width, available, found);
        (found * turn.subcols(1, available).transpose(), identity)
    };
    let rows = if is_by_texts {
        let turned = Mat::from_fn(width, dim.next_multiple_of(STRIP), |row, column| {
            if column < dim { turned[(row, column)] } else { 0.0 }
        });
        back_product(matrix, &rotate(&basis, &turned, work.threads, work.progress)?, work)?
    } else {
        rotate(&basis, &turned, work.threads, work.progress)?
    };
    let (rows, scales) = quantised(&rows, dim, work.threads)?;
    Ok(GroupRows {
        rows,
        buckets: sample.buckets,
        frequency: sample.frequency,
        weights: sample.weights.iter().zip(scales).map(|(weight, scale)| weight * scale).collect(),
        average_words: sample.average_words,
        identity,
        name: String::new(),
        texts: texts.len(),
    })
}

/// What the decompositions find: a basis, the matrix that turns it into the strongest directions, one
/// a column, and their squares. The basis has a column a word ([`from_words`]), or a column a text: then
/// the transposed word matrix turns the directions into those of words.
type Found = (Mat<f32>, Mat<f32>, Vec<f64>);

/// The exact decomposition of few texts, each of which has a column of the sketch of its own.
fn from_few(matrix: &Sparse, sketch: &Sketch, work: &Work<'_>) -> Result<Found> {
    let basis = sketch.dense();
    let texts = gram_product(matrix, &basis, work)?;
    let mut gram = Mat::zeros(sketch.width, sketch.width);
    for (text, &(place, sign)) in sketch.places.iter().enumerate() {
        for column in 0..sketch.width {
            gram[(place, column)] = f64::from(sign * texts[(column, text)]);
        }
    }
    let (vectors, squares) = directions_of_gram(&gram)?;
    let whitening = whitening(&vectors, &squares);
    Ok((basis, whitening, squares))
}

/// The decomposition with the dense matrices on the side of the words.
fn from_words(
    matrix: &Sparse,
    sketch: &Sketch,
    power_iterations: usize,
    work: &Work<'_>,
) -> Result<Found> {
    let Work { threads, progress, .. } = *work;
    let mut words = if power_iterations == 0 {
        sketched(matrix, sketch, work)?
    } else {
        normal_product_of_sketch(matrix, sketch, work)?
    };
    for _ in 1..power_iterations {
        // Float32 bears the spread of one iteration, not of two.
        orthonormalise(&mut words, threads, progress)?;
        words = normal_product(matrix, &words, work)?;
    }
    orthonormalise(&mut words, threads, progress)?;
    let texts = product(matrix, &words, work)?;
    let (vectors, squares) = directions(&texts, threads, progress)?;
    let vectors =
        Mat::from_fn(vectors.nrows(), vectors.ncols(), |row, at| vectors[(row, at)] as f32);
    Ok((words, vectors, squares))
}

/// The same with the dense matrices on the side of the texts, where there are fewer: with an
/// orthonormal basis Q of X Xᵀ × random, the words' side is W = Xᵀ Q, and Wᵀ W = Qᵀ (X W).
fn from_texts(
    matrix: &Sparse,
    sketch: &Sketch,
    power_iterations: usize,
    work: &Work<'_>,
) -> Result<Found> {
    let Work { threads, progress, .. } = *work;
    let mut basis = gram_product(matrix, &sketch.dense(), work)?;
    orthonormalise(&mut basis, threads, progress)?;
    for _ in 1..power_iterations {
        basis = gram_product(matrix, &basis, work)?;
        orthonormalise(&mut basis, threads, progress)?;
    }
    let texts = gram_product(matrix, &basis, work)?;
    let (vectors, squares) = directions_of_gram(&cross(&basis, &texts, threads, progress)?)?;
    let whitening = whitening(&vectors, &squares);
    // X times the orthonormal basis of the words' side.
    let texts = rotate(&texts, &whitening, threads, progress)?;
    let (vectors, squares) = directions(&texts, threads, progress)?;
    let width = vectors.nrows();
    let vectors = Mat::from_fn(width, width, |row, at| vectors[(row, at)] as f32);
    Ok((basis, whitening * vectors, squares))
}

/// The first `dim` values of the columns of `rows` as int8, one after another, and the scale of each.
fn quantised(rows: &Mat<f32>, dim: usize, threads: usize) -> Result<(Vec<i8>, Vec<f32>)> {
    let words = rows.ncols();
    let (mut bytes, mut scales) = (vec![0; words * dim], vec![0.0; words]);
    let blocks = bytes.chunks_mut(BLOCK * dim).zip(scales.chunks_mut(BLOCK));
    parallel::map_parts(blocks, threads, |number, (bytes, scales)| {
        let columns = bytes.chunks_exact_mut(dim).zip(scales);
        for (column, (bytes, scale)) in (number * BLOCK..).zip(columns) {
            *scale = quantise(rows, column, bytes);
        }
        Ok(())
    })?;
    Ok((bytes, scales))
}

/// Writes a fitted row as int8 and gives its scale; 0 for a row without a value.
fn quantise(rows: &Mat<f32>, column: usize, bytes: &mut [i8]) -> f32 {
    let values = rows.col(column).subrows(0, bytes.len());
    let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    if !(largest.is_finite() && largest > 0.0) {
        return 0.0;
    }
    let scale = 127.0 / largest;
    for (byte, value) in bytes.iter_mut().zip(values.iter()) {
        // To the nearest, in a form that the compiler vectorises.
        *byte = (value * scale + 0.5f32.copysign(*value)) as i32 as i8;
    }
    largest / 127.0
}
