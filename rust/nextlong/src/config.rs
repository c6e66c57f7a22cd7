//! The settings of a run: every field given, checked once, the same JSON that is saved with the run.
//!
//! The defaults live in Python's `Settings`; the rules live here.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::index::Kind;

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
    /// [`Error::Config`] for JSON that is not settings, or settings that break a rule.
    pub fn from_json(json: &str) -> Result<Self> {
        let settings: Self = serde_json::from_str(json)
            .map_err(|error| Error::Config(format!("settings: {error}")))?;
        settings.check()?;
        Ok(settings)
    }

    /// Checks every rule that one or more settings must keep.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] that names the setting, its value and the way out.
    pub fn check(&self) -> Result<()> {
        at_least("seq_len", self.seq_len, 16)?;
        at_least("chunk_size", self.chunk_size, 1)?;
        at_least("dim", self.dim, 1)?;
        if self.dim > 4096 {
            return wrong("dim", self.dim, "at most 4096");
        }
        at_least("fit_chunks", self.fit_chunks, 1)?;
        at_least("min_meta_chunks", self.min_meta_chunks, 1)?;
        at_least("containment_words", self.containment_words, 1)?;
        for (name, value) in [
            ("num_negatives", self.num_negatives),
            ("max_reuse", self.max_reuse),
            ("max_per_doc", self.max_per_doc),
            ("range_max", self.range_max),
        ] {
            if let Some(value) = value {
                at_least(name, value, 1)?;
            }
        }
        if self.seq_len > 1 << 28 {
            return wrong("seq_len", self.seq_len, "at most 268435456");
        }
        if self.num_sequences == Some(0) {
            return wrong("num_sequences", 0, "at least 1, or None for all documents");
        }
        if self.max_document_bytes == 0 {
            return wrong("max_document_bytes", 0, "at least 1");
        }
        within("max_error_rate", self.max_error_rate, 0.0, 1.0)?;
        within("boilerplate_share", self.boilerplate_share, 0.0, 1.0)?;
        within("min_recall", f64::from(self.min_recall), 0.0, 1.0)?;
        within("idf_power", f64::from(self.idf_power), 0.0, 4.0)?;
        for (name, value) in [("min_score", self.min_score), ("max_score", self.max_score)] {
            if let Some(value) = value {
                within(name, f64::from(value), -1.0, 1.0)?;
            }
        }
        for (name, value) in [
            ("absolute_margin", self.absolute_margin),
            ("relative_margin", self.relative_margin),
            ("max_containment", self.max_containment),
        ] {
            if let Some(value) = value {
                within(name, f64::from(value), 0.0, 1.0)?;
            }
        }
        for (name, value) in
            [("chars_per_token", self.chars_per_token), ("length_factor", self.length_factor)]
        {
            if !(value.is_finite() && value > 0.0) {
                return wrong(name, value, "a number above 0");
            }
        }
        if self.range_max.is_some_and(|range_max| range_max <= self.range_min) {
            return Err(Error::Config(format!(
                "range_max ({}) must be larger than range_min ({})",
                self.range_max.unwrap_or(0),
                self.range_min
            )));
        }
        if let (Some(low), Some(high)) = (self.min_score, self.max_score)
            && low > high
        {
            return Err(Error::Config(format!(
                "min_score ({low}) must not be larger than max_score ({high})"
            )));
        }
        if self.index != "auto" && Kind::named(&self.index).is_none() {
            let names = "\"auto\", \"exhaustive\", \"exact\", \"clustered\" or \"hnsw\"";
            return wrong("index", format!("{:?}", self.index), names);
        }
        for (name, column) in [
            ("text_column", Some(&self.text_column)),
            ("id_column", self.id_column.as_ref()),
            ("score_column", self.score_column.as_ref()),
            ("source_column", self.source_column.as_ref()),
        ] {
            if column.is_some_and(String::is_empty) {
                return wrong(name, "\"\"", "the name of a column");
            }
        }
        Ok(())
    }
}

fn wrong<T>(name: &str, value: impl std::fmt::Display, expected: &str) -> Result<T> {
    Err(Error::Config(format!("{name} is {value}, expected {expected}")))
}

fn at_least(name: &str, value: u32, least: u32) -> Result<()> {
    if value < least { wrong(name, value, &format!("at least {least}")) } else { Ok(()) }
}

fn within(name: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        wrong(name, value, &format!("a number from {low} to {high}"))
    }
}
