//! Which files the fast encoder is known to encode as the `tokenizers` package does.
//!
//! In: the settings of a file. Out: what it is known to get wrong, and what nobody has proven: then
//! the ids are compared with those of the package, where it is installed, before they are used.

use serde_json::Value;
use tokenizers::utils::{DEEPSEEK_PATTERNS, Grammar, recognize};

use super::file::{normalizers, pre_tokenizers, type_of};
use super::kinds::{QWEN35, has_affixes};

/// The added tokens that are looked for in chunks.
pub(super) fn sought(settings: &Value) -> impl Iterator<Item = &Value> {
    let rows = settings["added_tokens"].as_array().map_or(&[][..], Vec::as_slice);
    rows.iter().filter(|row| row["special"].as_bool() != Some(true))
}

fn is_set(part: &Value, flag: &str) -> bool {
    part[flag].as_bool() == Some(true)
}

/// The part of a file that the fast encoder is known to encode otherwise than the package.
pub(super) fn differs(settings: &Value) -> Option<String> {
    let model = &settings["model"];
    if !model["end_of_word_suffix"].as_str().unwrap_or_default().is_empty() {
        return Some("the model ends words with a suffix (end_of_word_suffix)".to_owned());
    }
    if has_affixes(model) && (is_set(model, "fuse_unk") || is_set(model, "byte_fallback")) {
        return Some("the model has affixes and joins unknown characters".to_owned());
    }
    let metaspace = pre_tokenizers(settings).iter().any(|part| type_of(part) == "Metaspace");
    for row in sought(settings) {
        let content = &row["content"];
        if is_set(row, "single_word") {
            return Some(format!("the added token {content} must stand alone (single_word)"));
        }
        if metaspace && is_set(row, "normalized") {
            return Some(format!("the added token {content} is looked for after normalization"));
        }
    }
    None
}

/// The part of a file that it may encode otherwise.
pub(super) fn unproven(settings: &Value) -> Option<String> {
    let model = &settings["model"];
    if has_affixes(model) || type_of(model) == "Unigram" {
        return Some("the kind of its model".to_owned());
    }
    for part in normalizers(settings) {
        let proven = match type_of(part) {
            "NFC" | "Lowercase" | "Prepend" | "BertNormalizer" => true,
            "Replace" => part["pattern"]["String"].as_str() == Some(" "),
            _ => false,
        };
        if !proven {
            return Some(format!("the normalizer {}", type_of(part)));
        }
    }
    for part in pre_tokenizers(settings) {
        let proven = match type_of(part) {
            "ByteLevel" | "Metaspace" | "BertPreTokenizer" | "Digits" => true,
            "Split" => is_proven(part),
            _ => false,
        };
        if !proven {
            let pattern = part["pattern"]["Regex"].as_str().map(|text| format!(" {text:?}"));
            return Some(format!("the splitter {}{}", type_of(part), pattern.unwrap_or_default()));
        }
    }
    // Without a normalizer it is all one whether a token is looked for before or after.
    let flags: &[&str] = if normalizers(settings).is_empty() {
        &["lstrip", "rstrip"]
    } else {
        &["normalized", "lstrip", "rstrip"]
    };
    let odd = |row: &&Value| flags.iter().any(|flag| is_set(row, flag));
    sought(settings).find(odd).map(|row| format!("the flags of the added token {}", row["content"]))
}

fn is_proven(split: &Value) -> bool {
    let Some(pattern) = split["pattern"]["Regex"].as_str() else {
        return split["pattern"]["String"].as_str() == Some(" ");
    };
    let native = match recognize(pattern) {
        Some(Grammar::Cl100k { digit_cap }) => matches!(digit_cap, 1 | 3),
        found => found.is_some(),
    };
    native || pattern == QWEN35 || DEEPSEEK_PATTERNS.contains(&pattern)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_package_does_otherwise_or_may_do_is_named() {
        let token = |flag: &str| json!([{"id": 9, "content": "<x>", "special": false, flag: true}]);
        for (settings, differing, doubted) in [
            (json!({"model": {"type": "BPE"}}), "", ""),
            (json!({"model": {"end_of_word_suffix": "</w>"}}), "end_of_word_suffix", "model"),
            (json!({"model": {"continuing_subword_prefix": "##"}}), "", "model"),
            (json!({"added_tokens": token("single_word")}), "<x>", ""),
            (json!({"added_tokens": token("normalized")}), "", ""),
            (
                json!({"added_tokens": token("normalized"), "normalizer": {"type": "NFC"}}),
                "",
                "<x>",
            ),
            (
                json!({"added_tokens": token("normalized"), "pre_tokenizer": {"type": "Metaspace"}}),
                "<x>",
                "",
            ),
            (json!({"normalizer": {"type": "Nmt"}}), "", "Nmt"),
            (
                json!({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": r"\w+"}}}),
                "",
                r"\\w+",
            ),
            (json!({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": QWEN35}}}), "", ""),
        ] {
            for (found, expected) in
                [(differs(&settings), differing), (unproven(&settings), doubted)]
            {
                assert_eq!(found.is_none(), expected.is_empty(), "{settings}");
                assert!(found.is_none_or(|found| found.contains(expected)), "{settings}");
            }
        }
    }
}
