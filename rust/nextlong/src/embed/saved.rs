//! The model's file: safetensors with `rows` (int8 `[rows, dim]`), `weights` (float32 `[rows]`),
//! `own_words` (uint16: the buckets of the rows beyond the first 65536, group by group), `centroids`
//! (int8 `[groups, 65536]`), `identities` (float32 `[groups, dim]`), `boilerplate` (uint64) and one line
//! of JSON, `nextlong`, among its metadata.

use std::collections::HashMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::boilerplate::Boilerplate;
use super::groups::Centroids;
use super::model::{Group, LsaModel, WordSet};
use super::rows::ByteRows;
use super::words::BUCKETS;
use super::{FitOptions, MAX_DIM};
use crate::error::{Error, Result};
use crate::store::atomic;

/// The key of our line of JSON in the file's metadata.
const KEY: &str = "nextlong";
/// What a model file says it is.
const KIND: &str = "lsa";
/// Another number for every change of what a vector is.
const VERSION: u32 = 2;
/// Groups of a model, at most: their numbers are stored as uint16.
const MOST_GROUPS: usize = 1 << 12;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    kind: String,
    version: u32,
    dim: usize,
    seed: u64,
    idf_power: f64,
    power_iterations: usize,
    sample: usize,
    boilerplate_share: f64,
    boilerplate_lengths: u64,
    groups: Vec<GroupHeader>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupHeader {
    name: String,
    texts: usize,
    average_words: f32,
    centroid_scale: f32,
    own_words: usize,
}

