//! Reads a model2vec folder: a text is the mean of the rows of its tokens.
//!
//! In: `model.safetensors` (`embeddings`, and `weights` and `mapping` where the vocabulary was
//! clustered), `tokenizer.json` for what must be known of its vocabulary. The tokenizer itself comes
//! from outside, as a [`Tokenize`] function.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use xxhash_rust::xxh3::xxh3_128;

use super::rows::{ByteRows, normalise, sum_floats};
use super::vocabulary::Vocabulary;
use super::{MAX_DIM, write_part};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::store::ChunkStore;
use crate::store::atomic;

/// Appends the token ids of a text, without special tokens, truncation or padding.
pub type Tokenize<'a> = &'a mut (dyn FnMut(&str, &mut Vec<u32>) -> Result<()> + 'a);

/// The words whose ids are remembered, at most; about 20 MB.
const MEMO_WORDS: usize = 1 << 18;
/// Longer words are not remembered: they hardly come twice.
const MEMO_BYTES: usize = 64;

/// How a model2vec folder is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StaticOptions {
    /// Only the first tokens of a text count, as many as this; model2vec's own default is 512.
    /// `None`: the whole text.
    pub max_tokens: Option<usize>,
}

/// Embeds a text as the mean of the rows of its token ids, scaled to length 1.
#[derive(Debug, Clone)]
pub struct StaticModel {
    dim: usize,
    rows: Rows,
    /// The row and the weight of each token id; empty: row = id, weight 1.
    tokens: Vec<(u32, f32)>,
    vocabulary: Vocabulary,
    options: StaticOptions,
}

#[derive(Debug, Clone)]
enum Rows {
    Bytes(ByteRows),
    Floats(Vec<f32>),
}

