//! The documents of one block, and its rows that cannot be used.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde_json::json;

use super::buffer_pool::Recycled;
use crate::store::Origin;

/// The characters of a bad row that its quarantine entry shows.
const SHOWN_CHARACTERS: usize = 200;

/// The bad rows that are listed; more are only counted.
///
/// A run lists no more than that either, so the list does not depend on the size of the blocks.
pub const MOST_LISTED: usize = 100_000;

/// Why a row cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The line is no JSON.
    BrokenJson,
    /// The JSON nests deeper than any record does.
    TooDeep,
    /// The line is JSON, but no object; the item is no string and no mapping.
    NotAnObject,
    /// The bytes are no UTF-8.
    InvalidUtf8,
    /// A string holds half of a surrogate pair, which no UTF-8 can.
    LoneSurrogate,
    /// The column of texts is missing or null.
    TextMissing,
    /// The text is no string.
    TextNotAString,
    /// The text is empty or white space.
    TextEmpty,
    /// The text has more bytes than a document may.
    TextTooLong,
    /// The line has more bytes than the longest text could take.
    LineTooLong,
    /// The column of ids, asked for by name, is missing or null.
    IdMissing,
    /// The id is neither a string nor a number.
    IdWrongType,
    /// The id has more bytes than an id may.
    IdTooLong,
    /// The score is no finite number.
    ScoreNotANumber,
    /// The score is negative.
    ScoreBelowZero,
    /// The source is neither a string, a number nor a boolean.
    SourceWrongType,
    /// The source has more bytes than a source may.
    SourceTooLong,
}

impl Reason {
    /// The words of the quarantine file and the counts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BrokenJson => "broken JSON",
            Self::TooDeep => "JSON nested too deeply",
            Self::NotAnObject => "not an object",
            Self::InvalidUtf8 => "invalid UTF-8",
            Self::LoneSurrogate => "lone surrogate",
            Self::TextMissing => "text is missing",
            Self::TextNotAString => "text is not a string",
            Self::TextEmpty => "text is empty",
            Self::TextTooLong => "text is over the limit",
            Self::LineTooLong => "line is over the limit",
            Self::IdMissing => "id is missing",
            Self::IdWrongType => "id is neither a string nor a number",
            Self::IdTooLong => "id is over the limit",
            Self::ScoreNotANumber => "score is not a number",
            Self::ScoreBelowZero => "score is below 0",
            Self::SourceWrongType => "source is neither a string, a number nor a boolean",
            Self::SourceTooLong => "source is over the limit",
        }
    }
}

/// A row that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The input, as listed.
    pub file: Arc<str>,
    /// The line or row in it, from 0.
    pub row: i64,
    /// The byte of the (decompressed) input at which the row starts, where rows have one.
    pub offset: Option<u64>,
    /// Why.
    pub reason: Reason,
    /// The first characters of the row.
    pub text: String,
}

impl BadRow {
    /// A bad row that shows the beginning of `bytes`.
    #[must_use]
    pub fn new(
        file: &Arc<str>,
        row: i64,
        offset: Option<u64>,
        reason: Reason,
        bytes: &[u8],
    ) -> Self {
        let head = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN_CHARACTERS)]);
        let text = head.chars().take(SHOWN_CHARACTERS).collect();
        Self { file: Arc::clone(file), row, offset, reason, text }
    }
}

/// The good rows of a block, in order, and its bad ones.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Documents {
    /// The texts, each UTF-8, up to `filled`; after it the bytes that a parser has not read yet.
    text: Recycled,
    filled: usize,
    text_ends: Vec<usize>,
    doc_id: String,
    doc_id_ends: Vec<usize>,
    input: Vec<i32>,
    row: Vec<i64>,
    score: Vec<Option<f64>>,
    /// The sources of all documents, empty where a document has none.
    source: String,
    source_ends: Vec<usize>,
    bad: Vec<BadRow>,
    /// Bad rows, listed or not, by reason.
    bad_counts: BTreeMap<Reason, u64>,
}

impl Documents {
    /// No documents yet, and room for `text_bytes` bytes of text.
    #[must_use]
    pub fn with_capacity(text_bytes: usize) -> Self {
        Self { text: Recycled(Vec::with_capacity(text_bytes)), ..Self::default() }
    }

    /// Adds a document whose text is `text`.
    pub fn push(&mut self, text: &str, origin: Origin<'_>) {
        self.pending(text);
        self.close(origin);
    }

