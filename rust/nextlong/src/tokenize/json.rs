//! The text of a `tokenizer.json`, read as far as it is needed.
//!
//! In: the text. Out: its settings as a value that can be changed, its tokens and its merges, and the
//! canonical form of all this that the encoder reads. Vocabulary and merges are nearly all of the
//! file: to make values of them and text again would take a third more loading.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokenizers::pipeline::PipelineTokenizer;

use crate::error::{Error, Result};

/// Ids at or above this are refused, so that a damaged file cannot ask for all memory.
pub(super) const MOST_TOKENS: u32 = 1 << 26;

/// A `tokenizer.json`, its vocabulary and merges as they are spelled.
pub(super) struct Json<'a> {
    /// All but the two.
    pub(super) settings: Value,
    vocabulary: Option<&'a RawValue>,
    merges: Option<&'a RawValue>,
}

impl<'a> Json<'a> {
    /// Reads the text of a file.
    pub(super) fn read(text: &'a str) -> Result<Self> {
        let whole = match serde_json::from_str::<Members>(text) {
            Ok(whole) => whole,
            Err(error) if error.is_data() => Members::new(),
            Err(error) => {
                return Err(Error::Tokenizer(format!("the tokenizer is no JSON: {error}")));
            }
        };
        let model = whole.get("model").and_then(|model| read::<Members>(model));
        let Some(mut model) = model else {
            return Err(Error::Tokenizer(
                "the file has no \"model\", so it is no tokenizer.json; give the one that \
                 `tokenizers` or `transformers` saved"
                    .to_owned(),
            ));
        };
        let vocabulary = model.remove("vocab");
        let merges = model.remove("merges");
        let settings = values(whole.into_iter().filter(|(key, _)| key != "model"));
        let mut settings = settings.ok_or_else(|| contradicts("a member"))?;
        let model = values(model).ok_or_else(|| contradicts("a member of the model"))?;
        settings.insert("model".to_owned(), Value::Object(model));
        Ok(Self { settings: Value::Object(settings), vocabulary, merges })
    }

    /// The tokens of the model with their ids; none where the vocabulary is no such thing.
    pub(super) fn tokens(&self) -> Tokens {
        let mut found = Tokens::default();
        let Some(vocabulary) = self.vocabulary else { return found };
        if let Some(Pairs(pairs)) = read(vocabulary) {
            for (token, value) in pairs {
                let Some(id) = value.as_u64() else { continue };
                if found.farthest.as_ref().is_none_or(|(farthest, _)| *farthest < id) {
                    found.farthest = Some((id, token.clone()));
                }
                if let Some(id) = u32::try_from(id).ok().filter(|&id| id < MOST_TOKENS) {
                    found.by_id.push((id, token));
                }
            }
            return found;
        }
        let rows = read::<Vec<Value>>(vocabulary).unwrap_or_default();
        found.by_id = (0u32..)
            .zip(rows)
            .filter_map(|(id, row)| Some((id, row.get(0)?.as_str()?.into())))
            .collect();
        found
    }

    /// The file with its settings as they are now, in the spelling it came in.
    pub(super) fn to_text(&self) -> Option<String> {
        let Value::Object(mut rest) = self.settings.clone() else { return None };
        let Value::Object(model) = rest.remove("model")? else { return None };
        let model = Model { rest: model, vocab: self.vocabulary, merges: self.merges };
        serde_json::to_string(&Canonical { rest, model }).ok()
    }

    /// True if the model has merges, be they null.
    pub(super) fn has_merges(&self) -> bool {
        self.merges.is_some()
    }

    /// The pairs of tokens that are merged, first to last; None where they are no such thing.
    pub(super) fn merges(&self) -> Option<Vec<(String, String)>> {
        read::<Vec<Merge>>(self.merges?)?
            .into_iter()
            .map(|merge| match merge {
                Merge::Pair(left, right) => Some((left, right)),
                Merge::Line(line) => {
                    line.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned()))
                }
            })
            .collect()
    }

    /// What encodes as the file says, with its settings as they are now.
    pub(super) fn load(mut self) -> Result<PipelineTokenizer> {
        if let Some(loaded) = self.canonical().and_then(|json| tokenizers::from_json(&json).ok()) {
            return Ok(loaded);
        }
        // An old spelling, or an error: rebuild all of it and report errors.
        for (key, part) in [("vocab", self.vocabulary), ("merges", self.merges)] {
            if let Some(value) = part.and_then(read) {
                self.settings["model"][key] = value;
            }
        }
        let refused = |error: &dyn fmt::Display| {
            Error::Tokenizer(format!(
                "this tokenizer cannot be read by the fast encoder ({error}); give the \
                 `tokenizers` or `transformers` object instead of the file"
            ))
        };
        tokenizers::canonicalize_value(&mut self.settings).map_err(|error| refused(&error))?;
        tokenizers::from_json(&self.settings.to_string()).map_err(|error| refused(&error))
    }

    /// The canonical form, the two large parts copied as they are; None where they may not be.
    fn canonical(&self) -> Option<String> {
        let mut settings = self.settings.clone();
        let model = settings["model"].as_object_mut()?;
        // They determine the kind of a model if nothing else does.
        let empty = |part: &RawValue| match part.get().as_bytes()[0] {
            b'{' => Some(Value::Object(Map::new())),
            b'[' => Some(Value::Array(Vec::new())),
            _ => None,
        };
        model.insert("vocab".to_owned(), empty(self.vocabulary?)?);
        if let Some(merges) = self.merges {
            // Pairs are canonical, lines of two tokens are not.
            let first = merges.get().strip_prefix('[')?.trim_start();
            if !first.starts_with(['[', ']']) {
                return None;
            }
            model.insert("merges".to_owned(), empty(merges)?);
        }
        tokenizers::canonicalize_value(&mut settings).ok()?;
        let Value::Object(mut rest) = settings else { return None };
        let Value::Object(mut model) = rest.remove("model")? else { return None };
        model.retain(|key, _| key != "vocab" && key != "merges");
        let model = Model { rest: model, vocab: self.vocabulary, merges: self.merges };
        serde_json::to_string(&Canonical { rest, model }).ok()
    }
}

