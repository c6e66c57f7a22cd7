//! Puts the pieces of a sequence together: token ids and who is who among them.
//!
//! In: pieces (chunks in their order, with the number of tokens each may use) and the ids of the
//! chunks. Out: [`Sequences`] of exactly `seq_len` tokens.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::mine::Hashed;
use crate::progress::Progress;
use crate::sequences::{Role, Sequences, Span};
use crate::store::ChunkStore;
use crate::tokens::TokenCache;

/// One chunk in a sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Piece {
    /// The chunk.
    pub chunk: u32,
    /// The meta-chunk that it is, or that it is a negative of, by its number in the document.
    pub meta: u32,
    /// Its similarity to that meta-chunk; NaN for the meta-chunk itself.
    pub score: f32,
    /// How many of its tokens the sequence holds.
    pub tokens: u32,
    /// How many of its characters these tokens cover, where the piece was cut.
    pub characters: Option<u32>,
}

impl Piece {
    /// A chunk of the document itself.
    #[must_use]
    pub fn meta_chunk(chunk: u32, meta: u32) -> Self {
        Self { chunk, meta, score: f32::NAN, tokens: 0, characters: None }
    }

    /// A chunk of another document.
    #[must_use]
    pub fn negative(chunk: u32, meta: u32, score: f32) -> Self {
        Self { chunk, meta, score, tokens: 0, characters: None }
    }

    /// Whether the piece is a chunk of the document itself.
    #[must_use]
    pub fn is_meta(&self) -> bool {
        self.score.is_nan()
    }
}

/// What stands around and between the chunks of a sequence.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// The id that begins a sequence, where there is one.
    pub bos: Option<u32>,
    /// The id that ends a sequence, where there is one; it stands nowhere else.
    pub eos: Option<u32>,
    /// The ids between two chunks.
    pub separator: Vec<u32>,
}

impl Frame {
    /// The tokens that `chunks` chunks have for themselves in a sequence of `seq_len`.
    #[must_use]
    pub fn room(&self, seq_len: u32, chunks: usize) -> i64 {
        let specials = i64::from(self.bos.is_some()) + i64::from(self.eos.is_some());
        let separators = chunks.saturating_sub(1) as i64 * self.separator.len() as i64;
        i64::from(seq_len) - specials - separators
    }

    /// Cuts what passes `seq_len` off the last negatives, or, unless `spare_meta`, off the end;
    /// gives how many pieces were cut or dropped.
    ///
    /// What is missing then is at most a separator: [`Frame::push`] adds it at the end.
    pub fn cut(&self, pieces: &mut Vec<Piece>, seq_len: u32, spare_meta: bool) -> u64 {
        let total: i64 = pieces.iter().map(|piece| i64::from(piece.tokens)).sum();
        let mut over = total - self.room(seq_len, pieces.len());
        let mut touched = 0;
        while over > 0 && !pieces.is_empty() {
            let negative = pieces.iter().rposition(|piece| !piece.is_meta());
            let at = negative.filter(|_| spare_meta).unwrap_or(pieces.len() - 1);
            touched += 1;
            let tokens = i64::from(pieces[at].tokens);
            if over < tokens {
                pieces[at].tokens = (tokens - over) as u32;
                break;
            }
            pieces.remove(at);
            over -= tokens + self.separator.len() as i64;
        }
        touched
    }

