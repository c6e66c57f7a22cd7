//! The fitted model: a row of int8 for each bucket of words, and how texts are embedded with it.
//!
//! On disk it is a safetensors file with `rows` (int8 `[65536, dim]`), `weights` (float32 `[65536]`)
//! and one line of JSON, `nextlong`, among its metadata.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use faer::Mat;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::rows::{ByteRows, normalise};
use super::sparse::{Counter, Sample};
use super::words::BUCKETS;
use super::{FitOptions, MAX_DIM, write_part};
use crate::error::{Error, Result};
use crate::fan;
use crate::files;
use crate::progress::Progress;
use crate::store::ChunkStore;

/// The key of our line of JSON in the file's metadata.
const KEY: &str = "nextlong";
/// What a model file says it is.
const KIND: &str = "lsa";
/// Buckets of words that one thread takes at a time.
const BLOCK: usize = 4096;
/// Another number for every change of what a vector is.
const VERSION: u32 = 1;

/// Latent semantic analysis: embeds a text as the weighted sum of the rows of its words.
#[derive(Debug, Clone)]
pub struct LsaModel {
    header: Header,
    /// For each bucket: the weight of its word times the scale of its row; 0 for unknown words.
    weights: Vec<f32>,
    rows: ByteRows,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    kind: String,
    version: u32,
    dim: usize,
    seed: u64,
    idf_power: f64,
    power_iterations: usize,
    average_words: f32,
    texts: usize,
}

impl LsaModel {
    /// Stores the fitted rows, a column of `rows` for each word of the sample, as int8.
    pub(super) fn from_rows(
        options: FitOptions,
        sample: &Sample,
        rows: &Mat<f32>,
        threads: usize,
    ) -> Result<Self> {
        let dim = options.dim;
        let mut columns = vec![None; BUCKETS];
        for (column, &bucket) in sample.buckets.iter().enumerate() {
            columns[usize::from(bucket)] = Some(column);
        }
        let mut weights = vec![0.0; BUCKETS];
        let mut bytes = vec![0i8; BUCKETS * dim];
        let blocks = columns.chunks(BLOCK).zip(weights.chunks_mut(BLOCK));
        let blocks = blocks.zip(bytes.chunks_mut(BLOCK * dim));
        fan::over(blocks, threads, |_, ((columns, weights), bytes)| {
            let places = weights.iter_mut().zip(bytes.chunks_exact_mut(dim));
            for (&column, (weight, bytes)) in columns.iter().zip(places) {
                let Some(column) = column else { continue };
                let values = rows.col(column);
                let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                if !(largest.is_finite() && largest > 0.0) {
                    continue;
                }
                // The scale of a row is free: it is part of the word's weight.
                *weight = sample.weights[column] * (largest / 127.0);
                let scale = 127.0 / largest;
                for (byte, value) in bytes.iter_mut().zip(values.iter()) {
                    // To the nearest, in what the compiler makes vectors of.
                    *byte = (value * scale + 0.5f32.copysign(*value)) as i32 as i8;
                }
            }
            Ok(())
        })?;
        let header = Header {
            kind: KIND.into(),
            version: VERSION,
            dim,
            seed: options.seed,
            idf_power: options.idf_power,
            power_iterations: options.power_iterations,
            average_words: sample.average_words,
            texts: sample.matrix.rows(),
        };
        Ok(Self { header, weights, rows: ByteRows::new(&bytes, dim) })
    }