impl StaticModel {
    /// Reads the folder.
    ///
    /// # Errors
    ///
    /// [`Error::Embedding`] for files that are damaged or do not fit together, [`Error::Io`] for
    /// ones that cannot be read.
    pub fn load(folder: &Path, options: StaticOptions) -> Result<Self> {
        let path = folder.join("model.safetensors");
        let broken = |what: String| {
            Error::Embedding(format!("{}: {what}; give a model2vec folder", path.display()))
        };
        if options.max_tokens == Some(0) {
            return Err(Error::Config("max_tokens (0) must be at least 1, or none".into()));
        }
        let bytes = atomic::map(&path)?;
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|error| broken(error.to_string()))?;
        let embeddings = tensors.tensor("embeddings").map_err(|error| broken(error.to_string()))?;
        let &[count, dim] = embeddings.shape() else {
            return Err(broken(format!("`embeddings` has shape {:?}", embeddings.shape())));
        };
        if dim == 0 || dim > MAX_DIM || count == 0 {
            return Err(broken(format!("`embeddings` has shape [{count}, {dim}]")));
        }
        let rows = if embeddings.dtype() == Dtype::I8 {
            let values: Vec<i8> = embeddings.data().iter().map(|byte| byte.cast_signed()).collect();
            Rows::Bytes(ByteRows::new(&values, dim))
        } else {
            Rows::Floats(floats(&embeddings).ok_or_else(|| {
                broken(format!("`embeddings` is {:?} or holds NaN", embeddings.dtype()))
            })?)
        };
        let vocabulary = Vocabulary::load(&folder.join("tokenizer.json"))?;
        let optional = |name: &str| tensors.tensor(name).ok();
        let weights = optional("weights")
            .map(|view| floats(&view).ok_or_else(|| broken("`weights` are no numbers".into())))
            .transpose()?;
        let mapping = optional("mapping")
            .map(|view| {
                whole_numbers(&view).ok_or_else(|| broken("`mapping` is no row list".into()))
            })
            .transpose()?;
        let tokens = match (mapping, weights) {
            (None, None) => Vec::new(),
            (None, Some(weights)) => {
                weights.into_iter().enumerate().map(|(id, weight)| (id as u32, weight)).collect()
            }
            (Some(mapping), None) => mapping.into_iter().map(|row| (row, 1.0)).collect(),
            (Some(mapping), Some(weights)) if mapping.len() == weights.len() => {
                mapping.into_iter().zip(weights).collect()
            }
            (Some(mapping), Some(weights)) => {
                let (rows, given) = (mapping.len(), weights.len());
                return Err(broken(format!("`mapping` has {rows} tokens, `weights` {given}")));
            }
        };
        if tokens.iter().any(|&(row, _)| row as usize >= count) {
            return Err(broken(format!("`mapping` names a row past the last ({})", count - 1)));
        }
        let known = if tokens.is_empty() { count } else { tokens.len() };
        if vocabulary.tokens > known {
            return Err(broken(format!(
                "it has rows for {known} tokens, the tokenizer has {}",
                vocabulary.tokens
            )));
        }
        Ok(Self { dim, rows, tokens, vocabulary, options })
    }

    /// The values of a vector.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The characters of a text that are tokenized: the rest cannot count. `None`: all.
    #[must_use]
    pub fn max_characters(&self) -> Option<usize> {
        self.options
            .max_tokens
            .map(|tokens| tokens.saturating_mul(self.vocabulary.median_characters))
    }

    /// What embeds texts one after another: one for each thread.
    #[must_use]
    pub fn encoder<'a>(&'a self, tokenize: Tokenize<'a>) -> StaticEncoder<'a> {
        StaticEncoder {
            model: self,
            tokenize,
            memo: HashMap::default(),
            memo_ids: Vec::new(),
            ids: Vec::new(),
            scratch: self.scratch(),
        }
    }

    /// Memory for [`StaticModel::encode_ids`].
    #[must_use]
    pub fn scratch(&self) -> StaticScratch {
        let width = match &self.rows {
            Rows::Bytes(rows) => rows.width(),
            Rows::Floats(_) => self.dim,
        };
        StaticScratch { terms: Vec::new(), sum: vec![0.0; width] }
    }

    /// Writes the vector of a text with these token ids to `out`; zeros when none counts.
    ///
    /// # Errors
    ///
    /// [`Error::Embedding`] for an id that the model has no row for.
    ///
    /// # Panics
    ///
    /// When `out` does not have `dim` values or the scratch memory is another model's.
    pub fn encode_ids(
        &self,
        ids: &[u32],
        scratch: &mut StaticScratch,
        out: &mut [f32],
    ) -> Result<bool> {
        let StaticScratch { terms, sum } = scratch;
        let limit = self.options.max_tokens.unwrap_or(usize::MAX);
        terms.clear();
        for &id in ids.iter().filter(|&&id| Some(id) != self.vocabulary.unknown).take(limit) {
            terms.push(self.term(id)?);
        }
        match &self.rows {
            Rows::Bytes(rows) => rows.sum(terms, sum),
            Rows::Floats(values) => {
                let rows = terms.iter().map(|&(row, weight)| {
                    let start = row as usize * self.dim;
                    (&values[start..start + self.dim], weight)
                });
                sum_floats(rows, sum);
            }
        }
        out.copy_from_slice(&sum[..self.dim]);
        Ok(normalise(out))
    }

    fn term(&self, id: u32) -> Result<(u32, f32)> {
        let missing = || {
            Error::Embedding(format!(
                "token id {id} has no row in the static model; its tokenizer is another one"
            ))
        };
        if !self.tokens.is_empty() {
            return self.tokens.get(id as usize).copied().ok_or_else(missing);
        }
        if id as usize >= self.row_count() { Err(missing()) } else { Ok((id, 1.0)) }
    }

    fn row_count(&self) -> usize {
        match &self.rows {
            Rows::Bytes(rows) => rows.len(),
            Rows::Floats(values) => values.len() / self.dim,
        }
    }

    /// Embeds the chunks of `range` and writes them as one float16 `.npy` part.
    ///
    /// # Errors
    ///
    /// What `tokenize` or the file system reports, [`Error::Config`] for chunks that the store does
    /// not have, [`Error::Cancelled`].
    pub fn embed_part(
        &self,
        store: &ChunkStore,
        range: Range<usize>,
        path: &Path,
        tokenize: &mut dyn FnMut(&str, &mut Vec<u32>) -> Result<()>,
        progress: &Progress,
    ) -> Result<()> {
        let mut tokenize = |text: &str, ids: &mut Vec<u32>| tokenize(text, ids);
        let mut encoder = self.encoder(&mut tokenize);
        write_part(store, range, path, self.dim, progress, |text, row| {
            encoder.encode(text, row).map(drop)
        })
    }
}

/// Memory that is used again from text to text.
#[derive(Debug, Clone)]
pub struct StaticScratch {
    terms: Vec<(u32, f32)>,
    sum: Vec<f32>,
}