    /// Appends one sequence to `out`: BOS, the pieces with separators between them, EOS.
    ///
    /// # Errors
    ///
    /// [`Error::Run`] when a piece was never tokenized.
    pub fn push(
        &self,
        out: &mut Sequences,
        names: &mut Names,
        sequence: &Sequence<'_>,
        store: &ChunkStore,
        tokens: &TokenCache,
    ) -> Result<()> {
        let start = out.input_ids.values.len();
        if let Some(bos) = self.bos {
            out.spans.push(special(0));
            out.input_ids.values.push(bos);
        }
        for (number, piece) in sequence.pieces.iter().enumerate() {
            let at = out.input_ids.values.len() - start;
            if number > 0 && !self.separator.is_empty() {
                out.spans.push(special(at));
                out.input_ids.values.extend_from_slice(&self.separator);
            }
            let ids = tokens.get(piece.chunk).and_then(|ids| ids.get(..piece.tokens as usize));
            let ids = ids.ok_or_else(|| {
                Error::Run(format!("chunk {} was not tokenized; this is a bug", piece.chunk))
            })?;
            let chunk = piece.chunk as usize;
            let characters = store.characters(chunk);
            let document = names.number(store, store.document(chunk), out);
            out.spans.push(Span {
                token_start: (out.input_ids.values.len() - start) as i32,
                document: Some(document),
                chunk: store.chunk_number(chunk),
                char_start: characters.start,
                char_end: piece
                    .characters
                    .map_or(characters.end, |covered| characters.start + i64::from(covered)),
                role: if piece.is_meta() { Role::MetaChunk } else { Role::Negative },
                meta: piece.meta as i32,
                score: piece.score,
            });
            out.input_ids.values.extend_from_slice(ids);
        }
        let at = out.input_ids.values.len() - start;
        let missing =
            (sequence.seq_len as usize).saturating_sub(at + usize::from(self.eos.is_some()));
        if (1..=self.separator.len()).contains(&missing) {
            out.spans.push(special(at));
            out.input_ids.values.extend_from_slice(&self.separator[..missing]);
        }
        if let Some(eos) = self.eos {
            out.spans.push(special(out.input_ids.values.len() - start));
            out.input_ids.values.push(eos);
        }
        let document = names.number(store, sequence.document as usize, out);
        out.close(sequence.id, document);
        Ok(())
    }
}

fn special(at: usize) -> Span {
    Span {
        token_start: at as i32,
        document: None,
        chunk: -1,
        char_start: -1,
        char_end: -1,
        role: Role::Separator,
        meta: -1,
        score: f32::NAN,
    }
}

/// One sequence to assemble.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a> {
    /// Its number in the run.
    pub id: i64,
    /// The document that it stretches.
    pub document: u32,
    /// Its length in tokens.
    pub seq_len: u32,
    /// Its chunks in order.
    pub pieces: &'a [Piece],
}

/// The numbers of document ids within one [`Sequences`].
#[derive(Debug, Default)]
pub struct Names(HashMap<u32, u32, Hashed>);

impl Names {
    fn number(&mut self, store: &ChunkStore, document: usize, out: &mut Sequences) -> u32 {
        *self.0.entry(document as u32).or_insert_with(|| {
            let first = store.document_chunks(document).start;
            out.doc_ids.push(store.origin(first).doc_id.to_owned());
            out.doc_ids.len() as u32 - 1
        })
    }
}

/// Assembles `sequences`, all of one output file.
///
/// # Errors
///
/// [`Error::Run`] for a chunk that was never tokenized, [`Error::Cancelled`] when stopped.
pub fn assemble(
    sequences: &[Sequence<'_>],
    strategy: &str,
    frame: &Frame,
    store: &ChunkStore,
    tokens: &TokenCache,
    progress: &Progress,
) -> Result<Sequences> {
    let mut out = Sequences::new(strategy);
    assemble_into(&mut out, sequences, frame, store, tokens, progress)?;
    Ok(out)
}

/// Assembles `sequences` in the place of those that `out` holds.
///
/// # Errors
///
/// As [`assemble`].
pub fn assemble_into(
    out: &mut Sequences,
    sequences: &[Sequence<'_>],
    frame: &Frame,
    store: &ChunkStore,
    tokens: &TokenCache,
    progress: &Progress,
) -> Result<()> {
    out.clear();
    out.input_ids.values.reserve_exact(sequences.iter().map(|s| s.seq_len as usize).sum());
    let mut names = Names::default();
    for sequence in sequences {
        progress.check()?;
        frame.push(out, &mut names, sequence, store, tokens)?;
        progress.add(1);
    }
    Ok(())
}