/// The tokens of a model.
#[derive(Default)]
pub(super) struct Tokens {
    pub(super) by_id: Vec<(u32, Box<str>)>,
    /// The largest id of a vocabulary that names its ids, and its token.
    pub(super) farthest: Option<(u64, Box<str>)>,
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

#[derive(Serialize)]
struct Canonical<'a> {
    #[serde(flatten)]
    rest: Map<String, Value>,
    model: Model<'a>,
}

#[derive(Serialize)]
struct Model<'a> {
    #[serde(flatten)]
    rest: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vocab: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    merges: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

/// The members of an object, in their order.
struct Pairs(Vec<(Box<str>, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Pairs;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut members: A,
            ) -> std::result::Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = members.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

fn read<'a, T: Deserialize<'a>>(part: &'a RawValue) -> Option<T> {
    serde_json::from_str(part.get()).ok()
}

fn values<'a>(
    members: impl IntoIterator<Item = (String, &'a RawValue)>,
) -> Option<Map<String, Value>> {
    members.into_iter().map(|(key, part)| Some((key, read(part)?))).collect()
}

/// What is JSON as a whole may have a part that no value can hold: a number too large.
fn contradicts(what: &str) -> Error {
    Error::Tokenizer(format!("{what} of the tokenizer cannot be read; save it again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(model: &str) -> String {
        format!(
            r#"{{"added_tokens":[],"normalizer":null,"pre_tokenizer":{{"type":"ByteLevel",
            "add_prefix_space":false}},"post_processor":null,"decoder":null,"model":{model}}}"#
        )
    }

    const VOCABULARY: &str = r#" {"a" : 0, "b":1, "ab":2, "\u0062a":3, "é":4294967296, "x":null} "#;

    #[test]
    fn merges_are_read_in_both_spellings_and_only_pairs_are_copied() {
        for (merges, copied) in [
            (r#"[["a","b"], ["b","a"]]"#, true),
            (r#"[ "a b", "b a"]"#, false),
            (r##"["#version: 0.2", "a b", "b a"]"##, false),
        ] {
            let text = file(&format!(r#"{{"type":"BPE","vocab":{VOCABULARY},"merges":{merges}}}"#));
            let json = Json::read(&text).expect("read");
            let Tokens { by_id, farthest } = json.tokens();
            assert_eq!(farthest, Some((1 << 32, "é".into())));
            let tokens: Vec<_> = by_id.iter().map(|(id, token)| (*id, &**token)).collect();
            assert_eq!(tokens, [(0, "a"), (1, "b"), (2, "ab"), (3, "ba")]);
            let read = json.merges().expect("merges");
            let read: Vec<String> = read.iter().map(|(l, r)| format!("{l}+{r}")).collect();
            assert!(read.ends_with(&["a+b".to_owned(), "b+a".to_owned()]), "{read:?}");
            assert!(json.has_merges());
            assert_eq!(json.canonical().is_some(), copied, "{merges}");
        }
    }

    #[test]
    fn the_canonical_form_is_that_of_the_whole_file() {
        let plain = |model: &str| {
            let text = file(model);
            let start = text.find("\"pre_tokenizer\"").expect("a splitter");
            let end = text.find("\"post_processor\"").expect("the next member");
            [&text[..start], &text[end..]].concat()
        };
        for text in [
            file(&format!(
                r#"{{"type":"BPE","vocab":{VOCABULARY},"merges":[["a","b"]],"unk_token":null}}"#
            )),
            file(&format!(r#"{{"vocab":{VOCABULARY},"merges":[]}}"#)),
            // Told apart by the vocabulary and its neighbours.
            plain(&format!(r###"{{"vocab":{VOCABULARY},"continuing_subword_prefix":"##"}}"###)),
            plain(r#"{"vocab":[["<unk>",0.0],["a",-1.5]],"unk_id":0}"#),
            plain(&format!(r#"{{"vocab":{VOCABULARY},"unk_token":"a"}}"#)),
        ] {
            let copied = Json::read(&text).expect("read").canonical().expect("canonical");
            let mut whole: Value = serde_json::from_str(&text).expect("JSON");
            tokenizers::canonicalize_value(&mut whole).expect("canonical");
            let copied: Value = serde_json::from_str(&copied).expect("JSON");
            assert_eq!(copied, whole);
        }
    }

    #[test]
    fn the_kinds_of_vocabularies_are_told_apart() {
        let unigram = file(r#"{"vocab":[["<unk>",0.0],["a",-1.5],[3]],"unk_id":0}"#);
        let json = Json::read(&unigram).expect("read");
        assert_eq!(json.tokens().by_id, [(0, "<unk>".into()), (1, "a".into())]);
        assert!(json.merges().is_none() && !json.has_merges());
        for model in ["{}", r#"{"vocab":null}"#, r#"{"vocab":3,"merges":null}"#] {
            let text = file(model);
            let json = Json::read(&text).expect("read");
            assert!(json.tokens().by_id.is_empty() && json.canonical().is_none());
            let refused = json.load().err().expect("no tokenizer").to_string();
            assert!(refused.contains("fast encoder"), "{refused}");
        }
    }
}
