//! The last check of a row of any input: it becomes a document or a bad row.

use std::fmt::Write;

use super::documents::{BadRow, Documents, Reason};
use super::{Input, Settings};
use crate::store::Origin;

/// The bytes that an id may have: every chunk of its document is stored with it.
const MOST_ID_BYTES: usize = 4096;

/// Maximum number of bytes of a source.
const MAX_SOURCE_BYTES: usize = 4096;

/// A value that a row should have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Field<T> {
    /// It is not there, or null.
    Missing,
    /// It is there and of the right type.
    Found(T),
    /// It is there and cannot be used.
    Bad(Reason),
}

impl<T> Field<T> {
    /// The same without the value.
    fn state(&self) -> Field<()> {
        match self {
            Self::Missing => Field::Missing,
            Self::Found(_) => Field::Found(()),
            Self::Bad(reason) => Field::Bad(*reason),
        }
    }
}

/// The id and the source of a row; empty if there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    pub id: &'a str,
    pub source: &'a str,
}

/// A row that was no line of JSON.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The text.
    pub text: Field<&'a str>,
    /// The id, as text.
    pub id: Field<&'a str>,
    /// The score.
    pub score: Field<f64>,
    /// The source, as text.
    pub source: Field<&'a str>,
}

/// The place of a row in its input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub input: &'a Input,
    /// From 0.
    pub row: i64,
    /// In bytes, where rows have one.
    pub offset: Option<u64>,
}

/// Which fields of a row are good; the text is what is pending in the documents.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Record {
    pub text: Field<()>,
    pub id: Field<()>,
    pub score: Field<f64>,
    pub source: Field<()>,
}

impl Record {
    /// No field is there.
    pub const MISSING: Self = Self {
        text: Field::Missing,
        id: Field::Missing,
        score: Field::Missing,
        source: Field::Missing,
    };
}

impl Documents {
    /// Adds an item of an iterable or a row of a table, to the documents or to the bad rows.
    pub fn add(&mut self, settings: &Settings, input: &Input, row: i64, item: Item<'_>) {
        let mut shown: &[u8] = b"";
        if let Field::Found(text) = item.text {
            shown = text.as_bytes();
            // A text over the limit is not copied.
            if text.len() as u64 <= settings.max_document_bytes {
                self.pending(text);
            } else {
                self.push_bad(BadRow::new(&input.name, row, None, Reason::TextTooLong, shown));
                return;
            }
        }
        let found = |field| if let Field::Found(text) = field { text } else { "" };
        let names = Names { id: found(item.id), source: found(item.source) };
        let record = Record {
            text: item.text.state(),
            id: item.id.state(),
            score: item.score,
            source: item.source.state(),
        };
        self.settle(settings, Place { input, row, offset: None }, Ok(record), names, shown);
    }

    /// Adds something that is no row at all.
    pub fn add_bad(&mut self, input: &Input, row: i64, reason: Reason, shown: &[u8]) {
        self.push_bad(BadRow::new(&input.name, row, None, reason, shown));
    }

    /// Makes what is pending a document, or drops it and notes why. `shown`: the row as it was.
    pub(super) fn settle(
        &mut self,
        settings: &Settings,
        place: Place<'_>,
        record: Result<Record, Reason>,
        names: Names<'_>,
        shown: &[u8],
    ) {
        match record.and_then(|record| self.judge(settings, record, names)) {
            Ok(record) => {
                let mut made = String::new();
                let doc_id = if record.id == Field::Missing {
                    let _ = write!(made, "{}:{}", place.input.label, place.row + 1);
                    &made
                } else {
                    names.id
                };
                let score = if let Field::Found(score) = record.score { Some(score) } else { None };
                let source = (record.source == Field::Found(()) && !names.source.is_empty())
                    .then_some(names.source);
                let (input, row) = (place.input.number, place.row);
                self.close(Origin { doc_id, input, row, score, source });
            }
            Err(reason) => {
                self.drop_pending();
                let Place { input, row, offset } = place;
                self.push_bad(BadRow::new(&input.name, row, offset, reason, shown));
            }
        }
    }

    fn judge(
        &self,
        settings: &Settings,
        record: Record,
        names: Names<'_>,
    ) -> Result<Record, Reason> {
        let text = self.pending_text();
        match record.text {
            Field::Missing => return Err(Reason::TextMissing),
            Field::Bad(reason) => return Err(reason),
            Field::Found(()) if text.len() as u64 > settings.max_document_bytes => {
                return Err(Reason::TextTooLong);
            }
            Field::Found(()) if is_blank(text) => return Err(Reason::TextEmpty),
            Field::Found(()) => {}
        }
        match record.id {
            Field::Missing if settings.id_column.is_some() => return Err(Reason::IdMissing),
            Field::Bad(reason) => return Err(reason),
            Field::Found(()) if names.id.len() > MOST_ID_BYTES => {
                return Err(Reason::IdTooLong);
            }
            _ => {}
        }
        match record.source {
            Field::Bad(reason) => return Err(reason),
            Field::Found(()) if names.source.len() > MAX_SOURCE_BYTES => {
                return Err(Reason::SourceTooLong);
            }
            _ => {}
        }
        match record.score {
            Field::Bad(reason) => Err(reason),
            Field::Found(score) if !score.is_finite() => Err(Reason::ScoreNotANumber),
            Field::Found(score) if score < 0.0 => Err(Reason::ScoreBelowZero),
            _ => Ok(record),
        }
    }
}

/// True if a text is empty or white space.
fn is_blank(text: &[u8]) -> bool {
    // Nearly every text is decided by its first byte.
    !text.first().is_some_and(u8::is_ascii_graphic)
        && simdutf8::basic::from_utf8(text).is_ok_and(|text| text.trim_start().is_empty())
}
