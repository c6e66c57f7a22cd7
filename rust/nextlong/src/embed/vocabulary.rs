//! What a static model must know of its `tokenizer.json` beyond the ids of a text.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::store::atomic;

/// The facts of one `tokenizer.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Vocabulary {
    /// One more than the highest id.
    pub(super) tokens: usize,
    /// The id of unknown words, which do not count.
    pub(super) unknown: Option<u32>,
    /// The median length of a token in characters.
    pub(super) median_characters: usize,
    /// Whether the ids of a text are those of its words, one after another, where a word ends at a
    /// blank, tab or line break.
    pub(super) words_stand_alone: bool,
}

impl Vocabulary {
    pub(super) fn load(path: &Path) -> Result<Self> {
        let bytes = atomic::map(path)?;
        let broken = |what: &str| {
            Error::Embedding(format!("{}: {what}; give a model2vec folder", path.display()))
        };
        let tokenizer: Value =
            serde_json::from_slice(&bytes).map_err(|error| broken(&error.to_string()))?;
        Self::new(&tokenizer).ok_or_else(|| broken("no vocabulary that can be read"))
    }

    fn new(tokenizer: &Value) -> Option<Self> {
        let model = &tokenizer["model"];
        let mut ids: Vec<(&str, u64)> = match &model["vocab"] {
            Value::Object(vocabulary) => vocabulary
                .iter()
                .map(|(token, id)| Some((token.as_str(), id.as_u64()?)))
                .collect::<Option<_>>()?,
            Value::Array(vocabulary) => vocabulary
                .iter()
                .zip(0..)
                .map(|(token, id)| Some((token[0].as_str()?, id)))
                .collect::<Option<_>>()?,
            _ => return None,
        };
        let known: HashSet<&str> = ids.iter().map(|&(token, _)| token).collect();
        let added = tokenizer["added_tokens"].as_array().map_or(&[][..], Vec::as_slice);
        for token in added {
            let content = token["content"].as_str()?;
            if !known.contains(content) {
                ids.push((content, token["id"].as_u64()?));
            }
        }
        let unknown = model["unk_token"].as_str();
        let unknown = ids.iter().find(|&&(token, _)| Some(token) == unknown).map(|&(_, id)| id);
        let highest = ids.iter().map(|&(_, id)| id).max()?;
        let mut lengths: Vec<usize> = ids.iter().map(|(token, _)| token.chars().count()).collect();
        lengths.sort_unstable();
        let (low, high) = (lengths[(lengths.len() - 1) / 2], lengths[lengths.len() / 2]);
        Some(Self {
            tokens: u32::try_from(highest).ok()? as usize + 1,
            unknown: unknown.map(u32::try_from).transpose().ok()?,
            median_characters: low.midpoint(high),
            words_stand_alone: words_stand_alone(tokenizer, added),
        })
    }
}

/// Whether each word can be tokenized by itself: no step looks beyond a blank.
fn words_stand_alone(tokenizer: &Value, added: &[Value]) -> bool {
    const NORMALIZERS: [&str; 7] =
        ["BertNormalizer", "Lowercase", "StripAccents", "NFC", "NFD", "NFKC", "NFKD"];
    const PRE_TOKENIZERS: [&str; 3] = ["BertPreTokenizer", "Whitespace", "WhitespaceSplit"];
    let is =
        |step: &Value, kinds: &[&str]| step["type"].as_str().is_some_and(|k| kinds.contains(&k));
    let normalizer = &tokenizer["normalizer"];
    let normalizes_alone = normalizer.is_null()
        || is(normalizer, &NORMALIZERS)
        || (is(normalizer, &["Sequence"])
            && normalizer["normalizers"]
                .as_array()
                .is_some_and(|steps| steps.iter().all(|step| is(step, &NORMALIZERS))));
    // What follows the first step sees only the pieces that it made.
    let first = &tokenizer["pre_tokenizer"];
    let first = if is(first, &["Sequence"]) { &first["pretokenizers"][0] } else { first };
    let has_blank = |token: &Value| {
        token["content"].as_str().is_none_or(|text| text.contains([' ', '\t', '\n', '\r']))
    };
    normalizes_alone && is(first, &PRE_TOKENIZERS) && !added.iter().any(has_blank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bert_vocabulary_is_understood() {
        let tokenizer = json!({
            "added_tokens": [{"id": 0, "content": "[UNK]"}, {"id": 3, "content": "<extra>"}],
            "normalizer": {"type": "BertNormalizer"},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "model": {"unk_token": "[UNK]", "vocab": {"[UNK]": 0, "a": 1, "bé": 2}},
        });
        let expected = Vocabulary {
            tokens: 4,
            unknown: Some(0),
            median_characters: 3,
            words_stand_alone: true,
        };
        assert_eq!(Vocabulary::new(&tokenizer), Some(expected));
    }

    #[test]
    fn words_that_see_their_blanks_do_not_stand_alone() {
        let base = json!({
            "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
            "model": {"vocab": [["<unk>", 0.0], ["a", -1.0]]},
        });
        let stands =
            |tokenizer: &Value| Vocabulary::new(tokenizer).expect("known").words_stand_alone;
        assert!(stands(&base));
        for (key, value) in [
            ("pre_tokenizer", json!({"type": "Metaspace"})),
            ("pre_tokenizer", json!({"type": "ByteLevel"})),
            ("pre_tokenizer", Value::Null),
            ("normalizer", json!({"type": "Replace"})),
            ("normalizer", json!({"type": "Sequence", "normalizers": [{"type": "Prepend"}]})),
            ("added_tokens", json!([{"id": 1, "content": "a b"}])),
        ] {
            let mut other = base.clone();
            other[key] = value;
            assert!(!stands(&other), "{key}");
        }
        assert_eq!(Vocabulary::new(&json!({"model": {}})), None);
    }
}
