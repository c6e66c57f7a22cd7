//! What a `tokenizer.json` says about itself, and the form of it that encodes chunks.
//!
//! In: the file, read. Out: its tokens by id, the kind of its borders, and the same file without what
//! must never touch a chunk: truncation, padding, added BOS and EOS, dropout.

use serde_json::Value;

use super::boundaries::Kind;
use super::json::{Json, MOST_TOKENS, Tokens};
use super::kinds::{border_kind, has_affixes};
use super::names::Names;
use super::pieces::{Pairs, Pieces};
use crate::error::{Error, Result};

/// How texts are encoded with a `tokenizer.json`.
pub(super) struct Rules {
    pub(super) kind: Kind,
    /// True if the tokenizer puts a word mark (`▁`) before the text.
    pub(super) marks_the_start: bool,
    /// True if the file asked the byte-level splitter for a space before the text.
    pub(super) adds_a_space: bool,
    /// How a text falls into pieces, if it may be encoded piece by piece.
    pub(super) pieces: Option<Pieces>,
    pub(super) notes: Vec<String>,
}

/// A token that was added to the model's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub content: String,
    /// True if the file calls it special: no text, so the same string in a text is not this token.
    pub special: bool,
}

/// The tokens of a file and, in its order, those that it adds to the model's own.
///
/// # Errors
///
/// [`Error::Tokenizer`] if an id is far above the number of tokens: tables are as long as the
/// largest id.
pub(super) fn tokens(json: &Json<'_>) -> Result<(Names, Vec<Added>)> {
    let Tokens { by_id, farthest } = json.tokens();
    let rows = json.settings["added_tokens"].as_array().map_or(&[][..], Vec::as_slice);
    let far = rows.iter().filter_map(|row| Some((row["id"].as_u64()?, row["content"].as_str()?)));
    let own = farthest.as_ref().map(|(id, token)| (*id, &**token));
    let count = by_id.len() + rows.len();
    if let Some((id, token)) = far.chain(own).max().filter(|(id, _)| *id >= most_ids(count)) {
        return Err(Error::Tokenizer(format!(
            "the token {token:?} has the id {id}, but the file has {count} tokens; expected ids \
             below {}; the file is damaged",
            most_ids(count)
        )));
    }
    let added = added_tokens(&json.settings);
    Ok((Names::new(by_id, &added), added))
}

/// Ids must lie below this in a file of `count` tokens: some files leave gaps.
fn most_ids(count: usize) -> u64 {
    (8 * count as u64 + (1 << 20)).min(MOST_TOKENS.into())
}

impl Rules {
    /// The rules of a file; its settings become those that chunks are encoded with.
    pub(super) fn of(json: &mut Json<'_>, names: &Names, added: &[Added]) -> Self {
        let mut notes = Vec::new();
        let adds_a_space = strip(&mut json.settings, &mut notes);
        let settings = &json.settings;
        let marks_the_start = marks_the_start(settings);
        let kind = border_kind(json, marks_the_start, names);
        let by_piece = marks_the_start
            && kind == Kind::Newline
            && only_marks_spaces(settings)
            && added.iter().all(|token| token.special);
        let pieces = if by_piece {
            joined_pairs(json, names).map(Pieces::Unjoined)
        } else {
            bert_words(settings).filter(|_| added.iter().all(|token| token.special))
        };
        Self { kind, marks_the_start, adds_a_space, pieces, notes }
    }
}

/// Takes out of the settings what must never touch a chunk; true if it wanted a space before the text.
pub(super) fn strip(json: &mut Value, notes: &mut Vec<String>) -> bool {
    for (key, word) in [("truncation", "truncation"), ("padding", "padding")] {
        if json.get(key).is_some_and(|value| !value.is_null()) {
            notes.push(format!("the file's {word} is switched off"));
        }
        json[key] = Value::Null;
    }
    // BOS and EOS belong to a sequence, never to a chunk.
    json["post_processor"] = Value::Null;
    if json["model"]["dropout"].as_f64().is_some_and(|dropout| dropout != 0.0) {
        notes.push("the file's BPE dropout is switched off: ids must not depend on chance".into());
        json["model"]["dropout"] = Value::Null;
    }
    let Some(splitter) = json.get_mut("pre_tokenizer") else { return false };
    let first = if splitter["pretokenizers"].is_array() {
        splitter["pretokenizers"].get_mut(0)
    } else {
        Some(splitter)
    };
    let Some(first) = first else { return false };
    let adds = type_of(first) == "ByteLevel" && wants_a_space(first);
    if adds {
        first["add_prefix_space"] = Value::Bool(false);
        notes.push("the space that the file puts before a text is left out of chunks".into());
    }
    adds
}