    /// The values of a vector.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.header.dim
    }

    /// What embeds texts one after another with its own scratch memory: one for each thread.
    #[must_use]
    pub fn encoder(&self) -> Encoder<'_> {
        Encoder {
            model: self,
            counter: Counter::new(self.header.seed),
            terms: Vec::new(),
            sum: vec![0.0; self.rows.width()],
        }
    }

    /// Embeds the chunks of `range` and writes them as one float16 `.npy` part.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for chunks that the store does not have, what the file system reports,
    /// [`Error::Cancelled`].
    pub fn embed_part(
        &self,
        store: &ChunkStore,
        range: Range<usize>,
        path: &Path,
        progress: &Progress,
    ) -> Result<()> {
        let mut encoder = self.encoder();
        write_part(store, range, path, self.dim(), progress, |text, row| {
            encoder.encode(text, row);
            Ok(())
        })
    }

    /// Writes the model, whole or not at all.
    ///
    /// # Errors
    ///
    /// What the file system reports.
    pub fn save(&self, path: &Path) -> Result<()> {
        let broken = |what: &dyn std::fmt::Display| {
            Error::Embedding(format!("{}: the model cannot be written: {what}", path.display()))
        };
        let dim = self.dim();
        let rows = self.rows.bytes(dim);
        let weights: Vec<u8> =
            self.weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        let tensors = [
            ("rows", TensorView::new(Dtype::I8, vec![BUCKETS, dim], &rows)),
            ("weights", TensorView::new(Dtype::F32, vec![BUCKETS], &weights)),
        ];
        let mut views = Vec::new();
        for (name, view) in tensors {
            views.push((name, view.map_err(|error| broken(&error))?));
        }
        let header = serde_json::to_string(&self.header).map_err(|error| broken(&error))?;
        let metadata = HashMap::from([(KEY.to_owned(), header)]);
        let bytes =
            safetensors::serialize(views, Some(metadata)).map_err(|error| broken(&error))?;
        files::write_bytes(path, &bytes)
    }

    /// Reads a model that [`LsaModel::save`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Embedding`] for a file that is damaged or something else, [`Error::Io`] for one that
    /// cannot be read.
    pub fn load(path: &Path) -> Result<Self> {
        let broken = |what: &str| {
            Error::Embedding(format!("{}: {what}; fit the model again", path.display()))
        };
        let bytes = files::map(path)?;
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|_| broken("not a safetensors file"))?;
        let header = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let header = header.ok_or_else(|| broken("not a model of nextlong_rs"))?;
        let header: Header =
            serde_json::from_str(header).map_err(|error| broken(&error.to_string()))?;
        if header.kind != KIND || header.version != VERSION {
            return Err(broken(&format!("a {} model of version {}", header.kind, header.version)));
        }
        let dim = header.dim;
        if dim == 0
            || dim > MAX_DIM
            || !(header.average_words.is_finite() && header.average_words > 0.0)
        {
            return Err(broken("its settings are out of range"));
        }
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|error| broken(&error.to_string()))?;
        let tensor = |name: &str, dtype: Dtype, shape: &[usize]| {
            let view = tensors.tensor(name).map_err(|error| broken(&error.to_string()))?;
            if view.dtype() != dtype || view.shape() != shape {
                return Err(broken(&format!("`{name}` is not {dtype:?} {shape:?}")));
            }
            Ok(view.data())
        };
        let rows: Vec<i8> = tensor("rows", Dtype::I8, &[BUCKETS, dim])?
            .iter()
            .map(|&byte| byte.cast_signed())
            .collect();
        let weights: Vec<f32> = tensor("weights", Dtype::F32, &[BUCKETS])?
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect();
        if !weights.iter().all(|weight| weight.is_finite()) {
            return Err(broken("a weight is no number"));
        }
        Ok(Self { header, weights, rows: ByteRows::new(&rows, dim) })
    }
}

/// Embeds texts one after another.
#[derive(Debug, Clone)]
pub struct Encoder<'a> {
    model: &'a LsaModel,
    counter: Counter,
    terms: Vec<(u32, f32)>,
    sum: Vec<f32>,
}

impl Encoder<'_> {
    /// Writes the vector of `text`, of length 1, to `out`; zeros when it has no word that the
    /// model knows, and gives false.
    ///
    /// # Panics
    ///
    /// When `out` does not have `dim` values.
    pub fn encode(&mut self, text: &str, out: &mut [f32]) -> bool {
        let model = self.model;
        self.counter.count(text);
        self.terms.clear();
        let weights = self.counter.weights(model.header.average_words);
        self.terms.extend(weights.filter_map(|(word, weight)| {
            let weight = weight * model.weights[usize::from(word)];
            (weight != 0.0).then_some((u32::from(word), weight))
        }));
        model.rows.sum(&self.terms, &mut self.sum);
        out.copy_from_slice(&self.sum[..model.dim()]);
        normalise(out)
    }
}
