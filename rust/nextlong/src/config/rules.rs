//! The rules about single values: which settings there are, what each of them takes, and the message
//! for a value that it does not take.
//!
//! `Settings`, chunking, the embedder and the searches all ask these rules, so that one setting has one
//! bound and one message wherever it is given.

use crate::error::{Error, Result};

/// A value that a caller gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Given<'a> {
    /// No value.
    Nothing,
    /// A boolean.
    Flag(bool),
    /// A whole number.
    Count(i128),
    /// Another number.
    Number(f64),
    /// A text.
    Text(&'a str),
    /// A value of a kind that no setting takes.
    Other,
}

/// What a setting takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Takes {
    /// Whole numbers from the first to the second.
    Count(u64, u64),
    /// Numbers from the first to the second.
    Share(f64, f64),
    /// Finite numbers above 0.
    AboveZero,
    /// One of these names.
    Choice(&'static [&'static str]),
    /// Any text.
    Text,
    /// A text that is not empty: what it is.
    Name(&'static str),
    /// A boolean.
    Flag,
    /// A token by its text or its id.
    Token,
}

/// A setting and what it takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// The values.
    pub takes: Takes,
    /// Whether it takes `None`, too.
    pub optional: bool,
}

/// The most values that a vector may have.
pub const MAX_DIM: usize = 4096;

const U32: u64 = u32::MAX as u64;
const COLUMN: Takes = Takes::Name("the name of a column");
const COSINE: Takes = Takes::Share(-1.0, 1.0);
const SHARE: Takes = Takes::Share(0.0, 1.0);
const ENGINES: Takes = Takes::Choice(&["auto", "exhaustive", "exact", "clustered", "hnsw"]);

/// The settings of a run, in the order of its stages, and the arguments that only single calls have.
pub const RULES: &[Rule] = &[
    rule("seq_len", Takes::Count(16, 1 << 28)),
    optional("num_sequences", Takes::Count(1, u64::MAX)),
    rule("seed", Takes::Count(0, u64::MAX)),
    // Corpus.
    rule("text_column", COLUMN),
    optional("id_column", COLUMN),
    optional("score_column", COLUMN),
    optional("source_column", COLUMN),
    rule("max_document_bytes", Takes::Count(1, (1 << 48) - 1)),
    rule("max_error_rate", SHARE),
    // Chunks.
    rule("chunk_size", Takes::Count(1, U32)),
    rule("chunk_unit", Takes::Choice(&["chars", "tokens"])),
    rule("chunk_mode", Takes::Choice(&["lossless", "paper"])),
    rule("overlap", Takes::Count(0, U32)),
    // Embeddings.
    rule("embedder", Takes::Name("'lsa', or the path of a model")),
    rule("dim", Takes::Count(1, MAX_DIM as u64)),
    rule("idf_power", Takes::Share(0.0, 8.0)),
    rule("fit_chunks", Takes::Count(1, U32)),
    rule("boilerplate_share", SHARE),
    rule("batch_texts", Takes::Count(1, U32)),
    optional("max_tokens", Takes::Count(1, U32)),
    // Retrieval.
    rule("index", ENGINES),
    rule("k", Takes::Count(1, 1 << 20)),
    rule("min_recall", SHARE),
    rule("range_min", Takes::Count(0, U32)),
    optional("range_max", Takes::Count(1, U32)),
    // Negatives.
    optional("min_score", COSINE),
    optional("max_score", COSINE),
    optional("absolute_margin", SHARE),
    optional("relative_margin", SHARE),
    rule("exclude_same_doc", Takes::Flag),
    optional("max_containment", SHARE),
    rule("containment_words", Takes::Count(1, U32)),
    optional("num_negatives", Takes::Count(1, U32)),
    optional("max_reuse", Takes::Count(1, U32)),
    optional("max_per_doc", Takes::Count(1, U32)),
    rule("sampling_strategy", Takes::Choice(&["top", "random"])),
    rule("collisions", Takes::Choice(&["round-robin", "first-come"])),
    // Sequences.
    rule("min_meta_chunks", Takes::Count(1, U32)),
    rule("long_documents", Takes::Choice(&["skip", "pass"])),
    rule("length", Takes::Choice(&["exact", "paper"])),
    rule("chars_per_token", Takes::AboveZero),
    rule("length_factor", Takes::AboveZero),
    rule("on_short", Takes::Choice(&["drop", "shorten"])),
    rule("placement", Takes::Choice(&["head", "tail", "random"])),
    rule("chunk_separator", Takes::Text),
    optional("bos", Takes::Token),
    optional("eos", Takes::Token),
];

const fn rule(name: &'static str, takes: Takes) -> Rule {
    Rule { name, takes, optional: false }
}

const fn optional(name: &'static str, takes: Takes) -> Rule {
    Rule { name, takes, optional: true }
}

