//! How the ids around a cut behave, derived from the settings of a file.
//!
//! In: the file, read. Out: its [`Kind`]; `Unknown` wherever a part is not known to leave cuts alone.

use serde_json::Value;
use tokenizers::utils::{DEEPSEEK_PATTERNS, Grammar, recognize};

use super::boundaries::Kind;
use super::file::{normalizers, pre_tokenizers, type_of};
use super::json::Json;
use super::names::Names;

/// Patterns that only cut more: none of their matches holds white space.
const NO_SPACES: [&str; 6] = [
    r"\p{N}{1,3}",
    r"\p{N}",
    r"\p{N}+",
    "[0-9][0-9][0-9]",
    DEEPSEEK_PATTERNS[0],
    DEEPSEEK_PATTERNS[1],
];
/// The pattern of Qwen 3.5: that of the GPT-4 family with marks among the letters.
pub(super) const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The kind of a file's borders.
pub(super) fn border_kind(file: &Json<'_>, marks_the_start: bool, names: &Names) -> Kind {
    let json = &file.settings;
    let splitters: Vec<&str> = pre_tokenizers(json).into_iter().map(type_of).collect();
    if !added_tokens_keep_borders(json) {
        return Kind::Unknown;
    }
    if matches!(splitters.first(), Some(&("BertPreTokenizer" | "Whitespace" | "WhitespaceSplit"))) {
        return kind_of_words(json);
    }
    if splitters.contains(&"ByteLevel") {
        return kind_of_bytes(json);
    }
    kind_of_sentences(file, marks_the_start, names)
}

/// True if the added tokens that are looked for in chunks take nothing of the white space around
/// them, and hold no line break beside other characters.
fn added_tokens_keep_borders(json: &Value) -> bool {
    let rows = json["added_tokens"].as_array().map_or(&[][..], Vec::as_slice);
    rows.iter().filter(|row| row["special"].as_bool() != Some(true)).all(|row| {
        let content = row["content"].as_str().unwrap_or("\n ");
        let takes = ["lstrip", "rstrip"].iter().any(|flag| row[*flag].as_bool() == Some(true));
        !takes && (!content.contains(['\n', '\r']) || is_line_breaks(content))
    })
}

/// Tokenizers that throw white space away.
fn kind_of_words(json: &Value) -> Kind {
    let keep = normalizers(json).into_iter().map(type_of).all(|kind| {
        matches!(
            kind,
            "BertNormalizer" | "Lowercase" | "NFC" | "NFD" | "NFKC" | "NFKD" | "StripAccents"
        )
    });
    let cut = pre_tokenizers(json).into_iter().skip(1).all(|part| match type_of(part) {
        "Metaspace" => part["prepend_scheme"].as_str() != Some("first"),
        kind => matches!(kind, "BertPreTokenizer" | "Punctuation" | "Digits" | "ByteLevel"),
    });
    if keep && cut { Kind::Words } else { Kind::Unknown }
}

/// Byte-level tokenizers, which cut white space as their pattern says.
fn kind_of_bytes(json: &Value) -> Kind {
    let keep = normalizers(json)
        .into_iter()
        .map(type_of)
        .all(|kind| matches!(kind, "NFC" | "NFD" | "Lowercase"));
    let parts = pre_tokenizers(json);
    let last = parts.len() - 1;
    if !keep || type_of(parts[last]) != "ByteLevel" {
        return Kind::Unknown;
    }
    let mut kind = None;
    for (place, part) in parts.into_iter().enumerate() {
        let found = match type_of(part) {
            "Digits" | "Punctuation" => continue,
            "ByteLevel" if place == last => {
                // A space before every piece would stand before a chunk too.
                if place > 0 && part["add_prefix_space"].as_bool() == Some(true) {
                    return Kind::Unknown;
                }
                if !part["use_regex"].as_bool().unwrap_or(true) {
                    continue;
                }
                Kind::Gpt2
            }
            "Split" => match part["pattern"]["Regex"].as_str() {
                Some(pattern) if is_isolated(part) && NO_SPACES.contains(&pattern) => continue,
                Some(pattern) if covers(part) => kind_of_pattern(pattern),
                _ => Kind::Unknown,
            },
            _ => Kind::Unknown,
        };
        if found == Kind::Unknown || kind.is_some_and(|kind| kind != found) {
            return Kind::Unknown;
        }
        kind = Some(found);
    }
    kind.unwrap_or(Kind::Unknown)
}

fn is_isolated(part: &Value) -> bool {
    part["behavior"].as_str() == Some("Isolated") && part["invert"].as_bool() != Some(true)
}

/// True if the matches of a pattern are the pieces, as all of a text is matched by those we know.
fn covers(part: &Value) -> bool {
    let inverted =
        part["behavior"].as_str() == Some("Removed") && part["invert"].as_bool() == Some(true);
    is_isolated(part) || inverted
}

fn kind_of_pattern(pattern: &str) -> Kind {
    match recognize(pattern) {
        Some(Grammar::Gpt2) => Kind::Gpt2,
        Some(_) if pattern.contains(r"[\r\n/]") => Kind::LinesAndSlashes,
        Some(_) => Kind::Lines,
        None if pattern == DEEPSEEK_PATTERNS[2] || pattern == QWEN35 => Kind::Lines,
        None => Kind::Unknown,
    }
}