/// Embeds texts one after another; remembers the ids of the words it met.
pub struct StaticEncoder<'a> {
    model: &'a StaticModel,
    tokenize: Tokenize<'a>,
    /// The place in `memo_ids` of each word met, by the 128-bit hash of the word.
    memo: HashMap<u128, Range<u32>, BuildHasherDefault<Folded>>,
    memo_ids: Vec<u32>,
    ids: Vec<u32>,
    scratch: StaticScratch,
}

impl StaticEncoder<'_> {
    /// Writes the vector of `text`, of length 1, to `out`; zeros when no token counts, and gives
    /// false.
    ///
    /// # Errors
    ///
    /// What the tokenizer reports, [`Error::Embedding`] for an id without a row.
    pub fn encode(&mut self, text: &str, out: &mut [f32]) -> Result<bool> {
        let text = match self.model.max_characters() {
            Some(limit) => {
                let end = text.char_indices().nth(limit).map_or(text.len(), |(end, _)| end);
                &text[..end]
            }
            None => text,
        };
        self.ids.clear();
        if self.model.vocabulary.words_stand_alone {
            // Only at these: other white space is removed by some normalizers, not split at.
            for word in text.split([' ', '\t', '\n', '\r']).filter(|word| !word.is_empty()) {
                self.append_word(word)?;
            }
        } else {
            (self.tokenize)(text, &mut self.ids)?;
        }
        self.model.encode_ids(&self.ids, &mut self.scratch, out)
    }

    fn append_word(&mut self, word: &str) -> Result<()> {
        if word.len() > MEMO_BYTES {
            return (self.tokenize)(word, &mut self.ids);
        }
        let key = xxh3_128(word.as_bytes());
        if let Some(place) = self.memo.get(&key) {
            let ids = &self.memo_ids[place.start as usize..place.end as usize];
            self.ids.extend_from_slice(ids);
            return Ok(());
        }
        let start = self.ids.len();
        (self.tokenize)(word, &mut self.ids)?;
        if self.memo.len() < MEMO_WORDS {
            let place = self.memo_ids.len() as u32;
            self.memo_ids.extend_from_slice(&self.ids[start..]);
            self.memo.insert(key, place..self.memo_ids.len() as u32);
        }
        Ok(())
    }
}

/// Takes half of a hash as the hash.
#[derive(Debug, Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

/// The values of a tensor as float32; `None` for a kind that is no float, or one not finite.
fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    let values: Vec<f32> = match view.dtype() {
        Dtype::F32 => quads(data).map(f32::from_le_bytes).collect(),
        Dtype::F16 => pairs(data).map(|pair| f16::from_le_bytes(pair).to_f32()).collect(),
        Dtype::BF16 => pairs(data).map(|pair| bf16::from_le_bytes(pair).to_f32()).collect(),
        Dtype::F64 => octets(data).map(|octet| f64::from_le_bytes(octet) as f32).collect(),
        _ => return None,
    };
    values.iter().all(|value| value.is_finite()).then_some(values)
}

/// The values of a tensor of row numbers; `None` for another kind or a negative one.
fn whole_numbers(view: &TensorView<'_>) -> Option<Vec<u32>> {
    let data = view.data();
    match view.dtype() {
        Dtype::I64 => {
            octets(data).map(|octet| u32::try_from(i64::from_le_bytes(octet)).ok()).collect()
        }
        Dtype::U64 => {
            octets(data).map(|octet| u32::try_from(u64::from_le_bytes(octet)).ok()).collect()
        }
        Dtype::I32 => {
            quads(data).map(|quad| u32::try_from(i32::from_le_bytes(quad)).ok()).collect()
        }
        Dtype::U32 => Some(quads(data).map(u32::from_le_bytes).collect()),
        _ => None,
    }
}

fn pairs(data: &[u8]) -> impl Iterator<Item = [u8; 2]> + '_ {
    data.as_chunks().0.iter().copied()
}

fn quads(data: &[u8]) -> impl Iterator<Item = [u8; 4]> + '_ {
    data.as_chunks().0.iter().copied()
}

