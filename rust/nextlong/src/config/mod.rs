//! The settings of a run: every field given, checked once, the same JSON that is saved with the run.
//!
//! The defaults live in Python's `Settings`; the rules about single values in [`rules`].

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

pub mod rules;

use rules::Given;

/// Which rule cuts documents into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChunkMode {
    /// Whole lines, nothing lost, over-long lines split.
    Lossless,
    /// The paper's released function, to the letter.
    Paper,
}

/// What `chunk_size` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChunkUnit {
    /// Unicode code points.
    Chars,
    /// Tokens of the run's tokenizer.
    Tokens,
}

/// How the length of a sequence is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Length {
    /// Exactly `seq_len` tokens; every meta-chunk survives; the last negative is cut.
    Exact,
    /// k by the paper's formula; too long is truncated, too short discarded.
    Paper,
}

/// Which of two meta-chunks takes a negative that both want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Collisions {
    /// The meta-chunks take turns, one negative a turn.
    RoundRobin,
    /// The first meta-chunk takes all of its negatives first.
    FirstCome,
}

/// In which order a meta-chunk's candidates are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// By falling similarity.
    Top,
    /// In a seeded random order within the rank window.
    Random,
}

/// Where a meta-chunk stands among its negatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Before them (the paper's best).
    Head,
    /// After them.
    Tail,
    /// At a seeded random place.
    Random,
}

/// What happens to documents that are longer than a sequence by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LongDocuments {
    /// No sequence is made of them; their chunks still serve as negatives.
    Skip,
    /// Their first `seq_len` tokens become a sequence without negatives.
    Pass,
}

/// What happens to a sequence that the rules do not let fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnShort {
    /// It is dropped, and the next document tried.
    Drop,
    /// It is kept, shorter than `seq_len`.
    Shorten,
}

/// A special token: `"auto"` or a token by text, an id, or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Special {
    /// `"auto"`, or the token's text.
    Named(String),
    /// Its id.
    Id(u32),
    /// There is none.
    None,
}

/// Every setting that decides the bytes of a run. Python's `Settings` documents each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "documented once, in Python's Settings, where users read it")]
pub struct Settings {
    pub seq_len: u32,
    pub num_sequences: Option<u64>,
    pub seed: u64,
    pub text_column: String,
    pub id_column: Option<String>,
    pub score_column: Option<String>,
    pub source_column: Option<String>,
    pub max_document_bytes: u64,
    pub max_error_rate: f64,
    pub chunk_size: u32,
    pub chunk_unit: ChunkUnit,
    pub chunk_mode: ChunkMode,
    pub embedder: String,
    pub dim: u32,
    pub idf_power: f32,
    pub fit_chunks: u32,
    pub boilerplate_share: f64,
    pub index: String,
    pub min_recall: f32,
    pub range_min: u32,
    pub range_max: Option<u32>,
    pub min_score: Option<f32>,
    pub max_score: Option<f32>,
    pub absolute_margin: Option<f32>,
    pub relative_margin: Option<f32>,
    pub exclude_same_doc: bool,
    pub max_containment: Option<f32>,
    pub containment_words: u32,
    pub num_negatives: Option<u32>,
    pub max_reuse: Option<u32>,
    pub max_per_doc: Option<u32>,
    pub sampling_strategy: Sampling,
    pub collisions: Collisions,
    pub min_meta_chunks: u32,
    pub long_documents: LongDocuments,
    pub length: Length,
    pub chars_per_token: f64,
    pub length_factor: f64,
    pub on_short: OnShort,
    pub placement: Placement,
    pub chunk_separator: String,
    pub bos: Special,
    pub eos: Special,
}

impl Settings {
    /// Reads and checks settings from JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] that names the setting, its value and what was expected.
    pub fn from_json(json: &str) -> Result<Self> {
        let not_settings = |error: serde_json::Error| Error::Config(format!("settings: {error}"));
        let given: Map<String, Value> = serde_json::from_str(json).map_err(not_settings)?;
        check_each(&given)?;
        let settings: Self = serde_json::from_value(given.into()).map_err(not_settings)?;
        settings.check_together()?;
        Ok(settings)
    }

    /// Checks every rule that one or more settings must keep.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] that names the setting, its value and what was expected.
    pub fn check(&self) -> Result<()> {
        let optional = [
            ("min_score", self.min_score),
            ("max_score", self.max_score),
            ("absolute_margin", self.absolute_margin),
            ("relative_margin", self.relative_margin),
            ("max_containment", self.max_containment),
        ];
        // JSON has no such numbers.
        for (name, value) in optional {
            if let Some(value) = value.filter(|value| !value.is_finite()) {
                rules::check(name, name, Given::Number(value.into()), &value.to_string())?;
            }
        }
        match serde_json::to_value(self) {
            Ok(Value::Object(given)) => check_each(&given)?,
            Ok(other) => return Err(Error::Config(format!("settings: {other}"))),
            Err(error) => return Err(Error::Config(format!("settings: {error}"))),
        }
        self.check_together()
    }

    /// Checks the rules between settings.
    fn check_together(&self) -> Result<()> {
        if let Some(range_max) = self.range_max.filter(|&range_max| range_max <= self.range_min) {
            let expected = format!("more than `range_min` ({})", self.range_min);
            return Err(rules::invalid("range_max", &range_max.to_string(), &expected));
        }
        if let (Some(low), Some(high)) = (self.min_score, self.max_score)
            && low > high
        {
            let expected = format!("at most `max_score` ({high})");
            return Err(rules::invalid("min_score", &low.to_string(), &expected));
        }
        Ok(())
    }
}

/// Checks each setting for itself.
fn check_each(given: &Map<String, Value>) -> Result<()> {
    for (name, value) in given {
        let known = match value {
            Value::Null => Given::Nothing,
            Value::Bool(flag) => Given::Flag(*flag),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(count), ..) => Given::Count(count.into()),
                (_, Some(count), _) => Given::Count(count.into()),
                (.., Some(number)) => Given::Number(number),
                _ => Given::Other,
            },
            Value::String(text) => Given::Text(text),
            Value::Array(_) | Value::Object(_) => Given::Other,
        };
        rules::check(name, name, known, &value.to_string())?;
    }
    Ok(())
}