/// Tokenizers of characters in which a newline is a token that merges with nothing but newlines.
fn kind_of_sentences(file: &Json<'_>, marks_the_start: bool, names: &Names) -> Kind {
    let json = &file.settings;
    let model = &json["model"];
    let bpe = type_of(model) == "BPE" || file.has_merges();
    let newlines: Vec<&str> = names.tokens().filter(|token| token.contains('\n')).collect();
    let keeps_newlines = normalizers(json).iter().all(|part| {
        let replaced = part["pattern"]["String"].as_str().unwrap_or("\n");
        let content = part["content"].as_str().unwrap_or("\n");
        matches!(type_of(part), "Prepend")
            || (type_of(part) == "Replace" && !replaced.contains('\n') && !content.contains('\n'))
    });
    let splits = pre_tokenizers(json).iter().all(|part| match type_of(part) {
        "Metaspace" => true,
        "Split" => part["pattern"]["String"].as_str().is_some_and(|text| !text.contains('\n')),
        _ => false,
    });
    let known = names.id("\n").is_some()
        || (names.id("<0x0A>").is_some() && model["byte_fallback"].as_bool() == Some(true));
    if !bpe || !known || !keeps_newlines || !splits || has_affixes(model) {
        Kind::Unknown
    } else if newlines.iter().all(|token| *token == "\n") {
        Kind::Newline
    } else if !marks_the_start && newlines.iter().all(|token| is_line_breaks(token)) {
        // Runs of newlines are tokens (Gemma 3): a run stays together, nothing else joins it.
        Kind::Lines
    } else {
        Kind::Unknown
    }
}

/// True if characters are spelled by where they stand in a word.
pub(super) fn has_affixes(model: &Value) -> bool {
    ["continuing_subword_prefix", "end_of_word_suffix"]
        .iter()
        .any(|affix| !model[*affix].as_str().unwrap_or_default().is_empty())
}

fn is_line_breaks(token: &str) -> bool {
    token.chars().all(|character| character == '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"type":"Split","behavior":"Isolated","invert":false,"pattern":{"Regex":
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}}"#;
    const BYTES: &str = r#"{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}"#;
    const GPT2: &str = r#"{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}"#;
    const WORDS: &str = r#"{"type":"WhitespaceSplit"}"#;

    fn kind(normalizers: &str, splitters: &[&str], added: &str) -> Kind {
        let splitters = splitters.join(",");
        let text = format!(
            r#"{{"added_tokens":[{added}],
            "normalizer":{{"type":"Sequence","normalizers":[{normalizers}]}},
            "pre_tokenizer":{{"type":"Sequence","pretokenizers":[{splitters}]}},
            "model":{{"type":"BPE","vocab":{{"a":0,"\n":1}},"merges":[]}}}}"#
        );
        Kind::of_json(&text).expect("read")
    }

    #[test]
    fn a_kind_is_told_from_the_settings_and_unknown_when_in_doubt() {
        let nfc = r#"{"type":"NFC"}"#;
        let digits = r#"{"type":"Digits","individual_digits":true}"#;
        let first = r#"{"type":"Metaspace","replacement":"▁","prepend_scheme":"first"}"#;
        let space = r#"{"type":"ByteLevel","add_prefix_space":true,"use_regex":true}"#;
        for (normalizers, splitters, expected) in [
            ("", &[LINES, BYTES][..], Kind::Lines),
            (nfc, &[LINES, BYTES], Kind::Lines),
            (nfc, &[digits, GPT2], Kind::Gpt2),
            ("", &[WORDS, digits], Kind::Words),
            ("", &[], Kind::Newline),
            ("", &[first], Kind::Newline),
            (r#"{"type":"Nmt"}"#, &[GPT2], Kind::Unknown),
            (r#"{"type":"Strip"}"#, &[LINES, BYTES], Kind::Unknown),
            (r#"{"type":"NFKC"}"#, &[GPT2], Kind::Unknown),
            (r#"{"type":"Precompiled"}"#, &[WORDS], Kind::Unknown),
            ("", &[WORDS, first], Kind::Unknown),
            ("", &[LINES, GPT2], Kind::Unknown),
            ("", &[digits, space], Kind::Unknown),
            ("", &[space], Kind::Gpt2),
            ("", &[BYTES], Kind::Unknown),
            ("", &[GPT2, digits], Kind::Unknown),
            (r#"{"type":"Lowercase"}"#, &[], Kind::Unknown),
        ] {
            assert_eq!(kind(normalizers, splitters, ""), expected, "{normalizers} {splitters:?}");
        }
        for (flags, content, expected) in [
            (r#""special":true,"lstrip":true"#, "x", Kind::Lines),
            (r#""special":false,"lstrip":false"#, "\\n\\n", Kind::Lines),
            (r#""special":false,"lstrip":true"#, "x", Kind::Unknown),
            (r#""special":false,"rstrip":true"#, "x", Kind::Unknown),
            (r#""special":false"#, "\\n  ", Kind::Unknown),
        ] {
            let added = format!(r#"{{"id":2,"content":"{content}",{flags}}}"#);
            assert_eq!(kind("", &[LINES, BYTES], &added), expected, "{added}");
        }
    }
}