fn octets(data: &[u8]) -> impl Iterator<Item = [u8; 8]> + '_ {
    data.as_chunks().0.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with ten tokens of three values, `word-0` … `word-9`, and a [UNK] of id 0.
    fn folder(tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let views = tensors.iter().map(|(name, dtype, shape, data)| {
            (*name, TensorView::new(*dtype, shape.clone(), data).expect("a tensor"))
        });
        let bytes = safetensors::serialize(views, None).expect("bytes");
        std::fs::write(folder.path().join("model.safetensors"), bytes).expect("written");
        let vocabulary: serde_json::Map<String, serde_json::Value> = (0..10)
            .map(|id| (if id == 0 { "[UNK]".into() } else { format!("w{id}") }, id.into()))
            .collect();
        let tokenizer = serde_json::json!({
            "added_tokens": [{"id": 0, "content": "[UNK]"}],
            "normalizer": null,
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocabulary},
        });
        std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string())
            .expect("written");
        folder
    }

    #[allow(clippy::unnecessary_wraps, reason = "a tokenizer may fail")]
    fn ids(text: &str, ids: &mut Vec<u32>) -> Result<()> {
        ids.extend(text.split_whitespace().map(|word| word[1..].parse().unwrap_or(0)));
        Ok(())
    }

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn a_text_is_the_normalised_mean_of_its_rows() {
        let values: Vec<f32> = (0..30).map(|at| (at as f32 - 11.0) / 8.0).collect();
        let folder = folder(&[("embeddings", Dtype::F32, vec![10, 3], bytes(&values))]);
        let model = StaticModel::load(folder.path(), StaticOptions::default()).expect("a model");
        let mut tokenize = ids;
        let mut encoder = model.encoder(&mut tokenize);
        let mut vector = [0.0; 3];
        assert!(encoder.encode("w1 w2\n w2 unknown", &mut vector).expect("encoded"));
        let mut mean: Vec<f32> = (0..3).map(|at| values[3 + at] + 2.0 * values[6 + at]).collect();
        normalise(&mut mean);
        assert!(mean.iter().zip(&vector).all(|(mean, value)| (mean - value).abs() < 1e-6));
        assert!(!encoder.encode("unknown ", &mut vector).expect("encoded"));
        assert!(vector.iter().all(|&value| value == 0.0));
        let mut scratch = model.scratch();
        let wrong = model.encode_ids(&[10], &mut scratch, &mut vector);
        assert!(wrong.is_err_and(|error| error.to_string().contains("token id 10")));
    }

    #[test]
    fn only_the_first_tokens_count_when_a_limit_is_set() {
        let values: Vec<u8> = (0..30).collect();
        let folder = folder(&[("embeddings", Dtype::I8, vec![10, 3], values)]);
        let options = StaticOptions { max_tokens: Some(2) };
        let model = StaticModel::load(folder.path(), options).expect("a model");
        assert_eq!(model.max_characters(), Some(4));
        let (mut limited, mut whole) = ([0.0; 3], [0.0; 3]);
        let mut scratch = model.scratch();
        model.encode_ids(&[1, 0, 2, 7, 7], &mut scratch, &mut limited).expect("encoded");
        model.encode_ids(&[1, 2], &mut scratch, &mut whole).expect("encoded");
        assert_eq!(limited.map(f32::to_bits), whole.map(f32::to_bits));
    }

    #[test]
    fn clustered_vocabularies_have_a_mapping_and_weights() {
        let mapping: Vec<u8> = (0..10i64).flat_map(|id| (id % 2).to_le_bytes()).collect();
        let weights: Vec<f32> = (0..10).map(|id| id as f32 + 1.0).collect();
        let folder = folder(&[
            ("embeddings", Dtype::F32, vec![2, 3], bytes(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0])),
            ("mapping", Dtype::I64, vec![10], mapping),
            ("weights", Dtype::F32, vec![10], bytes(&weights)),
        ]);
        let model = StaticModel::load(folder.path(), StaticOptions::default()).expect("a model");
        let mut vector = [0.0; 3];
        model.encode_ids(&[2, 3], &mut model.scratch(), &mut vector).expect("encoded");
        assert!((vector[0] - 0.6).abs() < 1e-6 && (vector[1] - 0.8).abs() < 1e-6);
    }

    #[test]
    fn a_folder_that_does_not_fit_together_is_refused() {
        let few = folder(&[("embeddings", Dtype::I8, vec![9, 3], vec![1; 27])]);
        let nan = folder(&[("embeddings", Dtype::F32, vec![10, 1], bytes(&[f32::NAN; 10]))]);
        let flat = folder(&[("embeddings", Dtype::I8, vec![30], vec![1; 30])]);
        for folder in [few, nan, flat] {
            let model = StaticModel::load(folder.path(), StaticOptions::default());
            assert!(matches!(model, Err(Error::Embedding(_))));
        }
    }
}
