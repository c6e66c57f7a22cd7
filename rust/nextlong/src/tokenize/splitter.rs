//! Splits a text by the regular expressions that the encoder's own splitter does not know.
//!
//! In: the pre-tokenizer that the crate read from the file. Out: the spans of a text that the model
//! encodes one by one. The crate splits by the patterns it knows, without a regular expression, and
//! leaves all others out: these are compiled here, in the dialect of the `tokenizers` package
//! (Oniguruma). A search that takes too long is an error.

use fancy_regex::{Regex, RegexBuilder};
use tokenizers::SplitDelimiterBehavior;
use tokenizers::pipeline::{
    PipelinePreTokenizer, PreTokenizer, PreTokenizerScratch, Span, split_matches,
};
use tokenizers::pre_tokenizers::split::{Search, Split, SplitPattern};
use tokenizers::utils::Grammar;

/// Steps back in one search before it is given up.
const BACKTRACK_LIMIT: usize = 1_000_000;

/// One pre-tokenizer of a sequence.
#[derive(Debug)]
enum Step {
    Native(PipelinePreTokenizer),
    Regex { regex: Box<Regex>, behavior: SplitDelimiterBehavior, invert: bool },
}

/// The pre-tokenizers of a file, in order.
#[derive(Debug)]
pub(super) struct Splitter(Vec<Step>);

/// Buffers of [`Splitter::split`].
#[derive(Default)]
pub(super) struct SplitBuffers {
    scratch: PreTokenizerScratch,
    next: Vec<Span>,
}

impl SplitBuffers {
    /// As [`Splitter::split`], by the crate alone.
    pub(super) fn native(
        &mut self,
        part: &PipelinePreTokenizer,
        text: &str,
        spans: &mut Vec<Span>,
    ) -> Result<(), String> {
        part.pre_tokenize(text, &mut self.scratch, spans).map_err(|error| error.to_string())
    }
}

impl Splitter {
    /// The splitter of a file; None if the crate needs no help with it.
    ///
    /// # Errors
    ///
    /// The reason if a pattern cannot be compiled.
    pub(super) fn new(read: &PipelinePreTokenizer) -> Result<Option<Self>, String> {
        let parts = match read {
            PipelinePreTokenizer::Sequence(sequence) if sequence.is_deepseek() => return Ok(None),
            PipelinePreTokenizer::Sequence(sequence) => sequence.pre_tokenizers(),
            one => std::slice::from_ref(one),
        };
        if !parts.iter().any(needs_an_engine) {
            return Ok(None);
        }
        parts.iter().map(Step::new).collect::<Result<_, _>>().map(|steps| Some(Self(steps)))
    }

    /// Appends the spans of `text` to `spans`, which is empty.
    ///
    /// # Errors
    ///
    /// The reason if a search was given up.
    pub(super) fn split(
        &self,
        text: &str,
        buffers: &mut SplitBuffers,
        spans: &mut Vec<Span>,
    ) -> Result<(), String> {
        spans.push(Span { start: 0, end: text.len() as u32 });
        for step in &self.0 {
            buffers.next.clear();
            for span in spans.iter() {
                let first = buffers.next.len();
                step.split(&text[span.range()], &mut buffers.scratch, &mut buffers.next)?;
                for piece in &mut buffers.next[first..] {
                    piece.start += span.start;
                    piece.end += span.start;
                }
            }
            std::mem::swap(spans, &mut buffers.next);
        }
        Ok(())
    }
}

impl Step {
    fn new(part: &PipelinePreTokenizer) -> Result<Self, String> {
        match part {
            PipelinePreTokenizer::Split(split) if needs_an_engine(part) => {
                let SplitPattern::Regex(pattern) = &split.pattern else {
                    return Ok(Self::Native(part.clone()));
                };
                Ok(Self::Regex {
                    regex: Box::new(compile(pattern)?),
                    behavior: split.behavior,
                    invert: split.invert,
                })
            }
            native => Ok(Self::Native(native.clone())),
        }
    }

    fn split(
        &self,
        text: &str,
        scratch: &mut PreTokenizerScratch,
        out: &mut Vec<Span>,
    ) -> Result<(), String> {
        match self {
            Self::Native(part) => {
                part.pre_tokenize(text, scratch, out).map_err(|error| error.to_string())
            }
            Self::Regex { regex, behavior, invert } => {
                split_matches(out, matches(regex, text, *invert)?, *behavior);
                Ok(())
            }
        }
    }
}

