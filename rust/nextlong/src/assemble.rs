//! Puts the segments of a sequence together: token ids and their provenance.
//!
//! In: segments (chunks in their order, with the number of tokens each may use) and the ids of the
//! chunks. Out: [`Sequences`] of exactly `seq_len` tokens.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::hash::BuildIntHasher;
use crate::progress::Progress;
use crate::segment::{Segment, SpecialTokens};
use crate::sequences::{Role, Sequences, Span};
use crate::store::{ChunkStore, TokenCache};

impl SpecialTokens {
    /// Appends one sequence to `out`: BOS, the segments with separators between them, EOS.
    ///
    /// # Errors
    ///
    /// [`Error::Run`] when a segment was never tokenized.
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
        for (number, segment) in sequence.segments.iter().enumerate() {
            let at = out.input_ids.values.len() - start;
            if number > 0 && !self.separator.is_empty() {
                out.spans.push(special(at));
                out.input_ids.values.extend_from_slice(&self.separator);
            }
            let ids = tokens.get(segment.chunk).and_then(|ids| ids.get(..segment.tokens as usize));
            let ids = ids.ok_or_else(|| {
                Error::Run(format!("chunk {} was not tokenized; this is a bug", segment.chunk))
            })?;
            let chunk = segment.chunk as usize;
            let characters = store.characters(chunk);
            let document = names.number(store, store.document(chunk), out);
            out.spans.push(Span {
                token_start: (out.input_ids.values.len() - start) as i32,
                document: Some(document),
                chunk: store.chunk_number(chunk),
                char_start: characters.start,
                char_end: segment
                    .characters
                    .map_or(characters.end, |covered| characters.start + i64::from(covered)),
                role: if segment.is_meta() { Role::MetaChunk } else { Role::Negative },
                meta: segment.meta as i32,
                score: segment.score,
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
    /// The document that it extends.
    pub document: u32,
    /// Its length in tokens.
    pub seq_len: u32,
    /// Its chunks in order.
    pub segments: &'a [Segment],
}

/// The numbers of document ids within one [`Sequences`].
#[derive(Debug, Default)]
pub struct Names(HashMap<u32, u32, BuildIntHasher>);

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
    special_tokens: &SpecialTokens,
    store: &ChunkStore,
    tokens: &TokenCache,
    progress: &Progress,
) -> Result<Sequences> {
    let mut out = Sequences::new(strategy);
    assemble_into(&mut out, sequences, special_tokens, store, tokens, progress)?;
    Ok(out)
}

/// Assembles `sequences` into `out`, replacing its content.
///
/// # Errors
///
/// As [`assemble`].
pub fn assemble_into(
    out: &mut Sequences,
    sequences: &[Sequence<'_>],
    special_tokens: &SpecialTokens,
    store: &ChunkStore,
    tokens: &TokenCache,
    progress: &Progress,
) -> Result<()> {
    out.clear();
    out.input_ids.values.reserve_exact(sequences.iter().map(|s| s.seq_len as usize).sum());
    let mut names = Names::default();
    for sequence in sequences {
        progress.check()?;
        special_tokens.push(out, &mut names, sequence, store, tokens)?;
        progress.add(1);
    }
    Ok(())
}