pub(super) fn type_of(part: &Value) -> &str {
    part["type"].as_str().unwrap_or_default()
}

/// The parts of a slot, sequences opened.
fn parts<'a>(slot: &'a Value, children: &str) -> Vec<&'a Value> {
    match slot.get(children).and_then(Value::as_array) {
        Some(members) => members.iter().flat_map(|member| parts(member, children)).collect(),
        None if slot.is_object() => vec![slot],
        None => Vec::new(),
    }
}

pub(super) fn pre_tokenizers(json: &Value) -> Vec<&Value> {
    parts(&json["pre_tokenizer"], "pretokenizers")
}

pub(super) fn normalizers(json: &Value) -> Vec<&Value> {
    parts(&json["normalizer"], "normalizers")
}

/// True if the file's settings put something before a text.
pub(super) fn marks_the_start(json: &Value) -> bool {
    normalizers(json).iter().any(|part| type_of(part) == "Prepend")
        || pre_tokenizers(json).iter().any(|part| match type_of(part) {
            "Metaspace" => part["prepend_scheme"].as_str() != Some("never"),
            "ByteLevel" => wants_a_space(part),
            _ => false,
        })
}

fn wants_a_space(byte_level: &Value) -> bool {
    byte_level["add_prefix_space"].as_bool().unwrap_or(true)
}

/// True if the file does nothing to a text but write `▁` for a space and before the start.
fn only_marks_spaces(json: &Value) -> bool {
    let splitters = pre_tokenizers(json);
    let split = splitters
        .iter()
        .all(|part| type_of(part) == "Metaspace" && part["replacement"].as_str() == Some("▁"));
    let normal = normalizers(json).iter().all(|part| match type_of(part) {
        "Prepend" => part["prepend"].as_str() == Some("▁"),
        "Replace" => {
            part["pattern"]["String"].as_str() == Some(" ") && part["content"].as_str() == Some("▁")
        }
        _ => false,
    });
    let marks =
        !splitters.is_empty() || normalizers(json).iter().any(|part| type_of(part) == "Replace");
    split && normal && marks && splitters.len() <= 1
}

/// The pieces of a BERT tokenizer; None for all others.
fn bert_words(json: &Value) -> Option<Pieces> {
    let splits = matches!(*pre_tokenizers(json), [part] if type_of(part) == "BertPreTokenizer");
    let ideographs = match *normalizers(json) {
        [] => false,
        [part] if type_of(part) == "BertNormalizer" => {
            part["handle_chinese_chars"].as_bool() == Some(true)
        }
        _ => return None,
    };
    let whole = splits && type_of(&json["model"]) == "WordPiece";
    whole.then_some(Pieces::Words { ideographs })
}

/// The characters that merges join; None where more than neighbours decides: an unknown token
/// that spreads, merges of bytes, whole words looked up before merging, affixes.
fn joined_pairs(file: &Json<'_>, names: &Names) -> Option<Pairs> {
    let model = &file.settings["model"];
    let falls_back = model["byte_fallback"].as_bool() == Some(true)
        && (0..=255u32).all(|byte| names.id(&format!("<0x{byte:02X}>")).is_some());
    if !falls_back || has_affixes(model) || model["ignore_merges"].as_bool() == Some(true) {
        return None;
    }
    let mut products = Vec::new();
    for (left, right) in file.merges()? {
        let product = format!("{left}{right}");
        if [&left, &right, &product].iter().any(|part| is_byte(part)) {
            return None;
        }
        products.push(product);
    }
    Some(Pairs::new(products))
}

/// True if a token stands for one byte: `<0x0A>`.
fn is_byte(token: &str) -> bool {
    token.len() == 6 && token.starts_with("<0x") && token.ends_with('>')
}

fn added_tokens(json: &Value) -> Vec<Added> {
    let Some(rows) = json["added_tokens"].as_array() else { return Vec::new() };
    rows.iter()
        .filter_map(|row| {
            Some(Added {
                id: u32::try_from(row["id"].as_u64()?).ok().filter(|&id| id < MOST_TOKENS)?,
                content: row["content"].as_str()?.to_owned(),
                special: row["special"].as_bool().unwrap_or(false),
            })
        })
        .collect()
}