/// Compiles a pattern in the dialect of Oniguruma.
fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .oniguruma_mode(true)
        .multi_line(true)
        .disallow_empty_match_at_eof_after_newline(true)
        .backtrack_limit(BACKTRACK_LIMIT)
        .build()
        .map_err(|error| format!("the pattern {pattern:?} cannot be compiled: {error}"))
}

/// Bytes from and to, and whether the pattern matches there.
type Piece = ((usize, usize), bool);

/// The matches in a text and what lies between them, true for what is looked for.
fn matches(regex: &Regex, text: &str, invert: bool) -> Result<Vec<Piece>, String> {
    let mut found = Vec::with_capacity(text.len() / 4);
    let mut end = 0;
    for place in regex.find_iter(text) {
        let place = place.map_err(|error| error.to_string())?;
        if place.start() != end {
            found.push(((end, place.start()), invert));
        }
        found.push(((place.start(), place.end()), !invert));
        end = place.end();
    }
    if end != text.len() {
        found.push(((end, text.len()), invert));
    }
    Ok(found)
}

/// True if the crate has no way of its own, or a wrong one, to split by this part.
fn needs_an_engine(part: &PipelinePreTokenizer) -> bool {
    let PipelinePreTokenizer::Split(split) = part else { return false };
    !matches!(split.search, Search::Literal(_)) && !is_native(split)
}

/// True if the crate splits by this pattern without a regular expression, as the pattern says.
fn is_native(split: &Split) -> bool {
    let plain = split.behavior == SplitDelimiterBehavior::Isolated && !split.invert;
    // Of the patterns that differ in the digits of a number, the crate knows two.
    let known = match split.grammar() {
        Some(Grammar::Cl100k { digit_cap }) => matches!(digit_cap, 1 | 3),
        Some(_) => true,
        None => false,
    };
    plain && known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces<'a>(parts: &[(&str, SplitDelimiterBehavior)], text: &'a str) -> Vec<&'a str> {
        let parts = parts.iter().map(|(pattern, behavior)| {
            let pattern = SplitPattern::Regex((*pattern).to_owned());
            PipelinePreTokenizer::Split(
                Split::native(pattern, *behavior, false).expect("a splitter"),
            )
        });
        let sequence = tokenizers::pre_tokenizers::sequence::PipelineSequence::new(parts.collect());
        let splitter = Splitter::new(&PipelinePreTokenizer::Sequence(sequence));
        let splitter = splitter.expect("compiled").expect("needed");
        let mut spans = Vec::new();
        splitter.split(text, &mut SplitBuffers::default(), &mut spans).expect("split");
        spans.iter().map(|span| &text[span.range()]).collect()
    }

    #[test]
    fn texts_are_split_by_patterns_that_the_crate_does_not_know() {
        use SplitDelimiterBehavior::{Isolated, MergedWithNext, Removed};
        let digits = [(r"\p{N}+", Isolated), (r"(?=(\d{3})+(?!\d))", Isolated)];
        assert_eq!(pieces(&digits, "in 1234567é"), ["in ", "1", "234", "567", "é"]);
        assert_eq!(pieces(&[(r"\s", MergedWithNext)], "a b\n"), ["a", " b", "\n"]);
        assert_eq!(pieces(&[(r"\s+", Removed)], " a  b"), ["a", "b"]);
        assert_eq!(pieces(&[("^b", Isolated)], "a\nb"), ["a\n", "b"]);
    }

    #[test]
    fn known_patterns_need_no_engine_unless_the_crate_has_them_wrong() {
        let qwen = |digits: &str| {
            format!(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            )
        };
        for (digits, needed) in
            [(r"\p{N}", false), (r"\p{N}{1,3}", false), (r"\p{N}{1,2}", true), (r"\p{N}+", true)]
        {
            let pattern = SplitPattern::Regex(qwen(digits));
            let split = Split::native(pattern, SplitDelimiterBehavior::Isolated, false);
            let part = PipelinePreTokenizer::Split(split.expect("a splitter"));
            assert_eq!(Splitter::new(&part).expect("compiled").is_some(), needed, "{digits}");
        }
    }

    #[test]
    fn a_pattern_that_is_wrong_or_takes_too_long_is_an_error() {
        assert!(compile("(a").expect_err("not closed").contains("\"(a\""));
        let slow = compile(r"(?:a|a)*(?!a)b(?=c)").expect("compiled");
        assert!(matches(&slow, &"a".repeat(100), false).is_err());
    }
}
