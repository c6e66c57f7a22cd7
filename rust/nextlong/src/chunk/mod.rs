//! Cuts a document into chunks along its lines.
//!
//! In: the text of one document. Out: spans of it, in bytes and in characters (Unicode code
//! points). In the lossless mode the spans cover the text without a gap; the paper's mode is the
//! authors' rule to the letter.

mod characters;
mod cuts;
mod lossless;
mod packer;
mod paper;
mod sentences;

use std::ops::Range;
use std::path::Path;

use crate::store::{Origin, PartWriter};
use crate::{Error, Progress, Result};

/// Which rule cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Whole lines; the chunks joined give the document; none is longer than the size.
    Lossless,
    /// The authors' rule: whole lines, joined without their last newline.
    Paper,
}

/// Counts the tokens of a text; any function `&str -> usize` does.
pub trait Counter {
    /// The number of tokens of `text`.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being counted: the text is not cut then.
    fn count(&self, text: &str) -> Result<usize>;

    /// True if the tokens of `left` and of `right` are certainly as many as those of both together.
    fn adds_up(&self, _left: &str, _right: &str) -> bool {
        false
    }
}

impl<F: Fn(&str) -> usize> Counter for F {
    fn count(&self, text: &str) -> Result<usize> {
        Ok(self(text))
    }
}

/// What the size of a chunk is counted in.
#[derive(Clone, Copy)]
pub enum Unit<'a> {
    /// Unicode code points.
    Characters,
    /// Tokens, as this counter counts them.
    Tokens(&'a dyn Counter),
}

/// How documents are cut.
#[derive(Clone, Copy)]
pub struct Rule<'a> {
    /// Which rule cuts.
    pub mode: Mode,
    /// The most units a chunk holds.
    pub size: usize,
    /// The most units that a chunk shares with the chunk before it: it begins with the last lines of
    /// that one, or, where a line is longer, with its last sentences, words or clusters.
    pub overlap: usize,
    /// What sizes are counted in.
    pub unit: Unit<'a>,
}

/// Takes a chunk: its span in bytes and, where the rule counted them, its characters.
type Emit<'a> = dyn FnMut(Range<usize>, Option<usize>) + 'a;

impl Rule<'_> {
    /// True if the rule can be followed.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a size of 0, an overlap that is not less than the size, and for tokens
    /// or an overlap in the paper's mode.
    pub fn check(&self) -> Result<()> {
        if self.size == 0 {
            return Err(Error::Config("the chunk size (0) must be at least 1".into()));
        }
        if self.mode == Mode::Paper && matches!(self.unit, Unit::Tokens(_)) {
            return Err(Error::Config(
                "mode=\"paper\" counts characters: use unit=\"chars\", or mode=\"lossless\" for \
                 unit=\"tokens\""
                    .into(),
            ));
        }
        if self.overlap >= self.size {
            return Err(Error::Config(format!(
                "invalid `overlap`: {}, expected less than `size` ({})",
                self.overlap, self.size
            )));
        }
        if self.mode == Mode::Paper && self.overlap > 0 {
            return Err(Error::Config(format!(
                "invalid `overlap`: {}, expected 0 with mode=\"paper\", whose chunks share no text; \
                 hint: use mode=\"lossless\"",
                self.overlap
            )));
        }
        Ok(())
    }

    fn cut(&self, text: &str, progress: &Progress, emit: &mut Emit<'_>) -> Result<()> {
        let Self { mode, size, overlap, unit } = *self;
        match (mode, unit, overlap) {
            (Mode::Paper, ..) => paper::cut(text, size, progress, emit),
            (Mode::Lossless, Unit::Characters, 0) => {
                lossless::by_characters(text, size, progress, emit)
            }
            (Mode::Lossless, Unit::Characters, _) => {
                lossless::by_characters_overlapping(text, size, overlap, progress, emit)
            }
            (Mode::Lossless, Unit::Tokens(counter), _) => {
                lossless::by_count(text, size, overlap, counter, progress, emit)
            }
        }
    }
}

/// Appends the byte spans of the chunks of `text` to `spans`.
///
/// # Errors
///
/// [`Error::Config`] for a rule that cannot be followed, [`Error::Cancelled`] when `progress` says so.
///
/// # Examples
///
/// ```
/// use nextlong::{Progress, chunk};
///
/// let rule =
///     chunk::Rule { mode: chunk::Mode::Lossless, size: 8, overlap: 0, unit: chunk::Unit::Characters };
/// let mut spans = Vec::new();
/// chunk::spans("one\ntwo\nthree\n", &rule, &Progress::default(), &mut spans)?;
/// assert_eq!(spans, [0..8, 8..14]);
/// # Ok::<(), nextlong::Error>(())
/// ```
pub fn spans(
    text: &str,
    rule: &Rule<'_>,
    progress: &Progress,
    spans: &mut Vec<Range<usize>>,
) -> Result<()> {
    rule.check()?;
    rule.cut(text, progress, &mut |span, _| spans.push(span))
}

/// Appends the spans of the chunks of `text` to `spans`: (bytes, characters).
///
/// # Errors
///
/// As [`spans`].
pub fn with_characters(
    text: &str,
    rule: &Rule<'_>,
    progress: &Progress,
    spans: &mut Vec<(Range<usize>, Range<u64>)>,
) -> Result<()> {
    rule.check()?;
    let bytes = text.as_bytes();
    let (mut last, mut passed) = (0..0, 0..0);
    // What the rule did not count is counted when it is cut, while its bytes are still at hand.
    rule.cut(text, progress, &mut |span, counted| {
        // A chunk begins after the start of the one before it, and maybe before its end.
        let (at, before) =
            if span.start < last.end { (last.start, passed.start) } else { (last.end, passed.end) };
        let start = before + characters::count(&bytes[at..span.start]) as u64;
        let counted = counted.unwrap_or_else(|| characters::count(&bytes[span.clone()]));
        passed = start..start + counted as u64;
        last = span.clone();
        spans.push((span, passed.clone()));
    })
}

/// What went into a part of the chunk store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Documents read, those without a chunk among them.
    pub documents: u64,
    /// Chunks written.
    pub chunks: u64,
    /// UTF-8 bytes of the documents.
    pub bytes: u64,
}

/// Chunks documents of about `text_bytes` in all into one part of the chunk store at `path`, whole
/// or not at all.
///
/// # Errors
///
/// As [`spans`], and what the file system reports.
pub fn part<'a>(
    documents: impl IntoIterator<Item = (Origin<'a>, &'a str)>,
    text_bytes: usize,
    rule: &Rule<'_>,
    path: &Path,
    progress: &Progress,
) -> Result<Counts> {
    let mut writer = PartWriter::with_capacity(text_bytes);
    let mut counts = Counts::default();
    let mut spans = Vec::new();
    for (origin, text) in documents {
        spans.clear();
        with_characters(text, rule, progress, &mut spans)?;
        writer.document(origin, spans.drain(..).map(|(bytes, range)| (&text[bytes], range)))?;
        counts.bytes += text.len() as u64;
        progress.check()?;
    }
    (counts.documents, counts.chunks) = writer.write(path)?;
    Ok(counts)
}

#[cfg(test)]
mod tests;
