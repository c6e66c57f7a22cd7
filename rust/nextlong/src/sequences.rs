//! Training sequences, assembled and ready to be written: token ids and their provenance.

use crate::error::{Error, Result};
use crate::ragged::Ragged;

/// The role of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum Role {
    /// A chunk of the document that the sequence extends.
    MetaChunk = 0,
    /// A chunk of another document.
    Negative = 1,
    /// A separator or a special token.
    Separator = 2,
}

/// One span of a sequence, from `token_start` to the next span's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// The first token of the span in its sequence.
    pub token_start: i32,
    /// The document, an entry of [`Sequences::doc_ids`]; none for a separator.
    pub document: Option<u32>,
    /// The chunk's number in its document; -1 for a separator.
    pub chunk: i32,
    /// The first character of the document that the span holds; -1 for a separator.
    pub char_start: i64,
    /// The character after the last; -1 for a separator.
    pub char_end: i64,
    /// Its role.
    pub role: Role,
    /// Which meta-chunk of the sequence the span belongs to, from 0; -1 for none.
    pub meta: i32,
    /// Its similarity to that meta-chunk; NaN if there is none.
    pub score: f32,
}

/// Sequences and their provenance, flat; row `i` of every per-sequence column is one sequence.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sequences {
    /// The tokens.
    pub input_ids: Ragged<u32>,
    /// The number of each sequence in the run.
    pub sequence_id: Vec<i64>,
    /// The strategy that made them all.
    pub strategy: String,
    /// The document that each sequence extends, an entry of `doc_ids`.
    pub meta_document: Vec<u32>,
    /// Document ids, named by number in `meta_document` and in spans.
    pub doc_ids: Vec<String>,
    /// The spans of sequence `i` are `span_offsets[i]..span_offsets[i + 1]`; starts with 0.
    pub span_offsets: Vec<u32>,
    /// All spans, one sequence after another.
    pub spans: Vec<Span>,
}

impl Sequences {
    /// An empty set of sequences of `strategy`.
    #[must_use]
    pub fn new(strategy: &str) -> Self {
        Self {
            input_ids: Ragged::default(),
            sequence_id: Vec::new(),
            strategy: strategy.to_owned(),
            meta_document: Vec::new(),
            doc_ids: Vec::new(),
            span_offsets: vec![0],
            spans: Vec::new(),
        }
    }

    /// Removes all sequences; buffers are reused.
    pub fn clear(&mut self) {
        self.input_ids.values.clear();
        self.input_ids.offsets.truncate(1);
        self.sequence_id.clear();
        self.meta_document.clear();
        self.doc_ids.clear();
        self.span_offsets.truncate(1);
        self.spans.clear();
    }

    /// Ends the sequence whose tokens and spans were pushed since the last call.
    pub fn close(&mut self, sequence_id: i64, meta_document: u32) {
        self.input_ids.close_row();
        self.sequence_id.push(sequence_id);
        self.meta_document.push(meta_document);
        self.span_offsets.push(self.spans.len() as u32);
    }

    /// The number of sequences.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sequence_id.len()
    }

    /// True if there is no sequence.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The spans of sequence `sequence`.
    #[must_use]
    pub fn spans(&self, sequence: usize) -> &[Span] {
        &self.spans[self.span_offsets[sequence] as usize..self.span_offsets[sequence + 1] as usize]
    }

    /// True if all columns agree with each other.
    ///
    /// # Errors
    ///
    /// [`Error::Run`] naming the column that does not.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str| {
            Err(Error::Run(format!("the sequences cannot be written: {what}; this is a bug")))
        };
        let rising = |mut pairs: std::slice::Windows<'_, u64>| pairs.all(|pair| pair[0] <= pair[1]);
        let count = self.len();
        let tokens = &self.input_ids;
        if tokens.offsets.len() != count + 1
            || tokens.offsets[0] != 0
            || tokens.offsets[count] != tokens.values.len() as u64
            || !rising(tokens.offsets.windows(2))
        {
            return wrong("input_ids has other rows than sequence_id");
        }
        if tokens.values.iter().any(|&id| id > i32::MAX as u32) {
            return wrong("a token id is above 2147483647");
        }
        if self.span_offsets.len() != count + 1
            || self.span_offsets[0] != 0
            || self.span_offsets[count] as usize != self.spans.len()
            || self.span_offsets.windows(2).any(|pair| pair[0] > pair[1])
        {
            return wrong("the spans have other rows than sequence_id");
        }
        let known = |document: u32| (document as usize) < self.doc_ids.len();
        if self.meta_document.len() != count
            || !self.meta_document.iter().all(|&document| known(document))
            || !self.spans.iter().filter_map(|span| span.document).all(known)
        {
            return wrong("a document number has no id");
        }
        Ok(())
    }
}