    /// Adds a bad row.
    pub fn push_bad(&mut self, bad: BadRow) {
        *self.bad_counts.entry(bad.reason).or_insert(0) += 1;
        if self.bad.len() < MOST_LISTED {
            self.bad.push(bad);
        }
    }

    /// The number of documents.
    #[must_use]
    pub fn len(&self) -> usize {
        self.text_ends.len()
    }

    /// True if there is no document.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text_ends.is_empty()
    }

    /// The text of document `document` of the block.
    #[must_use]
    pub fn text(&self, document: usize) -> &str {
        let text = &self.text[range(&self.text_ends, document)];
        // Checked when it was read; to look again costs less than to have copied it.
        simdutf8::basic::from_utf8(text).unwrap_or_default()
    }

    /// Where document `document` of the block came from.
    #[must_use]
    pub fn origin(&self, document: usize) -> Origin<'_> {
        Origin {
            doc_id: &self.doc_id[range(&self.doc_id_ends, document)],
            input: self.input[document],
            row: self.row[document],
            score: self.score[document],
            source: Some(&self.source[range(&self.source_ends, document)])
                .filter(|source| !source.is_empty()),
        }
    }

    /// The texts and origins, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Origin<'_>)> {
        (0..self.len()).map(|document| (self.text(document), self.origin(document)))
    }

    /// The bytes of all texts.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.text_ends.last().copied().unwrap_or(0)
    }

    /// The first [`MOST_LISTED`] rows that cannot be used, in order.
    #[must_use]
    pub fn bad(&self) -> &[BadRow] {
        &self.bad
    }

    /// How many rows cannot be used, by reason.
    #[must_use]
    pub fn bad_counts(&self) -> BTreeMap<&'static str, u64> {
        self.bad_counts.iter().map(|(reason, &count)| (reason.as_str(), count)).collect()
    }

    /// How many rows cannot be used.
    #[must_use]
    pub fn bad_count(&self) -> u64 {
        self.bad_counts.values().sum()
    }

    /// The first `most` bad rows as JSON lines: file, row (from 1), offset, reason, text.
    #[must_use]
    pub fn quarantine(&self, most: usize) -> String {
        let mut lines = String::new();
        for bad in self.bad.iter().take(most) {
            let line = json!({
                "file": &*bad.file,
                "row": bad.row + 1,
                "offset": bad.offset,
                "reason": bad.reason.as_str(),
                "text": bad.text,
            });
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
        lines
    }

    /// No documents yet; their texts are to be found in `data` and moved to its beginning.
    pub(super) fn among(data: Vec<u8>) -> Self {
        Self { text: Recycled(data), ..Self::default() }
    }

    /// What documents are found among, and the end of the text that is being built.
    pub(super) fn found(&mut self) -> (&mut [u8], &mut usize) {
        (&mut self.text, &mut self.filled)
    }

    /// Drops what no document was found in.
    pub(super) fn finish(&mut self) {
        let most = self.text.len();
        self.text.truncate(self.filled);
        if self.filled < most / 2 {
            self.text.shrink_to_fit();
        }
    }

    /// Appends to the text after the last document; [`Self::close`] makes it one.
    pub(super) fn pending(&mut self, text: &str) {
        self.text.truncate(self.filled);
        self.text.extend_from_slice(text.as_bytes());
        self.filled = self.text.len();
    }

    /// The text that is pending, UTF-8.
    pub(super) fn pending_text(&self) -> &[u8] {
        &self.text[self.text_bytes()..self.filled]
    }

    /// Drops the text that is pending.
    pub(super) fn drop_pending(&mut self) {
        self.filled = self.text_bytes();
    }

    /// The first row, good or bad.
    pub(super) fn first_row(&self) -> i64 {
        let bad = self.bad.first().map(|bad| bad.row);
        self.row.first().copied().into_iter().chain(bad).min().unwrap_or(0)
    }

    /// Ends the document whose text was written after the last.
    pub(super) fn close(&mut self, origin: Origin<'_>) {
        self.text_ends.push(self.filled);
        self.doc_id.push_str(origin.doc_id);
        self.doc_id_ends.push(self.doc_id.len());
        self.input.push(origin.input);
        self.row.push(origin.row);
        self.score.push(origin.score);
        self.source.push_str(origin.source.unwrap_or_default());
        self.source_ends.push(self.source.len());
    }
}

fn range(ends: &[usize], number: usize) -> Range<usize> {
    let start = if number == 0 { 0 } else { ends[number - 1] };
    start..ends[number]
}