/// Checks a value against the rule of a setting; the message calls the setting `name` and the value
/// `shown`.
///
/// # Errors
///
/// [`Error::Config`] that names the setting, the value and what was expected.
pub fn check(setting: &str, name: &str, value: Given<'_>, shown: &str) -> Result<()> {
    let Some(rule) = RULES.iter().find(|rule| rule.name == setting) else {
        return Err(Error::Config(format!("unknown setting `{setting}`")));
    };
    if rule.accepts(value) { Ok(()) } else { Err(invalid(name, shown, &rule.expected())) }
}

/// The error of a value that its setting does not take.
#[must_use]
pub fn invalid(name: &str, shown: &str, expected: &str) -> Error {
    Error::Config(format!("invalid `{name}`: {shown}, expected {expected}"))
}

impl Rule {
    fn accepts(&self, value: Given<'_>) -> bool {
        match (self.takes, value) {
            (_, Given::Nothing) => self.optional,
            (Takes::Count(least, most), Given::Count(value)) => {
                (i128::from(least)..=i128::from(most)).contains(&value)
            }
            (Takes::Share(..) | Takes::AboveZero, Given::Count(value)) => {
                self.accepts(Given::Number(value as f64))
            }
            (Takes::Share(least, most), Given::Number(value)) => (least..=most).contains(&value),
            (Takes::AboveZero, Given::Number(value)) => value > 0.0 && value.is_finite(),
            (Takes::Choice(names), Given::Text(value)) => names.contains(&value),
            (Takes::Text | Takes::Token, Given::Text(_)) | (Takes::Flag, Given::Flag(_)) => true,
            (Takes::Name(_), Given::Text(value)) => !value.is_empty(),
            (Takes::Token, Given::Count(value)) => u32::try_from(value).is_ok(),
            _ => false,
        }
    }

    /// What the setting takes, in words.
    #[must_use]
    pub fn expected(&self) -> String {
        let values = match self.takes {
            Takes::Count(least, u64::MAX) => format!("a whole number from {least} to 2**64 - 1"),
            Takes::Count(least, most) => format!("a whole number from {least} to {most}"),
            Takes::Share(least, most) => format!("a number from {least} to {most}"),
            Takes::AboveZero => "a number above 0".into(),
            Takes::Choice(names) => {
                let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
                quoted.join(" or ")
            }
            Takes::Text => "a text".into(),
            Takes::Name(what) => what.into(),
            Takes::Flag => "True or False".into(),
            Takes::Token => format!("a token, its id from 0 to {U32}"),
        };
        if self.optional { values + ", or None" } else { values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(setting: &str, value: Given<'_>, shown: &str) -> String {
        match check(setting, setting, value, shown) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_message_names_the_setting_the_value_and_what_was_expected() {
        assert_eq!(
            message("seq_len", Given::Count(3), "3"),
            "invalid `seq_len`: 3, expected a whole number from 16 to 268435456"
        );
        assert_eq!(
            message("max_containment", Given::Number(f64::NAN), "nan"),
            "invalid `max_containment`: nan, expected a number from 0 to 1, or None"
        );
        assert_eq!(
            message("placement", Given::Text("middle"), "'middle'"),
            "invalid `placement`: 'middle', expected 'head' or 'tail' or 'random'"
        );
        assert_eq!(message("nothing", Given::Nothing, "None"), "unknown setting `nothing`");
    }

    #[test]
    fn every_bound_is_where_it_is_said_to_be() {
        for rule in RULES {
            let accepts = |value| message(rule.name, value, "").is_empty();
            assert_eq!(accepts(Given::Nothing), rule.optional, "{}", rule.name);
            assert!(!accepts(Given::Other));
            match rule.takes {
                Takes::Count(least, most) => {
                    let (least, most) = (i128::from(least), i128::from(most));
                    assert!(accepts(Given::Count(least)) && accepts(Given::Count(most)));
                    assert!(!accepts(Given::Count(least - 1)) && !accepts(Given::Count(most + 1)));
                    assert!(!accepts(Given::Number(least as f64)) && !accepts(Given::Flag(true)));
                }
                Takes::Share(least, most) => {
                    assert!(accepts(Given::Number(least)) && accepts(Given::Number(most)));
                    assert!(!accepts(Given::Number(least - 1e-9)));
                    assert!(!accepts(Given::Number(most + 1e-9)));
                    assert!(!accepts(Given::Number(f64::NAN)));
                }
                Takes::AboveZero => {
                    assert!(accepts(Given::Number(1e-300)) && accepts(Given::Count(1)));
                    assert!(!accepts(Given::Number(0.0)) && !accepts(Given::Number(f64::INFINITY)));
                }
                Takes::Choice(names) => {
                    assert!(names.iter().all(|name| accepts(Given::Text(name))));
                    assert!(!accepts(Given::Text("")));
                }
                Takes::Text => assert!(accepts(Given::Text(""))),
                Takes::Name(_) => assert!(accepts(Given::Text("a")) && !accepts(Given::Text(""))),
                Takes::Flag => assert!(accepts(Given::Flag(false)) && !accepts(Given::Count(0))),
                Takes::Token => assert!(accepts(Given::Count(0)) && !accepts(Given::Count(-1))),
            }
        }
    }
}