impl LsaModel {
    /// Writes the model, whole or not at all.
    ///
    /// # Errors
    ///
    /// What the file system reports.
    pub fn save(&self, path: &Path) -> Result<()> {
        let broken = |what: &dyn std::fmt::Display| {
            Error::Embedding(format!("{}: the model cannot be written: {what}", path.display()))
        };
        let FitOptions { dim, seed, idf_power, power_iterations, sample, boilerplate_share } =
            self.options;
        let scales = self.centroids.scales();
        let groups = self.groups.iter().zip(scales).map(|(group, &centroid_scale)| GroupHeader {
            name: group.name.clone(),
            texts: group.texts,
            average_words: group.average_words,
            centroid_scale,
            own_words: group.own.len(),
        });
        let header = Header {
            kind: KIND.into(),
            version: VERSION,
            dim,
            seed,
            idf_power,
            power_iterations,
            sample,
            boilerplate_share,
            boilerplate_lengths: self.boilerplate.lengths(),
            groups: groups.collect(),
        };
        let rows = self.rows.bytes(dim);
        let weights: Vec<u8> = self.weights.iter().flat_map(|value| value.to_le_bytes()).collect();
        let own_words: Vec<u8> = self
            .groups
            .iter()
            .flat_map(|group| group.own.buckets().flat_map(u16::to_le_bytes))
            .collect();
        let count = self.groups.len();
        let centroids: Vec<u8> = (0..count)
            .flat_map(|group| self.centroids.values(group).map(i8::cast_unsigned))
            .collect();
        let identities: Vec<u8> = self
            .groups
            .iter()
            .flat_map(|group| group.identity.iter().flat_map(|value| value.to_le_bytes()))
            .collect();
        let lines: Vec<u8> =
            self.boilerplate.hashes().iter().flat_map(|hash| hash.to_le_bytes()).collect();
        let tensors = [
            ("rows", Dtype::I8, vec![self.rows.len(), dim], &rows),
            ("weights", Dtype::F32, vec![self.weights.len()], &weights),
            ("own_words", Dtype::U16, vec![own_words.len() / 2], &own_words),
            ("centroids", Dtype::I8, vec![count, BUCKETS], &centroids),
            ("identities", Dtype::F32, vec![count, dim], &identities),
            ("boilerplate", Dtype::U64, vec![lines.len() / 8], &lines),
        ];
        let mut views = Vec::new();
        for (name, dtype, shape, bytes) in tensors {
            let view = TensorView::new(dtype, shape, bytes).map_err(|error| broken(&error))?;
            views.push((name, view));
        }
        let header = serde_json::to_string(&header).map_err(|error| broken(&error))?;
        let metadata = HashMap::from([(KEY.to_owned(), header)]);
        let bytes =
            safetensors::serialize(views, Some(metadata)).map_err(|error| broken(&error))?;
        atomic::write_bytes(path, &bytes)
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
        let bytes = atomic::map(path)?;
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|_| broken("not a safetensors file"))?;
        let header = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let header = header.ok_or_else(|| broken("not a model of nextlong_rs"))?;
        let kind: Kind =
            serde_json::from_str(header).map_err(|error| broken(&error.to_string()))?;
        if kind.kind != KIND || kind.version != VERSION {
            return Err(broken(&format!("a {} model of version {}", kind.kind, kind.version)));
        }
        let header: Header =
            serde_json::from_str(header).map_err(|error| broken(&error.to_string()))?;
        let (dim, count) = (header.dim, header.groups.len());
        let is_positive = |value: f32| value.is_finite() && value > 0.0;
        let own_words = header.groups.iter().try_fold(0usize, |sum, group| {
            (group.own_words <= BUCKETS).then_some(sum + group.own_words)
        });
        let (1..=MAX_DIM, 1..=MOST_GROUPS, Some(own_words)) = (dim, count, own_words) else {
            return Err(broken("its settings are out of range"));
        };
        if !header.groups.iter().all(|group| is_positive(group.average_words)) {
            return Err(broken("its settings are out of range"));
        }
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|error| broken(&error.to_string()))?;
        let tensor = |name: &str, dtype: Dtype, shape: &[Option<usize>]| {
            let view = tensors.tensor(name).map_err(|error| broken(&error.to_string()))?;
            let fits = view.shape().len() == shape.len()
                && view
                    .shape()
                    .iter()
                    .zip(shape)
                    .all(|(have, want)| want.is_none_or(|n| n == *have));
            if view.dtype() != dtype || !fits {
                return Err(broken(&format!("`{name}` is not {dtype:?} {shape:?}")));
            }
            Ok(view.data())
        };
        let total = BUCKETS + own_words;
        let signed = |bytes: &[u8]| bytes.iter().map(|byte| byte.cast_signed()).collect::<Vec<_>>();
        let rows = signed(tensor("rows", Dtype::I8, &[Some(total), Some(dim)])?);
        let weights = floats(tensor("weights", Dtype::F32, &[Some(total)])?);
        let identities = floats(tensor("identities", Dtype::F32, &[Some(count), Some(dim)])?);
        let scales: Vec<f32> = header.groups.iter().map(|group| group.centroid_scale).collect();
        if ![&weights, &identities, &scales].iter().all(|all| all.iter().all(|x| x.is_finite())) {
            return Err(broken("a value is not a finite number"));
        }
        let values = tensor("centroids", Dtype::I8, &[Some(count), Some(BUCKETS)])?;
        let values: Vec<Vec<i8>> = values.chunks_exact(BUCKETS).map(signed).collect();
        let words = tensor("own_words", Dtype::U16, &[Some(own_words)])?;
        let words: Vec<u16> =
            words.chunks_exact(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]])).collect();
        let lines: Vec<u64> = tensor("boilerplate", Dtype::U64, &[None])?
            .chunks_exact(8)
            .map(|bytes| bytes.iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte)))
            .collect();
        let mut groups = Vec::with_capacity(count);
        let mut first = 0;
        for (group, identity) in header.groups.into_iter().zip(identities.chunks_exact(dim)) {
            let own = &words[first..first + group.own_words];
            if !own.is_sorted_by(|a, b| a < b) {
                return Err(broken("`own_words` does not rise"));
            }
            groups.push(Group {
                average_words: group.average_words,
                texts: group.texts,
                name: group.name,
                identity: identity.to_vec(),
                own: WordSet::new(own.iter().copied()),
                first_row: BUCKETS + first,
            });
            first += group.own_words;
        }
        let options = FitOptions {
            dim,
            seed: header.seed,
            idf_power: header.idf_power,
            power_iterations: header.power_iterations,
            sample: header.sample,
            boilerplate_share: header.boilerplate_share,
        };
        Ok(Self {
            options,
            weights,
            rows: ByteRows::new(&rows, dim),
            centroids: Centroids::from_values(&values, scales),
            groups,
            boilerplate: Boilerplate::from_saved(lines, header.boilerplate_lengths),
        })
    }
}

/// What every version of the header has.
#[derive(Deserialize)]
struct Kind {
    kind: String,
    version: u32,
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect()
}
